//! From merged raw settings to typed ones: defaults filled in, `compute.threads` counted. Nothing can fail here, since
//! raw values were checked when they came in.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::error::Origin;
use super::keys::KEYS;
use super::machine;
use super::raw::{RawSettings, Value};
use super::{
    Audit, AuditInputs, Auth, Compute, Cors, Device, Hub, Limits, Log, LogFormat, Precision, Queue, Server, Settings,
};

pub(super) fn resolve(raw: RawSettings) -> Settings {
    let merged = Merged(defaults().overlaid(raw));
    let threads = match merged.count("compute.threads") {
        0 => machine::threads(),
        threads => threads,
    };
    let device = match merged.text("compute.device").as_deref() {
        Some("cuda") => Device::Cuda,
        Some("metal") => Device::Metal,
        _ => Device::Cpu,
    };
    Settings {
        server: Server {
            listen: merged.address("server.listen"),
            connections: merged.count("server.connections"),
            header_timeout: merged.seconds("server.header_seconds"),
            body_timeout: merged.seconds("server.body_seconds"),
            drain: merged.seconds("server.drain_seconds"),
        },
        limits: Limits {
            body_bytes: merged.count("limits.body_bytes"),
            pixels: merged.integer("limits.pixels"),
            text_chars: merged.count("limits.text_chars"),
            explanations: merged.count("limits.explanations"),
            max_evaluations: merged.count("limits.max_evaluations"),
            response_values: merged.count("limits.response_values"),
            deadline_ms: merged.integer("limits.deadline_ms"),
            batch_lines: merged.count("limits.batch_lines"),
            requests_per_minute_per_address: u32::try_from(merged.integer("limits.requests_per_minute_per_address"))
                .unwrap_or(u32::MAX),
        },
        queue: Queue { cost: merged.integer("queue.cost"), requests: merged.count("queue.requests") },
        compute: Compute {
            threads,
            tokens_per_turn: match merged.count("compute.tokens_per_turn") {
                0 if device != Device::Cpu => machine::MOST,
                0 => machine::tokens_per_turn(threads),
                tokens => tokens,
            },
            precision: match merged.text("compute.precision").as_deref() {
                Some("bf16") => Precision::Bf16,
                _ => Precision::F32,
            },
            device,
        },
        hub: Hub {
            cache: merged.text("hub.cache").map(PathBuf::from),
            offline: merged.flag("hub.offline"),
            deadline: merged.seconds("hub.deadline_seconds"),
        },
        auth: Auth { keys_file: merged.text("auth.keys_file").map(PathBuf::from) },
        audit: Audit {
            file: merged.text("audit.file").map(PathBuf::from),
            inputs: match merged.text("audit.inputs").as_deref() {
                Some("full") => AuditInputs::Full,
                _ => AuditInputs::Hash,
            },
        },
        cors: Cors { origins: merged.list("cors.origins") },
        log: Log {
            format: match merged.text("log.format").as_deref() {
                Some("pretty") => LogFormat::Pretty,
                Some("json") => LogFormat::Json,
                _ => LogFormat::Auto,
            },
            level: merged.text("log.level").unwrap_or_default(),
        },
        models: merged.0.models,
    }
}

/// The table's defaults as raw settings.
fn defaults() -> RawSettings {
    let mut raw = RawSettings::default();
    for key in KEYS {
        if let Some(text) = key.default {
            raw.set(key, text, Origin::Default).unwrap_or_else(|error| panic!("a test checks every default: {error}"));
        }
    }
    raw
}

/// Typed access. That names and kinds below agree with the table is checked by the test that resolves the defaults.
struct Merged(RawSettings);

impl Merged {
    fn integer(&self, key: &str) -> u64 {
        match self.0.values.get(key) {
            Some(Value::Integer(value)) => *value,
            other => unreachable!("{key} has an integer default, not {other:?}"),
        }
    }

    fn count(&self, key: &str) -> usize {
        usize::try_from(self.integer(key)).unwrap_or(usize::MAX)
    }

    fn seconds(&self, key: &str) -> Duration {
        Duration::from_secs(self.integer(key))
    }

    fn address(&self, key: &str) -> SocketAddr {
        match self.0.values.get(key) {
            Some(Value::Address(address)) => *address,
            other => unreachable!("{key} has an address as default, not {other:?}"),
        }
    }

    fn text(&self, key: &str) -> Option<String> {
        match self.0.values.get(key) {
            Some(Value::Text(text)) => Some(text.clone()),
            _ => None,
        }
    }

    fn flag(&self, key: &str) -> Option<bool> {
        match self.0.values.get(key) {
            Some(Value::Bool(value)) => Some(*value),
            _ => None,
        }
    }

    fn list(&self, key: &str) -> Vec<String> {
        match self.0.values.get(key) {
            Some(Value::List(items)) => items.clone(),
            _ => Vec::new(),
        }
    }
}
