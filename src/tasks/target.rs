//! Targets as callers write them and as answers name them. Which ones exist is the task's matter: see
//! `classification`. Requests are read with these types by `explain`, `http` and `cli`.

use std::borrow::Cow;
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, OneOfBuilder, SchemaType, Type};
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// A class, as an answer names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct Class {
    pub label: String,
    pub index: usize,
}

/// What is explained: one class's output, or the difference of two.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct Target {
    pub label: String,
    pub index: usize,
    /// Contrastive: this class's output is subtracted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub against: Option<Class>,
}

/// A target as a caller writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetSpec {
    /// A class index.
    Index(u64),
    /// A label, else `predicted` or `all`.
    Name(String),
    /// One class, or the difference of two.
    Contrast(Contrast),
    /// Several targets; JSON gives no list inside a list.
    List(Vec<TargetSpec>),
    /// From a query or a command line ([`TargetSpec::from_text`]), never from JSON.
    Text(String),
    /// What a request without a target means: the predicted class, even where a label is called `predicted`.
    Predicted,
}

/// One class (`index`: a label or an index), or with `against` the difference of two.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Contrast {
    pub index: ClassSpec,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub against: Option<ClassSpec>,
}

/// A class by its index or its label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum ClassSpec {
    Index(u64),
    Label(String),
}

/// A target that this task does not have. `path` continues the request's `/target` pointer.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("{detail}")]
pub struct TargetError {
    pub path: String,
    pub detail: String,
}

/// A caller's word in quotes for an error's detail, cut where it is no word any more.
pub(crate) fn quote(text: &str) -> String {
    const SHOWN: usize = 64;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("\"{}…\"", &text[..end]),
        None => format!("\"{text}\""),
    }
}

impl TargetSpec {
    /// The target of `?target=` and `--target`: a label, else an index in digits, else `predicted` or `all`.
    pub fn from_text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl Serialize for TargetSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Index(index) => index.serialize(serializer),
            Self::Name(text) | Self::Text(text) => text.serialize(serializer),
            Self::Contrast(contrast) => contrast.serialize(serializer),
            Self::List(list) => list.serialize(serializer),
            Self::Predicted => serializer.serialize_str("predicted"),
        }
    }
}

/// Reads a target; by hand, because the error of an untagged enum says neither what was found nor what is possible.
#[derive(Clone, Copy)]
struct TargetVisitor {
    in_list: bool,
}

impl<'de> Visitor<'de> for TargetVisitor {
    type Value = TargetSpec;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a label, a class index (0, 1, …), \"predicted\", \"all\"")?;
        if !self.in_list {
            formatter.write_str(", a list of these,")?;
        }
        formatter.write_str(" or {\"index\": …, \"against\": …}")
    }
    fn visit_u64<E: de::Error>(self, value: u64) -> Result<TargetSpec, E> {
        Ok(TargetSpec::Index(value))
    }
    fn visit_i64<E: de::Error>(self, value: i64) -> Result<TargetSpec, E> {
        index_of_signed(value, &self).map(TargetSpec::Index)
    }
    fn visit_str<E: de::Error>(self, value: &str) -> Result<TargetSpec, E> {
        Ok(TargetSpec::Name(value.to_owned()))
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TargetSpec, A::Error> {
        Contrast::deserialize(MapAccessDeserializer::new(map)).map(TargetSpec::Contrast)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<TargetSpec, A::Error> {
        if self.in_list {
            return Err(de::Error::invalid_type(Unexpected::Seq, &self));
        }
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Self { in_list: true })? {
            list.push(item);
        }
        Ok(TargetSpec::List(list))
    }
}

impl<'de> DeserializeSeed<'de> for TargetVisitor {
    type Value = TargetSpec;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<TargetSpec, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Deserialize<'de> for TargetSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        TargetVisitor { in_list: false }.deserialize(deserializer)
    }
}

impl<'de> Deserialize<'de> for ClassSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ClassVisitor;
        impl Visitor<'_> for ClassVisitor {
            type Value = ClassSpec;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a label or a class index (0, 1, …)")
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<ClassSpec, E> {
                Ok(ClassSpec::Index(value))
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<ClassSpec, E> {
                index_of_signed(value, &self).map(ClassSpec::Index)
            }
            fn visit_str<E: de::Error>(self, value: &str) -> Result<ClassSpec, E> {
                Ok(ClassSpec::Label(value.to_owned()))
            }
        }
        deserializer.deserialize_any(ClassVisitor)
    }
}

fn index_of_signed<E: de::Error>(value: i64, expected: &dyn de::Expected) -> Result<u64, E> {
    u64::try_from(value).map_err(|_| E::invalid_value(Unexpected::Signed(value), expected))
}

/// What may stand alone or in a list.
fn one_target() -> OneOfBuilder {
    let index = ObjectBuilder::new().schema_type(SchemaType::Type(Type::Integer)).minimum(Some(0));
    let name = ObjectBuilder::new().schema_type(SchemaType::Type(Type::String));
    OneOfBuilder::new()
        .item(index.description(Some("A class index.")))
        .item(name.description(Some("A label, else `predicted` or `all`.")))
        .item(Ref::from_schema_name(Contrast::name()))
}

impl PartialSchema for TargetSpec {
    fn schema() -> RefOr<Schema> {
        let list = ArrayBuilder::new().items(one_target()).description(Some("Several targets, repeated ones once."));
        one_target().item(list).description(Some("What is explained; `predicted` where nothing is said.")).into()
    }
}

impl ToSchema for TargetSpec {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("TargetSpec")
    }
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((Contrast::name().into_owned(), Contrast::schema()));
        Contrast::schemas(schemas);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
