//! Defaults and inputs of settings as keywords of their JSON Schema, read from the settings' documentation, which says
//! them in set phrases: a form can be drawn from the schema alone, and nothing is written down twice.
//!
//! `Default 8.`, `Default `none`.`, `` `mean` (default) `` become `default`; `Default: text 2000, image 1000.` and a
//! default for each kind become `x-default`, by kind. What begins with `Images` or `Text` gets `x-inputs`.

use serde_json::{Number, Value, json};

/// Adds the keywords to every property of a settings' schema.
pub(super) fn annotate(settings: &mut Value) {
    let Some(properties) = settings.get_mut("properties").and_then(Value::as_object_mut) else { return };
    for property in properties.values_mut() {
        let text = description(property).split_whitespace().collect::<Vec<_>>().join(" ");
        let Some(property) = property.as_object_mut() else { continue };
        match defaults(&text) {
            Some(Defaults::One(value)) => drop(property.insert("default".to_owned(), value)),
            Some(Defaults::Each { text, image }) => {
                property.insert("x-default".to_owned(), json!({"text": text, "image": image}));
            }
            None => {}
        }
        if let Some(kind) = input(&text) {
            property.insert("x-inputs".to_owned(), json!([kind]));
        }
    }
}

/// The documentation of a property: its own, or where it refers to another schema the one beside the reference.
pub(super) fn description(property: &Value) -> &str {
    let own = |value: &Value| value.get("description").and_then(Value::as_str).map(str::len);
    let parts = property.get("oneOf").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let holder = std::iter::once(property).chain(parts).find(|value| own(value).is_some());
    holder.and_then(|value| value.get("description")).and_then(Value::as_str).unwrap_or_default()
}

#[derive(Debug, PartialEq)]
enum Defaults {
    One(Value),
    Each { text: Value, image: Value },
}

fn defaults(text: &str) -> Option<Defaults> {
    if let Some((_, rest)) = text.split_once("Default ") {
        return value(rest).map(Defaults::One);
    }
    if let Some((_, rest)) = text.split_once("Default: ") {
        let each = rest.strip_prefix("text ").and_then(|rest| {
            let (first, rest) = rest.split_once(", ")?;
            Some((value(first)?, value(rest.strip_prefix("image ")?)?))
        });
        return match each {
            Some((text, image)) => Some(Defaults::Each { text, image }),
            None => value(rest).map(Defaults::One),
        };
    }
    // `a` (default), or of each kind one.
    let marked: Vec<Value> = text
        .match_indices(" (default")
        .filter_map(|(at, _)| {
            let before = text.get(..at)?.strip_suffix('`')?;
            before.rfind('`').map(|start| literal(&before[start + 1..]))
        })
        .collect();
    match <[Value; 2]>::try_from(marked) {
        Ok([text, image]) => Some(Defaults::Each { text, image }),
        Err(mut one) => (one.len() == 1).then(|| Defaults::One(one.remove(0))),
    }
}

/// The value that `text` begins with: code, a number, a fraction or a truth value.
fn value(text: &str) -> Option<Value> {
    // One of several, each for a case of its own.
    let alone = |rest: &str| !rest.starts_with(" for ");
    if let Some(rest) = text.strip_prefix('`') {
        return rest.split_once('`').filter(|(_, rest)| alone(rest)).map(|(code, _)| literal(code));
    }
    let end = text.find([' ', ';']).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    let word = Some(word.trim_end_matches(['.', ','])).filter(|_| alone(rest))?;
    match word {
        "true" | "false" => Some(Value::Bool(word == "true")),
        number => self::number(number).map(Value::Number),
    }
}

fn number(text: &str) -> Option<Number> {
    let text = text.replace('−', "-");
    if let Some((above, below)) = text.split_once('/') {
        return Number::from_f64(above.parse::<f64>().ok()? / below.parse::<f64>().ok()?);
    }
    match text.parse::<i64>() {
        Ok(whole) => Some(whole.into()),
        Err(_) => text.parse().ok().and_then(Number::from_f64),
    }
}

/// JSON as it is written, else a name.
fn literal(code: &str) -> Value {
    serde_json::from_str(code).unwrap_or_else(|_| Value::String(code.to_owned()))
}

/// The kind of input that a setting is for, where it is for one alone.
fn input(text: &str) -> Option<&'static str> {
    let begins = |word: &str| text.strip_prefix(word).is_some_and(|rest| rest.starts_with([':', ',', '.']));
    [("Images", "image"), ("Text", "text"), ("Language models", "generation")]
        .into_iter()
        .find(|(word, _)| begins(word))
        .map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::super::listing::methods_view;
    use super::*;
    use crate::methods::METHODS;
    use crate::methods::support::fake::Fake;
    use serde_json::Map;

    /// A setting's schema with what it refers to put in: all that it may be.
    fn resolved<'s>(schema: &'s Value, value: &'s Value) -> Vec<&'s Value> {
        let named = value.get("$ref").and_then(Value::as_str).and_then(|name| name.strip_prefix("#/$defs/"));
        let own = named.map_or(value, |name| &schema["$defs"][name]);
        match own.get("oneOf").and_then(Value::as_array) {
            Some(parts) => parts.iter().flat_map(|part| resolved(schema, part)).collect(),
            None => vec![own],
        }
    }

    fn properties(schema: &Value) -> Map<String, Value> {
        schema["properties"].as_object().cloned().unwrap_or_default()
    }

    #[test]
    fn set_phrases_are_read() {
        let one = |value: Value| Some(Defaults::One(value));
        for (text, expected) in [
            ("Levels, 1 to 8. Default 3.", one(json!(3))),
            ("Default −1, the last.", one(json!(-1))),
            ("Of 1. Default 8/255.", one(json!(8.0 / 255.0))),
            ("Scores. Default false.", one(json!(false))),
            ("`max` or not. Default `none`.", one(json!("none"))),
            ("`\"all\"` (default), `\"last\"`", one(json!("all"))),
            ("Default: 513, the largest nested rule", one(json!(513))),
            ("Default: none, the model's own choice.", None),
            ("Default: `clauses` for words, else `balanced`.", None),
            ("Default 1 for text, a quarter for images.", None),
            ("Default 0.05. With `steps` it only judges.", one(json!(0.05))),
            ("Most. Default: text 2000, image 1000.", Some(Defaults::Each { text: json!(2000), image: json!(1000) })),
            (
                "text `word` (default), `token`; image `segment` (default) or `patch`",
                Some(Defaults::Each { text: json!("word"), image: json!("segment") }),
            ),
        ] {
            assert_eq!(defaults(text), expected, "{text}");
        }
        assert_eq!(
            [input("Images, `slic`: x"), input("Text: x"), input("Textual")],
            [Some("image"), Some("text"), None]
        );
    }

    /// A form can be drawn from `/methods` alone: every setting has a type, choices or a range, a default in words or as a
    /// value, and says what it is for; every method says what it takes and needs.
    #[test]
    fn every_setting_says_all_that_a_form_needs() {
        for method in methods_view(None).methods {
            assert!(!method.inputs.is_empty() && !method.requires.is_empty() && !method.group.is_empty());
            for (name, setting) in properties(&method.settings) {
                let what = format!("{}.{name}: {setting}", method.name);
                let text = description(&setting);
                assert!(text.len() > 20 && text.trim_end().ends_with('.'), "no description of {what}");
                let said = ["default", "x-default"].iter().any(|key| setting.get(key).is_some());
                assert!(said || text.contains("Default: "), "no default of {what}");
                let mut typed = 0;
                for part in resolved(&method.settings, &setting) {
                    let types: Vec<&str> = match &part["type"] {
                        Value::String(one) => vec![one],
                        Value::Array(all) => all.iter().filter_map(Value::as_str).collect(),
                        _ => Vec::new(),
                    };
                    typed += types.iter().filter(|kind| **kind != "null").count();
                    let ranged = ["minimum", "exclusiveMinimum", "maximum"].iter().any(|key| part.get(key).is_some());
                    let counted = text.contains("negative ones count from the end");
                    if types.contains(&"integer") {
                        assert!(ranged || counted, "no range of {what}");
                    }
                    if types.contains(&"number") {
                        assert!(ranged || name == "threshold", "no range of {what}");
                    }
                    if types.contains(&"array") {
                        assert!(part.get("items").is_some(), "no items of {what}");
                    }
                }
                assert!(typed > 0, "no type of {what}");
            }
        }
    }

    /// What the documentation calls a default is what a request without the setting gets.
    #[test]
    fn documented_defaults_are_what_is_resolved() {
        let (text, image) = (Fake::text(3), Fake::image(8));
        let mut checked = 0;
        for (method, view) in METHODS.iter().zip(methods_view(None).methods) {
            for (fake, kind) in [(&text, "text"), (&image, "image")] {
                if !method.inputs().contains(&fake.spec.kind) {
                    continue;
                }
                let planned = method.plan(Map::new(), &fake.subject()).unwrap_or_else(|error| panic!("{error}"));
                for (name, setting) in properties(&view.settings) {
                    let expected = setting.get("default").or_else(|| setting.get("x-default")?.get(kind));
                    let Some((expected, found)) = expected.zip(planned.settings().get(&name)) else { continue };
                    // Layers are echoed as resolved.
                    let layer = ["layer", "layers", "heads"].contains(&name.as_str());
                    let same = match (expected.as_f64(), found.as_f64()) {
                        (Some(a), Some(b)) => (a - b).abs() < 1e-12,
                        _ => expected == found,
                    };
                    assert!(layer || same, "{}.{name} of {kind}: documented {expected}, got {found}", view.name);
                    checked += 1;
                }
            }
        }
        assert!(checked > 150, "{checked}");
    }

    /// Values that a setting's own schema rules out.
    fn wrong(schema: &Value, setting: &Value) -> Vec<Value> {
        let mut all = vec![json!({"no": "such"})];
        for part in resolved(schema, setting) {
            let types: Vec<&str> = match &part["type"] {
                Value::String(one) => vec![one],
                Value::Array(all) => all.iter().filter_map(Value::as_str).collect(),
                _ => Vec::new(),
            };
            let whole = types.contains(&"integer");
            if whole || types.contains(&"number") {
                let step = if whole { 1.0 } else { 0.25 };
                let beyond =
                    [("minimum", -step), ("maximum", step), ("exclusiveMinimum", 0.0), ("exclusiveMaximum", 0.0)];
                for (key, by) in beyond {
                    let Some(bound) = part.get(key).and_then(Value::as_f64) else { continue };
                    all.push(if whole { json!((bound + by) as i64) } else { json!(bound + by) });
                }
            }
            // A name is no number, no truth value and no list; where a name goes it is none of the choices.
            if !types.contains(&"string") || part.get("enum").is_some() {
                all.push(json!("nonsense"));
            }
        }
        all
    }

    /// A setting that cannot be is refused in its place, in words that say what can be.
    #[test]
    fn wrong_settings_are_refused_in_place_and_told_what_to_do() {
        let says = ["use ", "leave ", "name ", "send ", "add ", "raise ", "expected ", "drop ", "needs "];
        let mut tried = 0;
        for (method, view) in METHODS.iter().zip(methods_view(None).methods) {
            for fake in [Fake::text(3), Fake::image(8)] {
                if !method.inputs().contains(&fake.spec.kind) {
                    continue;
                }
                let plan = |name: &str, value: Value| {
                    let settings = Map::from_iter([(name.to_owned(), value)]);
                    method.plan(settings, &fake.subject()).err()
                };
                let unknown = plan("nonsense", json!(1)).unwrap();
                assert!(unknown.path == "/nonsense" && unknown.detail.contains("unknown field"), "{unknown:?}");
                for (name, setting) in properties(&view.settings) {
                    for value in wrong(&view.settings, &setting) {
                        let what = format!("{}.{name} = {value} of {:?}", view.name, fake.spec.kind);
                        let Some(error) = plan(&name, value.clone()) else { panic!("{what} was taken") };
                        let place = format!("/{name}");
                        assert!(
                            error.path == place || error.path.starts_with(&format!("{place}/")),
                            "{what}: {error:?}"
                        );
                        let told = says.iter().any(|word| error.detail.contains(word));
                        assert!(told && !error.detail.contains("usize"), "{what}: {}", error.detail);
                        tried += 1;
                    }
                }
            }
        }
        assert!(tried > 500, "{tried}");
    }

    /// Types of one name are one type: the OpenAPI document holds one schema a name.
    #[test]
    fn names_of_schemas_are_unique() {
        let mut known: std::collections::BTreeMap<String, Value> = Default::default();
        let own = METHODS.iter().flat_map(|method| method.schemas().into_iter().chain([method.schema()]));
        let mut answer = Vec::new();
        <super::super::Answer as utoipa::ToSchema>::schemas(&mut answer);
        for (name, schema) in own.chain(answer) {
            let schema = serde_json::to_value(schema).unwrap();
            let first = known.entry(name.clone()).or_insert_with(|| schema.clone());
            assert_eq!(*first, schema, "two types are named {name}; give one another name by #[schema(as = …)]");
        }
    }
}
