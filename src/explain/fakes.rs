//! Tests: models that compute nothing, inputs made by hand, a job over plain values.

use std::cell::Cell;
use std::cell::RefCell;
use std::sync::Arc;

use super::Audience;
use super::catalog::{Processor, ServedModel};
use super::run::Job;
use crate::config::Limits;
use crate::input::image::{Normalisation, Region};
use crate::input::text::Lexicon;
use crate::input::text::{SpecialIds, Token, Word};
use crate::input::units::Mask;
use crate::input::{ImageInput, Input, Kind, TextInput};
use crate::methods::{Ctx, Error, Masking, Pass, RowView, Variant, Warning};
use crate::models::{
    Batch, Capabilities, ImageSpec, Memory, Model, Outputs, Problem, Reads, SequenceItem, Spec, TapPlan,
};
use crate::nn::{self, Node, Stopped, Tape};
use crate::tasks::{Classification, Readout, Target};

struct FakeModel(Spec);

impl Model for FakeModel {
    fn spec(&self) -> &Spec {
        &self.0
    }
    fn embed(&self, _tape: &mut Tape<'_>, _batch: &Batch) -> Result<Node, nn::Error> {
        Err(nn::Error::NotFinite)
    }
    fn forward(&self, _tape: &mut Tape<'_>, _batch: &Batch, _taps: &TapPlan) -> Result<Outputs, nn::Error> {
        Err(nn::Error::NotFinite)
    }
}

pub fn spec(kind: Kind) -> Spec {
    Spec {
        architecture: "fake".into(),
        kind,
        labels: vec!["NEGATIVE".into(), "POSITIVE".into()],
        about: crate::models::About::Sequence,
        problem: Problem::SingleLabel,
        hidden: 4,
        embedding: 4,
        layers: 2,
        heads: 2,
        max_positions: 8,
        vocab: 100,
        token_types: 2,
        image: (kind == Kind::Image).then(|| ImageSpec {
            channels: 3,
            rows: 2,
            cols: 2,
            grid_rows: 1,
            grid_cols: 1,
            sequence: vec![SequenceItem::Named("cls".into()), SequenceItem::Patch([0, 0])],
            maps: 2,
        }),
        reads: Reads::First,
        capabilities: Capabilities::of_transformers(),
    }
}

/// `[CLS] hi [SEP]`
pub fn text_input() -> TextInput {
    let token = |id: u32, text: &str, word: Option<usize>| Token {
        id,
        text: text.into(),
        start: 0,
        end: if word.is_some() { 2 } else { 0 },
        special: word.is_none(),
        word,
        sequence: None,
    };
    TextInput {
        text: "hi".into(),
        pair: None,
        tokens: vec![token(1, "[CLS]", None), token(2, "hi", Some(0)), token(3, "[SEP]", None)],
        type_ids: vec![0; 3],
        words: vec![Word { text: "hi".into(), start: 0, end: 2, sequence: None }],
        original_tokens: 3,
        windows: Vec::new(),
        continuation: None,
        specials: SpecialIds::default(),
        sha256: "text-hash".into(),
    }
}

pub fn image_input() -> ImageInput {
    ImageInput {
        width: 4,
        height: 4,
        region: Region { x: 0.0, y: 0.0, width: 4.0, height: 4.0 },
        rows: 2,
        cols: 2,
        rgb: vec![0; 12],
        pixels: vec![0.0; 12],
        normalisation: Normalisation { scale: 1.0, mean: [0.0; 3], std: [1.0; 3] },
        bytes: b"hi".to_vec(),
        sha256: "image-hash".into(),
    }
}

/// A served model whose processor answers `input` to everything.
pub fn model(name: &str, input: Input) -> ServedModel {
    let spec = spec(input.kind());
    ServedModel {
        name: name.into(),
        source: format!("fake/{name}"),
        revision: None,
        sha256: "model-hash".into(),
        task: Arc::new(Classification::new(&spec)),
        model: Box::new(FakeModel(spec)),
        memory: Memory::default(),
        processor: Processor::Fixed(Box::new(input)),
    }
}

pub fn text_model(name: &str) -> ServedModel {
    model(name, Input::Text(text_input()))
}

pub fn image_model(name: &str) -> ServedModel {
    model(name, Input::Image(image_input()))
}

pub fn limits() -> Limits {
    Limits {
        body_bytes: 1000,
        pixels: 100,
        text_chars: 10,
        explanations: 4,
        max_evaluations: 1000,
        response_values: 1000,
        deadline_ms: 5000,
        batch_lines: 10,
        requests_per_minute_per_address: 0,
    }
}

/// A job that has its logits and evaluates nothing else. Its clock goes on by one each time it is read.
pub struct FakeJob {
    pub served: ServedModel,
    pub readout: Classification,
    pub input: Input,
    pub targets: Vec<Target>,
    pub logits: Vec<f32>,
    pub warnings: RefCell<Vec<Warning>>,
    pub clock: Cell<u8>,
}

impl FakeJob {
    pub fn new(targets: Vec<Target>, logits: Vec<f32>) -> Self {
        Self {
            served: text_model("a"),
            readout: Classification::new(&spec(Kind::Text)),
            input: Input::Text(text_input()),
            targets,
            logits,
            warnings: RefCell::default(),
            clock: Cell::new(0),
        }
    }
}

impl Ctx for FakeJob {
    fn spec(&self) -> &Spec {
        self.served.model.spec()
    }
    fn task(&self) -> &dyn Readout {
        &self.readout
    }
    fn input(&self) -> &Input {
        &self.input
    }
    fn targets(&self) -> &[Target] {
        &self.targets
    }
    fn seed(&self) -> u64 {
        0
    }
    fn logits(&self) -> &[f32] {
        &self.logits
    }
    fn partial(&self) -> bool {
        false
    }
    fn outputs(&self, _masking: Masking<'_>, _masks: &[Mask]) -> Result<Vec<Vec<f32>>, Error> {
        Err(Error::Model(nn::Error::NotFinite))
    }
    fn pass(&self, _pass: &Pass<'_>, _sink: &mut dyn FnMut(&RowView<'_>) -> Result<(), Error>) -> Result<(), Error> {
        Err(Error::Model(nn::Error::NotFinite))
    }
    fn embedding(&self, _ids: Option<&[u32]>) -> Result<Vec<f32>, Error> {
        Err(Error::Model(nn::Error::NotFinite))
    }
    fn variants(&self, _variants: &[Variant]) -> Result<Vec<Vec<f32>>, Error> {
        Err(Error::Model(nn::Error::NotFinite))
    }
    fn vectors(&self, _ids: &[u32]) -> Result<Vec<f32>, Error> {
        Err(Error::Model(nn::Error::NotFinite))
    }
    fn lexicon(&self) -> Option<&dyn Lexicon> {
        None
    }
    fn checkpoint(&self) -> Result<(), Stopped> {
        Ok(())
    }
    fn rows(&self) -> usize {
        0
    }
    fn warn(&self, code: &'static str, detail: String) {
        self.warnings.borrow_mut().push(Warning { code: code.into(), detail });
    }
}

impl Job for FakeJob {
    fn elapsed_ms(&self) -> f32 {
        self.clock.set(self.clock.get() + 1);
        f32::from(self.clock.get())
    }
    fn threads(&self) -> usize {
        2
    }
    fn device(&self) -> &'static str {
        "cpu"
    }
    fn audience(&self) -> &dyn Audience {
        &()
    }
    fn whole_logits(&self) -> &[f32] {
        &self.logits
    }
    fn warnings(&self) -> Vec<Warning> {
        self.warnings.borrow().clone()
    }
}
