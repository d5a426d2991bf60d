//! What a process of its own holds: memory that grows neither with steps and samples nor from call to call.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use reqwest::blocking::Client;
use serde_json::{Value, json};

use crate::app::eventually;

/// What may differ between two heights of the same memory: pages of threads that come and go.
const SLACK_KIB: u64 = 16 << 10;

/// The program, serving the bundled models.
struct Program {
    child: Child,
    base: String,
    client: Client,
}

impl Program {
    fn serve() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_explaind"))
            .args(["serve", "--listen", "127.0.0.1:0", "--compute-threads", "2", "--compute-tokens-per-turn", "1024"])
            .args(["--limits-deadline-ms", "600000"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut announced = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut announced).unwrap();
        let base = announced.trim().strip_prefix("listening on ").unwrap().to_owned();
        let client = Client::builder().timeout(None).build().unwrap();
        let program = Self { child, base, client };
        let ready = || program.client.get(format!("{}/readyz", program.base)).send();
        eventually("readiness", || ready().is_ok_and(|response| response.status() == 200));
        program
    }

    fn ask(&self, request: &Value) -> Value {
        let response = self.client.post(format!("{}/explain", self.base)).json(request).send().unwrap();
        assert_eq!(response.status(), 200, "{request}");
        response.json().unwrap()
    }

    /// The most that it has held so far, in KiB.
    fn peak(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// captum#245, captum#538, captum#1350, transformers-interpret#51: memory that grows with steps and samples, and a hidden
/// batch size against it. captum#632, captum#1055: memory that grows from call to call until there is none.
#[test]
#[cfg(target_os = "linux")]
fn memory_cannot_grow_with_steps_or_calls() {
    let program = Program::serve();
    let text =
        "a gripping and funny film with a cast that never once disappoints anybody who came to see it ".repeat(3);
    let request = |rows: usize| {
        json!({"text": text, "target": [0, 1], "explain": [
            {"method": "integrated_gradients", "steps": rows},
            {"method": "gradient_shap", "samples": rows},
            {"method": "smooth_grad", "samples": rows},
            {"method": "lime", "samples": rows},
            {"method": "kernel_shap", "samples": rows},
        ]})
    };
    // Each of them fills a turn's 1024 tokens many times.
    program.ask(&request(128));
    let few = program.ask(&request(128));
    let tokens = few["input"]["tokens"].as_array().unwrap().len();
    assert!(128 * tokens > 4 * 1024, "{tokens} tokens");
    let before = program.peak();
    program.ask(&request(512));
    let after = program.peak();
    assert!(after <= before + SLACK_KIB, "four times the rows: {before} KiB, then {after}");
    // Which thread computes what changes from call to call, and each thread's part of the allocator keeps its pages: the
    // first calls settle that.
    let peak_after = |calls: usize| {
        (0..calls).for_each(|_| drop(program.ask(&request(16))));
        program.peak()
    };
    let (settled, later) = (peak_after(20), peak_after(40));
    assert!(later <= settled + SLACK_KIB, "forty more requests: {settled} KiB, then {later}");
}
