//! The picture of an image's scores: the image in grey under coloured cells, where the model looked.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::{DynamicImage, ImageDecoder, ImageReader, Rgb as Pixel, RgbImage, imageops};
use std::io::Cursor;

use super::RenderError;
use super::colour::{Rgb, diverging};
use super::scored::{self, ScoreMap};
use crate::explain::outcome::ImageView;

/// Longer side of a panel in pixels: small microscope windows become visible, photographs stay light.
pub(super) const SIDE: u32 = 320;
/// How much of the strongest cell's colour covers the image.
const OPACITY: f32 = 0.8;

/// Decodes the image as sent, turns it as EXIF says and scales it to a panel.
pub(super) fn original(bytes: &[u8]) -> Result<RgbImage, RenderError> {
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format();
    let reader = reader.map_err(|error| RenderError::Decode(image::ImageError::IoError(error)))?;
    let mut decoder = reader.into_decoder().map_err(RenderError::Decode)?;
    let orientation = decoder.orientation().map_err(RenderError::Decode)?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(RenderError::Decode)?;
    image.apply_orientation(orientation);
    let (width, height) = (image.width().max(1), image.height().max(1));
    let longer = f64::from(width.max(height));
    let side = |length: u32| ((f64::from(length) * f64::from(SIDE) / longer).round() as u32).max(1);
    Ok(imageops::resize(&image.to_rgb8(), side(width), side(height), imageops::FilterType::Triangle))
}

/// Lays `map` over `panel`, a scaled [`original`] of the image that `view` describes. What the model does not see is
/// faded.
pub(super) fn overlay(panel: &RgbImage, view: &ImageView, map: &ScoreMap) -> RgbImage {
    let scale = scored::scale(map.values.iter().copied());
    let across = view.width.max(1) as f32 / panel.width().max(1) as f32;
    let down = view.height.max(1) as f32 / panel.height().max(1) as f32;
    let region = view.region;
    let mut picture = panel.clone();
    for (x, y, pixel) in picture.enumerate_pixels_mut() {
        let grey = Rgb::WHITE.mix(grey(pixel), 0.7);
        // The pixel's middle, in the image as sent, then inside the region.
        let u = ((x as f32 + 0.5) * across - region.x) / region.width.max(f32::MIN_POSITIVE);
        let v = ((y as f32 + 0.5) * down - region.y) / region.height.max(f32::MIN_POSITIVE);
        let seen = (0.0..1.0).contains(&u) && (0.0..1.0).contains(&v);
        let shade = if seen {
            let strength = map.at(u, v) / scale;
            grey.mix(diverging(strength), OPACITY * strength.abs().sqrt())
        } else {
            grey.mix(Rgb::WHITE, 0.6)
        };
        *pixel = Pixel([shade.0, shade.1, shade.2]);
    }
    picture
}

fn grey(pixel: &Pixel<u8>) -> Rgb {
    let [r, g, b] = pixel.0;
    let luma = (0.299 * f32::from(r) + 0.587 * f32::from(g) + 0.114 * f32::from(b)).round() as u8;
    Rgb(luma, luma, luma)
}

/// The picture as a PNG file.
pub(super) fn encode(picture: &RgbImage) -> Result<Vec<u8>, RenderError> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, image::ImageFormat::Png).map_err(RenderError::Encode)?;
    Ok(bytes.into_inner())
}

/// The picture as the value of an image's `src`, so that a page needs no second file.
pub(super) fn data_uri(picture: &RgbImage) -> Result<String, RenderError> {
    Ok(format!("data:image/png;base64,{}", STANDARD.encode(encode(picture)?)))
}
