//! Shutdown: running requests end, new ones are refused.

use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use crate::app::{TestApp, eventually, slow};

#[test]
fn a_running_request_is_answered_and_new_connections_are_refused() {
    // However slow the machine, the request ends within the drain.
    let mut app = TestApp::with(|settings| settings.server.drain = Duration::from_secs(600));
    let (client, url) = (app.client.clone(), app.url("/explain"));
    let mut request = slow();
    request["explain"][0]["samples"] = json!(100);
    let running = std::thread::spawn(move || client.post(url).json(&request).send().unwrap().status().as_u16());
    eventually("the job", || app.metric("explaind_running_jobs") > 0.0 || running.is_finished());
    app.stop();
    eventually("the refusal", || TcpStream::connect(app.address).is_err());
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
