//! What a running method can ask for. `engine` implements [`Ctx`] over a model and its turn at the compute; tests
//! implement it over plain functions.

use std::ops::Range;

use crate::input::text::Lexicon;
use crate::input::units::{Fill, Mask, Units};
use crate::input::{Input, TextInput};
use crate::models::{Recording, Spec, StateMap, TapPlan};
use crate::nn::{Precision, Rule, Stopped};
use crate::tasks::{OutputSpace, Readout, Target};

use super::{Attribution, Error};

/// How masked inputs are made and evaluated.
#[derive(Debug, Clone, Copy)]
pub struct Masking<'a> {
    pub units: &'a Units,
    pub fill: Fill,
    pub precision: Precision,
}

/// What stands in the input's place.
#[derive(Debug, Clone, PartialEq)]
pub enum Variant {
    /// Token ids, one for each of the input's.
    Ids(Vec<u32>),
    /// The input with other tokens in the place of some of its own, in their order.
    Spliced(Vec<Splice>),
    /// The model's input: 3 × rows × cols, normalised.
    Pixels(Vec<f32>),
}

/// Tokens in the place of others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Splice {
    /// Indices in `input.tokens`.
    pub tokens: Range<usize>,
    /// As many as there are; none: the tokens go.
    pub ids: Vec<u32>,
}

/// A word that could stand in a place.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposal {
    pub text: String,
    pub log_probability: f64,
}

/// A scalar of a row's output that is differentiated.
#[derive(Debug, Clone, PartialEq)]
pub struct Objective {
    pub target: Target,
    pub output: OutputSpace,
}

impl Objective {
    /// One per target of `ctx`.
    pub fn of_targets(ctx: &dyn Ctx, output: OutputSpace) -> Vec<Self> {
        ctx.targets().iter().map(|target| Self { target: target.clone(), output }).collect()
    }
}

/// Writes the embedding of the variant with that number.
pub type WriteEmbedding<'a> = &'a dyn Fn(usize, &mut [f32]);

/// Instrumented forwards over variants of the input that differ in their embedding (text: word embeddings, tokens ×
/// hidden; images: normalised pixels, 3 × rows × cols) alone.
pub struct Pass<'a> {
    /// How many variants.
    pub rows: usize,
    /// Writes variant `row`'s embedding; called once a variant, in any order. `None`: the input's own.
    pub embedding: Option<WriteEmbedding<'a>>,
    /// Differentiated with respect to the embedding, or to what is tapped where `taps.gradients` says so; empty: no
    /// gradient is computed.
    pub objectives: &'a [Objective],
    /// What stands in the gradients' place. DeepLIFT's variants come in pairs: variant 2i is an input, 2i + 1 its
    /// baseline, and both get the pair's multipliers.
    pub rule: Rule,
    pub taps: TapPlan,
}

/// What one variant gave, lent to the sink of [`Ctx::pass`].
pub struct RowView<'a> {
    pub row: usize,
    pub logits: &'a [f32],
    /// One per objective: its value.
    pub values: &'a [f64],
    /// One per objective: d value / d embedding, or what the pass's rule puts there; none where `taps.gradients` asks for
    /// the taps' instead.
    pub gradients: &'a [&'a [f32]],
    /// One per tapped layer, in the plan's order.
    pub attention: &'a [TappedAttention<'a>],
    /// What else was tapped.
    pub inside: &'a Inside<'a>,
}

/// What a variant's forward showed beside its attention head by head, each list in the plan's order.
#[derive(Debug, Clone, Default)]
pub struct Inside<'a> {
    pub fused: Vec<TappedMap<'a>>,
    pub hidden: Vec<TappedState<'a>>,
    pub activations: Vec<TappedState<'a>>,
    pub maps: Vec<TappedState<'a>>,
    /// What the head makes of a layer: logits as [`RowView::logits`], in one position.
    pub lens: Vec<TappedState<'a>>,
    /// Of a vocabulary, the likeliest tokens that the head makes of each of `lens` at every position that is read, as
    /// [`crate::tasks::likeliest`] tells them.
    pub likeliest: Vec<TappedState<'a>>,
}

/// One layer's attention probabilities for one variant.
#[derive(Debug, Clone, Copy)]
pub struct TappedAttention<'a> {
    pub layer: usize,
    pub heads: usize,
    /// Length of the model's sequence: tokens, or the sequence of an image model.
    pub length: usize,
    /// heads × length × length (query, key).
    pub values: &'a [f32],
}

/// One layer's attention, its heads fused.
#[derive(Debug, Clone)]
pub struct TappedMap<'a> {
    pub layer: usize,
    pub length: usize,
    /// One, or of relevance one an objective: length × length (query, key).
    pub values: Vec<&'a [f32]>,
    /// Of relevance, one an objective: Σ |A ∘ dA| of each head.
    pub importance: Vec<&'a [f32]>,
}

/// One layer's numbers at every position.
#[derive(Debug, Clone)]
pub struct TappedState<'a> {
    pub layer: usize,
    /// Numbers of a position.
    pub width: usize,
    /// Of feature maps: rows and columns of the positions.
    pub grid: Option<(usize, usize)>,
    /// positions × width.
    pub values: &'a [f32],
    /// One an objective: d value / d `values`.
    pub gradients: Vec<&'a [f32]>,
}

impl<'a> Inside<'a> {
    /// Row `row` of a recording.
    pub fn of_row(recording: &'a Recording, row: usize) -> (Vec<TappedAttention<'a>>, Self) {
        let attention = recording.attention.iter().map(|map| {
            let (layer, heads, length) = (map.layer, map.heads, map.lengths[row]);
            TappedAttention { layer, heads, length, values: map.row(row) }
        });
        let fused = recording.fused.iter().map(|map| {
            let (layer, length) = (map.layer, map.lengths[row]);
            TappedMap { layer, length, values: map.row(row), importance: map.importance_of(row) }
        });
        let states = |maps: &'a [StateMap]| maps.iter().map(|map| TappedState::of_row(map, row)).collect();
        let inside = Self {
            fused: fused.collect(),
            hidden: states(&recording.hidden),
            activations: states(&recording.activations),
            maps: states(&recording.maps),
            lens: states(&recording.lens),
            likeliest: states(&recording.likeliest),
        };
        (attention.collect(), inside)
    }
}

impl<'a> TappedState<'a> {
    fn of_row(map: &'a StateMap, row: usize) -> Self {
        let gradients = map.gradients.iter().map(|gradient| map.row(gradient, row)).collect();
        let StateMap { layer, width, grid, .. } = *map;
        Self { layer, width, grid, values: map.row(&map.values, row), gradients }
    }
}

/// The running job, as a method sees it.
pub trait Ctx {
    fn spec(&self) -> &Spec;
    /// What the targets' outputs are.
    fn task(&self) -> &dyn Readout;
    fn input(&self) -> &Input;
    fn targets(&self) -> &[Target];
    /// Every random choice follows from it.
    fn seed(&self) -> u64;
    /// The whole input's logits that the targets need: evaluated once a request.
    fn logits(&self) -> &[f32];
    /// True where a caller asked for the best answer so far when the deadline passes.
    fn partial(&self) -> bool;

    /// The black-box seam: the logits of the input with only the units of each mask present, one vector a mask.
    /// Equal masks are evaluated once a request; rows are batched by a token budget. The full mask is the prediction,
    /// in whatever precision.
    fn outputs(&self, masking: Masking<'_>, masks: &[Mask]) -> Result<Vec<Vec<f32>>, Error>;

    /// The white-box seam: runs the pass and hands every variant to `sink` in the order of rows. Memory does not
    /// grow with `pass.rows`.
    fn pass(&self, pass: &Pass<'_>, sink: &mut dyn FnMut(&RowView<'_>) -> Result<(), Error>) -> Result<(), Error>;

    /// The word embeddings (tokens × hidden) of `ids`, one per token of the input, or of the input itself; for images
    /// the pixels.
    fn embedding(&self, ids: Option<&[u32]>) -> Result<Vec<f32>, Error>;

    /// The logits of inputs that differ from the job's in their ids or pixels alone, one vector a variant, as
    /// [`Ctx::outputs`] gives them. Nothing is kept: a variant asked for twice is computed twice.
    fn variants(&self, variants: &[Variant]) -> Result<Vec<Vec<f32>>, Error>;

    /// For each of `words` (indices in `text.words`) what the loaded masked language model of that name would write in
    /// its place in `text`, the input's own: at most `count` other words, the likeliest first; none where its own tokens
    /// do not keep to the word.
    fn proposals(
        &self,
        _model: &str,
        _text: &TextInput,
        _words: &[usize],
        _count: usize,
    ) -> Result<Vec<Vec<Proposal>>, Error> {
        Err(Error::Missing { what: "a masked language model" })
    }

    /// The word embeddings (`ids` × hidden) of any ids.
    fn vectors(&self, ids: &[u32]) -> Result<Vec<f32>, Error>;

    /// The model's words; `None` where its input is no text.
    fn lexicon(&self) -> Option<&dyn Lexicon>;

    /// For loops that evaluate nothing for a while: an error once the deadline has passed or the caller has gone.
    fn checkpoint(&self) -> Result<(), Stopped>;

    /// Model rows computed for the request so far; 0 where nobody counts.
    fn rows(&self) -> usize {
        0
    }

    /// Whether somebody wants to see what there is before it is final.
    fn followed(&self) -> bool {
        false
    }

    /// Shows what a method has so far, one attribution a target, in their order. Worth preparing only
    /// where the job is `followed`.
    fn refine(&self, _attributions: Vec<Attribution>) {}

    /// Stands in the answer's `warnings`.
    fn warn(&self, code: &'static str, detail: String);
}
