//! Where two answers differ. `id` and every `elapsed_ms` are left out: they are no part of the same bytes.

use serde::Serialize;
use serde_json::Value;

use crate::methods::pointer_segment;

/// Differences that are kept; the rest is counted.
const KEPT: usize = 1000;
/// Characters of a value that are shown.
const SHOWN: usize = 200;

/// One place where the answers differ. Lists and objects are described, long texts cut; `None` where nothing stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// RFC 6901, into the answer.
    pub pointer: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recorded: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replayed: Option<Value>,
    /// What it means, where the place says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remark: Option<&'static str>,
}

impl Difference {
    pub(super) fn new(pointer: String, recorded: Option<&Value>, replayed: Option<&Value>) -> Self {
        let remark = remark(&pointer);
        Self { pointer, recorded: recorded.map(shown), replayed: replayed.map(shown), remark }
    }
}

/// What comparing found.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Comparison {
    /// In the answer's order, the first 1000.
    pub differences: Vec<Difference>,
    /// All of them.
    pub count: usize,
    /// The largest difference of two numbers that stand in the same place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub largest: Option<f64>,
    /// Differences of the machine, which explain others and are none of the answer's own.
    pub warnings: Vec<Difference>,
}

impl Comparison {
    pub fn same(&self) -> bool {
        self.count == 0
    }

    /// That of an answer which was not repeated, because this place rules it out.
    pub fn of(difference: Difference) -> Self {
        Self { differences: vec![difference], count: 1, ..Self::default() }
    }

    fn add(&mut self, pointer: &str, recorded: Option<&Value>, replayed: Option<&Value>, moved: bool) {
        let difference = || Difference::new(pointer.to_owned(), recorded, replayed);
        let of_the_machine = ["/provenance/cpu", "/provenance/device", "/provenance/threads"].contains(&pointer);
        if of_the_machine || (moved && ["/model/source", "/model/revision"].contains(&pointer)) {
            self.warnings.push(difference());
            return;
        }
        self.count += 1;
        if let (Some(recorded), Some(replayed)) = (recorded.and_then(Value::as_f64), replayed.and_then(Value::as_f64)) {
            let apart = (recorded - replayed).abs();
            self.largest = Some(self.largest.map_or(apart, |largest| largest.max(apart)));
        }
        if self.differences.len() < KEPT {
            self.differences.push(difference());
        }
    }
}

/// Compares two answers. `moved`: the model was loaded from elsewhere on purpose, so that its source may differ.
pub fn compare(recorded: &Value, replayed: &Value, moved: bool) -> Comparison {
    let mut found = Comparison::default();
    walk(recorded, replayed, &mut String::new(), moved, &mut found);
    found
}

fn walk(recorded: &Value, replayed: &Value, pointer: &mut String, moved: bool, found: &mut Comparison) {
    let length = pointer.len();
    match (recorded, replayed) {
        (Value::Object(old), Value::Object(new)) => {
            let added = new.keys().filter(|name| !old.contains_key(*name));
            for name in old.keys().chain(added) {
                pointer.push('/');
                pointer.push_str(&pointer_segment(name));
                if name != "elapsed_ms" && pointer != "/id" {
                    match (old.get(name), new.get(name)) {
                        (Some(old), Some(new)) => walk(old, new, pointer, moved, found),
                        (old, new) => found.add(pointer, old, new, moved),
                    }
                }
                pointer.truncate(length);
            }
        }
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            for (index, (old, new)) in old.iter().zip(new).enumerate() {
                pointer.push('/');
                pointer.push_str(&index.to_string());
                walk(old, new, pointer, moved, found);
                pointer.truncate(length);
            }
        }
        (old, new) if equal(old, new) => {}
        (old, new) => found.add(pointer, Some(old), Some(new), moved),
    }
}

/// Numbers by what they are: a program that stored the answer may write 1 for 1.0.
fn equal(old: &Value, new: &Value) -> bool {
    old == new
        || match (old, new) {
            (Value::Number(old), Value::Number(new)) => (old.is_f64() || new.is_f64()) && old.as_f64() == new.as_f64(),
            _ => false,
        }
}

fn remark(pointer: &str) -> Option<&'static str> {
    Some(match pointer {
        "/model/sha256" => "other weights: the model is not the one that answered",
        "/model/source" | "/model/revision" => "loaded from elsewhere, as asked",
        "/input/sha256" => "another input than the one that was explained",
        "/provenance/version" => "another version of explaind, whose numbers may differ",
        "/provenance/cpu" => "another processor, which may round differently",
        "/provenance/device" => "another device, which rounds differently",
        "/provenance/threads" => "no number depends on it",
        _ => return None,
    })
}

fn shown(value: &Value) -> Value {
    match value {
        Value::Array(items) => format!("a list of {}", items.len()).into(),
        Value::Object(members) => format!("an object of {}", members.len()).into(),
        Value::String(text) => match text.char_indices().nth(SHOWN) {
            Some((end, _)) => format!("{}…", &text[..end]).into(),
            None => value.clone(),
        },
        scalar => scalar.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn places(recorded: Value, replayed: Value) -> Vec<String> {
        compare(&recorded, &replayed, false).differences.into_iter().map(|one| one.pointer).collect()
    }

    #[test]
    fn ids_and_times_are_left_out_and_nothing_else() {
        let answer =
            |id: &str, ms: f64| json!({"id": id, "explanations": [{"elapsed_ms": ms, "a": {"elapsed_ms": ms}}]});
        assert!(compare(&answer("a", 1.0), &answer("b", 2.0), false).same());
        assert_eq!(places(json!({"x": {"id": 1}}), json!({"x": {"id": 2}})), ["/x/id"]);
    }

    #[test]
    fn every_kind_of_difference_has_its_place_and_both_values() {
        let recorded = json!({"a": 1.5, "b": [1, 2], "c": {"d/e": "x"}, "gone": null, "same": [0.0, 1]});
        let replayed = json!({"a": 1.25, "b": [1], "c": {"d/e": true}, "new": {}, "same": [-0.0, 1.0]});
        let found = compare(&recorded, &replayed, false);
        assert_eq!(found.largest, Some(0.25));
        assert_eq!(found.count, 5);
        let shown: Vec<String> = found.differences.iter().map(|one| serde_json::to_string(one).unwrap()).collect();
        assert_eq!(
            shown,
            [
                r#"{"pointer":"/a","recorded":1.5,"replayed":1.25}"#,
                r#"{"pointer":"/b","recorded":"a list of 2","replayed":"a list of 1"}"#,
                r#"{"pointer":"/c/d~1e","recorded":"x","replayed":true}"#,
                r#"{"pointer":"/gone","recorded":null}"#,
                r#"{"pointer":"/new","replayed":"an object of 0"}"#,
            ]
        );
    }

    #[test]
    fn what_the_machine_differs_in_is_a_warning() {
        let answer = |cpu: &str, version: &str| json!({"provenance": {"cpu": cpu, "version": version, "threads": 2}});
        let found = compare(&answer("a", "1"), &answer("b", "1"), false);
        assert!(found.same());
        assert_eq!(found.warnings[0].pointer, "/provenance/cpu");
        assert_eq!(places(answer("a", "1"), answer("a", "2")), ["/provenance/version"]);
        let moved = json!({"model": {"source": "b", "sha256": "1"}});
        let found = compare(&json!({"model": {"source": "a", "sha256": "0"}}), &moved, true);
        assert_eq!((found.warnings.len(), found.differences[0].pointer.as_str()), (1, "/model/sha256"));
    }

    #[test]
    fn many_differences_are_counted_and_long_texts_cut() {
        let found = compare(&json!(vec![0; 3000]), &json!(vec![1; 3000]), false);
        assert_eq!((found.count, found.differences.len()), (3000, KEPT));
        let cut = shown(&json!("é".repeat(500)));
        assert_eq!(cut.as_str().unwrap().chars().count(), SHOWN + 1);
    }
}
