//! Every problem of the table that a caller can cause, with its status, its pointer, and no long echo.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::app::{TEXT, TestApp, pointers, problem};

#[test]
fn what_is_not_json_is_400() {
    let app = TestApp::unloaded(|_| {});
    let post =
        |body: Vec<u8>| app.post("/explain").header("content-type", "application/json").body(body).send().unwrap();
    for body in [&b"{"[..], b"", b"{\"text\": \"a\"} {", b"[1,"] {
        problem(post(body.to_vec()), 400, "invalid-json");
    }
    problem(post(b"{\"text\": \"\xff\"}".to_vec()), 400, "not-utf8");
    problem(post("[".repeat(60_000).into_bytes()), 400, "invalid-json");
    problem(post("[".repeat(1_000_000).into_bytes()), 413, "too-large");
    let raw = app.post("/explain").header("content-type", "text/plain").body(vec![b'a', 0xff]).send().unwrap();
    problem(raw, 400, "not-utf8");
    let broken = app.post("/explain").header("content-type", "multipart/form-data; boundary=x").body("--y").send();
    problem(broken.unwrap(), 400, "invalid-multipart");
    let broken = app.post("/explain").header("content-type", "multipart/form-data").body("--y").send();
    problem(broken.unwrap(), 400, "invalid-multipart");
}

#[test]
fn what_is_not_there_is_404_or_405() {
    let app = TestApp::start();
    problem(app.get("/nothing").send().unwrap(), 404, "unknown-route");
    let found = problem(app.send("/explain", &json!({"model": "nobody", "text": TEXT})), 404, "unknown-model");
    assert_eq!(pointers(&found), ["/model"]);
    let wrong = app.client.request(Method::DELETE, app.url("/explain")).send().unwrap();
    assert_eq!(wrong.headers()["allow"], "POST");
    problem(wrong, 405, "method-not-allowed");
    let wrong = app.post("/models").send().unwrap();
    assert!(wrong.headers()["allow"].to_str().unwrap().contains("GET"));
    problem(wrong, 405, "method-not-allowed");
}

#[test]
fn media_types_are_406_and_415() {
    let app = TestApp::start();
    for accept in ["text/event-stream;q=0", "text/html", "application/json;q=0"] {
        let refused = app.post("/explain").header("accept", accept).json(&json!({"text": TEXT})).send().unwrap();
        problem(refused, 406, "not-acceptable");
    }
    for accept in ["*/*", "application/*", "text/html, application/json;q=0.5"] {
        let taken = app.post("/predict").header("accept", accept).json(&json!({"text": TEXT})).send().unwrap();
        assert_eq!(taken.status(), 200, "{accept}");
    }
    for kind in ["application/x-www-form-urlencoded", "image/gif", "text/plain; charset=latin1"] {
        let refused = app.post("/explain").header("content-type", kind).body("x").send().unwrap();
        problem(refused, 415, "unsupported-media-type");
    }
    problem(app.post("/explain").body("x").send().unwrap(), 415, "unsupported-media-type");
    let compressed = app.post("/explain").header("content-encoding", "gzip").json(&json!({"text": TEXT}));
    problem(compressed.send().unwrap(), 415, "unsupported-media-type");
}

#[test]
fn too_much_is_413() {
    let app = TestApp::with(|settings| {
        settings.limits.body_bytes = 20_000;
        settings.limits.text_chars = 100;
        settings.limits.pixels = 100;
    });
    let big = json!({"text": "x".repeat(30_000)});
    problem(app.send("/explain", &big), 413, "too-large");
    let unsized_body = reqwest::blocking::Body::new(std::io::Cursor::new(big.to_string().into_bytes()));
    let chunked = app.post("/explain").header("content-type", "application/json").body(unsized_body);
    problem(chunked.send().unwrap(), 413, "too-large");
    let long = problem(app.send("/explain", &json!({"text": "x ".repeat(60)})), 413, "too-large");
    assert_eq!(pointers(&long), ["/text"]);
    let image = app.post("/explain").header("content-type", "image/png").body(crate::app::png()).send().unwrap();
    problem(image, 413, "too-large");
}

#[test]
fn what_is_not_valid_is_422_with_its_place() {
    let app = TestApp::start();
    for (request, pointer) in [
        (json!({"text": 1}), "/text"),
        (json!({"text": TEXT, "txet": 1}), "/txet"),
        (json!({"text": TEXT, "image": "AAAA"}), "/image"),
        (json!({"image": "not base64!"}), "/image"),
        (json!({"image": "AAAA"}), "/image"),
        (json!({"text": TEXT, "target": 99}), "/target"),
        (json!({"text": TEXT, "target": {"index": 1, "agianst": 0}}), "/target/agianst"),
        (json!({"text": TEXT, "method": "magic"}), "/method"),
        (json!({"text": TEXT, "explain": ["lime", "magic"]}), "/explain/1"),
        (json!({"text": TEXT, "explain": [{"method": "integrated_gradients", "steps": 0}]}), "/explain/0/steps"),
        (json!({"text": TEXT, "explain": [{"method": "lime", "smaples": 5}]}), "/explain/0/smaples"),
        (json!({"text": TEXT, "seed": 9007199254740992_u64}), "/seed"),
        (json!({"text": "word ".repeat(2000), "truncation": "error"}), "/text"),
        (json!({"model": "blood-cells", "text": TEXT}), "/text"),
    ] {
        let found = problem(app.send("/explain", &request), 422, "invalid-request");
        assert_eq!(pointers(&found), [pointer], "{request}: {found}");
    }
    problem(app.send("/explain", &json!({})), 422, "invalid-request");
    problem(app.send("/explain", &json!([])), 422, "invalid-request");
}

#[test]
fn no_problem_repeats_more_than_64_characters() {
    let app = TestApp::start();
    let long = "q".repeat(5000);
    for request in [
        json!({"model": long, "text": "a"}),
        json!({"text": "a", "target": long}),
        json!({"text": "a", "method": long}),
        json!({"text": "a", "explain": [{"method": "lime", long.clone(): 1}]}),
        json!({"text": "a", "seed": long}),
        json!({"text": "a", "explain": [{"method": "lime", "tolerance": 1e300}]}),
        json!({"text": "a", "truncation": long}),
        json!({"image": long}),
        json!({long.clone(): 1}),
    ] {
        let body = app.send("/explain", &request).text().unwrap();
        assert!(!body.contains(&"q".repeat(65)) && !body.contains(&"0".repeat(65)), "{body}");
    }
}

#[test]
fn a_slow_body_is_408() {
    let app = TestApp::unloaded(|settings| settings.server.body_timeout = Duration::from_millis(100));
    let mut stream = TcpStream::connect(app.address).unwrap();
    let head = "POST /explain HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{";
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");
}

#[test]
fn who_asks_first_with_too_much_is_refused_at_once() {
    let app = TestApp::unloaded(|_| {});
    let mut stream = TcpStream::connect(app.address).unwrap();
    let head = "POST /explain HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nexpect: 100-continue\r\n\
                content-length: 99999999999\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
}

#[test]
fn a_slow_head_ends_the_connection() {
    let app = TestApp::unloaded(|settings| settings.server.header_timeout = Duration::from_millis(100));
    for said in ["", "P", "POST /expl"] {
        let mut stream = TcpStream::connect(app.address).unwrap();
        stream.write_all(said.as_bytes()).unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
    }
}

/// The parser's own answers, which nobody can add to: a status and an end.
#[test]
fn what_is_no_http_is_refused_by_the_parser() {
    let app = TestApp::start();
    let long = format!("GET /livez HTTP/1.1\r\nhost: x\r\nx-long: {}\r\n\r\n", "a".repeat(80 << 10));
    let many: String = (0..120).map(|number| format!("x-{number}: 1\r\n")).collect();
    let many = format!("GET /livez HTTP/1.1\r\nhost: x\r\n{many}\r\n");
    let broken = "GET /livez HTTP/1.1\r\nno colon\r\n\r\n".to_owned();
    for (said, status) in [("EXPLAIN\r\n\r\n".to_owned(), "400"), (broken, "400"), (many, "431"), (long, "431")] {
        let mut stream = TcpStream::connect(app.address).unwrap();
        // It may hang up before it has read all of it.
        let _ = stream.write_all(said.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer:?}");
        assert!(answer.ends_with("\r\n\r\n"), "it has no body: {answer:?}");
    }
    app.ask("/predict", &json!({"text": TEXT}));
}

#[test]
fn after_many_bad_requests_the_next_good_one_works() {
    let app = TestApp::start();
    for number in 0..500 {
        let body = if number % 2 == 0 { "{" } else { "{\"text\": 1}" };
        let refused = app.post("/explain").header("content-type", "application/json").body(body).send().unwrap();
        assert!(refused.status().is_client_error());
    }
    app.ask("/predict", &json!({"text": TEXT}));
}
