//! Vision transformer (Dosovitskiy et al. 2020) with a classification head, as transformers'
//! `ViTForImageClassification`.

use serde::Deserialize;

use super::batch::{Batch, Content};
use super::config::{self, Common, Sizes};
use super::encoder::{Encoder, Layer, Mixing, NormPlace, Sequences, outputs};
use super::{
    About, Capabilities, Capability, Family, ImageSpec, LoadError, Model, Outputs, Reads, SequenceItem, Spec, TapPlan,
    Weights,
};
use crate::hub::ModelFolder;
use crate::input::Kind;
use crate::nn::{self, Array, LayerNorm, Linear, Node, Patches, Tape, add_constant, prepend};

pub struct Vit;

impl Family for Vit {
    fn model_types(&self) -> &'static [&'static str] {
        &["vit"]
    }

    fn architectures(&self) -> &'static [&'static str] {
        &["ViTForImageClassification"]
    }

    fn load(&self, folder: &ModelFolder, weights: &Weights<'_>) -> Result<Box<dyn Model>, LoadError> {
        let bytes = folder.file("config.json").unwrap_or_default();
        let (common, config): (Common, Config) = (config::read(bytes)?, config::read(bytes)?);
        Ok(Box::new(VitModel::new(&common, &config, weights)?))
    }
}

/// One number for a square, or height and width.
#[derive(Deserialize, Clone, Copy)]
#[serde(untagged)]
enum Side {
    Square(usize),
    Pair([usize; 2]),
}

impl Side {
    fn pair(self, key: &str) -> Result<(usize, usize), LoadError> {
        let (rows, cols) = match self {
            Self::Square(side) => (side, side),
            Self::Pair([rows, cols]) => (rows, cols),
        };
        Ok((config::check(key, rows, 1, 8_192)?, config::check(key, cols, 1, 8_192)?))
    }
}

/// The keys of `ViTConfig` that matter to a forward, with its defaults.
#[derive(Deserialize)]
#[serde(default)]
struct Config {
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    hidden_act: String,
    layer_norm_eps: f64,
    image_size: Side,
    patch_size: Side,
    num_channels: usize,
    qkv_bias: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3_072,
            hidden_act: "gelu".into(),
            layer_norm_eps: 1e-12,
            image_size: Side::Square(224),
            patch_size: Side::Square(16),
            num_channels: 3,
            qkv_bias: true,
        }
    }
}

struct VitModel {
    spec: Spec,
    patches: Patches,
    projection: Linear,
    class_token: Vec<f32>,
    positions: Vec<f32>,
    encoder: Encoder,
    norm: LayerNorm,
    classifier: Linear,
}

impl VitModel {
    fn new(common: &Common, config: &Config, weights: &Weights<'_>) -> Result<Self, LoadError> {
        let sizes = Sizes {
            hidden: config.hidden_size,
            layers: config.num_hidden_layers,
            heads: config.num_attention_heads,
            intermediate: config.intermediate_size,
        }
        .check()?;
        if config.num_channels != 3 {
            return Err(config::invalid("num_channels", format!("{}: images have 3 channels", config.num_channels)));
        }
        let image = image_spec(config)?;
        let patches = Patches {
            channels: 3,
            patch_rows: image.rows / image.grid_rows,
            patch_cols: image.cols / image.grid_cols,
            grid_rows: image.grid_rows,
            grid_cols: image.grid_cols,
        };
        let (labels, hidden) = (common.labels()?, sizes.hidden);
        let epsilon = config::epsilon(config.layer_norm_eps)?;
        let projection = "vit.embeddings.patch_embeddings.projection";
        let kernel = [hidden, 3, patches.patch_rows, patches.patch_cols];
        let weight = weights.tensor(&format!("{projection}.weight"), &kernel)?;
        let bias = weights.tensor(&format!("{projection}.bias"), &[hidden])?;
        let inputs = kernel[1] * kernel[2] * kernel[3];
        let layers = (0..sizes.layers)
            .map(|index| layer(weights, index, &sizes, epsilon, config.qkv_bias))
            .collect::<Result<_, _>>()?;
        let positions = weights.tensor("vit.embeddings.position_embeddings", &[1, image.sequence.len(), hidden])?;
        Ok(Self {
            projection: Linear::new(weight, Some(bias), inputs, hidden)?,
            class_token: weights.tensor("vit.embeddings.cls_token", &[1, 1, hidden])?,
            positions,
            patches,
            encoder: Encoder::new(layers, sizes.heads, config::activation(&config.hidden_act)?, NormPlace::Before),
            norm: weights.layer_norm("vit.layernorm", hidden, epsilon)?,
            classifier: weights.linear("classifier", hidden, labels.len(), true)?,
            spec: Spec {
                architecture: "vit".into(),
                kind: Kind::Image,
                about: About::Sequence,
                problem: common.problem(labels.len())?,
                labels,
                hidden,
                embedding: hidden,
                layers: sizes.layers,
                heads: sizes.heads,
                max_positions: image.sequence.len(),
                vocab: 0,
                token_types: 0,
                image: Some(image),
                reads: Reads::First,
                capabilities: Capabilities(vec![Capability::Forward, Capability::Gradient, Capability::Attention]),
            },
        })
    }
}

fn image_spec(config: &Config) -> Result<ImageSpec, LoadError> {
    let (rows, cols) = config.image_size.pair("image_size")?;
    let (patch_rows, patch_cols) = config.patch_size.pair("patch_size")?;
    let (grid_rows, grid_cols) = (rows / patch_rows, cols / patch_cols);
    if grid_rows * patch_rows != rows || grid_cols * patch_cols != cols {
        let detail = format!("patches of {patch_rows} × {patch_cols} do not fill {rows} × {cols}");
        return Err(config::invalid("patch_size", detail));
    }
    config::check("image_size", grid_rows * grid_cols, 1, 1 << 16)?;
    let cells = (0..grid_rows).flat_map(|row| (0..grid_cols).map(move |col| SequenceItem::Patch([row, col])));
    let sequence = std::iter::once(SequenceItem::Named("cls".into())).chain(cells).collect();
    Ok(ImageSpec { channels: 3, rows, cols, grid_rows, grid_cols, sequence })
}

/// Names of a layer's parts: those of transformers 5's `ViTModel`, and those of every release before.
fn layer(weights: &Weights<'_>, index: usize, sizes: &Sizes, epsilon: f32, qkv_bias: bool) -> Result<Layer, LoadError> {
    let new = format!("vit.layers.{index}.");
    let modern = weights.contains(&format!("{new}layernorm_before.weight"));
    let name = |now: &str, before: &str| match modern {
        true => format!("{new}{now}"),
        false => format!("vit.encoder.layer.{index}.{before}"),
    };
    let hidden = sizes.hidden;
    let projections = [("q_proj", "query"), ("k_proj", "key"), ("v_proj", "value")]
        .map(|(now, before)| name(&format!("attention.{now}"), &format!("attention.attention.{before}")));
    let projections = projections.each_ref().map(|name| (name.as_str(), hidden));
    let norm = |part: &str| weights.layer_norm(&name(part, part), hidden, epsilon);
    Ok(Layer {
        qkv: weights.stacked(&projections, hidden, qkv_bias)?,
        mixing: Mixing::Plain,
        output: weights.linear(&name("attention.o_proj", "attention.output.dense"), hidden, hidden, true)?,
        attention_norm: Some(norm("layernorm_before")?),
        up: weights.linear(&name("mlp.fc1", "intermediate.dense"), hidden, sizes.intermediate, true)?,
        down: weights.linear(&name("mlp.fc2", "output.dense"), sizes.intermediate, hidden, true)?,
        feed_forward_norm: norm("layernorm_after")?,
    })
}

impl Model for VitModel {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    /// The pixels themselves: images × channels·height·width.
    fn embed(&self, tape: &mut Tape<'_>, batch: &Batch) -> Result<Node, nn::Error> {
        let image = self.patches.pixels();
        let mut out = Vec::with_capacity(batch.rows.len() * image);
        for row in &batch.rows {
            match &row.content {
                Content::Pixels(pixels) if pixels.len() == image => out.extend_from_slice(pixels),
                _ => return Err(nn::Error::Shape { op: "vit", detail: "rows that are no images of its size".into() }),
            }
        }
        Ok(tape.variable(Array::new(out, batch.rows.len(), image)))
    }

    fn forward(&self, tape: &mut Tape<'_>, batch: &Batch, taps: &TapPlan) -> Result<Outputs, nn::Error> {
        let input = self.embed(tape, batch)?;
        let patches = self.patches.forward(tape, &input)?;
        let x = self.projection.forward(tape, &patches)?;
        let length = self.positions.len() / self.spec.hidden;
        let x = prepend(tape, &x, &self.class_token, length - 1)?;
        let images = batch.rows.len();
        let positions = Array::new(self.positions.repeat(images), images * length, self.spec.hidden);
        let x = add_constant(tape, &x, &positions)?;
        let offsets = (0..=images).map(|image| image * length).collect();
        let read = batch.rows.iter().enumerate().flat_map(|(i, row)| row.read.iter().map(move |at| i * length + at));
        let sequences = Sequences { offsets, read: read.collect() };
        let (x, maps) = self.encoder.forward(tape, x, &sequences, taps)?;
        let x = self.norm.forward(tape, &x)?;
        let logits = self.classifier.forward(tape, &x)?;
        outputs(input, logits, maps)
    }
}
