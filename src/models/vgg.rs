//! VGG (Simonyan and Zisserman 2014), as timm's `vgg11` to `vgg19` and their `_bn` variants: the files on the hub under
//! `timm/`, whose config.json has `architecture` and `pretrained_cfg` in place of transformers' keys. Batch norms are
//! frozen and folded into the convolutions before them.

use super::batch::Batch;
use super::config::{self, Common, TIMM};
use super::convolution::{Maps, Named};
use super::encoder::outputs;
use super::tap::Recorder;
use super::vision;
use super::{Family, LoadError, Model, Outputs, Spec, TapPlan, Weights};
use crate::hub::ModelFolder;
use crate::input::image::ImageProcessor;
use crate::nn::{self, Activation, Conv2d, ImageWindow, Linear, MaxPool, Node, Patches, Tape, mean_rows};

pub struct Vgg;

impl Family for Vgg {
    fn model_types(&self) -> &'static [&'static str] {
        &[TIMM]
    }

    fn architectures(&self) -> &'static [&'static str] {
        &["vgg11", "vgg13", "vgg16", "vgg19", "vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn"]
    }

    fn load(&self, folder: &ModelFolder, weights: &Weights<'_>) -> Result<Box<dyn Model>, LoadError> {
        let bytes = folder.file("config.json").unwrap_or_default();
        let common: Common = config::read(bytes)?;
        let size = ImageProcessor::timm_makes(bytes)?.unwrap_or((224, 224));
        Ok(Box::new(VggModel::new(&common, size, weights)?))
    }
}

/// Convolutions before each of the five pools.
fn depths(architecture: &str) -> [usize; 5] {
    match architecture.trim_end_matches("_bn") {
        "vgg11" => [1, 1, 2, 2, 2],
        "vgg13" => [2, 2, 2, 2, 2],
        "vgg16" => [2, 2, 3, 3, 3],
        _ => [2, 2, 4, 4, 4],
    }
}

/// Side of the first dense layer's window: the last map of a 224 × 224 image.
const DENSE: usize = 7;

struct VggModel {
    spec: Spec,
    /// Pixels as rows, channels as columns.
    pixels: Patches,
    features: Vec<Stage>,
    /// The dense layers, as convolutions over the last map.
    dense: [Conv2d; 2],
    /// Pixels of what they make of it.
    last: usize,
    classifier: Linear,
}

struct Stage {
    convolutions: Vec<Conv2d>,
    pool: MaxPool,
    /// Rows and columns of what it gives.
    grid: (usize, usize),
}

impl VggModel {
    fn new(common: &Common, size: (usize, usize), weights: &Weights<'_>) -> Result<Self, LoadError> {
        vision::check_pixels("pretrained_cfg.input_size", size)?;
        // Saved by transformers' wrapper, every name has one more part.
        let root = if weights.contains("timm_model.features.0.weight") { "timm_model." } else { "" };
        let mut maps = Maps { rows: size.0, cols: size.1, channels: 3 };
        let normed = common.architecture().ends_with("_bn");
        let depths = depths(common.architecture());
        let (mut features, mut index) = (Vec::new(), 0);
        for depth in depths {
            let mut convolutions = Vec::new();
            for _ in 0..depth {
                convolutions.push(convolution(weights, root, index, normed, &mut maps)?);
                index += if normed { 3 } else { 2 };
            }
            let pool = maps.pool(2, 2, 0)?;
            features.push(Stage { convolutions, pool, grid: (maps.rows, maps.cols) });
            index += 1;
        }
        let grid = (maps.rows, maps.cols);
        let dense = dense(weights, root, &mut maps)?;
        let shape = (maps.channels, depths.iter().sum::<usize>() + dense.len(), 0);
        let spec = vision::spec(
            common.architecture(),
            common,
            vision::maps(size, grid, features.len()),
            shape,
            &[Activation::RELU],
        )?;
        Ok(Self {
            pixels: vision::as_rows(size),
            features,
            dense,
            last: maps.rows * maps.cols,
            classifier: weights.linear(&format!("{root}head.fc"), maps.channels, spec.labels.len(), true)?,
            spec,
        })
    }
}

/// One convolution of the features. Its width is the tensor's own: config.json says nothing about it.
fn convolution(
    weights: &Weights<'_>,
    root: &str,
    index: usize,
    normed: bool,
    maps: &mut Maps,
) -> Result<Conv2d, LoadError> {
    let (conv, norm) = (format!("{root}features.{index}"), format!("{root}features.{}", index + 1));
    let width = weights.rows(&format!("{conv}.weight"))?;
    let named = Named { conv: &conv, bias: true, norm: normed.then_some(norm.as_str()) };
    maps.convolve(weights, &named, width, (3, 1, 1))
}

/// The two dense layers. timm stretches a last map that is smaller than the first one's window by adaptive average
/// pooling, which is linear: it is folded into the weight.
fn dense(weights: &Weights<'_>, root: &str, maps: &mut Maps) -> Result<[Conv2d; 2], LoadError> {
    let name = |part: &str| format!("{root}pre_logits.{part}");
    let width = weights.rows(&name("fc1.weight"))?;
    let (rows, cols) = (maps.rows.min(DENSE), maps.cols.min(DENSE));
    let weight = weights.tensor(&name("fc1.weight"), &[width, maps.channels, DENSE, DENSE])?;
    let weight = if (rows, cols) == (DENSE, DENSE) { weight } else { stretched(&weight, (rows, cols)) };
    let bias = weights.tensor(&name("fc1.bias"), &[width])?;
    let window = ImageWindow {
        rows: maps.rows,
        cols: maps.cols,
        channels: maps.channels,
        size: (rows, cols),
        stride: 1,
        padding: 0,
    };
    let first = Conv2d::new(weight, Some(bias), width, window)?;
    (maps.rows, maps.cols) = first.out();
    maps.channels = width;
    let width = weights.rows(&name("fc2.weight"))?;
    let second = Named { conv: &name("fc2"), bias: true, norm: None };
    Ok([first, maps.convolve(weights, &second, width, (1, 1, 0))?])
}

/// Windows of 7 × 7 over a map that was stretched to them, as windows of the map's own size.
fn stretched(weight: &[f32], (rows, cols): (usize, usize)) -> Vec<f32> {
    let (down, across) = (stretch(rows), stretch(cols));
    let windows = weight.chunks_exact(DENSE * DENSE);
    let mut out = Vec::with_capacity(windows.len() * rows * cols);
    for window in windows {
        let mut own = vec![0.0_f64; rows * cols];
        for (line, rows) in window.chunks_exact(DENSE).zip(&down) {
            for (&weight, pixels) in line.iter().zip(&across) {
                let share = f64::from(weight) / (rows.len() * pixels.len()) as f64;
                for row in rows.clone() {
                    own[row * cols..][pixels.clone()].iter_mut().for_each(|sum| *sum += share);
                }
            }
        }
        out.extend(own.into_iter().map(|sum| sum as f32));
    }
    out
}

/// The pixels of `length` whose mean each of the window's is.
fn stretch(length: usize) -> Vec<std::ops::Range<usize>> {
    (0..DENSE).map(|at| at * length / DENSE..((at + 1) * length).div_ceil(DENSE)).collect()
}

impl Model for VggModel {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn embed(&self, tape: &mut Tape<'_>, batch: &Batch) -> Result<Node, nn::Error> {
        vision::pixels(tape, batch, self.spec.image.as_ref())
    }

    fn forward(&self, tape: &mut Tape<'_>, batch: &Batch, taps: &TapPlan) -> Result<Outputs, nn::Error> {
        let mut recorder = Recorder::of_images(taps, batch.rows.len());
        let input = self.embed(tape, batch)?;
        let mut x = self.pixels.forward(tape, &input)?;
        for (index, stage) in self.features.iter().enumerate() {
            for convolution in &stage.convolutions {
                x = convolution.forward_activated(tape, &x, Activation::RELU)?;
                tape.step()?;
            }
            x = stage.pool.forward(tape, &x)?;
            recorder.map(index, &x, stage.grid);
        }
        for layer in &self.dense {
            x = layer.forward_activated(tape, &x, Activation::RELU)?;
            tape.step()?;
        }
        let pooled = mean_rows(tape, &x, self.last, 0)?;
        let logits = self.classifier.forward(tape, &pooled)?;
        outputs(input, logits, recorder.finish()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_of_the_windows_size_is_not_stretched() {
        let weight: Vec<f32> = (0..2 * DENSE * DENSE).map(|x| x as f32).collect();
        assert_eq!(stretched(&weight, (DENSE, DENSE)), weight);
        assert_eq!(stretched(&[1.0; DENSE * DENSE], (1, 1)), [49.0]);
    }
}
