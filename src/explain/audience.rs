//! Whoever follows a request while it runs: which method it is at, how far, and what is known already.

use serde_json::Value;

use super::Explanation;
use super::assemble::Assembly;
use crate::input::Input;
use crate::methods::{Amount, Attribution, Planned};
use crate::tasks::{Explained, Target, WrittenToken};

/// Told of a running request on the job's own thread; must return soon.
pub trait Audience: Sync {
    /// False where nobody listens: nothing needs to be prepared for it.
    fn listens(&self) -> bool;
    /// A token of the completion, counted from 0, was written; its text is what it adds to the completion's.
    fn writes(&self, index: usize, token: WrittenToken);
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
    fn writes(&self, _index: usize, _token: WrittenToken) {}
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
    /// How many attributions it gives.
    pub attributions: usize,
    pub assembly: Assembly,
    /// The place of its first explanation in the answer.
    pub first: usize,
    /// Model rows that it may need at most.
    pub budget: u64,
    /// Milliseconds into the job.
    pub begun: f32,
}

impl Stage {
    /// `targets` are the job's, of which `explained` are made.
    pub(super) fn new(
        method: &dyn Planned,
        (targets, explained): (&[Target], &[Explained]),
        input: &Input,
        first: usize,
        begun: f32,
    ) -> Self {
        let (attributions, explained) = if method.targeted() { (targets.len(), Some(explained)) } else { (1, None) };
        let (settings, budget) = (method.settings().clone(), method.cost().rows);
        let assembly = Assembly::new(explained, targets, input, method.looks());
        Self { method: method.method(), settings, attributions, assembly, first, budget, begun }
    }

    /// The explanations that `attributions` are. They come from one piece of work: each carries all of its time.
    pub fn explanations(&self, attributions: Vec<Attribution>, now: f32) -> Vec<Explanation> {
        let explanation = |(target, attribution): (Option<Target>, Attribution<Amount>)| Explanation {
            method: self.method.to_owned(),
            target,
            settings: self.settings.clone(),
            attribution,
            faithfulness: None,
            reasons: None,
            elapsed_ms: now - self.begun,
        };
        self.assembly.assemble(attributions).into_iter().map(explanation).collect()
    }
}
