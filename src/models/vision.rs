//! What families for images share: sizes in config.json, the size that the image processor makes, pixels as the
//! forward's input, and weights with a scale folded into them.

use serde::Deserialize;

use super::batch::{Batch, Content};
use super::config::{self, Common};
use super::{About, Capabilities, Capability, ImageSpec, LoadError, Reads, SequenceItem, Spec, Weights};
use crate::hub::ModelFolder;
use crate::input::Kind;
use crate::input::image;
use crate::nn::{self, Activation, Array, Linear, Node, Patches, Tape};

/// The largest image that a family without patches takes: its first maps have a row a pixel.
const MOST_PIXELS: usize = 1 << 20;

/// One number for a square, or height and width.
#[derive(Debug, Deserialize, Clone, Copy)]
#[serde(untagged)]
pub enum Side {
    Square(usize),
    Pair([usize; 2]),
}

impl Side {
    /// Rows and columns; both are at least 1 and bounded.
    pub fn pair(self, key: &str) -> Result<(usize, usize), LoadError> {
        let (rows, cols) = match self {
            Self::Square(side) => (side, side),
            Self::Pair([rows, cols]) => (rows, cols),
        };
        Ok((config::check(key, rows, 1, 8_192)?, config::check(key, cols, 1, 8_192)?))
    }
}

/// Rows and columns of what the folder's image processor makes: the size that a family takes which takes any.
/// `otherwise` where the processor says nothing about it.
pub fn input_size(folder: &ModelFolder, otherwise: (usize, usize)) -> Result<(usize, usize), LoadError> {
    let made = match folder.file("preprocessor_config.json") {
        Some(bytes) => image::ImageProcessor::makes(bytes)?,
        None => None,
    };
    Ok(made.unwrap_or(otherwise))
}

/// Bounds an image whose every pixel becomes a row.
pub fn check_pixels(key: &str, (rows, cols): (usize, usize)) -> Result<(), LoadError> {
    match rows.checked_mul(cols).is_some_and(|pixels| pixels <= MOST_PIXELS) {
        true => Ok(()),
        false => Err(config::invalid(
            key,
            format!("{cols} × {rows} pixels are more than the {MOST_PIXELS} that are supported"),
        )),
    }
}

/// `num_channels` as it must be.
pub fn check_channels(channels: usize) -> Result<(), LoadError> {
    match channels {
        3 => Ok(()),
        other => Err(config::invalid("num_channels", format!("{other}: images have 3 channels"))),
    }
}

/// Rows and columns of the patch grid.
pub fn grid(size: (usize, usize), patch: (usize, usize)) -> Result<(usize, usize), LoadError> {
    let grid = (size.0 / patch.0, size.1 / patch.1);
    if (grid.0 * patch.0, grid.1 * patch.1) != size {
        let detail = format!("patches of {} × {} do not fill {} × {}", patch.0, patch.1, size.0, size.1);
        return Err(config::invalid("patch_size", detail));
    }
    config::check("image_size", grid.0 * grid.1, 1, 1 << 16)?;
    Ok(grid)
}

/// What a convolutional model of `size` pixels says about its input: its last feature map is the grid, and there is
/// no sequence. `maps` is how many maps a tap can ask for.
pub fn maps(size: (usize, usize), grid: (usize, usize), maps: usize) -> ImageSpec {
    let (rows, cols) = size;
    ImageSpec { channels: 3, rows, cols, grid_rows: grid.0, grid_cols: grid.1, sequence: Vec::new(), maps }
}

/// The sequence `named` tokens and the patches make.
pub fn sequence<'a>(named: impl Iterator<Item = &'a str>, (rows, cols): (usize, usize)) -> Vec<SequenceItem> {
    let patches = (0..rows).flat_map(|row| (0..cols).map(move |col| SequenceItem::Patch([row, col])));
    named.map(|name| SequenceItem::Named(name.into())).chain(patches).collect()
}

/// What a model says about itself: hidden size, layers and heads, and its activations that stand in no gate.
pub fn spec(
    name: &str,
    common: &Common,
    image: ImageSpec,
    (hidden, layers, heads): (usize, usize, usize),
    activations: &[Activation],
) -> Result<Spec, LoadError> {
    let labels = common.labels()?;
    let mut capabilities = vec![Capability::Forward, Capability::Gradient];
    if !image.sequence.is_empty() {
        capabilities.extend([Capability::Attention, Capability::Hidden]);
    }
    capabilities.push(Capability::FeatureMap);
    Ok(Spec {
        architecture: name.into(),
        kind: Kind::Image,
        problem: common.problem(labels.len())?,
        labels,
        about: About::Sequence,
        hidden,
        embedding: hidden,
        layers,
        heads,
        max_positions: image.sequence.len(),
        vocab: 0,
        token_types: 0,
        image: Some(image),
        reads: Reads::First,
        capabilities: Capabilities(capabilities).with(activations),
    })
}

/// The pixels themselves, images × channels·height·width: where gradients are asked for.
///
/// # Errors
/// `Shape` where a row is no image of the model's size, or is read elsewhere than at its one output.
pub fn pixels(tape: &mut Tape<'_>, batch: &Batch, image: Option<&ImageSpec>) -> Result<Node, nn::Error> {
    let size = image.map_or(0, |image| image.channels * image.rows * image.cols);
    let wrong = |detail: &str| nn::Error::Shape { op: "image", detail: detail.into() };
    let mut out = Vec::with_capacity(batch.rows.len() * size);
    for row in &batch.rows {
        match &row.content {
            Content::Pixels(pixels) if pixels.len() == size => out.extend_from_slice(pixels),
            _ => return Err(wrong("rows that are no images of the model's size")),
        }
        if row.read != [0] {
            return Err(wrong("an image has one output"));
        }
    }
    Ok(tape.variable(Array::new(out, batch.rows.len(), size)))
}

/// A linear layer whose outputs are multiplied by `scale` (a layer scale; one number an output), folded into it.
pub fn scaled_linear(weights: &Weights<'_>, prefix: &str, inputs: usize, scale: &[f32]) -> Result<Linear, LoadError> {
    let outputs = scale.len();
    let mut weight = weights.tensor(&format!("{prefix}.weight"), &[outputs, inputs])?;
    let mut bias = weights.tensor(&format!("{prefix}.bias"), &[outputs])?;
    for ((row, bias), scale) in weight.chunks_exact_mut(inputs.max(1)).zip(&mut bias).zip(scale) {
        row.iter_mut().for_each(|weight| *weight *= scale);
        *bias *= scale;
    }
    Ok(Linear::new(weight, Some(bias), inputs, outputs)?)
}

/// The first of `names` under `root` that the weights hold; the first one where they hold none, so that an error
/// names what the hub calls it.
pub fn named(weights: &Weights<'_>, root: &str, names: &[&str]) -> String {
    let name = names.iter().find(|name| weights.contains(&format!("{root}{name}.weight"))).or(names.first());
    format!("{root}{}", name.copied().unwrap_or_default())
}

/// Pixels as rows and channels as columns: what convolutions read.
pub fn as_rows((rows, cols): (usize, usize)) -> Patches {
    Patches { channels: 3, patch_rows: 1, patch_cols: 1, grid_rows: rows, grid_cols: cols }
}
