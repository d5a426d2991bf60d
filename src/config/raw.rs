//! Raw settings: for any subset of the keys a value and where it was set. Built from a file (see `file.rs`), the
//! environment or flags, then laid over one another.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::error::{ConfigError, Origin};
use super::keys::{KEYS, Key, Kind};
use super::{MODELS, ModelSetting};

/// A checked value of some key.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Integer(u64),
    Bool(bool),
    Text(String),
    Address(SocketAddr),
    List(Vec<String>),
}

/// Settings from one source, every key optional. What is in here is already checked against its key.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RawSettings {
    pub(super) values: BTreeMap<&'static str, Value>,
    pub(super) models: Vec<ModelSetting>,
}

impl RawSettings {
    /// Sets `key` (such as `limits.body_bytes`) from the text of its flag. A later call wins.
    pub fn flag(&mut self, key: &str, text: &str) -> Result<(), ConfigError> {
        let Some(known) = Key::named(key) else {
            let origin = Origin::Flag(key.replace(['.', '_'], "-"));
            return Err(ConfigError::Unknown { origin, key: key.to_owned(), hint: hint(key) });
        };
        self.set(known, text, Origin::Flag(known.flag()))
    }

    /// Adds a model from the text of its flag: `NAME=SOURCE` or `SOURCE`.
    pub fn model_flag(&mut self, text: &str) -> Result<(), ConfigError> {
        self.add_model(ModelSetting::parse(text), Origin::Flag("model".to_owned()))
    }

    /// Reads the `EXPLAIND_…` variables. Empty ones count as unset; others that look like settings and are none are
    /// errors, so that a typing mistake does not go unseen.
    pub(super) fn from_env(env: impl Iterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let mut raw = Self::default();
        let mut variables: Vec<_> = env.filter(|(name, text)| name.starts_with(PREFIX) && !text.is_empty()).collect();
        // The environment has no order; with one, the first error is always the same.
        variables.sort();
        for (name, text) in variables {
            if name == "EXPLAIND_MODELS" {
                for model in text.split(',').map(str::trim).filter(|model| !model.is_empty()) {
                    raw.add_model(ModelSetting::parse(model), Origin::Variable(name.clone()))?;
                }
            } else if let Some(key) = KEYS.iter().find(|key| key.variable() == name) {
                raw.set(key, &text, Origin::Variable(name))?;
            } else if looks_like_a_setting(&name) {
                let key = variable_key(&name);
                let hint = hint(&key);
                return Err(ConfigError::Unknown { origin: Origin::Variable(name), key, hint });
            }
        }
        Ok(raw)
    }

    /// Lays `over` on top: its values win; its models, if it has any, replace these.
    pub(super) fn overlaid(mut self, over: Self) -> Self {
        self.values.extend(over.values);
        if !over.models.is_empty() {
            self.models = over.models;
        }
        self
    }

    pub(super) fn set(&mut self, key: &'static Key, text: &str, origin: Origin) -> Result<(), ConfigError> {
        let value = parse(key, text).ok_or_else(|| invalid(key, format!("\"{text}\""), origin))?;
        self.values.insert(key.name, value);
        Ok(())
    }

    pub(super) fn add_model(&mut self, model: ModelSetting, origin: Origin) -> Result<(), ConfigError> {
        let wrong = |key: &str, given: &str, allowed: &str| ConfigError::Invalid {
            origin: origin.clone(),
            key: format!("{MODELS}.{key}"),
            given: format!("\"{given}\""),
            allowed: allowed.to_owned(),
        };
        if let Some(name) = &model.name {
            if !is_model_name(name) {
                return Err(wrong("name", name, "letters, digits, '.', '_' and '-', at most 128 of them"));
            }
            if self.models.iter().any(|other| other.name.as_ref() == Some(name)) {
                return Err(wrong("name", name, "a name that no other model has"));
            }
        }
        if model.source.trim().is_empty() {
            return Err(wrong("source", &model.source, "a hub id, a folder, or bundled:NAME"));
        }
        self.models.push(model);
        Ok(())
    }
}

const PREFIX: &str = "EXPLAIND_";

pub(super) fn is_model_name(name: &str) -> bool {
    (1..=128).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

pub(super) fn invalid(key: &Key, given: String, origin: Origin) -> ConfigError {
    ConfigError::Invalid { origin, key: key.name.to_owned(), given, allowed: key.allowed() }
}

/// The value that `text` stands for, or `None` where the key does not allow it.
fn parse(key: &Key, text: &str) -> Option<Value> {
    let text = text.trim();
    match key.kind {
        Kind::Integer { .. } => integer(key, text.replace('_', "").parse().ok()?),
        Kind::Bool => match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Some(Value::Bool(true)),
            "false" | "0" | "no" | "off" => Some(Value::Bool(false)),
            _ => None,
        },
        Kind::Text | Kind::Path | Kind::Address | Kind::Choice(_) => string(key, text),
        Kind::Origins => origins(text.split(',').map(str::trim).filter(|origin| !origin.is_empty())),
    }
}

pub(super) fn integer(key: &Key, value: u64) -> Option<Value> {
    match key.kind {
        Kind::Integer { min, max } if (min..=max).contains(&value) => Some(Value::Integer(value)),
        _ => None,
    }
}

pub(super) fn string(key: &Key, text: &str) -> Option<Value> {
    match key.kind {
        Kind::Text | Kind::Path if !text.is_empty() => Some(Value::Text(text.to_owned())),
        Kind::Choice(choices) if choices.contains(&text) => Some(Value::Text(text.to_owned())),
        Kind::Address => text.parse().ok().map(Value::Address),
        _ => None,
    }
}

pub(super) fn origins<'a>(items: impl Iterator<Item = &'a str>) -> Option<Value> {
    let items: Vec<String> = items.map(str::to_owned).collect();
    items.iter().all(|item| is_origin(item)).then_some(Value::List(items))
}

/// `*`, or scheme, host and perhaps a port. A browser never sends a path or a closing slash in `Origin`, so one here
/// would never match.
fn is_origin(text: &str) -> bool {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    text == "*" || host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ', '*']))
}

/// `__` or a known section's name says that a setting was meant. Kubernetes sets `EXPLAIND_HUB_SERVICE_HOST`,
/// `EXPLAIND_HUB_PORT_80_TCP` and so on for services whose names begin with `explaind`: those are left alone.
fn looks_like_a_setting(name: &str) -> bool {
    let rest = &name[PREFIX.len()..];
    if rest.contains("__") {
        return true;
    }
    let of_kubernetes = rest.contains("_SERVICE_") || rest.contains("_PORT");
    let section = rest.split('_').next().unwrap_or_default().to_lowercase();
    !of_kubernetes && rest.contains('_') && sections().any(|known| known == section)
}

pub(super) fn sections() -> impl Iterator<Item = &'static str> {
    KEYS.iter().filter_map(|key| key.name.split('.').next()).chain([MODELS])
}

fn variable_key(name: &str) -> String {
    name[PREFIX.len()..].to_lowercase().replace("__", ".")
}

/// What was probably meant: the same letters with other separators, or the keys of that section.
pub(super) fn hint(key: &str) -> String {
    let plain = |text: &str| text.replace(['.', '_', '-'], "");
    if let Some(meant) = KEYS.iter().find(|known| plain(known.name) == plain(key)) {
        return format!("did you mean {} (as a variable, {})?", meant.name, meant.variable());
    }
    let section = key.split(['.', '_']).next().unwrap_or_default();
    let of_section: Vec<_> =
        KEYS.iter().map(|known| known.name).filter(|name| name.split('.').next() == Some(section)).collect();
    if !of_section.is_empty() {
        return format!("the settings of this section are {}", of_section.join(", "));
    }
    let mut known: Vec<_> = sections().collect();
    known.dedup();
    format!("the sections are {}", known.join(", "))
}
