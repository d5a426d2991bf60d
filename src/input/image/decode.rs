//! A file's bytes into RGB, under limits: PNG, JPEG, WebP, upright by EXIF, alpha dropped, 16 bit ÷ 257.
//!
//! Follows transformers' `load_image` (`exif_transpose`, then `convert("RGB")`). JPEG's own decoding is the `image`
//! crate's: within 2 levels of Pillow's for grey and 4:4:4 files, further at colour edges where colour is subsampled.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};

use super::{ImageError, ImageLimits};

/// A decoder's own needs besides the pixels: tables, metadata.
const DECODER_BYTES: u64 = 64 << 20;
/// The same for PNG, whose profiles and texts come packed: a few hundred kilobytes unpack to hundreds of megabytes.
const PNG_BYTES: u64 = 8 << 20;
/// The widest pixel a decoder writes: 16-bit RGBA.
const PIXEL_BYTES: u64 = 8;

/// Decodes the first (or only) frame.
///
/// # Errors
/// [`ImageError::TooLarge`] from the header alone, before anything is unpacked; [`ImageError::Decode`] for the rest.
pub(super) fn decode(bytes: &[u8], limits: ImageLimits) -> Result<RgbImage, ImageError> {
    // A decoder that panics on some broken file must not take the service along.
    catch_unwind(AssertUnwindSafe(|| decode_unguarded(bytes, limits)))
        .unwrap_or_else(|_| Err(ImageError::Decode("the decoder failed inside".to_owned())))
}

fn decode_unguarded(bytes: &[u8], limits: ImageLimits) -> Result<RgbImage, ImageError> {
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(unreadable)?;
    match reader.format() {
        Some(ImageFormat::Png | ImageFormat::Jpeg) => {}
        Some(ImageFormat::WebP) if webp_chunks_fit(bytes) => {}
        Some(ImageFormat::WebP) => return Err(ImageError::Decode("it is cut off".to_owned())),
        Some(other) => return Err(ImageError::Decode(format!("{other:?} files are not read"))),
        None => return Err(ImageError::Decode("it is no image file that is known".to_owned())),
    }
    let mut allocation = Limits::no_limits();
    let (pixels, own) = match png_pixels(bytes) {
        Some(pixels) => (pixels.min(limits.pixels), PNG_BYTES),
        None => (limits.pixels, DECODER_BYTES),
    };
    allocation.max_alloc = Some(pixels.saturating_mul(PIXEL_BYTES).saturating_add(own));
    reader.limits(allocation);
    let mut decoder = reader.into_decoder().map_err(unreadable)?;
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    if pixels > limits.pixels {
        return Err(ImageError::TooLarge { pixels, max: limits.pixels });
    }
    if pixels == 0 {
        return Err(ImageError::Decode("it has no pixels".to_owned()));
    }
    // Broken EXIF data is no reason to refuse a picture that can be seen.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let rgb = DynamicImage::from_decoder(decoder).map_err(unreadable)?.into_rgb8();
    let mut upright = DynamicImage::ImageRgb8(rgb);
    upright.apply_orientation(orientation);
    Ok(upright.into_rgb8())
}

/// The pixels that a PNG's header, always its first chunk, claims.
fn png_pixels(bytes: &[u8]) -> Option<u64> {
    let size = |at: usize| Some(u64::from(u32::from_be_bytes(*bytes.get(at..)?.first_chunk::<4>()?)));
    if bytes.starts_with(b"\x89PNG\r\n\x1a\n") { size(16)?.checked_mul(size(20)?) } else { None }
}

/// No chunk claims to be longer than the file: the decoder would set aside up to 4 GiB for its metadata first.
fn webp_chunks_fit(bytes: &[u8]) -> bool {
    let size_at = |at: usize| {
        let size = bytes.get(at + 4..)?.first_chunk::<4>()?;
        Some(u32::from_le_bytes(*size) as usize)
    };
    let Some(riff) = size_at(0) else { return false };
    let mut at = 12;
    while at + 8 <= bytes.len().min(riff.saturating_add(8)) {
        match size_at(at) {
            Some(size) if size <= bytes.len() - at - 8 => at += 8 + size + size % 2,
            _ => return false,
        }
    }
    true
}

fn unreadable(error: impl std::fmt::Display) -> ImageError {
    ImageError::Decode(error.to_string())
}
