//! The vision transformer that ViT, DeiT, DINOv2 and BEiT are: patches, tokens before them, positions, a pre-norm
//! encoder, and a head that reads some positions. A family says in a [`Design`] how it differs.

use serde::Deserialize;

use super::batch::Batch;
use super::config::{self, Common, Sizes};
use super::encoder::{Encoder, NormPlace, Sequences, outputs};
use super::positions::{Resampling, resample};
use super::tap::Recorder;
use super::vision::{self, Side};
use super::vision_stack::Stack;
use super::{ImageSpec, LoadError, Model, Outputs, Spec, TapPlan, Weights};
use crate::nn::{self, Activation, Array, LayerNorm, Linear, Node, Patches, Tape, mean_rows, prepend, select};

/// The keys of config.json that matter to a forward, with the defaults that most families have.
#[derive(Deserialize)]
#[serde(default)]
pub struct Keys {
    pub hidden_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub intermediate_size: usize,
    pub hidden_act: String,
    pub layer_norm_eps: Option<f64>,
    pub image_size: Side,
    pub patch_size: Option<Side>,
    pub num_channels: usize,
    pub qkv_bias: bool,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3_072,
            hidden_act: "gelu".into(),
            layer_norm_eps: None,
            image_size: Side::Square(224),
            patch_size: None,
            num_channels: 3,
            qkv_bias: true,
        }
    }
}

/// How a family differs from the others.
pub struct Design {
    /// `model_type`, and the first part of tensor names.
    pub name: &'static str,
    /// Rows and columns of the images; the positions may be those of another size.
    pub size: (usize, usize),
    /// Where config.json does not say: the side of a patch, and the ε of layer norms.
    pub patch: usize,
    pub epsilon: f64,
    /// What stands before the patches.
    pub tokens: Vec<Token>,
    pub positions: Positions,
    /// Tables of relative positions, a layer's own and the model's: as the hub names them, and transformers 5's
    /// modules.
    pub relative: [Option<[&'static str; 2]>; 2],
    /// Whether keys have a bias where queries have one.
    pub key_bias: bool,
    /// The layers' two norms.
    pub norms: [&'static str; 2],
    /// Tensors that scale what attention and feed-forward add.
    pub scales: Option<[&'static str; 2]>,
    /// Whether the feed-forward block is gated.
    pub gated: bool,
    pub heads: Vec<Head>,
    /// The tensor of the last norm, and whether it comes after the patches' mean.
    pub norm: &'static str,
    pub norm_after_mean: bool,
}

/// Tokens of one kind before the patches.
pub struct Token {
    /// Its tensor under `embeddings`.
    pub tensor: &'static str,
    /// What `input.sequence` calls it.
    pub name: &'static str,
    pub count: usize,
    /// Whether it has a position embedding.
    pub placed: bool,
}

impl Token {
    pub const CLASS: Self = Self { tensor: "cls_token", name: "cls", count: 1, placed: true };
}

/// Position embeddings of the patches.
pub enum Positions {
    /// Of the image's own size.
    Fixed,
    /// Of the size in config.json, resampled for the image's.
    Resampled(Resampling),
    None,
}

/// A linear head over what it reads, one after the other; the logits are the sum of all heads.
pub struct Head {
    pub tensor: &'static str,
    pub reads: Vec<Reading>,
    pub factor: f32,
}

impl Head {
    /// Over the class token.
    pub fn classifier() -> Self {
        Self { tensor: "classifier", reads: vec![Reading::Token(0)], factor: 1.0 }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// One of the tokens before the patches.
    Token(usize),
    /// The mean of all patches.
    Patches,
}

pub struct VisionTransformer {
    spec: Spec,
    patches: Patches,
    projection: Linear,
    /// Tokens before the patches, positions included: tokens × hidden.
    tokens: Vec<f32>,
    /// Of the patches; empty where there are none.
    positions: Vec<f32>,
    encoder: Encoder,
    norm: LayerNorm,
    norm_after_mean: bool,
    heads: Vec<(Reading, Linear)>,
    /// Positions of a sequence that the heads read, in order.
    kept: Vec<usize>,
}

impl VisionTransformer {
    pub fn new(design: &Design, common: &Common, keys: &Keys, weights: &Weights<'_>) -> Result<Self, LoadError> {
        let sizes = Sizes {
            hidden: keys.hidden_size,
            layers: keys.num_hidden_layers,
            heads: keys.num_attention_heads,
            intermediate: keys.intermediate_size,
        }
        .check()?;
        vision::check_channels(keys.num_channels)?;
        let patch = keys.patch_size.unwrap_or(Side::Square(design.patch)).pair("patch_size")?;
        let grid = vision::grid(design.size, patch)?;
        let hidden = sizes.hidden;
        let epsilon = config::epsilon(keys.layer_norm_eps.unwrap_or(design.epsilon))?;
        let embeddings = |part: &str| format!("{}.embeddings.{part}", design.name);
        let (tokens, positions) = embedded(design, keys, weights, patch, grid)?;
        let stack = Stack::new(design, keys, weights, (&sizes, epsilon), grid)?;
        let layers = (0..sizes.layers).map(|index| stack.layer(index));
        let activation = config::activation(if design.gated { "silu" } else { &keys.hidden_act })?;
        let spec = spec(design, common, grid, &sizes, activation)?;
        let heads = heads(design, weights, hidden, spec.labels.len())?;
        let patches =
            Patches { channels: 3, patch_rows: patch.0, patch_cols: patch.1, grid_rows: grid.0, grid_cols: grid.1 };
        Ok(Self {
            projection: projection(weights, &embeddings("patch_embeddings.projection"), &patches, hidden)?,
            patches,
            kept: kept(&heads, tokens.len() / hidden + grid.0 * grid.1),
            tokens,
            positions,
            encoder: Encoder {
                gated: design.gated,
                ..Encoder::new(layers.collect::<Result<_, _>>()?, sizes.heads, activation, NormPlace::Before)
            },
            norm: weights.layer_norm(&format!("{}.{}", design.name, design.norm), hidden, epsilon)?,
            norm_after_mean: design.norm_after_mean,
            heads,
            spec,
        })
    }

    /// Tokens before the patches.
    fn before(&self) -> usize {
        self.tokens.len() / self.spec.hidden
    }

    /// The logits of `x`, which holds the positions kept of every image.
    fn read(&self, tape: &mut Tape<'_>, x: &Node) -> Result<Node, nn::Error> {
        let normed = if self.norm_after_mean { x.clone() } else { self.norm.forward(tape, x)? };
        let (length, images) = (self.kept.len(), x.rows() / self.kept.len().max(1));
        let mut logits: Option<Node> = None;
        for (reading, head) in &self.heads {
            let mut read = match reading {
                Reading::Patches => mean_rows(tape, &normed, length, self.before())?,
                Reading::Token(_) if length == 1 => normed.clone(),
                Reading::Token(token) => {
                    let place = self.kept.iter().position(|kept| kept == token).unwrap_or(*token);
                    let rows: Vec<usize> = (0..images).map(|image| image * length + place).collect();
                    select(tape, &normed, &rows)?
                }
            };
            if self.norm_after_mean {
                read = self.norm.forward(tape, &read)?;
            }
            logits = Some(match logits {
                Some(sum) => head.forward_add(tape, &read, &sum)?,
                None => head.forward(tape, &read)?,
            });
        }
        logits.ok_or_else(|| nn::Error::Shape { op: "head", detail: "a model without a head".into() })
    }
}

fn spec(
    design: &Design,
    common: &Common,
    grid: (usize, usize),
    sizes: &Sizes,
    activation: Activation,
) -> Result<Spec, LoadError> {
    let named = design.tokens.iter().flat_map(|token| std::iter::repeat_n(token.name, token.count));
    let (rows, cols) = design.size;
    let sequence = vision::sequence(named, grid);
    let (grid_rows, grid_cols) = grid;
    let image = ImageSpec { channels: 3, rows, cols, grid_rows, grid_cols, sequence, maps: sizes.layers };
    let activations = if design.gated { &[][..] } else { &[activation] };
    vision::spec(design.name, common, image, (sizes.hidden, sizes.layers, sizes.heads), activations)
}

/// Patches to hidden states: a convolution whose stride is its kernel.
pub fn projection(weights: &Weights<'_>, name: &str, patches: &Patches, hidden: usize) -> Result<Linear, LoadError> {
    let shape = [hidden, patches.channels, patches.patch_rows, patches.patch_cols];
    let weight = weights.tensor(&format!("{name}.weight"), &shape)?;
    let bias = weights.tensor(&format!("{name}.bias"), &[hidden])?;
    Ok(Linear::new(weight, Some(bias), shape[1..].iter().product(), hidden)?)
}

/// The tokens before the patches with their positions, and the patches' positions.
fn embedded(
    design: &Design,
    keys: &Keys,
    weights: &Weights<'_>,
    patch: (usize, usize),
    grid: (usize, usize),
) -> Result<(Vec<f32>, Vec<f32>), LoadError> {
    let hidden = keys.hidden_size;
    let name = |part: &str| format!("{}.embeddings.{part}", design.name);
    let own = match design.positions {
        Positions::Fixed => grid,
        Positions::Resampled(_) => vision::grid(keys.image_size.pair("image_size")?, patch)?,
        Positions::None => (0, 0),
    };
    let placed: usize = design.tokens.iter().filter(|token| token.placed).map(|token| token.count).sum();
    let entries = placed + own.0 * own.1;
    let table = match entries {
        0 => Vec::new(),
        _ => weights.tensor(&name("position_embeddings"), &[1, entries, hidden])?,
    };
    let (before, patches) = table.split_at(placed * hidden);
    let mut places = before.chunks_exact(hidden);
    let mut tokens = Vec::new();
    for token in &design.tokens {
        let mut values = weights.tensor(&name(token.tensor), &[1, token.count, hidden])?;
        for value in values.chunks_exact_mut(hidden) {
            if let Some(place) = places.next().filter(|_| token.placed) {
                value.iter_mut().zip(place).for_each(|(value, place)| *value += place);
            }
        }
        tokens.extend(values);
    }
    let positions = match design.positions {
        Positions::Fixed | Positions::None => patches.to_vec(),
        Positions::Resampled(resampling) => resample(patches, hidden, own, grid, resampling),
    };
    Ok((tokens, positions))
}

/// Every head cut into the parts that read one thing each; the first part has the bias.
fn heads(
    design: &Design,
    weights: &Weights<'_>,
    hidden: usize,
    labels: usize,
) -> Result<Vec<(Reading, Linear)>, LoadError> {
    let mut parts = Vec::new();
    for head in &design.heads {
        let inputs = hidden * head.reads.len();
        let weight = weights.tensor(&format!("{}.weight", head.tensor), &[labels, inputs])?;
        let bias = weights.tensor(&format!("{}.bias", head.tensor), &[labels])?;
        let mut bias = Some(bias.into_iter().map(|bias| bias * head.factor).collect());
        for (index, &reading) in head.reads.iter().enumerate() {
            let columns = weight.chunks_exact(inputs).flat_map(|row| &row[index * hidden..][..hidden]);
            let own: Vec<f32> = columns.map(|weight| weight * head.factor).collect();
            parts.push((reading, Linear::new(own, bias.take(), hidden, labels)?));
        }
    }
    Ok(parts)
}

/// Which positions of a sequence of `length` the heads read: all of them where one reads the patches.
fn kept(heads: &[(Reading, Linear)], length: usize) -> Vec<usize> {
    if heads.iter().any(|(reading, _)| *reading == Reading::Patches) {
        return (0..length).collect();
    }
    let tokens = heads.iter().filter_map(|(reading, _)| match reading {
        Reading::Token(token) => Some(*token),
        Reading::Patches => None,
    });
    let mut kept: Vec<usize> = tokens.collect();
    kept.sort_unstable();
    kept.dedup();
    kept
}

impl Model for VisionTransformer {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn embed(&self, tape: &mut Tape<'_>, batch: &Batch) -> Result<Node, nn::Error> {
        vision::pixels(tape, batch, self.spec.image.as_ref())
    }

    fn forward(&self, tape: &mut Tape<'_>, batch: &Batch, taps: &TapPlan) -> Result<Outputs, nn::Error> {
        let input = self.embed(tape, batch)?;
        let images = batch.rows.len();
        let patches = self.patches.forward(tape, &input)?;
        let x = match self.positions.is_empty() {
            true => self.projection.forward(tape, &patches)?,
            false => {
                let positions = Array::new(self.positions.repeat(images), patches.rows(), self.spec.hidden);
                self.projection.forward_add(tape, &patches, &Node::constant(positions))?
            }
        };
        let (grid_rows, grid_cols) = (self.patches.grid_rows, self.patches.grid_cols);
        let x = prepend(tape, &x, &self.tokens, grid_rows * grid_cols)?;
        let length = grid_rows * grid_cols + self.before();
        let offsets: Vec<usize> = (0..=images).map(|image| image * length).collect();
        let read: Vec<usize> =
            (0..images).flat_map(|image| self.kept.iter().map(move |at| image * length + at)).collect();
        let mut recorder =
            Recorder::new(taps, self.spec.heads, &offsets, &read).with_patches((grid_rows, grid_cols), self.before());
        let x = self.encoder.forward(tape, x, &Sequences { offsets, read }, &mut recorder)?;
        let logits = self.read(tape, &x)?;
        recorder.read_lenses(tape, (self.spec.layers, &logits), |tape, x| self.read(tape, x))?;
        outputs(input, logits, recorder.finish()?)
    }
}
