//! From a file's bytes to the model's input: decode, resize, crop, normalise.
//!
//! The order and the arithmetic are those of transformers' image processors in their PIL variants (the torchvision
//! variants resize otherwise). `explain` makes one per model and calls it per request.

use std::ops::Range;

use image::RgbImage;
use sha2::{Digest, Sha256};

use super::config::{Centre, Resize, Steps, config};
use super::decode::decode;
use super::resize::{Filter, Size, resize};
use super::{ImageError, ImageInput, ImageLimits, Region};

/// The longest side an image may be resized to on the way to a crop. Only a sliver of an image gets there.
const MAX_RESIZED_SIDE: usize = 1 << 20;

/// What `preprocessor_config.json` says, as transformers' image processors read it.
#[derive(Debug, Clone)]
pub struct ImageProcessor {
    steps: Steps,
    /// The model's input: rows, columns.
    size: Size,
}

impl ImageProcessor {
    /// `size` is the model's own input size (rows, cols), which the processor's must equal.
    ///
    /// # Errors
    /// [`ImageError::Config`]: not JSON, a value out of range, or another size than the model's.
    pub fn new(preprocessor_config: &[u8], size: (usize, usize)) -> Result<Self, ImageError> {
        Self::of(Steps::parse(preprocessor_config)?, size)
    }

    /// As [`ImageProcessor::new`], from the config.json of a timm model.
    ///
    /// # Errors
    /// [`ImageError::Config`].
    pub fn timm(config_json: &[u8], size: (usize, usize)) -> Result<Self, ImageError> {
        Self::of(Steps::timm(config_json)?, size)
    }

    fn of(steps: Steps, size: (usize, usize)) -> Result<Self, ImageError> {
        // Without a crop, `shortest_edge` gives the model's size for square images alone: seen per image.
        match steps.makes() {
            Some(made) if made != size => Err(config(format!(
                "it makes images of {} x {} pixels and config.json says that the model takes {} x {}",
                made.1, made.0, size.1, size.0
            ))),
            _ => Ok(Self { steps, size }),
        }
    }

    /// Rows and columns of the images that `preprocessor_config` makes, where it says so: the input size of models that
    /// take any.
    ///
    /// # Errors
    /// [`ImageError::Config`]: not JSON, or a value out of range.
    pub fn makes(preprocessor_config: &[u8]) -> Result<Option<(usize, usize)>, ImageError> {
        Ok(Steps::parse(preprocessor_config)?.makes())
    }

    /// As [`ImageProcessor::makes`], from the config.json of a timm model.
    ///
    /// # Errors
    /// [`ImageError::Config`].
    pub fn timm_makes(config_json: &[u8]) -> Result<Option<(usize, usize)>, ImageError> {
        Ok(Steps::timm(config_json)?.makes())
    }

    /// Decodes (PNG, JPEG, WebP; EXIF orientation applied; alpha dropped; 16 bit and grey handled), resizes and
    /// normalises.
    ///
    /// # Errors
    /// [`ImageError::Decode`], [`ImageError::TooLarge`], or [`ImageError::Shape`] where the processor's steps do not
    /// lead to the model's size.
    pub fn prepare(&self, bytes: Vec<u8>, limits: ImageLimits) -> Result<ImageInput, ImageError> {
        let image = decode(&bytes, limits)?;
        let (width, height) = (image.width() as usize, image.height() as usize);
        let (rgb, region) = self.fit(&image, (height, width))?;
        let (rows, cols) = self.size;
        let normalisation = self.steps.normalisation.clone();
        let plane = |channel| rgb.chunks_exact(3).map(move |pixel: &[u8]| (pixel[channel], channel));
        let pixels =
            (0..3).flat_map(plane).map(|(byte, channel)| normalisation.value(f32::from(byte), channel)).collect();
        let sha256 = format!("{:x}", Sha256::digest(&bytes));
        Ok(ImageInput { width, height, region, rows, cols, rgb, pixels, normalisation, bytes, sha256 })
    }

    /// The bytes that the model sees, and where in the image they come from.
    fn fit(&self, image: &RgbImage, from: Size) -> Result<(Vec<u8>, Region), ImageError> {
        let (to, filter) = match self.steps.resize {
            None => (from, Filter::Nearest),
            Some((Resize::To(rows, cols), filter)) => ((rows, cols), filter),
            Some((Resize::ShortestEdge(edge), filter)) => (shortest_edge(from, edge), filter),
        };
        let made = self.steps.crop.map_or(to, |crop| (crop.rows, crop.cols));
        let centre = self.steps.crop.map_or(Centre::Before, |crop| crop.centre);
        if made != self.size || to.0.max(to.1) > MAX_RESIZED_SIDE {
            let (rows, cols) = self.size;
            let ((height, width), (became_height, became_width)) = (from, to);
            return Err(ImageError::Shape { width, height, became_width, became_height, rows, cols });
        }
        let (top, row_span, row_pad) = crop(to.0, made.0, centre);
        let (left, col_span, col_pad) = crop(to.1, made.1, centre);
        let seen = resize(image.as_raw(), from, to, row_span.clone(), col_span.clone(), filter);
        let rgb = pad(seen, col_span.len(), made, row_pad, col_pad);
        let (down, across) = (from.0 as f64 / to.0 as f64, from.1 as f64 / to.1 as f64);
        let region = Region {
            x: (left as f64 * across) as f32,
            y: (top as f64 * down) as f32,
            width: (made.1 as f64 * across) as f32,
            height: (made.0 as f64 * down) as f32,
        };
        Ok((rgb, region))
    }
}

/// transformers' `get_resize_output_image_size`: the longer side is rounded down.
fn shortest_edge((rows, cols): Size, edge: usize) -> Size {
    let (short, long) = (rows.min(cols), rows.max(cols));
    let long = ((edge as u64 * long as u64) / short.max(1) as u64) as usize;
    if cols <= rows { (long, edge) } else { (edge, long) }
}

/// A centre crop of one axis: where it begins (before 0 where the image is smaller), which samples of the image it
/// holds, and how many black ones come before them.
fn crop(length: usize, crop: usize, centre: Centre) -> (isize, Range<usize>, usize) {
    if crop <= length {
        let down = (length - crop) / 2;
        // Half a pixel that is left over goes to the even one.
        let up = usize::from(centre == Centre::Even && (length - crop) % 2 == 1 && down % 2 == 1);
        let start = down + up;
        (start as isize, start..start + crop, 0)
    } else {
        let before = match centre {
            Centre::Before => (crop - length).div_ceil(2),
            Centre::Even => (crop - length) / 2,
        };
        (-(before as isize), 0..length, before)
    }
}

/// Puts `seen` (`cols` columns wide) into a black image of `size`, `top` rows and `left` columns from its corner.
fn pad(seen: Vec<u8>, cols: usize, size: Size, top: usize, left: usize) -> Vec<u8> {
    if seen.len() == size.0 * size.1 * 3 {
        return seen;
    }
    let mut padded = vec![0; size.0 * size.1 * 3];
    let lines = padded.chunks_exact_mut(size.1 * 3).skip(top);
    for (line, seen) in lines.zip(seen.chunks_exact((cols * 3).max(1))) {
        line[left * 3..left * 3 + seen.len()].copy_from_slice(seen);
    }
    padded
}
