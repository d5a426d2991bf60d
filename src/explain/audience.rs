//! Whoever follows a request while it runs: which method it is at, how far, and what is known already.

use serde_json::Value;

use super::Explanation;
use crate::methods::{Attribution, Planned};
use crate::tasks::Target;

/// Told of a running request on the job's own thread; must return soon.
pub trait Audience: Sync {
    /// False where nobody listens: nothing needs to be prepared for it.
    fn listens(&self) -> bool;
    /// A method begins.
    fn begins(&self, stage: Stage);
    /// Model rows were evaluated.
    fn evaluated(&self, rows: usize);
    /// What the method has so far, one attribution a target, `now` milliseconds into the job.
    fn refines(&self, attributions: Vec<Attribution>, now: f32);
    /// The explanation with that place in the answer is final.
    fn explained(&self, index: usize, explanation: &Explanation);
}

/// Nobody.
impl Audience for () {
    fn listens(&self) -> bool {
        false
    }
    fn begins(&self, _stage: Stage) {}
    fn evaluated(&self, _rows: usize) {}
    fn refines(&self, _attributions: Vec<Attribution>, _now: f32) {}
    fn explained(&self, _index: usize, _explanation: &Explanation) {}
}

/// A method at work.
#[derive(Debug, Clone)]
pub struct Stage {
    pub method: &'static str,
    pub settings: Value,
    /// What its attributions explain, in their order.
    pub targets: Vec<Option<Target>>,
    /// The place of its first explanation in the answer.
    pub first: usize,
    /// Model rows that it may need at most.
    pub budget: u64,
    /// Milliseconds into the job.
    pub begun: f32,
}

impl Stage {
    /// `targets` are the job's.
    pub(super) fn new(method: &dyn Planned, targets: &[Target], first: usize, begun: f32) -> Self {
        let targets = if method.targeted() { targets.iter().cloned().map(Some).collect() } else { vec![None] };
        let settings = method.settings().clone();
        Self { method: method.method(), settings, targets, first, budget: method.cost().rows, begun }
    }

    /// The explanations that `attributions` are. They come from one piece of work: each carries all of its time.
    pub fn explanations(&self, attributions: Vec<Attribution>, now: f32) -> Vec<Explanation> {
        let explanation = |(target, attribution): (&Option<Target>, Attribution)| Explanation {
            method: self.method.to_owned(),
            target: target.clone(),
            settings: self.settings.clone(),
            attribution,
            faithfulness: None,
            reasons: None,
            elapsed_ms: now - self.begun,
        };
        self.targets.iter().zip(attributions).map(explanation).collect()
    }
}
