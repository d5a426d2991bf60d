//! Residual networks (He et al. 2015, basic and bottleneck), as transformers' `ResNetForImageClassification`. Batch
//! norms are frozen and folded into the convolutions before them.

use serde::Deserialize;

use super::batch::Batch;
use super::config::{self, Common};
use super::convolution::{Maps, Named, stages};
use super::encoder::outputs;
use super::tap::Recorder;
use super::vision;
use super::{Family, LoadError, Model, Outputs, Spec, TapPlan, Weights};
use crate::hub::ModelFolder;
use crate::nn::{self, Activation, Conv2d, Linear, MaxPool, Node, Patches, Tape, mean_rows};

pub struct ResNet;

impl Family for ResNet {
    fn model_types(&self) -> &'static [&'static str] {
        &["resnet"]
    }

    fn architectures(&self) -> &'static [&'static str] {
        &["ResNetForImageClassification"]
    }

    fn load(&self, folder: &ModelFolder, weights: &Weights<'_>) -> Result<Box<dyn Model>, LoadError> {
        let bytes = folder.file("config.json").unwrap_or_default();
        let (common, config): (Common, Config) = (config::read(bytes)?, config::read(bytes)?);
        let size = vision::input_size(folder, (224, 224))?;
        Ok(Box::new(ResNetModel::new(&common, &config, size, weights)?))
    }
}

/// The keys of `ResNetConfig` that matter to a forward, with its defaults.
#[derive(Deserialize)]
#[serde(default)]
struct Config {
    num_channels: usize,
    embedding_size: usize,
    hidden_sizes: Vec<usize>,
    depths: Vec<usize>,
    layer_type: String,
    hidden_act: String,
    downsample_in_first_stage: bool,
    downsample_in_bottleneck: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            num_channels: 3,
            embedding_size: 64,
            hidden_sizes: vec![256, 512, 1_024, 2_048],
            depths: vec![3, 4, 6, 3],
            layer_type: "bottleneck".into(),
            hidden_act: "relu".into(),
            downsample_in_first_stage: false,
            downsample_in_bottleneck: false,
        }
    }
}

struct ResNetModel {
    spec: Spec,
    /// Pixels as rows, channels as columns.
    pixels: Patches,
    stem: Conv2d,
    pool: MaxPool,
    blocks: Vec<Block>,
    activation: Activation,
    /// Pixels of the last map.
    last: usize,
    classifier: Linear,
}

/// x + f(x), activated.
struct Block {
    /// All but the last are activated, by ReLU whatever config.json says.
    convolutions: Vec<Conv2d>,
    /// Where shapes change.
    shortcut: Option<Conv2d>,
}

impl ResNetModel {
    fn new(common: &Common, config: &Config, size: (usize, usize), weights: &Weights<'_>) -> Result<Self, LoadError> {
        vision::check_channels(config.num_channels)?;
        vision::check_pixels("image_size", size)?;
        let stages = stages(&config.hidden_sizes, &config.depths)?;
        let width = config::check("embedding_size", config.embedding_size, 1, 65_536)?;
        let mut maps = Maps { rows: size.0, cols: size.1, channels: 3 };
        let stem = normed(weights, "resnet.embedder.embedder", &mut maps, width, (7, 2, 3))?;
        let pool = maps.pool(3, 2, 1)?;
        let mut blocks = Vec::new();
        for (stage, &(width, depth)) in stages.iter().enumerate() {
            for index in 0..depth {
                let halves = index == 0 && (stage > 0 || config.downsample_in_first_stage);
                let name = format!("resnet.encoder.stages.{stage}.layers.{index}");
                blocks.push(Block::new(weights, &name, config, &mut maps, width, if halves { 2 } else { 1 })?);
            }
        }
        let shape = (maps.channels, blocks.len(), 0);
        let image = vision::maps(size, (maps.rows, maps.cols), blocks.len());
        // Between a block's convolutions, whatever config.json says of what stands behind it.
        let spec = vision::spec("resnet", common, image, shape, &[Activation::RELU])?;
        Ok(Self {
            pixels: vision::as_rows(size),
            stem,
            pool,
            blocks,
            activation: config::activation(&config.hidden_act)?,
            last: maps.rows * maps.cols,
            classifier: weights.linear("classifier.1", maps.channels, spec.labels.len(), true)?,
            spec,
        })
    }
}

/// A convolution and the batch norm behind it.
fn normed(
    weights: &Weights<'_>,
    name: &str,
    maps: &mut Maps,
    outputs: usize,
    window: (usize, usize, usize),
) -> Result<Conv2d, LoadError> {
    let (conv, norm) = (format!("{name}.convolution"), format!("{name}.normalization"));
    maps.convolve(weights, &Named { conv: &conv, bias: false, norm: Some(&norm) }, outputs, window)
}

impl Block {
    fn new(
        weights: &Weights<'_>,
        name: &str,
        config: &Config,
        maps: &mut Maps,
        width: usize,
        stride: usize,
    ) -> Result<Self, LoadError> {
        let shortcut = (maps.channels != width || stride != 1)
            .then(|| normed(weights, &format!("{name}.shortcut"), &mut maps.clone(), width, (1, stride, 0)))
            .transpose()?;
        let inner = width / 4;
        let (early, late) = if config.downsample_in_bottleneck { (stride, 1) } else { (1, stride) };
        let layers = match config.layer_type.as_str() {
            "basic" => vec![(width, (3, stride, 1)), (width, (3, 1, 1))],
            "bottleneck" if inner == 0 => return Err(config::invalid("hidden_sizes", "a bottleneck needs 4 or more")),
            "bottleneck" => vec![(inner, (1, early, 0)), (inner, (3, late, 1)), (width, (1, 1, 0))],
            other => {
                let detail = format!("\"{other}\" is not known; known are basic, bottleneck");
                return Err(config::invalid("layer_type", detail));
            }
        };
        let layers = layers.into_iter().enumerate();
        let convolutions = layers
            .map(|(index, (width, window))| normed(weights, &format!("{name}.layer.{index}"), maps, width, window));
        Ok(Self { convolutions: convolutions.collect::<Result<_, _>>()?, shortcut })
    }

    fn forward(&self, tape: &mut Tape<'_>, x: &Node, activation: Activation) -> Result<Node, nn::Error> {
        let projected = self.shortcut.as_ref().map(|shortcut| shortcut.forward(tape, x)).transpose()?;
        let residual = projected.as_ref().unwrap_or(x);
        let mut y = x.clone();
        for (index, layer) in self.convolutions.iter().enumerate() {
            y = match index + 1 == self.convolutions.len() {
                true => layer.forward_add(tape, &y, residual)?,
                false => layer.forward_activated(tape, &y, Activation::RELU)?,
            };
        }
        Ok(activation.forward(tape, y))
    }

    /// Rows and columns of what it gives.
    fn grid(&self) -> (usize, usize) {
        self.convolutions.last().map_or((0, 0), Conv2d::out)
    }
}

impl Model for ResNetModel {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn embed(&self, tape: &mut Tape<'_>, batch: &Batch) -> Result<Node, nn::Error> {
        vision::pixels(tape, batch, self.spec.image.as_ref())
    }

    fn forward(&self, tape: &mut Tape<'_>, batch: &Batch, taps: &TapPlan) -> Result<Outputs, nn::Error> {
        let mut recorder = Recorder::of_images(taps, batch.rows.len());
        let input = self.embed(tape, batch)?;
        let x = self.pixels.forward(tape, &input)?;
        let x = self.stem.forward_activated(tape, &x, self.activation)?;
        let mut x = self.pool.forward(tape, &x)?;
        tape.step()?;
        for (index, block) in self.blocks.iter().enumerate() {
            x = block.forward(tape, &x, self.activation)?;
            recorder.map(index, &x, block.grid());
            tape.step()?;
        }
        let pooled = mean_rows(tape, &x, self.last, 0)?;
        let logits = self.classifier.forward(tape, &pooled)?;
        outputs(input, logits, recorder.finish()?)
    }
}
