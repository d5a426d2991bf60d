//! JSON read without loss: every number to its last digit, and nothing twice. serde_json's own reading of a float may be
//! one unit in the last place off where it has 17 digits, and of two members of one name it keeps the last.

use std::fmt;

use serde::de::{self, Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};

use crate::methods::pointer_segment;

/// Lists and objects inside one another; more is no answer, and would only exhaust the stack.
const DEPTH: usize = 128;

/// What is wrong with a text, and where (RFC 6901; empty where the text as a whole is no JSON).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    pub pointer: String,
    pub detail: String,
}

impl Damage {
    fn new(detail: impl fmt::Display) -> Self {
        Self { pointer: String::new(), detail: detail.to_string() }
    }

    fn under(mut self, segment: &str) -> Self {
        self.pointer.insert_str(0, &format!("/{}", pointer_segment(segment)));
        self
    }
}

/// Reads one JSON value, which is all of `text`.
///
/// # Errors
/// The text is not UTF-8 or not JSON, has two members of one name, or is nested too deeply.
pub fn parse(text: &[u8]) -> Result<Value, Damage> {
    let raw: &RawValue = serde_json::from_slice(text).map_err(Damage::new)?;
    value(raw, 0)
}

fn value(raw: &RawValue, depth: usize) -> Result<Value, Damage> {
    let text = raw.get();
    if depth > DEPTH {
        return Err(Damage::new(format!("more than {DEPTH} lists and objects inside one another")));
    }
    match text.bytes().next() {
        Some(b'{') => {
            let mut map = Map::new();
            for (name, raw) in members(text)? {
                let member = value(raw, depth + 1).map_err(|damage| damage.under(&name))?;
                map.insert(name, member);
            }
            Ok(Value::Object(map))
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(text).map_err(Damage::new)?;
            let item = |(index, raw): (usize, &RawValue)| {
                value(raw, depth + 1).map_err(|damage| damage.under(&index.to_string()))
            };
            items.into_iter().enumerate().map(item).collect::<Result<_, _>>().map(Value::Array)
        }
        Some(b'-' | b'0'..=b'9') => {
            number(text).map(Value::Number).ok_or_else(|| Damage::new(format!("{text} is too large for a number")))
        }
        _ => serde_json::from_str(text).map_err(Damage::new),
    }
}

/// Rust's own reading of a float is the nearest one.
fn number(text: &str) -> Option<Number> {
    if let Ok(integer) = text.parse::<u64>() {
        return Some(integer.into());
    }
    match text.parse::<i64>() {
        Ok(integer) => Some(integer.into()),
        Err(_) => Number::from_f64(text.parse().ok()?),
    }
}

fn members(text: &str) -> Result<Vec<(String, &RawValue)>, Damage> {
    struct Members;
    impl<'de> Visitor<'de> for Members {
        type Value = Vec<(String, &'de RawValue)>;
        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut seen = std::collections::HashSet::new();
            let mut members = Vec::new();
            while let Some((name, raw)) = map.next_entry::<String, &RawValue>()? {
                if !seen.insert(name.clone()) {
                    return Err(de::Error::custom(format!("the member \"{name}\" stands here twice")));
                }
                members.push((name, raw));
            }
            Ok(members)
        }
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    reader.deserialize_map(Members).map_err(Damage::new)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn everything_json_has_is_read() {
        let text = r#" {"a": [1, -2, 0.5, 1e-7, "x\n\u00e9", true, null], "b": {}, "c/d~": 18446744073709551615} "#;
        let read = parse(text.as_bytes()).unwrap();
        assert_eq!(
            read,
            json!({"a": [1, -2, 0.5, 1e-7, "x\né", true, null], "b": {}, "c/d~": 18446744073709551615_u64})
        );
    }

    #[test]
    fn damage_is_named_with_its_place() {
        let damage = |text: &[u8]| parse(text).unwrap_err();
        assert!(damage(b"{\"a\": 1").detail.contains("EOF"));
        assert!(damage(b"{\"a\": 1} {}").detail.contains("trailing characters"));
        assert_eq!(damage(b"{\"a/b\": [0, {\"c\": 1, \"c\": 2}]}").pointer, "/a~1b/1");
        assert!(damage(b"{\"c\": 1, \"c\": 2}").detail.contains("twice"));
        assert_eq!(damage(b"[1e999]").pointer, "/0");
        assert!(damage("[".repeat(200).as_bytes()).detail.contains("EOF"));
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        assert!(damage(deep.as_bytes()).detail.contains("inside one another"));
        assert!(!damage(b"\"\xff\"").detail.is_empty());
    }

    proptest! {
        #[test]
        fn every_float_is_read_as_it_was_written(float in any::<f64>().prop_filter("finite", |x| x.is_finite())) {
            let text = serde_json::to_string(&float).unwrap();
            let read = parse(text.as_bytes()).unwrap();
            prop_assert_eq!(read.as_f64().map(f64::to_bits), Some(float.to_bits()));
            prop_assert_eq!(serde_json::to_string(&read).unwrap(), text);
        }

        #[test]
        fn no_text_panics(text in "[\\[\\]{}\",:0-9eE.a-z-]{0,80}") {
            let _ = parse(text.as_bytes());
        }
    }
}
