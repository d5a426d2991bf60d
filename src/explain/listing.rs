//! What `GET /models` and `GET /methods` answer and `explaind models` and `explaind methods` print.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{Catalog, defaults};
use crate::input::Kind;
use crate::methods::{ErasedMethod, METHODS};
use crate::models::{Capability, Memory};

/// The loaded models.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ModelsView {
    pub models: Vec<ModelView>,
}

/// A loaded model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ModelView {
    pub name: String,
    pub source: String,
    /// Commit of a hub model; null for folders and bundled models.
    pub revision: Option<String>,
    /// Of the weights.
    pub sha256: String,
    /// `model_type` of config.json.
    pub architecture: String,
    pub task: String,
    pub kind: Kind,
    pub labels: Vec<String>,
    /// The longest input in tokens; null for images.
    pub max_tokens: Option<usize>,
    /// What its weights take.
    pub memory: Memory,
    pub capabilities: Vec<Capability>,
    /// The methods it can serve.
    pub methods: Vec<String>,
}

/// The methods there are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MethodsView {
    pub methods: Vec<MethodView>,
}

/// A method: what it needs, takes and returns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MethodView {
    pub name: String,
    /// `gradients`, `attention`, `perturbation`, …
    pub group: String,
    pub summary: String,
    /// All of its documentation, in Markdown.
    pub description: String,
    /// What a model must be able to give.
    pub requires: Vec<Capability>,
    pub inputs: Vec<Kind>,
    /// False: it answers once, with `"target": null`.
    pub targeted: bool,
    /// JSON Schema of an item of `explain` without its `method`. `default` is a setting's value where none is sent,
    /// `x-default` the same by the kind of input; `x-inputs` names the one kind that a setting is for.
    #[schema(value_type = Object)]
    pub settings: Value,
    /// The loaded models that can serve it.
    pub models: Vec<String>,
}

/// The loaded models with the methods each can serve.
pub fn models_view(catalog: &Catalog) -> ModelsView {
    let models = catalog.iter().map(|model| {
        let spec = model.model.spec();
        ModelView {
            name: model.name.clone(),
            source: model.source.clone(),
            revision: model.revision.clone(),
            sha256: model.sha256.clone(),
            architecture: spec.architecture.clone(),
            task: model.task.name().to_owned(),
            kind: spec.kind,
            labels: spec.labels.clone(),
            max_tokens: model.max_tokens(),
            memory: model.memory,
            capabilities: spec.capabilities.0.clone(),
            methods: METHODS.iter().filter(|method| method.fits(spec)).map(|method| method.name().to_owned()).collect(),
        }
    });
    ModelsView { models: models.collect() }
}

/// Every method; without a catalog no models are named.
pub fn methods_view(catalog: Option<&Catalog>) -> MethodsView {
    MethodsView { methods: METHODS.iter().map(|method| method_view(*method, catalog)).collect() }
}

fn method_view(method: &dyn ErasedMethod, catalog: Option<&Catalog>) -> MethodView {
    let settings = settings_schema(method);
    let description = settings.get("description").and_then(Value::as_str).unwrap_or_default().to_owned();
    let fitting = catalog.into_iter().flat_map(Catalog::iter).filter(|model| method.fits(model.model.spec()));
    MethodView {
        name: method.name().to_owned(),
        group: method.group().to_owned(),
        summary: first_paragraph(&description),
        description,
        requires: method.requires().to_vec(),
        inputs: method.inputs().to_vec(),
        targeted: method.targeted(),
        settings,
        models: fitting.map(|model| model.name.clone()).collect(),
    }
}

/// The first paragraph on one line.
fn first_paragraph(text: &str) -> String {
    let lines = text.trim().lines().map(str::trim).take_while(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join(" ")
}

/// The method's settings as a JSON Schema that stands alone: what it refers to lies in `$defs`.
fn settings_schema(method: &dyn ErasedMethod) -> Value {
    let known: BTreeMap<String, Value> =
        method.schemas().into_iter().map(|(name, schema)| (name, json(&schema))).collect();
    let mut wanted = Vec::new();
    let mut settings = json(&method.schema().1);
    localise(&mut settings, &mut wanted);
    defaults::annotate(&mut settings);
    let mut definitions = BTreeMap::new();
    while let Some(name) = wanted.pop() {
        if definitions.contains_key(&name) {
            continue;
        }
        let mut definition = known.get(&name).cloned().unwrap_or(Value::Bool(true));
        localise(&mut definition, &mut wanted);
        definitions.insert(name, definition);
    }
    if let Value::Object(object) = &mut settings
        && !definitions.is_empty()
    {
        object.insert("$defs".to_owned(), Value::Object(Map::from_iter(definitions)));
    }
    settings
}

/// A schema as JSON; writing one cannot fail, and `true` (anything goes) would be the honest rest.
fn json(schema: &impl Serialize) -> Value {
    serde_json::to_value(schema).unwrap_or(Value::Bool(true))
}

/// Points references of the OpenAPI document to `$defs` and notes their names in `wanted`.
fn localise(value: &mut Value, wanted: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                let name = value.as_str().and_then(|text| text.strip_prefix("#/components/schemas/"));
                if let (true, Some(name)) = (key == "$ref", name) {
                    wanted.push(name.to_owned());
                    *value = Value::String(format!("#/$defs/{name}"));
                } else {
                    localise(value, wanted);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| localise(item, wanted)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::fakes;
    use super::*;

    #[test]
    fn methods_name_the_models_that_can_serve_them() {
        let catalog = Catalog::new(vec![fakes::text_model("a"), fakes::image_model("b")]).unwrap();
        for method in methods_view(Some(&catalog)).methods {
            let serves = models_view(&catalog).models.into_iter().filter(|model| model.methods.contains(&method.name));
            assert_eq!(method.models, serves.map(|model| model.name).collect::<Vec<_>>(), "{}", method.name);
        }
        assert!(methods_view(None).methods.iter().all(|method| method.models.is_empty()));
    }

    #[test]
    fn schemas_stand_alone() {
        for method in methods_view(None).methods {
            let text = method.settings.to_string();
            assert!(!text.contains("#/components"), "{text}");
            for reference in text.split("\"#/$defs/").skip(1) {
                let name = reference.split('"').next().unwrap_or_default();
                assert!(method.settings["$defs"].get(name).is_some(), "{name} is not defined in {text}");
            }
            assert!(!method.summary.is_empty() && !method.summary.contains('\n'), "{}", method.name);
        }
    }

    #[test]
    fn references_are_made_local() {
        let mut schema = serde_json::json!({"a": [{"$ref": "#/components/schemas/Fill"}], "$ref": "other"});
        let mut wanted = Vec::new();
        localise(&mut schema, &mut wanted);
        assert_eq!(schema, serde_json::json!({"a": [{"$ref": "#/$defs/Fill"}], "$ref": "other"}));
        assert_eq!(wanted, ["Fill"]);
    }

    #[test]
    fn a_summary_is_the_first_paragraph() {
        assert_eq!(first_paragraph(" One sentence\n over lines.\n\n# More"), "One sentence over lines.");
    }

    #[test]
    fn models_say_what_they_are() {
        let catalog = Catalog::new(vec![fakes::text_model("a")]).unwrap();
        let view = serde_json::to_value(models_view(&catalog)).unwrap();
        let model = &view["models"][0];
        assert_eq!((&model["kind"], &model["task"]), (&"text".into(), &"text-classification".into()));
        assert_eq!(model["revision"], Value::Null);
    }
}
