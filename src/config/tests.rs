//! Tests of `config`: the sample file, order of precedence, messages.

use std::path::Path;

use proptest::prelude::*;

use super::*;

const SAMPLE: &str = include_str!("../../config/explaind.toml");

fn parse(text: &str) -> Result<RawSettings, ConfigError> {
    file::parse(text, Path::new("e.toml"))
}

fn env<'a>(pairs: &'a [(&'a str, &'a str)]) -> impl Iterator<Item = (String, String)> + 'a {
    pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
}

fn env_error(pairs: &[(&str, &str)]) -> String {
    load(RawSettings::default(), None, env(pairs)).unwrap_err().to_string()
}

/// The sample file with every key switched on.
fn uncommented() -> String {
    SAMPLE.lines().map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line)).fold(
        String::new(),
        |mut text, line| {
            text.push_str(line);
            text.push('\n');
            text
        },
    )
}

#[test]
fn sample_file_as_it_stands_changes_nothing() {
    assert_eq!(parse(SAMPLE).unwrap(), RawSettings::default());
}

#[test]
fn sample_file_shows_every_key_with_its_default() {
    let raw = parse(&uncommented()).unwrap();
    for key in KEYS {
        assert!(raw.values.contains_key(key.name), "{} is missing from config/explaind.toml", key.name);
    }
    let mut shown = resolve::resolve(raw);
    assert_eq!(shown.models.len(), 1);
    // These have no default; the file shows an example.
    assert!(shown.hub.cache.take().is_some() && shown.auth.keys_file.take().is_some());
    assert!(shown.audit.file.take().is_some());
    assert_eq!(shown.hub.offline.take(), Some(false));
    shown.models.clear();
    assert_eq!(shown, Settings::default());
}

#[test]
fn defaults_are_the_documented_ones() {
    let settings = Settings::default();
    assert_eq!(settings.server.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(settings.limits.body_bytes, 16 << 20);
    assert_eq!(settings.limits.deadline_ms, 60_000);
    assert_eq!(settings.limits.response_values, 4_000_000);
    assert!(settings.compute.threads >= 1);
    assert!(settings.models.is_empty() && settings.cors.origins.is_empty());
}

#[test]
fn flag_wins_over_variable_over_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("e.toml");
    std::fs::write(&path, "[limits]\npixels = 1\ntext_chars = 1\nexplanations = 1\n[[models]]\nsource = \"a/b\"\n")
        .unwrap();
    let mut flags = RawSettings::default();
    flags.flag("limits.pixels", "3").unwrap();
    let variables = [("EXPLAIND_LIMITS__PIXELS", "2"), ("EXPLAIND_LIMITS__TEXT_CHARS", "2"), ("HOME", "/x")];
    let settings = load(flags.clone(), Some(&path), env(&variables)).unwrap();
    assert_eq!((settings.limits.pixels, settings.limits.text_chars, settings.limits.explanations), (3, 2, 1));
    assert_eq!(settings.models, [ModelSetting { name: None, source: "a/b".to_owned() }]);

    let named = [("EXPLAIND_CONFIG", path.to_str().unwrap()), ("EXPLAIND_MODELS", "x=bundled:sentiment, c/d")];
    let settings = load(flags, None, env(&named)).unwrap();
    assert_eq!(settings.limits.explanations, 1);
    assert_eq!(settings.models[0], ModelSetting { name: Some("x".to_owned()), source: "bundled:sentiment".to_owned() });
    assert_eq!(settings.models.len(), 2);
}

#[test]
fn every_default_can_be_set_by_its_variable_and_its_flag() {
    for key in KEYS {
        let text = key.default.filter(|text| !text.is_empty()).unwrap_or(match key.kind {
            Kind::Bool => "true",
            Kind::Origins => "https://a.example,*",
            _ => "some/path",
        });
        let from_env = RawSettings::from_env([(key.variable(), text.to_owned())].into_iter()).unwrap();
        let mut from_flag = RawSettings::default();
        from_flag.flag(key.name, text).unwrap();
        assert_eq!(from_env, from_flag);
        assert!(from_env.values.contains_key(key.name));
    }
}

#[test]
fn file_errors_name_key_line_and_what_is_allowed() {
    let message = |text: &str| parse(text).unwrap_err().to_string();
    let unknown = message("[limits]\n\nbody_byte = 3\n");
    assert!(unknown.starts_with("e.toml:3: unknown setting \"limits.body_byte\""), "{unknown}");
    assert!(unknown.contains("limits.body_bytes"), "{unknown}");
    assert!(message("[limit]\n").contains("unknown setting \"limit\"; the sections are server, limits, queue"));
    let range = message("[server]\nconnections = 0\n");
    assert_eq!(range, "e.toml:2: server.connections is 0, but must be an integer from 1 to 1000000");
    assert!(message("[limits]\npixels = \"many\"\n").contains("limits.pixels is \"many\""));
    assert!(message("[limits]\npixels = -5\n").contains("is -5, but must be an integer"));
    assert!(message("[compute]\nprecision = \"f16\"\n").contains("must be one of f32, bf16"));
    assert!(message("[cors]\norigins = [\"example.org\"]\n").contains("web origins"));
    assert!(message("[server]\nlisten = \"localhost\"\n").contains("IP:PORT"));
    assert!(message("[server\n").starts_with("e.toml:1: not TOML"));
    assert!(message("[[models]]\nname = \"a\"\n").contains("models.source"));
    assert!(message("[[models]]\nsource = \"a/b\"\nrevision = \"x\"\n").starts_with("e.toml:3: unknown setting"));
    assert!(message("[[models]]\nname = \"a b\"\nsource = \"a/b\"\n").contains("models.name is \"a b\""));
    assert!(message("models = 3\n").contains("[[models]]"));
    let twice = "[[models]]\nname = \"a\"\nsource = \"x\"\n[[models]]\nname = \"a\"\nsource = \"y\"\n";
    assert!(message(twice).contains("no other model has"));
}

#[test]
fn variables_that_look_like_settings_are_checked() {
    assert!(env_error(&[("EXPLAIND_LIMITS_BODY_BYTES", "1")]).contains("EXPLAIND_LIMITS__BODY_BYTES"));
    assert!(env_error(&[("EXPLAIND_LIMITZ__X", "1")]).starts_with("EXPLAIND_LIMITZ__X: unknown setting \"limitz.x\""));
    let range = env_error(&[("EXPLAIND_QUEUE__REQUESTS", "0")]);
    assert!(range.starts_with("EXPLAIND_QUEUE__REQUESTS: queue.requests is \"0\""), "{range}");
    let others = [
        ("EXPLAIND_HOMEPAGE", "x"),
        ("EXPLAIND_SERVICE_HOST", "10.0.0.1"),
        ("EXPLAIND_HUB_SERVICE_HOST", "10.0.0.1"),
        ("EXPLAIND_HUB_PORT_80_TCP_ADDR", "10.0.0.1"),
        ("EXPLAIND_LIMITS__PIXELS", ""),
    ];
    assert_eq!(load(RawSettings::default(), None, env(&others)).unwrap(), Settings::default());
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = load(RawSettings::default(), Some(Path::new("no/such.toml")), std::iter::empty()).unwrap_err();
    assert!(error.to_string().contains("no/such.toml"), "{error}");
}

#[test]
fn a_flag_error_names_the_flag() {
    let error = RawSettings::default().flag("server.listen", "here").unwrap_err().to_string();
    assert!(error.starts_with("--listen: server.listen is \"here\", but must be IP:PORT"), "{error}");
    assert!(RawSettings::default().flag("server.lisen", "here").is_err());
}

#[test]
fn a_model_may_be_a_path_with_an_equals_sign() {
    assert_eq!(ModelSetting::parse("./a=b").name, None);
    assert_eq!(ModelSetting::parse("m=./a=b"), ModelSetting { name: Some("m".into()), source: "./a=b".into() });
    assert!(RawSettings::default().model_flag("m=").is_err());
}

#[test]
fn printed_settings_bear_the_files_names() {
    let json = serde_json::to_value(Settings::default()).unwrap();
    for key in KEYS {
        assert!(json.pointer(&format!("/{}", key.name.replace('.', "/"))).is_some(), "{}", key.name);
    }
    assert_eq!(json["server"]["header_seconds"], 10);
}

proptest! {
    #[test]
    fn no_file_panics(text in "[\\[\\]a-z_.=\"0-9\n# -]{0,200}") {
        let _ = parse(&text);
    }

    #[test]
    fn no_variable_panics(name in "[A-Z_]{0,30}", text in ".{0,30}") {
        let _ = RawSettings::from_env([(format!("EXPLAIND_{name}"), text)].into_iter());
    }
}

#[test]
fn a_device_takes_turns_of_its_own_size() {
    let settings = |text: &str| resolve::resolve(parse(text).unwrap());
    assert_eq!(Settings::default().compute.device, Device::Cpu);
    let cuda = settings("[compute]\ndevice = \"cuda\"\n").compute;
    assert_eq!((cuda.device, cuda.tokens_per_turn), (Device::Cuda, machine::MOST));
    let metal = settings("[compute]\ndevice = \"metal\"\ntokens_per_turn = 100\n").compute;
    assert_eq!((metal.device, metal.tokens_per_turn), (Device::Metal, 100));
}
