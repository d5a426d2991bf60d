//! The three forms of a body say the same.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reqwest::blocking::multipart::{Form, Part};
use serde_json::{Value, json};

use crate::app::{TEXT, TestApp, png, pointers, problem};

fn image_part() -> Part {
    Part::bytes(png()).file_name("cell.png").mime_str("image/png").unwrap()
}

#[test]
fn json_multipart_and_raw_give_one_prediction() {
    let app = TestApp::start();
    let by_json = app.ask("/predict", &json!({"image": BASE64_STANDARD.encode(png())}));
    let form = Form::new().part("image", image_part());
    let by_form: Value = app.post("/predict").multipart(form).send().unwrap().json().unwrap();
    let raw = app.post("/predict").header("content-type", "image/png").body(png());
    let by_raw: Value = raw.send().unwrap().json().unwrap();
    assert_eq!(by_json["prediction"], by_form["prediction"]);
    assert_eq!(by_json["prediction"], by_raw["prediction"]);
    assert_eq!(by_json["input"]["sha256"], by_raw["input"]["sha256"]);
}

#[test]
fn a_multipart_request_part_says_what_to_do() {
    let app = TestApp::start();
    let request = json!({"model": "blood-cells", "explain": [{"method": "integrated_gradients", "steps": 2}]});
    let form = Form::new().part("image", image_part()).text("request", request.to_string());
    let answer: Value = app.post("/explain").multipart(form).send().unwrap().json().unwrap();
    assert_eq!(answer["explanations"][0]["settings"]["steps"], 2);
}

#[test]
fn raw_text_takes_its_settings_from_the_query() {
    let app = TestApp::start();
    let url = "/explain?method=integrated_gradients&target=0&model=sentiment";
    let raw = app.post(url).header("content-type", "text/plain; charset=utf-8").body(TEXT);
    let answer: Value = raw.send().unwrap().json().unwrap();
    assert_eq!(answer["explanations"][0]["target"]["index"], 0);
}

#[test]
fn parts_and_parameters_that_nobody_knows_are_pointed_at() {
    let app = TestApp::start();
    let form = Form::new().part("image", image_part()).text("picture", "x");
    let found = problem(app.post("/explain").multipart(form).send().unwrap(), 422, "invalid-request");
    assert_eq!(pointers(&found), ["/picture"]);
    let form = Form::new().text("request", "{}");
    let found = problem(app.post("/explain").multipart(form).send().unwrap(), 422, "invalid-request");
    assert_eq!(pointers(&found), ["/image"]);
    let raw = app.post("/explain?steps=3").header("content-type", "text/plain").body(TEXT);
    assert_eq!(pointers(&problem(raw.send().unwrap(), 422, "invalid-request")), ["/steps"]);
    let json = app.send("/explain?method=lime", &json!({"text": TEXT}));
    assert_eq!(pointers(&problem(json, 422, "invalid-request")), ["/method"]);
}

#[test]
fn answers_are_compressed_for_callers_that_ask() {
    let app = TestApp::start();
    let plain = app.get("/openapi.json").send().unwrap();
    assert!(plain.headers().get("content-encoding").is_none());
    let gzip = app.get("/openapi.json").header("accept-encoding", "gzip").send().unwrap();
    assert_eq!(gzip.headers()["content-encoding"], "gzip");
}
