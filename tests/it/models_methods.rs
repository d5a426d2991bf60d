//! `GET /models` and `GET /methods`.

use serde_json::Value;

use crate::app::TestApp;

#[test]
fn what_is_loaded_is_listed() {
    let app = TestApp::start();
    let list: Value = app.get("/models").send().unwrap().json().unwrap();
    let names: Vec<&str> =
        list["models"].as_array().unwrap().iter().map(|model| model["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["sentiment", "blood-cells"]);
    for key in ["source", "sha256", "architecture", "task", "kind", "labels", "memory", "capabilities", "methods"] {
        assert!(!list["models"][0][key].is_null(), "{key}");
    }
}

#[test]
fn every_method_says_what_it_takes() {
    let app = TestApp::start();
    let list: Value = app.get("/methods").send().unwrap().json().unwrap();
    for method in list["methods"].as_array().unwrap() {
        assert!(!method["summary"].as_str().unwrap().is_empty(), "{method}");
        assert!(method["settings"]["properties"].is_object(), "{method}");
        assert!(!method["settings"].to_string().contains("#/components/"), "{method}");
        // Both models, but for those that explain images alone, and none where it is about ReLUs.
        let relus = method["requires"].as_array().unwrap().iter().any(|needed| needed == "relu");
        let models = if relus { 0 } else { method["inputs"].as_array().unwrap().len() };
        assert_eq!(method["models"].as_array().unwrap().len(), models, "{method}");
    }
}
