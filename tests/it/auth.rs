//! Bearer keys, CORS.

use std::io::Write as _;

use crate::app::{TestApp, problem};

#[test]
fn every_route_but_the_probes_needs_a_key() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "# keys\n\nsecret-key").unwrap();
    let path = file.path().to_owned();
    let app = TestApp::with(|settings| settings.auth.keys_file = Some(path));
    for probe in ["/livez", "/readyz", "/startupz", "/healthz"] {
        assert_eq!(app.get(probe).send().unwrap().status(), 200, "{probe}");
    }
    for path in ["/", "/models", "/methods", "/metrics", "/openapi.json", "/docs/", "/nothing"] {
        let locked = app.get(path).send().unwrap();
        assert_eq!(locked.headers()["www-authenticate"], "Bearer", "{path}");
        problem(locked, 401, "unauthorized");
        problem(app.get(path).bearer_auth("wrong").send().unwrap(), 401, "unauthorized");
    }
    assert_eq!(app.get("/models").bearer_auth("secret-key").send().unwrap().status(), 200);
}

#[test]
fn cors_is_off_unless_origins_are_set() {
    let ask = |app: &TestApp| {
        let preflight = app.client.request(reqwest::Method::OPTIONS, app.url("/explain"));
        let origin = preflight.header("origin", "https://page.example");
        origin.header("access-control-request-method", "POST").send().unwrap()
    };
    assert!(!ask(&TestApp::unloaded(|_| {})).headers().contains_key("access-control-allow-origin"));
    let app = TestApp::unloaded(|settings| settings.cors.origins = vec!["https://page.example".to_owned()]);
    let allowed = ask(&app);
    assert_eq!(allowed.headers()["access-control-allow-origin"], "https://page.example");
    let other = app.get("/livez").header("origin", "https://other.example").send().unwrap();
    assert!(!other.headers().contains_key("access-control-allow-origin"));
}
