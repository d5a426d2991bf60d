//! Tests of `target_spec`: what is read and written, and what is refused where.

use super::*;
use crate::tasks::quote;

fn read(json: &str) -> Result<TargetSpec, String> {
    serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_str(json))
        .map_err(|error| format!("{}: {}", error.path(), error.inner()))
}

#[test]
fn reads_every_form() {
    assert_eq!(read("1"), Ok(TargetSpec::Index(1)));
    assert_eq!(read("\"1\""), Ok(TargetSpec::Name("1".into())));
    let contrast = Contrast { index: ClassSpec::Index(1), against: Some(ClassSpec::Label("NEGATIVE".into())) };
    assert_eq!(read(r#"{"index": 1, "against": "NEGATIVE"}"#), Ok(TargetSpec::Contrast(contrast)));
    assert_eq!(
        read(r#"["all", 0, {"index": "x"}]"#),
        Ok(TargetSpec::List(vec![
            TargetSpec::Name("all".into()),
            TargetSpec::Index(0),
            TargetSpec::Contrast(Contrast { index: ClassSpec::Label("x".into()), against: None }),
        ]))
    );
}

#[test]
fn refuses_what_is_no_target_and_says_where() {
    for (json, path, part) in [
        ("-1", ".", "integer `-1`"),
        ("1.5", ".", "floating point `1.5`"),
        ("true", ".", "boolean `true`"),
        ("[0, [1]]", "[1]", "sequence"),
        ("[0, -3]", "[1]", "integer `-3`"),
        (r#"{"index": -1}"#, "index", "integer `-1`"),
        (r#"{"index": 1, "against": []}"#, "against", "sequence"),
        (r#"{"against": 1}"#, ".", "missing field `index`"),
        (r#"{"index": 1, "to": 1}"#, "to", "unknown field `to`"),
    ] {
        let error = read(json).unwrap_err();
        assert!(error.starts_with(&format!("{path}: ")) && error.contains(part), "{json}: {error}");
    }
    assert!(read("-1").unwrap_err().contains("a list of these, or {\"index\""));
}

#[test]
fn quotes_are_cut() {
    assert_eq!(quote("é"), "\"é\"");
    assert_eq!(quote(&"é".repeat(65)), format!("\"{}…\"", "é".repeat(64)));
}

#[test]
fn writes_what_it_reads() {
    for json in ["1", "\"a\"", r#"[0,{"index":1,"against":"b"}]"#] {
        assert_eq!(serde_json::to_string(&read(json).unwrap()).unwrap(), json);
    }
    assert_eq!(serde_json::to_string(&TargetSpec::Predicted).unwrap(), "\"predicted\"");
}

#[test]
fn schema_names_all_forms_and_what_it_refers_to() {
    let schema = serde_json::to_string(&TargetSpec::schema()).unwrap();
    for part in ["integer", "string", "array", "#/components/schemas/Contrast"] {
        assert!(schema.contains(part), "{schema}");
    }
    let mut schemas = Vec::new();
    TargetSpec::schemas(&mut schemas);
    let names: Vec<_> = schemas.iter().map(|(name, _)| name.as_str()).collect();
    assert!(names.contains(&"Contrast") && names.contains(&"ClassSpec"), "{names:?}");
}
