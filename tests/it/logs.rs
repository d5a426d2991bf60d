//! No log line of the program holds what a caller sent.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use serde_json::json;

const CANARY: &str = "canary7391";

struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn info_logs_hold_no_input() {
    let mut program = Program(
        Command::new(env!("CARGO_BIN_EXE_explaind"))
            .args(["serve", "--listen", "127.0.0.1:0"])
            .env("EXPLAIND_LOG__LEVEL", "info")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut announced = String::new();
    BufReader::new(program.0.stdout.take().unwrap()).read_line(&mut announced).unwrap();
    let base = announced.trim().strip_prefix("listening on ").unwrap().to_owned();
    let client = reqwest::blocking::Client::new();
    crate::app::eventually("readiness", || {
        client.get(format!("{base}/readyz")).send().is_ok_and(|response| response.status() == 200)
    });

    let good = json!({"text": CANARY, "explain": [{"method": "lime", "samples": 20}]});
    for request in [
        good.clone(),
        json!({"text": 1, CANARY: 2}),
        json!({"text": CANARY, "target": CANARY}),
        json!({"model": CANARY}),
    ] {
        client.post(format!("{base}/explain")).json(&request).send().unwrap();
    }
    let query = format!("{base}/explain?target={CANARY}&{CANARY}={CANARY}");
    client.post(query).header("content-type", "text/plain").header("x-other", CANARY).body(CANARY).send().unwrap();
    let batch = client.post(format!("{base}/explain/batch")).header("content-type", "application/x-ndjson");
    batch.body(format!("{good}\n{CANARY}\n")).send().unwrap().text().unwrap();
    client.get(format!("{base}/{CANARY}")).send().unwrap();

    let mut stderr = program.0.stderr.take().unwrap();
    drop(program);
    let mut logs = String::new();
    stderr.read_to_string(&mut logs).unwrap();
    assert!(logs.lines().count() > 5, "{logs}");
    assert!(logs.contains("/explain"), "{logs}");
    assert!(!logs.contains(CANARY), "{logs}");
}
