//! The audit log: a record for every answer before it leaves, chained over restarts; `explaind audit verify`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use explaind::config::AuditInputs;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::app::{TEXT, TestApp, png, problem};

fn place() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    (folder, path)
}

fn audited(path: &Path) -> TestApp {
    TestApp::with(|settings| settings.audit.file = Some(path.to_owned()))
}

fn records(path: &Path) -> Vec<Value> {
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Exit code and output of `explaind audit verify`.
fn verify(path: &Path) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_explaind")).args(["audit", "verify"]).arg(path).output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

fn sha256(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

#[test]
fn every_answer_is_recorded_and_nothing_else() {
    let (folder, path) = place();
    let keys = folder.path().join("keys");
    fs::write(&keys, "secret\n").unwrap();
    let app = TestApp::with(|settings| {
        settings.audit.file = Some(path.clone());
        settings.auth.keys_file = Some(keys);
    });
    let post = |route: &str| app.post(route).bearer_auth("secret");
    let request = json!({"text": TEXT, "method": "gradient", "seed": 5, "echo": true});
    let answer = post("/explain").header("x-request-id", "one").json(&request).send().unwrap().bytes().unwrap();
    let prediction = post("/predict").json(&json!({"text": TEXT})).send().unwrap().bytes().unwrap();
    let batch = post("/explain/batch").header("content-type", "application/x-ndjson").header("x-request-id", "many");
    let lines = batch.body(format!("{request}\nnot json\n")).send().unwrap().text().unwrap();
    assert_eq!(lines.lines().count(), 2);
    problem(post("/explain").json(&json!({"text": 1})).send().unwrap(), 422, "invalid-request");
    app.get("/models").bearer_auth("secret").send().unwrap();

    let records = records(&path);
    let routes: Vec<&str> = records.iter().map(|record| record["route"].as_str().unwrap()).collect();
    assert_eq!(routes, ["/explain", "/predict", "/explain/batch"]);
    let first = &records[0];
    let parsed: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(
        (first["seq"].as_u64(), first["event"].as_str(), first["id"].as_str()),
        (Some(0), Some("answer"), Some("one"))
    );
    assert_eq!(first["answer_sha256"], sha256(&answer).as_str());
    assert_eq!(first["input"], json!({"kind": "text", "sha256": sha256(TEXT.as_bytes())}));
    for field in ["model", "request", "provenance"] {
        assert_eq!(first[field], parsed[field], "{field}");
    }
    assert_eq!(first["key"], &sha256(b"secret")[..16]);
    assert_eq!(records[1]["prev"], first["hash"]);
    assert_eq!(records[1]["answer_sha256"], sha256(&prediction).as_str());
    assert_eq!(records[2]["id"], "many-0");
    // Words of the input stand nowhere.
    assert!(!fs::read_to_string(&path).unwrap().contains("gripping"));
    let (code, text) = verify(&path);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("3 whole records") && text.contains(records[2]["hash"].as_str().unwrap()), "{text}");
}

#[test]
fn inputs_are_kept_where_asked() {
    let (_folder, path) = place();
    let app = TestApp::with(|settings| {
        settings.audit.file = Some(path.clone());
        settings.audit.inputs = AuditInputs::Full;
    });
    app.ask("/predict", &json!({"text": TEXT}));
    app.post("/predict").header("content-type", "image/png").body(png()).send().unwrap().bytes().unwrap();
    let records = records(&path);
    assert_eq!(records[0]["input"]["text"], TEXT);
    use base64::Engine as _;
    let image = base64::prelude::BASE64_STANDARD.decode(records[1]["input"]["image"].as_str().unwrap()).unwrap();
    assert_eq!((image, records[1]["input"]["kind"].as_str()), (png(), Some("image")));
}

#[test]
fn the_chain_goes_on_over_restarts_and_under_load() {
    let (_folder, path) = place();
    for _ in 0..2 {
        let mut app = audited(&path);
        let asking = |number: usize| {
            let (client, url) = (app.client.clone(), app.url("/predict"));
            std::thread::spawn(move || {
                let text = format!("{TEXT} {number}");
                client.post(url).json(&json!({"text": text})).send().unwrap().status().as_u16()
            })
        };
        let all: Vec<_> = (0..16).map(asking).collect();
        all.into_iter().for_each(|one| assert_eq!(one.join().unwrap(), 200));
        app.ended();
        drop(app);
        // The writer lets go of the file once the last connection has ended.
        crate::app::eventually("the unlocked log", || fs::File::open(&path).unwrap().try_lock().is_ok());
    }
    let (code, text) = verify(&path);
    assert!(code == Some(0) && text.contains("32 whole records"), "{text}");
}

#[test]
fn events_hold_nothing_back_but_what_is_not_recorded_yet() {
    let (_folder, path) = place();
    let app = audited(&path);
    let request = json!({"text": TEXT, "explain": ["gradient", "lime"]});
    let events =
        app.post("/explain").header("accept", "text/event-stream").json(&request).send().unwrap().text().unwrap();
    assert!(events.contains("event: answer"), "{events}");
    for index in 0..2 {
        assert!(events.contains(&format!("event: explanation\ndata: {{\"index\":{index},\"final\":true")), "{events}");
    }
    let answer = events.split("event: answer\ndata: ").nth(1).unwrap().trim_end();
    assert_eq!(records(&path)[0]["answer_sha256"], sha256(answer.as_bytes()).as_str());
}

#[cfg(unix)]
#[test]
fn without_a_record_there_is_no_answer() {
    let (folder, path) = place();
    let app = audited(&path);
    app.ask("/predict", &json!({"text": TEXT}));
    fs::rename(&path, folder.path().join("moved")).unwrap();
    let refused = app.send("/predict", &json!({"text": TEXT}));
    assert!(refused.headers().contains_key("retry-after"));
    problem(refused, 503, "unrecorded");
    let request = json!({"text": TEXT, "explain": ["gradient", "lime"]});
    let events =
        app.post("/explain").header("accept", "text/event-stream").json(&request).send().unwrap().text().unwrap();
    assert!(events.contains("problems/unrecorded") && !events.contains("event: explanation"), "{events}");
    let batch = app.post("/explain/batch").header("content-type", "application/x-ndjson");
    let line = batch.body(json!({"text": TEXT}).to_string()).send().unwrap().text().unwrap();
    assert!(line.contains("problems/unrecorded"), "{line}");
    fs::rename(folder.path().join("moved"), &path).unwrap();
    app.ask("/predict", &json!({"text": TEXT}));
    assert_eq!(records(&path).len(), 2);
    assert_eq!(verify(&path).0, Some(0));
}

#[test]
fn what_was_changed_is_named_by_line() {
    let (_folder, path) = place();
    let app = audited(&path);
    (0..4).for_each(|_| drop(app.ask("/predict", &json!({"text": TEXT}))));
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let other = path.with_extension("other");
    for (content, line, part) in [
        (text.replacen("/predict", "/explain", 1), 1, "was changed after it was written"),
        ([lines[0], lines[2], lines[3], ""].join("\n"), 2, "record 1 is missing"),
        ([lines[1], lines[2], lines[3], ""].join("\n"), 1, "record 0 is missing"),
        (text[..text.len() - 20].to_owned(), 4, "it is torn"),
    ] {
        fs::write(&other, content).unwrap();
        let (code, found) = verify(&other);
        assert_eq!(code, Some(3), "{found}");
        assert!(found.starts_with(&format!("{}:{line}: ", other.display())) && found.contains(part), "{found}");
    }
    assert_eq!(verify(Path::new("no/such.jsonl")).0, Some(1));
    fs::write(&other, "a note\n").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_explaind"))
        .args(["serve", "--listen", "127.0.0.1:0", "--audit-file"])
        .arg(&other)
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(74), "{error}");
    assert!(error.contains("audit.file") && error.contains("verify"), "{error}");
}
