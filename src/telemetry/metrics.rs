//! Every metric, its name and its labels, in one place. Label values come from closed sets: route patterns, method
//! names, problem codes, served models; never from what a caller wrote.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteStatus {
    route: String,
    status: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Stage {
    stage: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MethodOutcome {
    method: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Method {
    method: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Build {
    version: &'static str,
}

/// A served model, as `explaind_model_info` names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ModelLabels {
    pub name: String,
    pub source: String,
    pub architecture: String,
    pub task: String,
    pub sha256: String,
}

/// Where a job's time went.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stages {
    pub queue: Duration,
    /// Tokenising or decoding, and resolving the settings.
    pub plan: Duration,
    pub compute: Duration,
}

/// One explanation of a job that gave an answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Explained {
    /// As the registry spells it.
    pub method: &'static str,
    /// Distinct model rows it needed, shared with others or not.
    pub evaluations: u64,
    pub took: Duration,
}

type Durations<L> = Family<L, Histogram, fn() -> Histogram>;

/// The service's metrics. Cheap to share behind an `Arc`; counting never blocks on a scrape for long.
pub struct Metrics {
    registry: Registry,
    requests: Family<RouteStatus, Counter>,
    durations: Durations<Route>,
    stages: Durations<Stage>,
    explanations: Family<MethodOutcome, Counter>,
    method_durations: Durations<Method>,
    evaluations: Family<Method, Counter>,
    rows: Family<Method, Counter>,
    tokens: Family<Method, Counter>,
    rejected: Family<Reason, Counter>,
    cancelled: Counter,
    in_flight: Gauge,
    queued_requests: Gauge,
    queued_cost: Gauge<u64, AtomicU64>,
    running: Gauge,
    ready: Gauge,
    models: Family<ModelLabels, Gauge>,
}

/// 1 ms to 2 minutes: from a prediction to a long LIME.
fn seconds() -> Histogram {
    Histogram::new([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0])
}

impl Metrics {
    /// `version` is the program's.
    pub fn new(version: &'static str) -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("explaind"),
            requests: Family::default(),
            durations: Family::new_with_constructor(seconds),
            stages: Family::new_with_constructor(seconds),
            explanations: Family::default(),
            method_durations: Family::new_with_constructor(seconds),
            evaluations: Family::default(),
            rows: Family::default(),
            tokens: Family::default(),
            rejected: Family::default(),
            cancelled: Counter::default(),
            in_flight: Gauge::default(),
            queued_requests: Gauge::default(),
            queued_cost: Gauge::default(),
            running: Gauge::default(),
            ready: Gauge::default(),
            models: Family::default(),
        };
        metrics.register(version);
        metrics
    }

    fn register(&mut self, version: &'static str) {
        let registry = &mut self.registry;
        registry.register("requests", "Answered requests, by route pattern and status", self.requests.clone());
        registry.register_with_unit(
            "request_duration",
            "From the request's head to the answer's",
            Unit::Seconds,
            self.durations.clone(),
        );
        registry.register_with_unit(
            "stage_duration",
            "Of a job: queue, plan (tokenise or decode, resolve), compute",
            Unit::Seconds,
            self.stages.clone(),
        );
        registry.register(
            "explanations",
            "Methods asked for, by outcome: ok or a problem's code",
            self.explanations.clone(),
        );
        registry.register_with_unit(
            "method_duration",
            "Of one explanation, waiting for turns at the compute included",
            Unit::Seconds,
            self.method_durations.clone(),
        );
        registry.register(
            "evaluations",
            "Distinct model rows that explanations needed, shared with others or not",
            self.evaluations.clone(),
        );
        registry.register("rows", "Model rows computed, by the method that asked (several: mixed)", self.rows.clone());
        registry.register(
            "tokens",
            "Model rows times their tokens, by the method that asked (several: mixed)",
            self.tokens.clone(),
        );
        registry.register("rejected", "Requests refused, by the problem's code", self.rejected.clone());
        registry.register("cancelled", "Requests whose caller went away", self.cancelled.clone());
        registry.register("requests_in_flight", "Requests being answered", self.in_flight.clone());
        registry.register("queued_requests", "Jobs that wait", self.queued_requests.clone());
        registry.register("queued_cost", "Planned rows times tokens that wait or run", self.queued_cost.clone());
        registry.register("running_jobs", "Jobs that run", self.running.clone());
        registry.register("ready", "1 while /readyz answers 200", self.ready.clone());
        registry.register("model_info", "The served models", self.models.clone());
        let build: Family<Build, Gauge> = Family::default();
        build.get_or_create(&Build { version }).set(1);
        registry.register("build_info", "The program", build);
    }

    /// An answer of a route pattern (`/explain`).
    pub fn answered(&self, route: &str, status: u16, took: Duration) {
        let labels = RouteStatus { route: route.to_owned(), status: u32::from(status) };
        self.requests.get_or_create(&labels).inc();
        self.durations.get_or_create(&Route { route: route.to_owned() }).observe(took.as_secs_f64());
    }

    /// A job that gave an answer; `explained` is empty for a prediction alone.
    pub fn job(&self, stages: Stages, explained: &[Explained], rows: u64, tokens: u64) {
        for (stage, took) in [("queue", stages.queue), ("plan", stages.plan), ("compute", stages.compute)] {
            self.stages.get_or_create(&Stage { stage }).observe(took.as_secs_f64());
        }
        for Explained { method, evaluations, took } in explained {
            self.explained(&[method], "ok");
            self.evaluations.get_or_create(&Method { method }).inc_by(*evaluations);
            self.method_durations.get_or_create(&Method { method }).observe(took.as_secs_f64());
        }
        // Methods share rows, so a request of several cannot be divided among them.
        let method = match explained {
            [] => "none",
            [first, rest @ ..] if rest.iter().all(|other| other.method == first.method) => first.method,
            _ => "mixed",
        };
        self.rows.get_or_create(&Method { method }).inc_by(rows);
        self.tokens.get_or_create(&Method { method }).inc_by(tokens);
    }

    /// Methods that ended as `outcome`: `ok` or a problem's code.
    pub fn explained(&self, methods: &[&'static str], outcome: &'static str) {
        for method in methods {
            self.explanations.get_or_create(&MethodOutcome { method, outcome }).inc();
        }
    }

    /// A request refused with the problem `reason`.
    pub fn rejected(&self, reason: &'static str) {
        self.rejected.get_or_create(&Reason { reason }).inc();
    }

    /// Counts a request in until the guard drops; see [`InFlight::answered`].
    pub fn enter(self: &std::sync::Arc<Self>) -> InFlight {
        self.in_flight.inc();
        InFlight { metrics: self.clone(), answered: false }
    }

    /// State of the engine, set before a scrape.
    pub fn engine(&self, queued_requests: usize, queued_cost: u64, running: usize, ready: bool) {
        self.queued_requests.set(i64::try_from(queued_requests).unwrap_or(i64::MAX));
        self.queued_cost.set(queued_cost);
        self.running.set(i64::try_from(running).unwrap_or(i64::MAX));
        self.ready.set(i64::from(ready));
    }

    /// A served model.
    pub fn model(&self, labels: &ModelLabels) {
        self.models.get_or_create(labels).set(1);
    }

    /// OpenMetrics text; without types that the older Prometheus text does not know.
    ///
    /// # Errors
    /// A metric could not be formatted.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// One request being answered. Dropped before [`answered`](Self::answered), its caller has gone.
pub struct InFlight {
    metrics: std::sync::Arc<Metrics>,
    answered: bool,
}

impl InFlight {
    pub fn answered(mut self) {
        self.answered = true;
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.metrics.in_flight.dec();
        if !self.answered {
            self.metrics.cancelled.inc();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_carries_the_prefix_and_counts_once() {
        let metrics = std::sync::Arc::new(Metrics::new("0.0.0"));
        metrics.answered("/explain", 200, Duration::from_millis(3));
        let stages = Stages { queue: Duration::ZERO, plan: Duration::ZERO, compute: Duration::from_millis(2) };
        let explained = |method, evaluations| Explained { method, evaluations, took: Duration::from_millis(1) };
        metrics.job(stages, &[explained("lime", 6), explained("attention", 1)], 7, 70);
        metrics.rejected("queue-full");
        drop(metrics.enter());
        metrics.enter().answered();
        let text = metrics.encode().unwrap();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            assert!(line.starts_with("explaind_"), "{line}");
        }
        for line in [
            "explaind_requests_total{route=\"/explain\",status=\"200\"} 1",
            "explaind_explanations_total{method=\"lime\",outcome=\"ok\"} 1",
            "explaind_evaluations_total{method=\"lime\"} 6",
            "explaind_rows_total{method=\"mixed\"} 7",
            "explaind_tokens_total{method=\"mixed\"} 70",
            "explaind_rejected_total{reason=\"queue-full\"} 1",
            "explaind_cancelled_total 1",
            "explaind_requests_in_flight 0",
            "explaind_request_duration_seconds_count{route=\"/explain\"} 1",
            "explaind_build_info{version=\"0.0.0\"} 1",
        ] {
            assert!(text.contains(line), "{line} is missing from\n{text}");
        }
    }
}
