//! Segments that a caller draws: a PNG in which every grey level, or every colour, is one.

use std::collections::HashSet;
use std::io::Cursor;

use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader};

use super::Segmentation;
use crate::input::ImageInput;

/// The segments of `png`, numbered by first appearance, row by row. The picture has the size of the model's input, or
/// that of the image as sent, whose part that the model sees is then taken (nearest pixel; beyond the image's edge, the
/// edge's segment).
///
/// # Errors
/// No PNG that can be decoded, another size, or more than `most` segments.
pub fn given(png: &[u8], image: &ImageInput, most: usize) -> Result<Segmentation, String> {
    let mut reader = ImageReader::new(Cursor::new(png));
    reader.set_format(ImageFormat::Png);
    let decoder = reader.into_decoder().map_err(|error| unreadable(&error))?;
    let (width, height) = decoder.dimensions();
    let (width, height) = (width as usize, height as usize);
    let own = (width, height) == (image.cols, image.rows);
    if !own && (width, height) != (image.width, image.height) {
        return Err(format!(
            "the mask is {width} x {height} pixels; use the model input's size, {} x {}, or the image's, {} x {}",
            image.cols, image.rows, image.width, image.height
        ));
    }
    let values = values(DynamicImage::from_decoder(decoder).map_err(|error| unreadable(&error))?);
    let (down, across): (Vec<usize>, Vec<usize>) = match own {
        true => ((0..image.rows).collect(), (0..image.cols).collect()),
        false => (
            seen(image.rows, image.region.y, image.region.height, height),
            seen(image.cols, image.region.x, image.region.width, width),
        ),
    };
    let labels: Vec<usize> = down
        .iter()
        .flat_map(|row| across.iter().map(move |col| row * width + col))
        .map(|place| values[place])
        .collect();
    let segments = labels.iter().collect::<HashSet<_>>().len();
    if segments > most {
        return Err(format!("the mask has {segments} different values; use at most {most}"));
    }
    Ok(Segmentation::from_labels(image.rows, image.cols, labels))
}

fn unreadable(error: &image::ImageError) -> String {
    format!("the mask could not be decoded: {error}; send a PNG")
}

/// One number a pixel: a grey level, or a colour; transparency does not count.
fn values(picture: DynamicImage) -> Vec<usize> {
    if picture.color().has_color() {
        let colour = |rgb: &[u16]| rgb.iter().fold(0, |number, &part| number << 16 | usize::from(part));
        return picture.into_rgb16().as_raw().chunks_exact(3).map(colour).collect();
    }
    picture.into_luma16().as_raw().iter().map(|&grey| usize::from(grey)).collect()
}

/// For each of `count` pixels of the model's input, the pixel of the image as sent under its middle; the model sees
/// `length` of them from `from` on.
fn seen(count: usize, from: f32, length: f32, size: usize) -> Vec<usize> {
    let place = |pixel: usize| f64::from(from) + (pixel as f64 + 0.5) / count as f64 * f64::from(length);
    (0..count).map(|pixel| (place(pixel).max(0.0) as usize).min(size.saturating_sub(1))).collect()
}

#[cfg(test)]
mod tests {
    use image::{ImageBuffer, Luma, Rgb};

    use super::*;
    use crate::input::image::{Normalisation, Region};

    /// An image of 6 × 4 of which a model of 2 × 2 sees the middle 4 × 4.
    fn image() -> ImageInput {
        ImageInput {
            width: 6,
            height: 4,
            region: Region { x: 1.0, y: 0.0, width: 4.0, height: 4.0 },
            rows: 2,
            cols: 2,
            rgb: vec![0; 12],
            pixels: vec![0.0; 12],
            normalisation: Normalisation { scale: 1.0, mean: [0.0; 3], std: [1.0; 3] },
            bytes: Vec::new(),
            sha256: String::new(),
        }
    }

    fn png(picture: impl Into<DynamicImage>) -> Vec<u8> {
        let mut png = Cursor::new(Vec::new());
        picture.into().write_to(&mut png, ImageFormat::Png).unwrap();
        png.into_inner()
    }

    #[test]
    fn grey_levels_and_colours_are_segments() {
        let grey = ImageBuffer::<Luma<u8>, _>::from_raw(2, 2, vec![7, 7, 255, 0]).unwrap();
        let found = given(&png(grey), &image(), 9).unwrap();
        assert_eq!((found.labels, found.count), (vec![0, 0, 1, 2], 3));
        let deep = ImageBuffer::<Luma<u16>, _>::from_raw(2, 2, vec![7, 8, 7, 60_000]).unwrap();
        assert_eq!(given(&png(deep), &image(), 9).unwrap().labels, [0, 1, 0, 2]);
        let colours = vec![1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 1, 0];
        let colours = ImageBuffer::<Rgb<u8>, _>::from_raw(2, 2, colours).unwrap();
        assert_eq!(given(&png(colours), &image(), 9).unwrap().labels, [0, 1, 2, 1]);
    }

    #[test]
    fn a_mask_of_the_sent_image_is_seen_as_the_image_is() {
        let columns = ImageBuffer::<Luma<u8>, _>::from_fn(6, 4, |x, y| Luma([(x + 10 * (y / 2)) as u8]));
        // The middles of the model's pixels lie at 2, 4 across (between two: the right one) and 1, 3 down.
        assert_eq!(given(&png(columns), &image(), 9).unwrap().labels, [0, 1, 2, 3]);
    }

    #[test]
    fn what_is_no_mask_is_refused() {
        assert!(given(b"no png", &image(), 9).unwrap_err().contains("send a PNG"));
        let other = ImageBuffer::<Luma<u8>, _>::from_raw(3, 2, vec![0; 6]).unwrap();
        let error = given(&png(other), &image(), 9).unwrap_err();
        assert!(error.contains("3 x 2") && error.contains("2 x 2") && error.contains("6 x 4"), "{error}");
        let many = ImageBuffer::<Luma<u8>, _>::from_raw(2, 2, vec![0, 1, 2, 3]).unwrap();
        assert!(given(&png(many), &image(), 3).unwrap_err().contains("4 different values"));
    }
}
