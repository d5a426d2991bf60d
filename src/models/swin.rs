//! Swin transformer (Liu et al. 2021), as transformers' `SwinForImageClassification`: attention inside windows that are
//! shifted in every other layer, and maps that are halved from stage to stage. No layer attends over the whole image,
//! so there are no attention maps to show.

use serde::Deserialize;

use super::batch::Batch;
use super::config::{self, Common};
use super::encoder::outputs;
use super::swin_layer::{Layer, Merging, Widths};
use super::tap::Recorder;
use super::vision::{self, Side};
use super::vision_transformer::projection;
use super::{Family, LoadError, Model, Outputs, Spec, TapPlan, Weights};
use crate::hub::ModelFolder;
use crate::nn::{self, Activation, Array, LayerNorm, Linear, Node, Patches, Tape, add_constant, mean_rows};

pub struct Swin;

impl Family for Swin {
    fn model_types(&self) -> &'static [&'static str] {
        &["swin"]
    }

    fn architectures(&self) -> &'static [&'static str] {
        &["SwinForImageClassification"]
    }

    fn load(&self, folder: &ModelFolder, weights: &Weights<'_>) -> Result<Box<dyn Model>, LoadError> {
        let bytes = folder.file("config.json").unwrap_or_default();
        let (common, config): (Common, Config) = (config::read(bytes)?, config::read(bytes)?);
        let size = vision::input_size(folder, config.image_size.pair("image_size")?)?;
        Ok(Box::new(SwinModel::new(&common, &config, size, weights)?))
    }
}

/// The keys of `SwinConfig` that matter to a forward, with its defaults.
#[derive(Deserialize)]
#[serde(default)]
struct Config {
    image_size: Side,
    patch_size: Side,
    num_channels: usize,
    embed_dim: usize,
    depths: Vec<usize>,
    num_heads: Vec<usize>,
    window_size: usize,
    mlp_ratio: f64,
    qkv_bias: bool,
    hidden_act: String,
    use_absolute_embeddings: bool,
    layer_norm_eps: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            image_size: Side::Square(224),
            patch_size: Side::Square(4),
            num_channels: 3,
            embed_dim: 96,
            depths: vec![2, 2, 6, 2],
            num_heads: vec![3, 6, 12, 24],
            window_size: 7,
            mlp_ratio: 4.0,
            qkv_bias: true,
            hidden_act: "gelu".into(),
            use_absolute_embeddings: false,
            layer_norm_eps: 1e-5,
        }
    }
}

impl Config {
    /// Widths, depths and heads of the stages.
    fn check(&self) -> Result<(), LoadError> {
        vision::check_channels(self.num_channels)?;
        config::check("embed_dim", self.embed_dim, 1, 65_536)?;
        config::check("depths", self.depths.len(), 1, 8)?;
        config::check("window_size", self.window_size, 1, 24)?;
        if self.num_heads.len() != self.depths.len() {
            let detail = format!("{} numbers for {} stages", self.num_heads.len(), self.depths.len());
            return Err(config::invalid("num_heads", detail));
        }
        for (stage, (&depth, &heads)) in self.depths.iter().zip(&self.num_heads).enumerate() {
            config::check("depths", depth, 1, 1_000)?;
            let width = self.embed_dim << stage;
            config::check("num_heads", heads, 1, width)?;
            if !width.is_multiple_of(heads) {
                return Err(config::invalid("num_heads", format!("{heads} does not divide the stage's width {width}")));
            }
        }
        match self.mlp_ratio > 0.0 && self.mlp_ratio <= 64.0 {
            true => Ok(()),
            false => Err(config::invalid("mlp_ratio", format!("{} is outside 0 … 64", self.mlp_ratio))),
        }
    }
}

struct SwinModel {
    spec: Spec,
    patches: Patches,
    projection: Linear,
    first_norm: LayerNorm,
    /// Of the patches, where the model has them.
    positions: Option<Vec<f32>>,
    stages: Vec<Stage>,
    activation: Activation,
    /// Positions of the last map.
    last: usize,
    norm: LayerNorm,
    classifier: Linear,
}

struct Stage {
    layers: Vec<Layer>,
    /// Rows and columns of its maps.
    grid: (usize, usize),
    /// Behind all stages but the last.
    merging: Option<Merging>,
}

/// Of the norms that config.json says nothing about.
const EPSILON: f32 = 1e-5;

impl SwinModel {
    fn new(common: &Common, config: &Config, size: (usize, usize), weights: &Weights<'_>) -> Result<Self, LoadError> {
        config.check()?;
        let patch = config.patch_size.pair("patch_size")?;
        let mut grid = vision::grid(size, patch)?;
        let patches =
            Patches { channels: 3, patch_rows: patch.0, patch_cols: patch.1, grid_rows: grid.0, grid_cols: grid.1 };
        let width = config.embed_dim;
        let positions = config
            .use_absolute_embeddings
            .then(|| weights.tensor("swin.embeddings.position_embeddings", &[1, grid.0 * grid.1, width]))
            .transpose()?;
        let projection = projection(weights, "swin.embeddings.patch_embeddings.projection", &patches, width)?;
        let first_norm = weights.layer_norm("swin.embeddings.norm", width, EPSILON)?;
        let epsilon = config::epsilon(config.layer_norm_eps)?;
        let mut stages = Vec::new();
        for (stage, (&depth, &heads)) in config.depths.iter().zip(&config.num_heads).enumerate() {
            let name = format!("swin.encoder.layers.{stage}");
            let hidden = width << stage;
            let widths = Widths {
                hidden,
                heads,
                intermediate: (hidden as f64 * config.mlp_ratio) as usize,
                qkv_bias: config.qkv_bias,
                epsilon,
            };
            let window = window(grid, config.window_size)?;
            let layers = (0..depth).map(|index| {
                // In every other layer, unless one window is as large as the map.
                let shift = if index % 2 == 1 && grid.0.min(grid.1) > window { window / 2 } else { 0 };
                Layer::new(weights, &format!("{name}.blocks.{index}"), &widths, grid, (window, shift))
            });
            let layers = layers.collect::<Result<_, _>>()?;
            let last = stage + 1 == config.depths.len();
            let merging = (!last)
                .then(|| Merging::new(weights, &format!("{name}.downsample"), hidden, grid, EPSILON))
                .transpose()?;
            let own = grid;
            if !last {
                grid = (grid.0.div_ceil(2), grid.1.div_ceil(2));
            }
            stages.push(Stage { layers, grid: own, merging });
        }
        let (width, layers) = (width << (config.depths.len() - 1), config.depths.iter().sum());
        let activation = config::activation(&config.hidden_act)?;
        let image = vision::maps(size, grid, layers);
        let spec = vision::spec("swin", common, image, (width, layers, 0), &[activation])?;
        Ok(Self {
            patches,
            projection,
            first_norm,
            positions,
            stages,
            activation,
            last: grid.0 * grid.1,
            norm: weights.layer_norm("swin.layernorm", width, epsilon)?,
            classifier: weights.linear("classifier", width, spec.labels.len(), true)?,
            spec,
        })
    }
}

/// The windows' side. A map that is smaller would need a table of another size than the weights have.
fn window((rows, cols): (usize, usize), side: usize) -> Result<usize, LoadError> {
    match rows.min(cols) >= side {
        true => Ok(side),
        false => Err(config::invalid(
            "window_size",
            format!("{side} is larger than a stage's map of {cols} × {rows} patches"),
        )),
    }
}

impl Model for SwinModel {
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
        if let Some(positions) = &self.positions {
            let positions = Array::new(positions.repeat(batch.rows.len()), x.rows(), x.cols());
            x = add_constant(tape, &x, &positions)?;
        }
        let mut index = 0;
        for stage in &self.stages {
            for layer in &stage.layers {
                x = layer.forward(tape, &x, self.activation)?;
                recorder.map(index, &x, stage.grid);
                index += 1;
                tape.step()?;
            }
            if let Some(merging) = &stage.merging {
                x = merging.forward(tape, &x)?;
            }
        }
        let x = self.norm.forward(tape, &x)?;
        let pooled = mean_rows(tape, &x, self.last, 0)?;
        let logits = self.classifier.forward(tape, &pooled)?;
        outputs(input, logits, recorder.finish()?)
    }
}
