//! A caller that goes away stops its work.

use std::io::Write as _;
use std::net::TcpStream;

use crate::app::{TestApp, eventually, slow};

fn leave_while_it_runs(path: &str, kind: &str) {
    let app = TestApp::start();
    let body = slow().to_string() + "\n";
    let mut stream = TcpStream::connect(app.address).unwrap();
    let head =
        format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all((head + &body).as_bytes()).unwrap();
    eventually("the job", || app.metric("explaind_running_jobs") > 0.0);
    drop(stream);
    eventually("the end of the job", || app.metric("explaind_running_jobs") == 0.0);
}

#[test]
fn a_single_request_stops() {
    leave_while_it_runs("/explain", "application/json");
}

#[test]
fn a_batch_stops() {
    leave_while_it_runs("/explain/batch", "application/x-ndjson");
}
