//! The pages of docs/methods: every command on them works, and every picture is what the first answers look like.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use explaind::explain::{Answer, Catalog, ServedModel};
use explaind::hub::{HubOptions, HubOverrides, Source};
use explaind::render;
use reqwest::blocking::multipart::{Form, Part};
use serde_json::Value;

use crate::app::{TestApp, bundled};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Name and text of every page.
fn pages() -> Vec<(String, String)> {
    let entries = fs::read_dir(root().join("docs/methods")).unwrap().map(|entry| entry.unwrap().path());
    let mut pages: Vec<(String, String)> = entries
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(&path).unwrap()))
        .collect();
    pages.sort();
    pages
}

/// The curl commands of a page, each as its words.
fn commands(page: &str) -> Vec<Vec<String>> {
    let blocks = page.split("```").skip(1).step_by(2).filter_map(|block| block.find("curl ").map(|at| &block[at..]));
    let mut commands: Vec<Vec<String>> = Vec::new();
    for word in blocks.flat_map(|block| shlex::split(&block.replace("\\\n", " ")).unwrap()) {
        match commands.last_mut() {
            Some(command) if word != "curl" => command.push(word),
            _ => commands.push(Vec::new()),
        }
    }
    commands
}

/// What a command sends, and the image in it.
struct Sent {
    answer: Value,
    image: Option<Vec<u8>>,
}

fn file(word: &str) -> Option<Vec<u8>> {
    word.strip_prefix('@').map(|path| fs::read(root().join(path)).unwrap())
}

fn send(app: &TestApp, command: &[String]) -> Sent {
    let mut words = command.iter();
    let (mut path, mut headers, mut body, mut form, mut image) = (None, Vec::new(), None, Form::new(), None);
    let mut parts = 0;
    while let Some(word) = words.next() {
        let mut value = || words.next().unwrap();
        match word.as_str() {
            "-s" => {}
            "-H" => headers.push(value().split_once(": ").unwrap()),
            "-d" => body = Some(value().clone().into_bytes()),
            "--data-binary" => {
                image = file(value());
                body.clone_from(&image);
            }
            "-F" => {
                let (name, content) = value().split_once('=').unwrap();
                let part = match file(content) {
                    Some(bytes) => {
                        image = Some(bytes.clone());
                        Part::bytes(bytes).file_name("image.png").mime_str("image/png").unwrap()
                    }
                    None => Part::text(content.to_owned()),
                };
                form = form.part(name.to_owned(), part);
                parts += 1;
            }
            url => path = Some(url.strip_prefix("localhost:8080").unwrap_or_else(|| panic!("{url} is not read"))),
        }
    }
    let mut request = app.post(path.unwrap());
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = if parts > 0 { request.multipart(form) } else { request.body(body.unwrap()) };
    let response = request.send().unwrap();
    let status = response.status();
    let text = response.text().unwrap();
    assert_eq!(status, 200, "{command:?}: {text}");
    Sent { answer: serde_json::from_str(&text).unwrap(), image }
}

/// A picture with colours and lengths left out: they differ in the last places between processors.
fn shape(picture: &str) -> String {
    picture.chars().filter(|c| !c.is_ascii_hexdigit() && *c != '.').collect()
}

/// Compares with the committed picture, or writes it where `EXPLAIND_WRITE_PICTURES` is set.
fn picture(name: &str, drawn: &[u8]) {
    let path: PathBuf = root().join("docs/images/methods").join(name);
    if std::env::var_os("EXPLAIND_WRITE_PICTURES").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, drawn).unwrap();
    }
    let committed = fs::read(&path).unwrap_or_else(|_| panic!("{name} is missing: set EXPLAIND_WRITE_PICTURES"));
    match name.ends_with(".svg") {
        true => {
            let [committed, drawn] = [&committed, drawn].map(|bytes| shape(std::str::from_utf8(bytes).unwrap()));
            assert_eq!(committed, drawn, "{name}");
        }
        false => {
            let size = |bytes: &[u8]| {
                let image = image::load_from_memory(bytes).unwrap();
                (image.width(), image.height())
            };
            assert_eq!(size(&committed), size(drawn), "{name}");
        }
    }
}

#[test]
fn every_command_is_answered_and_drawn() {
    let app = TestApp::unloaded(|_| {});
    app.load_with(|| {
        let tiny = |name: &str| {
            let source = Source::Folder(root().join("tests/golden").join(name));
            let offline = HubOverrides { cache: None, offline: Some(true), deadline: Duration::ZERO, progress: false };
            ServedModel::load(None, &source, &HubOptions::from_env(|_| None, offline))
        };
        let (relu, words) = (tiny("tiny-resnet")?, tiny("tiny-bert-mask")?);
        Catalog::new(vec![bundled("sentiment")?, bundled("blood-cells")?, relu, words])
    });
    for (name, page) in pages() {
        let commands = commands(&page);
        assert!(!commands.is_empty(), "docs/methods/{name}.md has no command");
        let mut drawn = BTreeSet::new();
        for command in commands {
            let Sent { answer, image } = send(&app, &command);
            assert_eq!(answer["explanations"][0]["method"], name.as_str());
            let answer: Answer = serde_json::from_value(answer).unwrap();
            let (kind, bytes) = match &image {
                Some(image) => ("png", render::png(&answer, Some(image)).unwrap()),
                None => ("svg", render::svg(&answer, None).unwrap().into_bytes()),
            };
            if drawn.insert(kind) {
                picture(&format!("{name}.{kind}"), &bytes);
            }
        }
        for kind in drawn {
            assert!(page.contains(&format!("../images/methods/{name}.{kind})")), "{name}.md does not show its {kind}");
        }
    }
}
