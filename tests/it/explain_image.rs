//! `POST /explain` on images.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use crate::app::{TestApp, png};

#[test]
fn an_image_has_a_grid_a_region_and_segments() {
    let app = TestApp::start();
    let request = json!({
        "image": BASE64_STANDARD.encode(png()),
        "explain": [{"method": "integrated_gradients", "steps": 4}, {"method": "lime", "samples": 60}],
    });
    let answer = app.ask("/explain", &request);
    assert_eq!(answer["input"]["kind"], "image");
    assert_eq!((&answer["input"]["width"], &answer["input"]["height"]), (&json!(32), &json!(32)));
    let rows = answer["input"]["grid"]["rows"].as_u64().unwrap() as usize;
    for explanation in answer["explanations"].as_array().unwrap() {
        assert_eq!(explanation["scores"]["grid"].as_array().unwrap().len(), rows, "{}", explanation["method"]);
    }
    let lime = &answer["explanations"][1];
    assert!(!lime["scores"]["segments"].as_array().unwrap().is_empty());
    let map = BASE64_STANDARD.decode(lime["segments"].as_str().unwrap()).unwrap();
    assert!(map.starts_with(b"\x89PNG"));
}
