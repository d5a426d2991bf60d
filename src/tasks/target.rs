//! Targets as callers write them and as answers name them. Which ones exist is the task's matter. Requests are read with these types by `explain`, `http` and `cli`.

use std::borrow::Cow;
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Unexpected, Visitor};
use serde::ser::SerializeMap;
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

/// One class's output, or the difference of two.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClassTarget {
    pub label: String,
    pub index: usize,
    /// Contrastive: this class's output is subtracted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub against: Option<Class>,
}

/// One class's output at a token.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenTarget {
    /// Counts in `input.tokens`.
    pub token: usize,
    pub label: String,
    pub index: usize,
}

/// That an answer begins at a token.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StartTarget {
    /// Counts in `input.tokens`.
    pub start: usize,
}

/// That an answer ends with a token.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EndTarget {
    /// Counts in `input.tokens`.
    pub end: usize,
}

/// The predicted span: the sum of its start's and its end's logit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum AnswerTarget {
    Answer,
}

/// What is explained.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Target {
    Token(TokenTarget),
    Class(ClassTarget),
    Answer(AnswerTarget),
    Start(StartTarget),
    End(EndTarget),
}

impl Target {
    pub fn class(label: impl Into<String>, index: usize) -> Self {
        Self::Class(ClassTarget { label: label.into(), index, against: None })
    }
    /// The same question about another class; `None` where it is about no class.
    pub fn about(&self, class: &Class) -> Option<Self> {
        match self {
            Self::Class(_) => Some(Self::class(class.label.clone(), class.index)),
            Self::Token(TokenTarget { token, .. }) => {
                Some(Self::Token(TokenTarget { token: *token, label: class.label.clone(), index: class.index }))
            }
            Self::Answer(_) | Self::Start(_) | Self::End(_) => None,
        }
    }
    /// The class whose output it is; 0 where it is no class's.
    pub fn index(&self) -> usize {
        match self {
            Self::Class(ClassTarget { index, .. }) | Self::Token(TokenTarget { index, .. }) => *index,
            Self::Answer(_) | Self::Start(_) | Self::End(_) => 0,
        }
    }
}

/// In a sentence: `POSITIVE`, `B-PER at token 3`, `POSITIVE against NEGATIVE`.
impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Class(ClassTarget { label, against: None, .. }) => formatter.write_str(label),
            Self::Class(ClassTarget { label, against: Some(against), .. }) => {
                write!(formatter, "{label} against {}", against.label)
            }
            Self::Token(TokenTarget { token, label, .. }) => write!(formatter, "{label} at token {token}"),
            Self::Answer(_) => formatter.write_str("answer"),
            Self::Start(StartTarget { start }) => write!(formatter, "start at token {start}"),
            Self::End(EndTarget { end }) => write!(formatter, "end at token {end}"),
        }
    }
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
    /// A token, or one class at it.
    Token(TokenSpec),
    /// That an answer begins at this token.
    Start(u64),
    /// That an answer ends with this token.
    End(u64),
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

/// A token's class (`label`: a name or an index; else the predicted one). `token` counts in `input.tokens`, specials
/// included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenSpec {
    pub token: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<ClassSpec>,
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
    /// The target of `?target=` and `--target`: a label, else an index in digits, else `predicted` or `all`; an object
    /// or a list in JSON is read as in a request.
    pub fn from_text(text: &str) -> Self {
        let json = text.starts_with(['{', '[']).then(|| serde_json::from_str(text).ok());
        json.flatten().unwrap_or_else(|| Self::Text(text.to_owned()))
    }

    /// The targets of a list, each with its place in the request's target; of anything else the one.
    pub(super) fn flat(&self) -> Vec<(String, &Self)> {
        match self {
            Self::List(list) => list.iter().enumerate().map(|(place, spec)| (format!("/{place}"), spec)).collect(),
            one => vec![(String::new(), one)],
        }
    }
}

impl Serialize for TargetSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Index(index) => index.serialize(serializer),
            Self::Name(text) | Self::Text(text) => text.serialize(serializer),
            Self::Contrast(contrast) => contrast.serialize(serializer),
            Self::Token(token) => token.serialize(serializer),
            Self::Start(start) => keyed(serializer, "start", *start),
            Self::End(end) => keyed(serializer, "end", *end),
            Self::List(list) => list.serialize(serializer),
            Self::Predicted => serializer.serialize_str("predicted"),
        }
    }
}

/// `{"start": 7}`.
fn keyed<S: Serializer>(serializer: S, key: &'static str, token: u64) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(1))?;
    map.serialize_entry(key, &token)?;
    map.end()
}

/// The keys of a target that is an object.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    index: Option<ClassSpec>,
    against: Option<ClassSpec>,
    token: Option<u64>,
    label: Option<ClassSpec>,
    start: Option<u64>,
    end: Option<u64>,
}

impl Keys {
    fn target<E: de::Error>(self) -> Result<TargetSpec, E> {
        match self {
            Self { index: Some(index), against, token: None, label: None, start: None, end: None } => {
                Ok(TargetSpec::Contrast(Contrast { index, against }))
            }
            Self { index: None, against: None, token: Some(token), label, start: None, end: None } => {
                Ok(TargetSpec::Token(TokenSpec { token, label }))
            }
            Self { index: None, against: None, token: None, label: None, start: Some(start), end: None } => {
                Ok(TargetSpec::Start(start))
            }
            Self { index: None, against: None, token: None, label: None, start: None, end: Some(end) } => {
                Ok(TargetSpec::End(end))
            }
            Self { index: None, against: Some(_), .. } => Err(E::missing_field("index")),
            _ => Err(E::custom(
                "an object is one of {\"index\": …, \"against\": …}, {\"token\": …, \"label\": …}, {\"start\": …} and \
                 {\"end\": …}",
            )),
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
        formatter.write_str(" or {\"index\": …, \"against\": …}, {\"token\": …}, {\"start\": …}, {\"end\": …}")
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
        Keys::deserialize(MapAccessDeserializer::new(map))?.target()
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
        .item(name.description(Some("A label, else `predicted` or `all`; of a question `answer`.")))
        .item(Ref::from_schema_name(Contrast::name()))
        .item(Ref::from_schema_name(TokenSpec::name()))
        .item(Ref::from_schema_name(StartTarget::name()))
        .item(Ref::from_schema_name(EndTarget::name()))
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
        schemas.push((TokenSpec::name().into_owned(), TokenSpec::schema()));
        schemas.push((StartTarget::name().into_owned(), StartTarget::schema()));
        schemas.push((EndTarget::name().into_owned(), EndTarget::schema()));
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
