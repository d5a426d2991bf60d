//! The service under test: the two bundled models behind a real socket on a free port.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use explaind::config::Settings;
use explaind::engine::{Device, Engine, EngineOptions, Phase};
use explaind::explain::{Catalog, LoadError, ServedModel};
use explaind::http::{self, AppState};
use explaind::hub::{HubOptions, HubOverrides, Source};
use explaind::telemetry::Metrics;
use reqwest::blocking::{Client, RequestBuilder, Response};
use serde_json::Value;
use tokio::sync::oneshot;

use crate::parity::{golden, no_hub};

pub const TEXT: &str = "a gripping, funny film";

/// A running service. Dropped, it shuts down.
pub struct TestApp {
    pub address: SocketAddr,
    pub client: Client,
    engine: Engine,
    stop: Option<oneshot::Sender<()>>,
    runtime: Option<tokio::runtime::Runtime>,
    served: Option<tokio::task::JoinHandle<std::io::Result<()>>>,
}

/// Default settings, changed by `change`.
pub fn settings(change: impl FnOnce(&mut Settings)) -> Settings {
    let mut settings = Settings::default();
    settings.compute.threads = 2;
    change(&mut settings);
    settings
}

/// A bundled model.
pub fn bundled(name: &str) -> Result<ServedModel, LoadError> {
    let offline = HubOverrides { cache: None, offline: Some(true), deadline: Duration::ZERO, progress: false };
    ServedModel::load(None, &Source::Bundled(name.to_owned()), &HubOptions::from_env(|_| None, offline))
}

impl TestApp {
    /// With default settings, ready.
    pub fn start() -> Self {
        Self::with(|_| {})
    }

    /// With changed settings, ready.
    pub fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let app = Self::unloaded(change);
        app.load();
        app
    }

    /// Serving, with no model yet.
    pub fn unloaded(change: impl FnOnce(&mut Settings)) -> Self {
        let settings = Arc::new(settings(change));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let engine = Engine::start(EngineOptions {
            threads: settings.compute.threads,
            tokens_per_turn: settings.compute.tokens_per_turn,
            device: Device::default(),
            queue: settings.queue.clone(),
            plan_threads: 2,
            limits: settings.limits.clone(),
        });
        let metrics = Arc::new(Metrics::new("test"));
        let state = AppState::new(engine.clone(), settings, metrics).unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async move {
            let _ = stopped.await;
        };
        let served = runtime.spawn(http::serve(listener, state, shutdown));
        let client = Client::builder().timeout(Duration::from_secs(300)).build().unwrap();
        Self { address, client, engine, stop: Some(stop), runtime: Some(runtime), served: Some(served) }
    }

    /// Loads the bundled models and waits until the service is ready.
    pub fn load(&self) {
        self.load_with(|| Catalog::new(vec![bundled("sentiment")?, bundled("blood-cells")?]));
    }

    /// A service of the golden models of these names.
    pub fn golden(names: &[&str]) -> Self {
        let app = Self::unloaded(|_| {});
        app.load_folders(names.iter().map(|name| golden(name)).collect());
        app
    }

    /// Loads the models of these folders, under the folders' names.
    pub fn load_folders(&self, folders: Vec<PathBuf>) {
        self.load_with(|| {
            let models = folders.into_iter().map(|folder| ServedModel::load(None, &Source::Folder(folder), &no_hub()));
            Catalog::new(models.collect::<Result<_, _>>()?)
        });
    }

    /// Loads what `load` gives and waits until the service is ready.
    pub fn load_with(&self, load: impl FnOnce() -> Result<Catalog, LoadError> + Send + 'static) {
        let loaded = self.engine.load(load);
        self.runtime.as_ref().unwrap().block_on(loaded).unwrap();
        assert_eq!(self.engine.phase(), Phase::Ready);
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(self.url(path))
    }

    pub fn post(&self, path: &str) -> RequestBuilder {
        self.client.post(self.url(path))
    }

    /// Posts `request` as JSON.
    pub fn send(&self, path: &str, request: &Value) -> Response {
        self.post(path).json(request).send().unwrap()
    }

    /// Posts `request` as JSON and reads a 200.
    pub fn ask(&self, path: &str, request: &Value) -> Value {
        let response = self.send(path, request);
        let status = response.status();
        let body = response.text().unwrap();
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    /// A metric's value; 0 where it has not been counted yet.
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").send().unwrap().text().unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }

    /// Begins the shutdown.
    pub fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }

    /// Waits until the service has ended.
    pub fn ended(&mut self) {
        self.stop();
        if let (Some(runtime), Some(served)) = (&self.runtime, self.served.take()) {
            runtime.block_on(served).unwrap().unwrap();
        }
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        self.stop();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Asks until it holds, for at most a minute.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < end, "{what} did not come to be");
        std::thread::yield_now();
    }
}

/// Reads a problem and checks what every one has.
pub fn problem(response: Response, status: u16, code: &str) -> Value {
    let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
    let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
    let found = response.status();
    let text = response.text().unwrap();
    assert_eq!(found, status, "{text}");
    assert_eq!(kind, "application/problem+json");
    let body: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(body["type"], format!("https://explaind.dev/problems/{code}"), "{text}");
    assert_eq!(body["status"], status);
    assert_eq!(body["id"], id);
    assert!(body["title"].is_string() && body["detail"].is_string(), "{text}");
    body
}

/// The pointers of a problem's errors.
pub fn pointers(problem: &Value) -> Vec<&str> {
    problem["errors"].as_array().into_iter().flatten().map(|field| field["pointer"].as_str().unwrap()).collect()
}

/// The events of an answer, in order: name and data.
pub fn events(app: &TestApp, request: &Value) -> Vec<(String, String)> {
    told(app, request).collect()
}

/// The events of an answer as they come. Dropped, it hangs up.
pub fn told(app: &TestApp, request: &Value) -> impl Iterator<Item = (String, String)> + use<> {
    let response = app.post("/explain").header("accept", "text/event-stream").json(request).send().unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let lines = BufReader::new(response).lines().map(Result::unwrap);
    let mut lines = lines.filter(|line| !line.is_empty() && !line.starts_with(':'));
    std::iter::from_fn(move || {
        let name = lines.next()?.strip_prefix("event: ").unwrap().to_owned();
        let data = lines.next().unwrap().strip_prefix("data: ").unwrap().to_owned();
        Some((name, data))
    })
}

/// Without what may differ between two runs.
pub fn stable(mut answer: Value) -> Value {
    answer["id"] = Value::Null;
    for explanation in answer["explanations"].as_array_mut().unwrap() {
        explanation["elapsed_ms"] = Value::Null;
    }
    answer
}

/// A request that computes for a long time.
pub fn slow() -> Value {
    let words: Vec<String> = (0..120).map(|number| format!("word{number}")).collect();
    serde_json::json!({
        "text": words.join(" "), "truncation": "truncate",
        "explain": [{"method": "lime", "samples": 50000, "max_evaluations": 50000}]
    })
}

/// A small PNG: a dark disc on a light ground.
pub fn png() -> Vec<u8> {
    let image = image::RgbImage::from_fn(32, 32, |x, y| {
        let inside = (f64::from(x) - 16.0).hypot(f64::from(y) - 16.0) < 9.0;
        image::Rgb(if inside { [120, 40, 160] } else { [230, 200, 210] })
    });
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}
