//! A model, a task and an input without a tape, for this folder's tests: the logits of a row are sums over its ids or
//! values, and every call is written down.

use std::cell::{Cell, RefCell};

use super::evaluate::{Evaluate, Evaluation, Placed, Question, finite};
use crate::input::text::{SpecialIds, TextInput, Token, Word};
use crate::input::units::{Fill, Mask, Units};
use crate::input::{Input, Kind};
use crate::models::{AttentionMap, Batch, Capabilities, Content, Problem, Reads, Recording, Row, Spec};
use crate::nn::{self, Pace};
use crate::tasks::{
    ClassPrediction, ClassScore, Composition, Focus, InputRow, OutputSpace, Outputs, PerturbError, Perturber,
    Prediction, Readout, Rows, Target, TargetError, TargetSpec, Task,
};

pub const HIDDEN: usize = 2;

pub fn spec() -> Spec {
    Spec {
        architecture: "fake".to_owned(),
        kind: Kind::Text,
        labels: vec!["NO".to_owned(), "YES".to_owned()],
        about: crate::models::About::Sequence,
        problem: Problem::SingleLabel,
        hidden: HIDDEN,
        embedding: HIDDEN,
        layers: 3,
        heads: 1,
        max_positions: 512,
        vocab: 100,
        token_types: 0,
        image: None,
        reads: Reads::First,
        capabilities: Capabilities::of_transformers(),
    }
}

/// A model that cannot take up what was read before.
pub struct Rereading<'a>(pub Placed<'a>);

impl Evaluate for Rereading<'_> {
    fn spec(&self) -> &Spec {
        self.0.spec()
    }
    fn embed(&self, pace: &dyn Pace, batch: &Batch) -> Result<Vec<f32>, nn::Error> {
        self.0.embed(pace, batch)
    }
    fn evaluate(&self, pace: &dyn Pace, batch: &Batch, question: Question<'_>) -> Result<Evaluation, nn::Error> {
        assert!(batch.prefix.is_none());
        self.0.evaluate(pace, batch, question)
    }
}

/// logits = (Σ x, bias − Σ x) over the embeddings, where id i embeds as (i, 0).
pub struct Fake {
    pub spec: Spec,
    pub bias: f32,
    /// The row lengths of each forward.
    pub chunks: RefCell<Vec<Vec<usize>>>,
    pub gradients: Cell<usize>,
}

impl Fake {
    pub fn new() -> Self {
        Self { spec: spec(), bias: 1.0, chunks: RefCell::default(), gradients: Cell::new(0) }
    }
    pub fn rows(&self) -> usize {
        self.chunks.borrow().iter().map(Vec::len).sum()
    }
}

fn embedded(row: &Row) -> Vec<f32> {
    match &row.content {
        Content::Tokens { ids, .. } => ids.iter().flat_map(|&id| [id as f32, 0.0]).collect(),
        Content::Embedded { values, .. } | Content::Pixels(values) => values.clone(),
    }
}

impl Evaluate for Fake {
    fn spec(&self) -> &Spec {
        &self.spec
    }
    fn embed(&self, _pace: &dyn Pace, batch: &Batch) -> Result<Vec<f32>, nn::Error> {
        Ok(batch.rows.iter().flat_map(embedded).collect())
    }
    fn evaluate(&self, pace: &dyn Pace, batch: &Batch, question: Question<'_>) -> Result<Evaluation, nn::Error> {
        let Question { taps, objectives, seed, .. } = question;
        self.chunks.borrow_mut().push(batch.rows.iter().map(Row::len).collect());
        for _ in 0..self.spec.layers {
            pace.step()?;
        }
        let mut logits = Vec::new();
        for row in &batch.rows {
            let sum: f32 = embedded(row).iter().sum();
            for _ in &row.read {
                logits.extend([sum, self.bias - sum]);
            }
        }
        finite(&logits)?;
        let mut gradients = Vec::new();
        for objective in 0..objectives {
            self.gradients.set(self.gradients.get() + 1);
            let seeds = seed(objective, &logits)?;
            let rows = batch.rows.iter().zip(seeds.chunks(2));
            gradients.push(rows.flat_map(|(row, seed)| vec![seed[0] - seed[1]; embedded(row).len()]).collect());
        }
        let lengths: Vec<usize> = batch.rows.iter().map(Row::len).collect();
        let values: Vec<f32> = lengths.iter().flat_map(|&n| vec![n as f32; n * n]).collect();
        let map = |&layer: &usize| AttentionMap { layer, heads: 1, lengths: lengths.clone(), values: values.clone() };
        let attention = taps.attention.iter().map(map).collect();
        Ok(Evaluation { logits, labels: 2, gradients, taps: Recording { attention, ..Recording::default() } })
    }
}

/// The task over [`Fake`]: `rows` copies of each row, so that inputs of several rows can be tried.
pub struct FakeTask {
    pub rows: usize,
}

struct FakePerturber<'a> {
    input: &'a Input,
    units: &'a Units,
    rows: usize,
}

fn row(ids: Vec<u32>) -> Row {
    Row { content: Content::Tokens { ids, type_ids: Vec::new() }, read: vec![0] }
}

fn ids(input: &Input) -> Vec<u32> {
    input.as_text().map(|text| text.ids().collect()).unwrap_or_default()
}

impl Perturber for FakePerturber<'_> {
    fn rows(&self, mask: &Mask) -> Vec<Row> {
        let Units::Text { members, .. } = self.units else { return Vec::new() };
        let mut ids = ids(self.input);
        let mut absent: Vec<usize> =
            (0..members.len()).filter(|&unit| !mask.contains(unit)).flat_map(|unit| members[unit].clone()).collect();
        absent.sort_unstable();
        for index in absent.into_iter().rev() {
            ids.remove(index);
        }
        vec![row(ids); self.rows]
    }
}

impl Readout for FakeTask {
    fn perturber<'a>(
        &self,
        _spec: &Spec,
        input: &'a Input,
        units: &'a Units,
        fill: Fill,
    ) -> Result<Box<dyn Perturber + 'a>, PerturbError> {
        match fill {
            Fill::Remove => Ok(Box::new(FakePerturber { input, units, rows: self.rows })),
            _ => Err(PerturbError::WrongKind("zero")),
        }
    }
    fn value(&self, logits: &[f32], target: &Target, _output: OutputSpace) -> f64 {
        logits.chunks(2).map(|row| f64::from(row[target.index()])).sum()
    }
    fn cotangent(&self, logits: &[f32], target: &Target, _output: OutputSpace) -> Vec<f32> {
        (0..logits.len()).map(|index| f32::from(u8::from(index % 2 == target.index()))).collect()
    }
}

impl Task for FakeTask {
    fn name(&self) -> &'static str {
        "text-classification"
    }
    fn whole(&self, _spec: &Spec, input: &Input) -> Rows {
        let ids = ids(input);
        let tokens = (0..ids.len()).collect();
        Rows { rows: vec![InputRow { row: row(ids), tokens }; self.rows], composition: Composition::default() }
    }
    fn check_target(&self, _spec: &TargetSpec) -> Result<usize, TargetError> {
        Ok(1)
    }
    fn targets(&self, spec: &TargetSpec, _input: &Input, _logits: &[f32]) -> Result<Vec<Target>, TargetError> {
        match spec {
            TargetSpec::Index(index) if *index < 2 => Ok(vec![Target::class("YES", *index as usize)]),
            _ => Err(TargetError { path: "/0".to_owned(), detail: "no such class".to_owned() }),
        }
    }
    fn focus(&self, _: &Spec, _: &Input, rows: &Rows, logits: &[f32], _: &[Target]) -> Focus {
        let looked = (self.rows == 1).then_some(0);
        Focus { readout: Box::new(Self { rows: self.rows }), logits: logits.to_vec(), rows: rows.clone(), looked }
    }
    fn outputs(&self, _target: &TargetSpec) -> Outputs {
        Outputs::Number
    }
    fn prediction(&self, _input: &Input, logits: &[f32]) -> Prediction {
        let scores = logits.iter().enumerate();
        let scores = scores.map(|(index, &logit)| ClassScore { label: String::new(), index, logit, probability: None });
        Prediction::Class(ClassPrediction {
            label: String::new(),
            index: 0,
            probability: None,
            scores: scores.collect(),
        })
    }
}

/// A text of one word a token between two specials; token i has id i + 1.
pub fn text(words: usize) -> Input {
    let token = |index: usize| {
        let special = index == 0 || index == words + 1;
        Token {
            id: index as u32 + 1,
            text: String::new(),
            start: 0,
            end: 0,
            special,
            word: (!special).then(|| index - 1),
            sequence: None,
        }
    };
    Input::Text(TextInput {
        text: String::new(),
        pair: None,
        tokens: (0..words + 2).map(token).collect(),
        type_ids: vec![0; words + 2],
        words: vec![Word { text: String::new(), start: 0, end: 0, sequence: None }; words],
        original_tokens: words + 2,
        windows: Vec::new(),
        continuation: None,
        specials: SpecialIds::default(),
        sha256: String::new(),
    })
}
