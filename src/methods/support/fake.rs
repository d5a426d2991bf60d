//! A job over plain functions, for tests of methods: no model, no tokenizer, no clock.

pub mod inside;
mod lexicon;

use std::cell::{Cell, RefCell};

use crate::input::image::{ImageInput, Normalisation, Region};
use crate::input::text::{Lexicon, SpecialIds, TextInput, Token, Word};
use crate::input::units::{Fill, Mask, Units};
use crate::input::{Input, Kind};
use crate::methods::{
    Attribution, Ctx, Error, Helpers, Inside, Masking, Pass, Proposal, RowView, Splice, Subject, Variant, Warning,
};
use crate::models::{Capabilities, Capability, Content, ImageSpec, Problem, Reads, Row, SequenceItem, Spec};
use crate::nn::{self, Precision, Rule, Stopped};
use crate::tasks::{
    Class, ClassPrediction, ClassSpec, Focus, OutputSpace, PerturbError, Perturber, Prediction, Readout, Rows, Target,
    TargetError, TargetSpec, Task, Verdict,
};

pub use lexicon::FakeLexicon;

/// Hidden size of the fake embeddings.
pub const HIDDEN: usize = 4;
/// Layers and heads of the fake attention.
pub const LAYERS: usize = 3;
pub const HEADS: usize = 2;

type Logits = dyn Fn(&[f32]) -> Vec<f32>;
/// Embedding and d value / d logits → d value / d embedding.
type Backward = dyn Fn(&[f32], &[f32]) -> Vec<f32>;
type MaskLogits = dyn Fn(&Units, &Mask) -> Vec<f32>;

pub struct Fake {
    pub spec: Spec,
    pub task: FakeTask,
    pub input: Input,
    pub targets: Vec<Target>,
    pub seed: u64,
    pub logits: Vec<f32>,
    pub partial: bool,
    pub white: Box<Logits>,
    pub backward: Box<Backward>,
    pub black: Box<MaskLogits>,
    /// Rows until the deadline passes.
    pub left: Cell<Option<usize>>,
    pub rows: Cell<usize>,
    pub warnings: RefCell<Vec<Warning>>,
    /// The last pass's.
    pub rule: Cell<Option<Rule>>,
    /// Whether somebody follows the job, and what was shown to them.
    pub followed: bool,
    pub refined: RefCell<Vec<Vec<Attribution>>>,
    pub lexicon: FakeLexicon,
    /// What the masked language model `words` would write, the same in every place.
    pub proposals: Vec<(&'static str, f64)>,
}

/// The model `words` fills masks.
pub struct FakeHelpers;

impl Helpers for FakeHelpers {
    fn fills_masks(&self, name: &str) -> Result<(), String> {
        if name == "words" { Ok(()) } else { Err(format!("model \"{name}\" fills no masks")) }
    }
}

impl Fake {
    /// A text of `words` one-token words between two specials, over a model that says nothing yet.
    pub fn text(words: usize) -> Self {
        Self::over(Input::Text(text(words)), Kind::Text, None)
    }

    /// A picture of `side` × `side` pixels, patches of 2 × 2.
    pub fn image(side: usize) -> Self {
        let grid = side / 2;
        let patches = (0..grid * grid).map(|cell| SequenceItem::Patch([cell / grid, cell % grid]));
        let sequence = std::iter::once(SequenceItem::Named("cls".into())).chain(patches).collect();
        let spec =
            ImageSpec { channels: 3, rows: side, cols: side, grid_rows: grid, grid_cols: grid, sequence, maps: LAYERS };
        Self::over(Input::Image(image(side)), Kind::Image, Some(spec))
    }

    fn over(input: Input, kind: Kind, image: Option<ImageSpec>) -> Self {
        let spec = Spec {
            architecture: "fake".into(),
            kind,
            labels: vec!["NO".into(), "YES".into()],
            about: crate::models::About::Sequence,
            problem: Problem::SingleLabel,
            hidden: HIDDEN,
            embedding: HIDDEN,
            layers: LAYERS,
            heads: HEADS,
            max_positions: 512,
            vocab: 100,
            token_types: 0,
            image,
            reads: Reads::First,
            capabilities: Capabilities(
                [Capabilities::of_transformers().0, vec![Capability::FeatureMap, Capability::Relu]].concat(),
            ),
        };
        Self {
            spec,
            task: FakeTask { probability: true },
            input,
            targets: vec![target(1)],
            seed: 0,
            logits: vec![0.0, 0.0],
            partial: false,
            white: Box::new(|_| vec![0.0, 0.0]),
            backward: Box::new(|embedding, _| vec![0.0; embedding.len()]),
            black: Box::new(|_, _| vec![0.0, 0.0]),
            left: Cell::new(None),
            rows: Cell::new(0),
            warnings: RefCell::new(Vec::new()),
            rule: Cell::new(None),
            followed: false,
            refined: RefCell::new(Vec::new()),
            lexicon: FakeLexicon::default(),
            proposals: Vec::new(),
        }
    }

    /// A function of the embedding with its vector-Jacobian product.
    pub fn white(
        mut self,
        logits: impl Fn(&[f32]) -> Vec<f32> + 'static,
        backward: impl Fn(&[f32], &[f32]) -> Vec<f32> + 'static,
    ) -> Self {
        self.logits = logits(&self.own_embedding());
        self.white = Box::new(logits);
        self.backward = Box::new(backward);
        self
    }

    /// A function of the units present; `units` is how many there will be.
    pub fn black(mut self, units: &Units, logits: impl Fn(&Units, &Mask) -> Vec<f32> + 'static) -> Self {
        self.logits = logits(units, &Mask::full(units.len()));
        self.black = Box::new(logits);
        self
    }

    pub fn subject(&self) -> Subject<'_> {
        Subject {
            spec: &self.spec,
            task: &self.task,
            input: &self.input,
            target: &TargetSpec::Predicted,
            targets: self.targets.len(),
            seed: self.seed,
            precision: Precision::F32,
            max_evaluations: 20_000,
            response_values: 4_000_000,
            helpers: &FakeHelpers,
        }
    }

    pub fn units(&self) -> Units {
        match &self.input {
            Input::Text(text) => Units::words(text),
            Input::Image(_) => unreachable!("tests of images bring their units"),
        }
    }

    pub fn codes(&self) -> Vec<String> {
        self.warnings.borrow().iter().map(|warning| warning.code.clone()).collect()
    }

    fn own_embedding(&self) -> Vec<f32> {
        match &self.input {
            Input::Text(text) => text.ids().flat_map(word_embedding).collect(),
            Input::Image(image) => image.pixels.clone(),
        }
    }

    /// The mean gradient between a pair's variants: complete, and DeepLIFT's own where the function has one
    /// non-linearity.
    fn multipliers(&self, pass: &Pass<'_>, row: usize, at: &crate::methods::Objective) -> Vec<f32> {
        let variant = |row: usize| {
            let mut embedding = self.own_embedding();
            if let Some(write) = pass.embedding {
                write(row, &mut embedding);
            }
            embedding
        };
        let (input, baseline) = (variant(row / 2 * 2), variant(row / 2 * 2 + 1));
        let mut mean = vec![0.0; input.len()];
        for step in 0..500 {
            let alpha = (step as f32 + 0.5) / 500.0;
            let x: Vec<f32> = input.iter().zip(&baseline).map(|(x, from)| from + alpha * (x - from)).collect();
            let gradient = (self.backward)(&x, &self.task.cotangent(&(self.white)(&x), &at.target, at.output));
            mean.iter_mut().zip(gradient).for_each(|(mean, g)| *mean += f64::from(g) / 500.0);
        }
        mean.into_iter().map(|x| x as f32).collect()
    }

    fn step(&self) -> Result<(), Error> {
        if let Some(left) = self.left.get() {
            if left == 0 {
                return Err(nn::Error::Stopped(Stopped::Deadline).into());
            }
            self.left.set(Some(left - 1));
        }
        self.rows.set(self.rows.get() + 1);
        Ok(())
    }
}

impl Ctx for Fake {
    fn spec(&self) -> &Spec {
        &self.spec
    }
    fn task(&self) -> &dyn Readout {
        &self.task
    }
    fn input(&self) -> &Input {
        &self.input
    }
    fn targets(&self) -> &[Target] {
        &self.targets
    }
    fn seed(&self) -> u64 {
        self.seed
    }
    fn logits(&self) -> &[f32] {
        &self.logits
    }
    fn partial(&self) -> bool {
        self.partial
    }

    fn outputs(&self, masking: Masking<'_>, masks: &[Mask]) -> Result<Vec<Vec<f32>>, Error> {
        let rounded = |logit: f32| match masking.precision {
            Precision::F32 => logit,
            Precision::Bf16 => half::bf16::from_f32(logit).to_f32(),
        };
        let logits = |mask| (self.black)(masking.units, mask).into_iter().map(rounded).collect();
        masks.iter().map(|mask| self.step().map(|()| logits(mask))).collect()
    }

    fn pass(&self, pass: &Pass<'_>, sink: &mut dyn FnMut(&RowView<'_>) -> Result<(), Error>) -> Result<(), Error> {
        self.rule.set(Some(pass.rule));
        for row in 0..pass.rows {
            self.step()?;
            let mut embedding = self.own_embedding();
            if let Some(write) = pass.embedding {
                write(row, &mut embedding);
            }
            let logits = (self.white)(&embedding);
            let value = |at: &crate::methods::Objective| self.task.value(&logits, &at.target, at.output);
            let values: Vec<f64> = pass.objectives.iter().map(value).collect();
            let gradient = |at: &crate::methods::Objective| match pass.rule {
                Rule::DeepLift => self.multipliers(pass, row, at),
                _ => (self.backward)(&embedding, &self.task.cotangent(&logits, &at.target, at.output)),
            };
            let gradients: Vec<Vec<f32>> = pass.objectives.iter().map(gradient).collect();
            let recording = self.record(&pass.taps, row, (&embedding, &logits), &gradients);
            let (attention, inside) = Inside::of_row(&recording, 0);
            let (attention, inside) = (&attention[..], &inside);
            let gradients: Vec<&[f32]> = gradients.iter().map(Vec::as_slice).filter(|_| !pass.taps.gradients).collect();
            sink(&RowView { row, logits: &logits, values: &values, gradients: &gradients, attention, inside })?;
        }
        Ok(())
    }

    fn embedding(&self, ids: Option<&[u32]>) -> Result<Vec<f32>, Error> {
        Ok(ids.map_or_else(|| self.own_embedding(), |ids| ids.iter().copied().flat_map(word_embedding).collect()))
    }

    fn variants(&self, variants: &[Variant]) -> Result<Vec<Vec<f32>>, Error> {
        let logits = |variant: &Variant| match variant {
            Variant::Spliced(splices) => {
                let ids = spliced(self.input.as_text().unwrap(), splices);
                (self.white)(&ids.into_iter().flat_map(word_embedding).collect::<Vec<f32>>())
            }
            Variant::Ids(ids) => (self.white)(&ids.iter().copied().flat_map(word_embedding).collect::<Vec<f32>>()),
            Variant::Pixels(pixels) => (self.white)(pixels),
        };
        variants.iter().map(|variant| self.step().map(|()| logits(variant))).collect()
    }

    fn proposals(&self, _: &str, words: &[usize], count: usize) -> Result<Vec<Vec<Proposal>>, Error> {
        self.step()?;
        let proposal = |&(text, log_probability): &(&str, f64)| Proposal { text: text.into(), log_probability };
        Ok(vec![self.proposals.iter().take(count).map(proposal).collect(); words.len()])
    }

    fn vectors(&self, ids: &[u32]) -> Result<Vec<f32>, Error> {
        Ok(ids.iter().copied().flat_map(word_embedding).collect())
    }

    fn lexicon(&self) -> Option<&dyn Lexicon> {
        self.input.as_text().map(|_| &self.lexicon as &dyn Lexicon)
    }

    fn checkpoint(&self) -> Result<(), Stopped> {
        if self.left.get() == Some(0) { Err(Stopped::Deadline) } else { Ok(()) }
    }

    fn rows(&self) -> usize {
        self.rows.get()
    }

    fn followed(&self) -> bool {
        self.followed
    }

    fn refine(&self, attributions: Vec<Attribution>) {
        self.refined.borrow_mut().push(attributions);
    }

    fn warn(&self, code: &'static str, detail: String) {
        self.warnings.borrow_mut().push(Warning { code: code.into(), detail });
    }
}

impl Fake {
    pub fn length(&self) -> usize {
        self.spec.row_tokens(self.input.as_text().map_or(1, |text| text.tokens.len()))
    }
}

/// heads × length × length; each row a distribution that tells layer, head, query and key apart.
pub fn attention(layer: usize, length: usize) -> Vec<f32> {
    let weight = |head: usize, query: usize, key: usize| (1 + layer + 2 * head + (query * 3 + key * 5) % 7) as f32;
    let row = |head, query| {
        let total: f32 = (0..length).map(|key| weight(head, query, key)).sum();
        (0..length).map(move |key| weight(head, query, key) / total).collect::<Vec<f32>>()
    };
    (0..HEADS).flat_map(|head| (0..length).flat_map(move |query| row(head, query))).collect()
}

/// The ids of `text` after `splices`.
pub fn spliced(text: &TextInput, splices: &[Splice]) -> Vec<u32> {
    let mut ids: Vec<Vec<u32>> = text.ids().map(|id| vec![id]).collect();
    for Splice { tokens, ids: new } in splices {
        ids[tokens.clone()].fill(Vec::new());
        ids[tokens.start].clone_from(new);
    }
    ids.concat()
}

/// A fixed, irregular row of the embedding table.
pub fn word_embedding(id: u32) -> Vec<f32> {
    (0..HIDDEN).map(|column| ((id as f32 + 1.0) * (column as f32 + 1.7) * 0.37).sin()).collect()
}

pub fn target(index: usize) -> Target {
    Target::class(["NO", "YES"][index], index)
}

fn text(words: usize) -> TextInput {
    let special = |id: u32, text: &str| Token {
        id,
        text: text.into(),
        start: 0,
        end: 0,
        special: true,
        word: None,
        sequence: None,
    };
    let token = |word: usize| Token {
        id: 10 + word as u32,
        text: format!("w{word}"),
        start: 3 * word,
        end: 3 * word + 2,
        special: false,
        word: Some(word),
        sequence: None,
    };
    let mut tokens = vec![special(1, "[CLS]")];
    tokens.extend((0..words).map(token));
    tokens.push(special(2, "[SEP]"));
    let word = |word: usize| Word { text: format!("w{word}"), start: 3 * word, end: 3 * word + 2, sequence: None };
    TextInput {
        text: (0..words).map(|word| format!("w{word}")).collect::<Vec<_>>().join(" "),
        pair: None,
        type_ids: vec![0; tokens.len()],
        original_tokens: tokens.len(),
        windows: Vec::new(),
        continuation: None,
        tokens,
        words: (0..words).map(word).collect(),
        specials: SpecialIds { pad: Some(0), mask: Some(3), cls: Some(1), sep: Some(2), ..SpecialIds::default() },
        sha256: String::new(),
    }
}

fn image(side: usize) -> ImageInput {
    let normalisation = Normalisation { scale: 1.0 / 255.0, mean: [0.5; 3], std: [0.5, 0.25, 1.0] };
    let rgb: Vec<u8> = (0..side * side * 3).map(|index| (index * 37 % 251) as u8).collect();
    let pixel = |channel: usize| {
        let rgb = &rgb;
        let normalisation = &normalisation;
        (0..side * side).map(move |pixel| normalisation.value(f32::from(rgb[3 * pixel + channel]), channel))
    };
    ImageInput {
        width: side,
        height: side,
        region: Region { x: 0.0, y: 0.0, width: side as f32, height: side as f32 },
        rows: side,
        cols: side,
        pixels: (0..3).flat_map(pixel).collect(),
        rgb,
        normalisation,
        bytes: Vec::new(),
        sha256: String::new(),
    }
}

/// Softmax over the labels, or with `probability` false a regression.
pub struct FakeTask {
    pub probability: bool,
}

impl FakeTask {
    fn probability(logits: &[f32], index: usize) -> f64 {
        let sum: f64 = logits.iter().map(|&logit| f64::from(logit - logits[index]).exp()).sum();
        sum.recip()
    }
}

/// [`Fake`] answers from its function; the rows are for who wants to see them: present tokens, pixels or zeros.
struct Shown<'a> {
    input: &'a Input,
    units: &'a Units,
}

impl Perturber for Shown<'_> {
    fn rows(&self, mask: &Mask) -> Vec<Row> {
        let content = match (self.input, self.units) {
            (Input::Text(text), Units::Text { members, .. }) => {
                let absent = |token: &usize| {
                    members.iter().enumerate().any(|(unit, own)| own.contains(token) && !mask.contains(unit))
                };
                let there = (0..text.tokens.len()).filter(|token| !absent(token));
                Content::Tokens { ids: there.map(|token| text.tokens[token].id).collect(), type_ids: Vec::new() }
            }
            (Input::Image(image), Units::Image { segmentation, .. }) => {
                let there = segmentation.labels.iter().map(|&label| mask.contains(usize::from(label)));
                let pixels = image.pixels.iter().zip(there.cycle());
                Content::Pixels(pixels.map(|(&pixel, there)| if there { pixel } else { 0.0 }).collect())
            }
            _ => return Vec::new(),
        };
        vec![Row { content, read: vec![0] }]
    }
}

impl Readout for FakeTask {
    fn perturber<'a>(
        &self,
        _: &Spec,
        input: &'a Input,
        units: &'a Units,
        _: Fill,
    ) -> Result<Box<dyn Perturber + 'a>, PerturbError> {
        Ok(Box::new(Shown { input, units }))
    }
    fn value(&self, logits: &[f32], target: &Target, output: OutputSpace) -> f64 {
        match output {
            OutputSpace::Logit => f64::from(logits[target.index()]),
            OutputSpace::Probability => Self::probability(logits, target.index()),
            OutputSpace::LogProbability => Self::probability(logits, target.index()).ln(),
            OutputSpace::LogOdds => {
                let own = Self::probability(logits, target.index());
                (own / (1.0 - own)).ln()
            }
            OutputSpace::Entropy => f64::NAN,
        }
    }
    fn cotangent(&self, logits: &[f32], target: &Target, output: OutputSpace) -> Vec<f32> {
        let own = Self::probability(logits, target.index());
        let slope = |index: usize| {
            let same = if index == target.index() { 1.0 } else { 0.0 };
            match output {
                OutputSpace::Logit => same,
                OutputSpace::Probability => own * (same - Self::probability(logits, index)),
                OutputSpace::LogProbability => same - Self::probability(logits, index),
                OutputSpace::LogOdds => (same - Self::probability(logits, index)) / (1.0 - own),
                OutputSpace::Entropy => f64::NAN,
            }
        };
        (0..logits.len()).map(|index| slope(index) as f32).collect()
    }
    fn verdict(&self, logits: &[f32], target: &Target) -> Option<Verdict> {
        let own = f64::from(logits[target.index()]);
        let others = logits.iter().enumerate().filter(|&(index, _)| index != target.index());
        let margin = own - others.map(|(_, &logit)| f64::from(logit)).fold(f64::NEG_INFINITY, f64::max);
        self.probability.then_some(Verdict { answers: margin > 0.0, margin })
    }
}

impl Task for FakeTask {
    fn name(&self) -> &'static str {
        "fake"
    }
    fn whole(&self, _: &Spec, _: &Input) -> Rows {
        Rows::default()
    }
    fn check_target(&self, _: &TargetSpec) -> Result<usize, TargetError> {
        Ok(1)
    }
    fn targets(&self, _: &TargetSpec, _: &Input, _: &[f32]) -> Result<Vec<Target>, TargetError> {
        Ok(vec![target(1)])
    }
    fn focus(&self, _: &Spec, _: &Input, _: &Rows, logits: &[f32], _: &[Target]) -> Focus {
        let readout = Self { probability: self.probability };
        Focus { readout: Box::new(readout), logits: logits.to_vec(), rows: Rows::default(), looked: None }
    }
    fn has_probability(&self, _: &TargetSpec) -> bool {
        self.probability
    }
    fn decides(&self, _: &TargetSpec) -> bool {
        self.probability
    }
    fn class(&self, spec: &ClassSpec) -> Result<Class, TargetError> {
        match spec {
            ClassSpec::Index(index @ 0..2) => {
                let index = *index as usize;
                Ok(Class { label: ["NO", "YES"][index].into(), index })
            }
            _ => Err(TargetError { path: String::new(), detail: "there is no such class; use 0 or 1".into() }),
        }
    }
    fn prediction(&self, _: &Input, _: &[f32]) -> Prediction {
        Prediction::Class(ClassPrediction { label: "YES".into(), index: 1, probability: None, scores: Vec::new() })
    }
}
