//! Targets as callers write them. Requests are read with these types by `explain`, `http` and `cli`; what a target names
//! is the task's matter.

use std::borrow::Cow;
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Unexpected, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, OneOfBuilder, SchemaType, Type};
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::target::{Class, EndTarget, StartTarget};

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

/// A token's class (`label`: a name or an index; else the predicted one), or with `against` the difference of two.
/// `token` counts in `input.tokens`, specials included; of a language model in `input.completion`, and a class is a
/// token of the vocabulary, by its text or id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenSpec {
    pub token: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<ClassSpec>,
    /// Contrastive: this class's output at the same token is subtracted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub against: Option<ClassSpec>,
}

/// A class by its index, its label, or both as an answer names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum ClassSpec {
    Index(u64),
    Label(String),
    Class(Class),
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
            Self { index, against, token: Some(token), label, start: None, end: None } => {
                Ok(TargetSpec::Token(TokenSpec { token, label: named(index, label)?, against }))
            }
            Self { index, against, token: None, label, start: None, end: None } => match named(index, label)? {
                Some(index) => Ok(TargetSpec::Contrast(Contrast { index, against })),
                None if against.is_some() => Err(E::missing_field("index")),
                None => Err(E::custom(FORMS)),
            },
            Self { index: None, against: None, token: None, label: None, start: Some(start), end: None } => {
                Ok(TargetSpec::Start(start))
            }
            Self { index: None, against: None, token: None, label: None, start: None, end: Some(end) } => {
                Ok(TargetSpec::End(end))
            }
            _ => Err(E::custom(FORMS)),
        }
    }
}

const FORMS: &str = "an object is one of {\"index\": …, \"against\": …}, {\"token\": …, \"label\": …, \"against\": …}, \
                     {\"start\": …} and {\"end\": …}";

/// A class by one of its names, or by both as answers name it.
fn named<E: de::Error>(index: Option<ClassSpec>, label: Option<ClassSpec>) -> Result<Option<ClassSpec>, E> {
    match (index, label) {
        (Some(ClassSpec::Index(index)), Some(ClassSpec::Label(label))) => {
            let index = usize::try_from(index).unwrap_or(usize::MAX);
            Ok(Some(ClassSpec::Class(Class { label, index })))
        }
        (Some(_), Some(_)) => {
            Err(E::custom("of \"index\" and \"label\" together the first is a number, the second a name"))
        }
        (index, label) => Ok(index.or(label)),
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
        impl<'de> Visitor<'de> for ClassVisitor {
            type Value = ClassSpec;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a label or a class index (0, 1, …)")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ClassSpec, A::Error> {
                Class::deserialize(MapAccessDeserializer::new(map)).map(ClassSpec::Class)
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
        .item(name.description(Some(
            "A label, else `predicted` or `all`; of a question `answer`, of a language model `completion`.",
        )))
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
#[path = "target_spec_tests.rs"]
mod tests;
