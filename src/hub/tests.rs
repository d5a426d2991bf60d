//! Tests of sources, folders, bundled models and options. Downloads have theirs in `fetch`.

use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn hub(id: &str, revision: Option<&str>) -> Source {
    Source::Hub { id: id.to_owned(), file: None, revision: revision.map(str::to_owned) }
}

fn options() -> HubOptions {
    options_from(&[], None, None)
}

fn options_from(env: &[(&str, &str)], cache: Option<&str>, offline: Option<bool>) -> HubOptions {
    let get = |name: &str| env.iter().find(|(known, _)| *known == name).map(|(_, text)| (*text).to_owned());
    let overrides =
        HubOverrides { cache: cache.map(Into::into), offline, deadline: Duration::from_secs(5), progress: false };
    HubOptions::from_env(get, overrides)
}

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        std::fs::write(folder.path().join(name), content).unwrap();
    }
    folder
}

fn open_folder(path: &Path) -> Result<ModelFolder, HubError> {
    open(&Source::Folder(path.to_owned()), &options())
}

#[test]
fn sources_are_told_apart() {
    let parse = |text: &str| Source::parse(text).unwrap();
    assert_eq!(parse("bundled:sentiment"), Source::Bundled("sentiment".to_owned()));
    assert_eq!(parse("gpt2"), hub("gpt2", None));
    assert_eq!(parse("org/name@v1.0"), hub("org/name", Some("v1.0")));
    assert_eq!(parse("org/name@refs/pr/3"), hub("org/name", Some("refs/pr/3")));
    let file = |text: &str| match parse(text) {
        Source::Hub { id, file, revision } => (id, file.unwrap_or_default(), revision.unwrap_or_default()),
        other => panic!("{other:?}"),
    };
    let of = |id: &str, file: &str, revision: &str| (id.to_owned(), file.to_owned(), revision.to_owned());
    assert_eq!(file("org/name/m.Q8_0.gguf"), of("org/name", "m.Q8_0.gguf", ""));
    assert_eq!(file("org/name/m.gguf@v1"), of("org/name", "m.gguf", "v1"));
    assert_eq!(file("org/name.gguf"), of("org/name.gguf", "", ""));
    for path in ["./x", "../x", "/x/y", "~/models/x", "."] {
        assert_eq!(parse(path), Source::Folder(path.into()), "{path}");
    }
    let here = tempfile::tempdir().unwrap();
    assert_eq!(parse(here.path().to_str().unwrap()), Source::Folder(here.path().to_owned()));
    // An existing folder wins over an id of the same spelling.
    assert_eq!(parse("src/hub"), Source::Folder("src/hub".into()));
    for bad in [
        "",
        "a/b/c.gguf/d",
        "a/b/..gguf",
        "a/b/c d.gguf",
        "a/b/c",
        "a b",
        "org/",
        "/",
        "org/name@",
        "org/name@../x",
        "org/na..me",
        "-x/y",
        "org/name@a//b",
    ] {
        assert!(bad == "/" || matches!(Source::parse(bad), Err(HubError::BadSource(_))), "{bad}");
    }
}

#[test]
fn a_gguf_file_is_a_model_with_what_lies_beside_it() {
    let here = folder(&[("m.gguf", "GGUF"), ("tokenizer.json", "{}"), ("config.json", "{}"), ("notes.md", "x")]);
    for path in [here.path().to_owned(), here.path().join("m.gguf")] {
        let model = open_folder(&path).unwrap();
        assert_eq!(model.weights, ["m.gguf"]);
        // It describes itself.
        assert_eq!(model.files.keys().collect::<Vec<_>>(), ["m.gguf", "tokenizer.json"]);
    }
    std::fs::write(here.path().join("n.gguf"), "GGUF").unwrap();
    let error = open_folder(here.path()).unwrap_err().to_string();
    assert!(error.contains("several .gguf files") && error.contains("m.gguf, n.gguf"), "{error}");
    assert_eq!(open_folder(&here.path().join("n.gguf")).unwrap().weights, ["n.gguf"]);
    let source = Source::parse(here.path().join("n.gguf").to_str().unwrap()).unwrap();
    assert_eq!(source.default_name(), "n");
    // Where there is safetensors too, a folder means that.
    std::fs::write(here.path().join("model.safetensors"), "x").unwrap();
    assert_eq!(open_folder(here.path()).unwrap().weights, ["model.safetensors"]);
    let missing = open_folder(&here.path().join("o.gguf")).unwrap_err().to_string();
    assert!(missing.contains("o.gguf"), "{missing}");
}

#[test]
fn default_names_are_the_last_part() {
    let name = |text: &str| Source::parse(text).unwrap().default_name();
    assert_eq!(name("org/name@v1"), "name");
    assert_eq!(name("bundled:blood-cells"), "blood-cells");
    assert_eq!(name("org/name/m.Q8_0.gguf@v1"), "m.Q8_0");
    assert_eq!(name("/models/my model/"), "my-model");
    assert_eq!(Source::Folder("src/hub/.".into()).default_name(), "hub");
    assert_eq!(Source::Folder("src/..".into()).default_name(), Source::Folder(".".into()).default_name());
    assert_eq!(name("/"), "model");
}

#[test]
fn a_folder_gives_its_files_and_the_hash_of_its_weights() {
    let files = [("config.json", "{}"), ("tokenizer.json", "{}"), ("model.safetensors", "abc"), ("notes.md", "x")];
    let model = open_folder(folder(&files).path()).unwrap();
    assert_eq!(model.files.keys().collect::<Vec<_>>(), ["config.json", "model.safetensors", "tokenizer.json"]);
    assert_eq!(model.weights, ["model.safetensors"]);
    assert_eq!(model.bytes("model.safetensors").unwrap().range(0..3).unwrap(), b"abc".as_slice());
    assert_eq!(model.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_eq!(model.revision, None);
}

#[test]
fn shards_come_in_order_and_must_all_be_there() {
    let index = r#"{"weight_map": {"a": "m-2.safetensors", "b": "m-1.safetensors", "c": "m-2.safetensors"}}"#;
    let files = [
        ("config.json", "{}"),
        ("model.safetensors.index.json", index),
        ("m-1.safetensors", "1"),
        ("m-2.safetensors", "2"),
    ];
    let model = open_folder(folder(&files).path()).unwrap();
    assert_eq!(model.weights, ["m-1.safetensors", "m-2.safetensors"]);
    let error = open_folder(folder(&files[..3]).path()).unwrap_err().to_string();
    assert!(error.contains("m-2.safetensors is missing"), "{error}");
}

#[test]
fn an_index_cannot_lead_out_of_the_folder() {
    for bad in ["../m.safetensors", "a/m.safetensors", "m.bin", "", "..\\\\m.safetensors"] {
        let index = format!(r#"{{"weight_map": {{"a": "{bad}"}}}}"#);
        let files = [("config.json", "{}"), ("model.safetensors.index.json", index.as_str())];
        let error = open_folder(folder(&files).path()).unwrap_err().to_string();
        assert!(error.contains("no plain name"), "{error}");
    }
    assert!(layout::shards(b"{\"weight_map\": {}}").is_err());
    assert!(layout::shards(b"[]").is_err());
}

#[test]
fn pickles_and_missing_files_are_named() {
    let error = open_folder(folder(&[("config.json", "{}"), ("pytorch_model.bin", "x")]).path()).unwrap_err();
    assert!(matches!(&error, HubError::Pickle { file, .. } if file == "pytorch_model.bin"), "{error}");
    let error = open_folder(folder(&[("model.safetensors", "x")]).path()).unwrap_err().to_string();
    assert!(error.contains("config.json is missing"), "{error}");
    let error = open_folder(folder(&[("config.json", "{}")]).path()).unwrap_err().to_string();
    assert!(error.contains("no weights"), "{error}");
    let error = open_folder(Path::new("./no/such/folder")).unwrap_err().to_string();
    assert!(error.contains("no/such/folder"), "{error}");
}

#[cfg(unix)]
#[test]
fn links_in_a_folder_are_followed() {
    let blobs = folder(&[("a", "{}"), ("b", "abc")]);
    let here = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(blobs.path().join("a"), here.path().join("config.json")).unwrap();
    std::os::unix::fs::symlink(blobs.path().join("b"), here.path().join("model.safetensors")).unwrap();
    let model = open_folder(here.path()).unwrap();
    assert_eq!(model.bytes("model.safetensors").unwrap().range(0..3).unwrap(), b"abc".as_slice());
}

#[test]
fn too_large_a_settings_file_is_refused() {
    let here = folder(&[("model.safetensors", "x")]);
    std::fs::File::create(here.path().join("config.json")).unwrap().set_len(layout::JSON_BYTES + 1).unwrap();
    let error = open_folder(here.path()).unwrap_err().to_string();
    assert!(error.contains("64 MiB"), "{error}");
}

#[cfg(feature = "bundled")]
#[test]
fn bundled_models_open() {
    assert_eq!(bundled_names(), ["sentiment", "blood-cells"]);
    for name in bundled_names() {
        let model = open(&Source::Bundled(name.to_owned()), &options()).unwrap();
        assert!(model.file("config.json").is_some() && model.file("model.safetensors").is_some());
        assert_eq!((model.source, model.sha256.len()), (format!("bundled:{name}"), 64));
    }
    let error = open(&Source::Bundled("sentimental".to_owned()), &options()).unwrap_err().to_string();
    assert!(error.contains("sentiment, blood-cells"), "{error}");
}

#[test]
fn options_follow_the_environment_as_python_does() {
    let cache = |env: &[(&str, &str)]| options_from(env, None, None).cache;
    let home = ("HOME", "/home/u");
    assert_eq!(cache(&[home]), Path::new("/home/u/.cache/huggingface/hub"));
    assert_eq!(cache(&[home, ("XDG_CACHE_HOME", "/c")]), Path::new("/c/huggingface/hub"));
    assert_eq!(cache(&[home, ("HF_HOME", "~/hf"), ("XDG_CACHE_HOME", "/c")]), Path::new("/home/u/hf/hub"));
    assert_eq!(cache(&[home, ("HF_HOME", "/h"), ("HUGGINGFACE_HUB_CACHE", "/old")]), Path::new("/old"));
    assert_eq!(cache(&[home, ("HF_HUB_CACHE", "/new"), ("HUGGINGFACE_HUB_CACHE", "/old")]), Path::new("/new"));
    assert_eq!(cache(&[home, ("HF_HUB_CACHE", "")]), Path::new("/home/u/.cache/huggingface/hub"));
    assert_eq!(options_from(&[("HF_HUB_CACHE", "/new")], Some("/mine"), None).cache, Path::new("/mine"));

    assert_eq!(options_from(&[home], None, None).endpoint, "https://huggingface.co");
    assert_eq!(options_from(&[home, ("HF_ENDPOINT", "http://m/")], None, None).endpoint, "http://m");

    for yes in ["1", "true", "Yes", "ON"] {
        assert!(options_from(&[home, ("HF_HUB_OFFLINE", yes)], None, None).offline);
        assert!(options_from(&[home, ("TRANSFORMERS_OFFLINE", yes)], None, None).offline);
    }
    assert!(!options_from(&[home, ("HF_HUB_OFFLINE", "0")], None, None).offline);
    assert!(!options_from(&[home, ("HF_HUB_OFFLINE", "1")], None, Some(false)).offline);
}

#[test]
fn the_token_comes_from_its_variable_or_its_file_and_is_never_shown() {
    let here = folder(&[("token", "from-file\n")]);
    let home = ("HF_HOME", here.path().to_str().unwrap());
    let token = |env: &[(&str, &str)]| options_from(env, None, None).token.map(|token| token.expose().to_owned());
    assert_eq!(token(&[home]).as_deref(), Some("from-file"));
    assert_eq!(token(&[home, ("HF_TOKEN", "mine ")]).as_deref(), Some("mine"));
    assert_eq!(token(&[home, ("HF_TOKEN", "")]).as_deref(), Some("from-file"));
    assert_eq!(token(&[home, ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]), None);
    assert_eq!(token(&[home, ("HF_TOKEN_PATH", "/no/such/file")]), None);
    assert!(!format!("{:?}", options_from(&[("HF_TOKEN", "mine")], None, None)).contains("mine"));
}

proptest! {
    #[test]
    fn whatever_is_written_parses_back_or_is_refused(text in "[a-zA-Z0-9@/._ ~:-]{0,40}") {
        if let Ok(source) = Source::parse(&text) {
            let name = source.default_name();
            prop_assert!(!name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)));
            if let Source::Hub { id, file, revision } = &source {
                prop_assert!(!file.as_ref().is_some_and(|file| file.contains("..") || file.contains('/')));
                prop_assert!(!id.contains("..") && !revision.as_ref().is_some_and(|text| text.contains("..")));
                prop_assert_eq!(source.to_string(), text);
            }
        }
    }
}
