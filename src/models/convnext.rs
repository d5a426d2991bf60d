//! ConvNeXt (Liu et al. 2022), as transformers' `ConvNextForImageClassification`. Layer scales are folded into the
//! linear layers before them.

use serde::Deserialize;

use super::batch::Batch;
use super::config::{self, Common};
use super::convolution::{Maps, Named, stages};
use super::encoder::outputs;
use super::tap::Recorder;
use super::vision::{self, Side};
use super::vision_transformer::projection;
use super::{Family, LoadError, Model, Outputs, Spec, TapPlan, Weights};
use crate::hub::ModelFolder;
use crate::nn::{self, Activation, Conv2d, Depthwise, LayerNorm, Linear, Node, Patches, Tape, mean_rows};

pub struct ConvNext;

impl Family for ConvNext {
    fn model_types(&self) -> &'static [&'static str] {
        &["convnext"]
    }

    fn architectures(&self) -> &'static [&'static str] {
        &["ConvNextForImageClassification"]
    }

    fn load(&self, folder: &ModelFolder, weights: &Weights<'_>) -> Result<Box<dyn Model>, LoadError> {
        let bytes = folder.file("config.json").unwrap_or_default();
        let (common, config): (Common, Config) = (config::read(bytes)?, config::read(bytes)?);
        let size = vision::input_size(folder, config.image_size.pair("image_size")?)?;
        Ok(Box::new(ConvNextModel::new(&common, &config, size, weights)?))
    }
}

/// The keys of `ConvNextConfig` that matter to a forward, with its defaults.
#[derive(Deserialize)]
#[serde(default)]
struct Config {
    num_channels: usize,
    patch_size: Side,
    hidden_sizes: Vec<usize>,
    depths: Vec<usize>,
    hidden_act: String,
    layer_norm_eps: f64,
    layer_scale_init_value: f64,
    image_size: Side,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            num_channels: 3,
            patch_size: Side::Square(4),
            hidden_sizes: vec![96, 192, 384, 768],
            depths: vec![3, 3, 9, 3],
            hidden_act: "gelu".into(),
            layer_norm_eps: 1e-12,
            layer_scale_init_value: 1e-6,
            image_size: Side::Square(224),
        }
    }
}

/// Of every norm but the last.
const EPSILON: f32 = 1e-6;
/// Side of the depthwise windows.
const WINDOW: usize = 7;

struct ConvNextModel {
    spec: Spec,
    patches: Patches,
    projection: Linear,
    first_norm: LayerNorm,
    stages: Vec<Stage>,
    activation: Activation,
    /// Pixels of the last map.
    last: usize,
    norm: LayerNorm,
    classifier: Linear,
}

struct Stage {
    /// Halves the maps; the first stage has none.
    halve: Option<(LayerNorm, Conv2d)>,
    blocks: Vec<Block>,
    /// Rows and columns of its maps.
    grid: (usize, usize),
}

/// x + down(activation(up(norm(depthwise(x))))).
struct Block {
    depthwise: Depthwise,
    norm: LayerNorm,
    up: Linear,
    down: Linear,
}

impl ConvNextModel {
    fn new(common: &Common, config: &Config, size: (usize, usize), weights: &Weights<'_>) -> Result<Self, LoadError> {
        vision::check_channels(config.num_channels)?;
        vision::check_pixels("image_size", size)?;
        let widths = stages(&config.hidden_sizes, &config.depths)?;
        let patch = config.patch_size.pair("patch_size")?;
        let (rows, cols) = vision::grid(size, patch)?;
        let patches =
            Patches { channels: 3, patch_rows: patch.0, patch_cols: patch.1, grid_rows: rows, grid_cols: cols };
        let mut maps = Maps { rows, cols, channels: config.hidden_sizes[0] };
        let projection = projection(weights, "convnext.embeddings.patch_embeddings", &patches, maps.channels)?;
        let first_norm = weights.layer_norm("convnext.embeddings.layernorm", maps.channels, EPSILON)?;
        let mut stages = Vec::new();
        for (index, &(width, depth)) in widths.iter().enumerate() {
            let name = format!("convnext.encoder.stages.{index}");
            stages.push(Stage::new(weights, &name, config, &mut maps, (index > 0, width, depth))?);
        }
        let (width, blocks) = (maps.channels, widths.iter().map(|(_, depth)| depth).sum());
        let activation = config::activation(&config.hidden_act)?;
        let image = vision::maps(size, (maps.rows, maps.cols), blocks);
        let spec = vision::spec("convnext", common, image, (width, blocks, 0), &[activation])?;
        Ok(Self {
            patches,
            projection,
            first_norm,
            stages,
            activation,
            last: maps.rows * maps.cols,
            norm: weights.layer_norm("convnext.layernorm", width, config::epsilon(config.layer_norm_eps)?)?,
            classifier: weights.linear("classifier", width, spec.labels.len(), true)?,
            spec,
        })
    }
}

impl Stage {
    fn new(
        weights: &Weights<'_>,
        name: &str,
        config: &Config,
        maps: &mut Maps,
        (halves, width, depth): (bool, usize, usize),
    ) -> Result<Self, LoadError> {
        let halve = match halves {
            true => {
                let norm = weights.layer_norm(&format!("{name}.downsampling_layer.0"), maps.channels, EPSILON)?;
                let conv = format!("{name}.downsampling_layer.1");
                let named = Named { conv: &conv, bias: true, norm: None };
                Some((norm, maps.convolve(weights, &named, width, (2, 2, 0))?))
            }
            false => None,
        };
        let scaled = config.layer_scale_init_value > 0.0;
        let blocks = (0..depth).map(|index| Block::new(weights, &format!("{name}.layers.{index}"), *maps, scaled));
        Ok(Self { halve, blocks: blocks.collect::<Result<_, _>>()?, grid: (maps.rows, maps.cols) })
    }
}

impl Block {
    fn new(weights: &Weights<'_>, name: &str, maps: Maps, scaled: bool) -> Result<Self, LoadError> {
        let width = maps.channels;
        let weight = weights.tensor(&format!("{name}.dwconv.weight"), &[width, 1, WINDOW, WINDOW])?;
        let bias = weights.tensor(&format!("{name}.dwconv.bias"), &[width])?;
        let scale = match scaled {
            true => weights.tensor(&format!("{name}.layer_scale_parameter"), &[width])?,
            false => vec![1.0; width],
        };
        Ok(Self {
            depthwise: Depthwise::new(&weight, bias, (maps.rows, maps.cols), WINDOW)?,
            norm: weights.layer_norm(&format!("{name}.layernorm"), width, EPSILON)?,
            up: weights.linear(&format!("{name}.pwconv1"), width, 4 * width, true)?,
            down: vision::scaled_linear(weights, &format!("{name}.pwconv2"), 4 * width, &scale)?,
        })
    }

    fn forward(&self, tape: &mut Tape<'_>, x: &Node, activation: Activation) -> Result<Node, nn::Error> {
        let y = self.depthwise.forward(tape, x)?;
        let y = self.norm.forward(tape, &y)?;
        let y = self.up.forward_activated(tape, &y, activation)?;
        self.down.forward_add(tape, &y, x)
    }
}

impl Model for ConvNextModel {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn embed(&self, tape: &mut Tape<'_>, batch: &Batch) -> Result<Node, nn::Error> {
        vision::pixels(tape, batch, self.spec.image.as_ref())
    }

    fn forward(&self, tape: &mut Tape<'_>, batch: &Batch, taps: &TapPlan) -> Result<Outputs, nn::Error> {
        let mut recorder = Recorder::of_images(taps, batch.rows.len());
        let input = self.embed(tape, batch)?;
        let x = self.patches.forward(tape, &input)?;
        let x = self.projection.forward(tape, &x)?;
        let mut x = self.first_norm.forward(tape, &x)?;
        let mut index = 0;
        for stage in &self.stages {
            if let Some((norm, conv)) = &stage.halve {
                let normed = norm.forward(tape, &x)?;
                x = conv.forward(tape, &normed)?;
            }
            for block in &stage.blocks {
                x = block.forward(tape, &x, self.activation)?;
                recorder.map(index, &x, stage.grid);
                index += 1;
                tape.step()?;
            }
        }
        let pooled = mean_rows(tape, &x, self.last, 0)?;
        let pooled = self.norm.forward(tape, &pooled)?;
        let logits = self.classifier.forward(tape, &pooled)?;
        outputs(input, logits, recorder.finish()?)
    }
}
