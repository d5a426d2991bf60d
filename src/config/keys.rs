//! The table of all settings: name, kind, bounds, default and what it does. The file, the environment, the flags, the
//! sample file's test and the error messages are all driven by it. Not here: the typed [`super::Settings`].

/// What a key's value may be. Every bound is inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Integer {
        min: u64,
        max: u64,
    },
    Bool,
    /// Any text that is not empty.
    Text,
    /// A path; a leading `~` is not expanded.
    Path,
    /// `IP:PORT`.
    Address,
    /// Web origins: an array in the file, separated by commas elsewhere.
    Origins,
    Choice(&'static [&'static str]),
}

/// One setting.
#[derive(Debug)]
pub struct Key {
    /// `section.key`, as in the file.
    pub name: &'static str,
    pub kind: Kind,
    /// As it would be written in a variable; `None`: unset unless somebody sets it.
    pub default: Option<&'static str>,
    /// One sentence: the flag's help.
    pub about: &'static str,
}

impl Key {
    /// The key of that name.
    pub fn named(name: &str) -> Option<&'static Key> {
        KEYS.iter().find(|key| key.name == name)
    }

    /// `EXPLAIND_LIMITS__BODY_BYTES` for `limits.body_bytes`.
    pub fn variable(&self) -> String {
        format!("EXPLAIND_{}", self.name.replace('.', "__").to_uppercase())
    }

    /// The long flag without its dashes: `limits-body-bytes` for `limits.body_bytes`; `listen` for `server.listen`.
    pub fn flag(&self) -> String {
        match self.name {
            "server.listen" => "listen".to_owned(),
            name => name.replace(['.', '_'], "-"),
        }
    }

    /// What the value may be, for error messages.
    pub fn allowed(&self) -> String {
        match self.kind {
            Kind::Integer { min, max } => format!("an integer from {min} to {max}"),
            Kind::Bool => "true or false".to_owned(),
            Kind::Text => "a text that is not empty".to_owned(),
            Kind::Path => "a path".to_owned(),
            Kind::Address => "IP:PORT, such as 127.0.0.1:8080 or [::1]:8080; port 0 takes a free one".to_owned(),
            Kind::Origins => "web origins such as https://example.org, or *".to_owned(),
            Kind::Choice(choices) => format!("one of {}", choices.join(", ")),
        }
    }
}

const DAY_SECONDS: u64 = 86_400;

const fn key(name: &'static str, kind: Kind, default: Option<&'static str>, about: &'static str) -> Key {
    Key { name, kind, default, about }
}

const fn integer(name: &'static str, min: u64, max: u64, default: &'static str, about: &'static str) -> Key {
    key(name, Kind::Integer { min, max }, Some(default), about)
}

/// Every key but `models`, in the order of the sample file.
pub const KEYS: &[Key] = &[
    key("server.listen", Kind::Address, Some("127.0.0.1:8080"), "Address and port to listen on."),
    integer("server.connections", 1, 1_000_000, "1024", "Open connections at once; further ones wait to be accepted."),
    integer("server.header_seconds", 1, 3600, "10", "How long a client may take to send a request's head."),
    integer("server.body_seconds", 1, DAY_SECONDS, "30", "How long a client may take to send a request's body."),
    integer("server.drain_seconds", 0, DAY_SECONDS, "25", "How long running work may take after SIGTERM."),
    integer("limits.body_bytes", 1024, 1 << 32, "16777216", "Largest request body."),
    integer("limits.pixels", 1, 4_000_000_000, "50000000", "Largest image, width times height."),
    integer("limits.text_chars", 1, 100_000_000, "200000", "Longest text, in Unicode characters."),
    integer("limits.explanations", 1, 10_000, "64", "Explanations (methods times targets) of one request."),
    integer("limits.max_evaluations", 1, 100_000_000, "100000", "Model rows that one explanation may ask for."),
    integer(
        "limits.response_values",
        1,
        1_000_000_000,
        "4000000",
        "Numbers that the attention maps of one answer may hold.",
    ),
    integer("limits.deadline_ms", 1, DAY_SECONDS * 1000, "60000", "Default and largest deadline of a request."),
    integer("limits.batch_lines", 1, 10_000_000, "10000", "Requests in one batch."),
    integer(
        "limits.requests_per_minute_per_address",
        0,
        1_000_000,
        "0",
        "Requests a minute from one address; 0 sets no limit.",
    ),
    // 256 waiting LIMEs (5000 samples) of a text of 150 tokens are 192 million rows × tokens. Two cores need hours for
    // that with the bundled models; the requests' deadlines empty the queue long before.
    integer(
        "queue.cost",
        1,
        1_000_000_000_000_000,
        "200000000",
        "Planned rows times tokens of all admitted requests; more is refused with 503.",
    ),
    integer("queue.requests", 1, 1_000_000, "256", "Admitted requests at once, running and waiting."),
    integer("compute.threads", 0, 1024, "0", "Threads that compute; 0 takes one per available core."),
    integer(
        "compute.tokens_per_turn",
        0,
        1 << 20,
        "0",
        "Tokens of one batch: what a job computes at a time; 0 chooses by the last cache's size and the threads.",
    ),
    key(
        "compute.device",
        Kind::Choice(&["cpu", "cuda", "metal"]),
        Some("cpu"),
        "Where models are computed; cuda and metal need a build with that feature.",
    ),
    key(
        "compute.precision",
        Kind::Choice(&["f32", "bf16"]),
        Some("f32"),
        "What black-box methods compute in unless a request says.",
    ),
    key("hub.cache", Kind::Path, None, "Cache folder of downloads; unset, as HF_HUB_CACHE or HF_HOME say."),
    key("hub.offline", Kind::Bool, None, "Read the cache alone, no network; unset, as HF_HUB_OFFLINE says."),
    integer("hub.deadline_seconds", 1, 7 * DAY_SECONDS, "3600", "How long the download of one model may take."),
    key(
        "auth.keys_file",
        Kind::Path,
        None,
        "File of API keys, one a line, or sha256:HEX of one; unset, no key needed.",
    ),
    key(
        "audit.file",
        Kind::Path,
        None,
        "File that every answer is recorded in before it leaves, each record with the hash of the one before; unset, none.",
    ),
    key(
        "audit.inputs",
        Kind::Choice(&["hash", "full"]),
        Some("hash"),
        "What the audit log keeps of inputs: their SHA-256 alone, or all of them.",
    ),
    key("cors.origins", Kind::Origins, Some(""), "Web origins whose pages may call the service; empty, none."),
    key(
        "log.format",
        Kind::Choice(&["auto", "pretty", "json"]),
        Some("auto"),
        "auto: pretty on a terminal, else json.",
    ),
    key("log.level", Kind::Text, Some("info"), "A tracing filter, such as info or explaind=debug,warn."),
];
