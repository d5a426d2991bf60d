//! Shutdown: running requests end, new ones are refused.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use crate::app::{TestApp, eventually, slow};

#[test]
fn a_running_request_is_answered_and_new_ones_are_refused() {
    // However slow the machine, the request ends within the drain.
    let mut app = TestApp::with(|settings| {
        settings.server.drain = Duration::from_secs(600);
        settings.limits.deadline_ms = 600_000;
    });
    let (client, url) = (app.client.clone(), app.url("/explain"));
    let mut request = slow();
    request["explain"][0]["samples"] = json!(500);
    let running = std::thread::spawn(move || client.post(url).json(&request).send().unwrap().status().as_u16());
    eventually("the job", || app.metric("explaind_running_jobs") > 0.0 || running.is_finished());
    // A body that never comes whole does not hold the shutdown up.
    let mut half = TcpStream::connect(app.address).unwrap();
    half.write_all(
        b"POST /explain HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{",
    )
    .unwrap();
    app.stop();
    // A client keeps connections, and each of these is new.
    let fresh = || reqwest::blocking::Client::new();
    let status = |path: &str| fresh().get(app.url(path)).send().map(|answer| answer.status().as_u16());
    eventually("the refusal", || status("/readyz").unwrap() == 503);
    assert_eq!(status("/livez").unwrap(), 200);
    let request = json!({"text": "a film", "method": "attention"});
    let refused = fresh().post(app.url("/explain")).json(&request).send().unwrap();
    assert!(refused.headers().contains_key("retry-after"));
    assert_eq!(refused.status(), 503);
    let mut answer = String::new();
    half.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert_eq!(running.join().unwrap(), 200);
    app.ended();
}

#[test]
fn what_does_not_end_in_time_is_cancelled() {
    let mut app = TestApp::with(|settings| settings.server.drain = Duration::from_millis(100));
    let (client, url) = (app.client.clone(), app.url("/explain"));
    let running = std::thread::spawn(move || client.post(url).json(&slow()).send().unwrap().status().as_u16());
    eventually("the job", || app.metric("explaind_running_jobs") > 0.0);
    app.ended();
    assert_eq!(running.join().unwrap(), 503);
}
