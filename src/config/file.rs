//! Raw settings from a TOML file, with the line of everything that is wrong.

use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::error::{ConfigError, Origin};
use super::keys::{Key, Kind};
use super::raw::{self, RawSettings, Value};
use super::{MODELS, ModelSetting};

/// Parses `text`, which was read from `path`.
pub(super) fn parse(text: &str, path: &Path) -> Result<RawSettings, ConfigError> {
    let file = File { text, path };
    let table = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
        origin: file.at(error.span().unwrap_or_default()),
        detail: error.message().to_owned(),
    })?;
    let mut raw = RawSettings::default();
    for (section, content) in table.get_ref() {
        match content.get_ref() {
            DeValue::Array(tables) if section.get_ref() == MODELS => {
                for table in tables.iter() {
                    let origin = file.at(table.span());
                    raw.add_model(file.model(table)?, origin)?;
                }
            }
            DeValue::Table(keys) if raw::sections().any(|known| known == section.get_ref() && known != MODELS) => {
                for (name, value) in keys {
                    let full = format!("{}.{}", section.get_ref(), name.get_ref());
                    let key = Key::named(&full).ok_or_else(|| file.unknown(&full, name))?;
                    let checked = convert(key, value.get_ref());
                    let checked =
                        checked.ok_or_else(|| raw::invalid(key, file.slice(value.span()), file.at(value.span())))?;
                    raw.values.insert(key.name, checked);
                }
            }
            _ if section.get_ref() == MODELS => {
                return Err(file.wrong(MODELS, content, "tables [[models]] with source and, if wanted, name"));
            }
            _ => return Err(file.unknown(section.get_ref(), section)),
        }
    }
    Ok(raw)
}

struct File<'a> {
    text: &'a str,
    path: &'a Path,
}

impl File<'_> {
    fn at(&self, span: Range<usize>) -> Origin {
        let before = self.text.as_bytes().iter().take(span.start);
        let line = 1 + before.filter(|byte| **byte == b'\n').count();
        Origin::File { path: self.path.to_owned(), line }
    }

    /// The text as it stands in the file; a long one is cut.
    fn slice(&self, span: Range<usize>) -> String {
        let text = self.text.get(span).unwrap_or_default();
        if text.chars().count() > 60 { text.chars().take(60).chain(['…']).collect() } else { text.to_owned() }
    }

    fn unknown(&self, key: &str, at: &Spanned<DeString<'_>>) -> ConfigError {
        ConfigError::Unknown { origin: self.at(at.span()), key: key.to_owned(), hint: raw::hint(key) }
    }

    fn wrong(&self, key: &str, value: &Spanned<DeValue<'_>>, allowed: &str) -> ConfigError {
        let (given, origin) = (self.slice(value.span()), self.at(value.span()));
        ConfigError::Invalid { origin, key: key.to_owned(), given, allowed: allowed.to_owned() }
    }

    fn model(&self, table: &Spanned<DeValue<'_>>) -> Result<ModelSetting, ConfigError> {
        let DeValue::Table(fields) = table.get_ref() else {
            return Err(self.wrong(MODELS, table, "a table with source and, if wanted, name"));
        };
        let (mut name, mut source) = (None, None);
        for (key, value) in fields {
            let slot = match key.get_ref().as_ref() {
                "name" => &mut name,
                "source" => &mut source,
                other => {
                    let (origin, key) = (self.at(key.span()), format!("{MODELS}.{other}"));
                    let hint = "a model has name and source".to_owned();
                    return Err(ConfigError::Unknown { origin, key, hint });
                }
            };
            let DeValue::String(text) = value.get_ref() else {
                return Err(self.wrong(&format!("{MODELS}.{}", key.get_ref()), value, "a string"));
            };
            *slot = Some(text.to_string());
        }
        let source =
            source.ok_or_else(|| self.wrong("models.source", table, "given: a hub id, a folder, or bundled:NAME"))?;
        Ok(ModelSetting { name, source })
    }
}

/// The value, or `None` where the key does not allow it. TOML's types are taken at their word: `"16"` is no integer.
fn convert(key: &Key, value: &DeValue<'_>) -> Option<Value> {
    match (key.kind, value) {
        (Kind::Integer { .. }, DeValue::Integer(digits)) => {
            raw::integer(key, u64::from_str_radix(digits.as_str(), digits.radix()).ok()?)
        }
        (Kind::Bool, DeValue::Boolean(value)) => Some(Value::Bool(*value)),
        (Kind::Text | Kind::Path | Kind::Address | Kind::Choice(_), DeValue::String(text)) => raw::string(key, text),
        (Kind::Origins, DeValue::Array(items)) => {
            let texts: Option<Vec<&str>> = items.iter().map(|item| item.get_ref().as_str()).collect();
            raw::origins(texts?.into_iter())
        }
        _ => None,
    }
}
