//! Parity with transformers' PIL processor (tests/golden/input.py), limits, and broken files.

use std::path::PathBuf;

use proptest::prelude::*;
use safetensors::SafeTensors;
use serde::Deserialize;

use super::*;

const ROOMY: ImageLimits = ImageLimits { pixels: 1 << 22 };
const ROWS: usize = 16;
const COLS: usize = 13;

fn golden(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/input").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

fn processor(config: &str) -> ImageProcessor {
    ImageProcessor::new(config.as_bytes(), (ROWS, COLS)).unwrap()
}

fn config_error(config: &str) -> String {
    ImageProcessor::new(config.as_bytes(), (ROWS, COLS)).unwrap_err().to_string()
}

#[derive(Deserialize)]
struct Case {
    key: String,
    file: String,
    /// How far the decoders may differ, in bytes' units; 0 means equal bytes.
    levels: f32,
    width: usize,
    height: usize,
    config: serde_json::Value,
}

#[test]
fn every_pixel_equals_the_pil_processor() {
    let cases: Vec<Case> = serde_json::from_slice(&golden("images.json")).unwrap();
    let arrays = golden("images.safetensors");
    let arrays = SafeTensors::deserialize(&arrays).unwrap();
    let mut failures = Vec::new();
    for case in &cases {
        let input = processor(&case.config.to_string()).prepare(golden(&case.file), ROOMY).unwrap();
        assert_eq!((input.width, input.height), (case.width, case.height), "{}", case.file);
        let expected = floats(arrays.tensor(&case.key).unwrap().data());
        assert_eq!(input.pixels.len(), expected.len());
        // In bytes' units: (pixel · std + mean) / scale.
        let unit = |channel: usize| input.normalisation.std[channel] / input.normalisation.scale;
        let off = input.pixels.iter().zip(&expected).enumerate();
        let off = off.map(|(i, (a, b))| (a - b).abs() * unit(i / (ROWS * COLS))).fold(0.0, f32::max);
        if off > case.levels + 1e-3 {
            failures.push(format!("{} {}: {off}", case.file, case.config));
        }
    }
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

#[derive(Deserialize)]
struct Processed {
    key: String,
    file: String,
    rows: usize,
    cols: usize,
    config: serde_json::Value,
}

/// Processors other than ViT's, and timm's evaluation transform: every pixel within a thousandth of a level.
#[test]
fn every_pixel_equals_the_other_processors() {
    let cases: Vec<Processed> = serde_json::from_slice(&golden("processors.json")).unwrap();
    let arrays = golden("processors.safetensors");
    let arrays = SafeTensors::deserialize(&arrays).unwrap();
    let mut failures = Vec::new();
    for Processed { key, file, rows, cols, config } in cases {
        let json = config.to_string();
        let (processor, makes) = match config["pretrained_cfg"].is_object() {
            true => (ImageProcessor::timm(json.as_bytes(), (rows, cols)), ImageProcessor::timm_makes(json.as_bytes())),
            false => (ImageProcessor::new(json.as_bytes(), (rows, cols)), ImageProcessor::makes(json.as_bytes())),
        };
        assert_eq!(makes.unwrap(), Some((rows, cols)), "{json}");
        let input = processor.unwrap().prepare(golden(&file), ROOMY).unwrap();
        let expected = floats(arrays.tensor(&key).unwrap().data());
        assert_eq!(input.pixels.len(), expected.len(), "{file} {json}");
        let unit = |channel: usize| input.normalisation.std[channel] / input.normalisation.scale;
        let off = input.pixels.iter().zip(&expected).enumerate();
        let off = off.map(|(i, (a, b))| (a - b).abs() * unit(i / (rows * cols))).fold(0.0, f32::max);
        if off > 1e-3 {
            failures.push(format!("{file} {json}: {off}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn blur_equals_scipy() {
    let arrays = golden("blur.safetensors");
    let arrays = SafeTensors::deserialize(&arrays).unwrap();
    let source = arrays.tensor("source").unwrap();
    let (rows, cols) = (source.shape()[0], source.shape()[1]);
    for sigma in [0.7, 2.0, 9.6] {
        let expected = floats(arrays.tensor(&format!("sigma {sigma:?}")).unwrap().data());
        let blurred = blur(source.data(), rows, cols, sigma);
        let off = blurred.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(off < 1e-4, "sigma {sigma}: {off}");
    }
    let same: Vec<f32> = source.data().iter().map(|&byte| f32::from(byte)).collect();
    assert_eq!(blur(source.data(), rows, cols, 0.0), same);
    assert!(blur(&[], 0, 5, 1.0).is_empty() && blur(&[], 5, 0, 1.0).is_empty());
}

#[test]
fn the_region_follows_resize_and_crop() {
    let seen = |config: &str, file: &str| processor(config).prepare(golden(file), ROOMY).unwrap().region;
    let whole = seen(r#"{"size": {"height": 16, "width": 13}}"#, "gradient.png");
    assert_eq!(whole, Region { x: 0.0, y: 0.0, width: 48.0, height: 64.0 });
    // 64 × 48 becomes 32 × 24 (rows × cols), of which 16 × 13 are seen: 2 pixels of the image each.
    let config = r#"{"size": {"shortest_edge": 24}, "do_center_crop": true, "crop_size": {"height": 16, "width": 13}}"#;
    assert_eq!(seen(config, "gradient.png"), Region { x: 10.0, y: 16.0, width: 26.0, height: 32.0 });
    let config = r#"{"do_resize": false, "do_center_crop": true, "crop_size": {"height": 16, "width": 13}}"#;
    assert_eq!(seen(config, "pixel.png"), Region { x: -6.0, y: -8.0, width: 13.0, height: 16.0 });
}

#[test]
fn the_input_keeps_what_was_sent() {
    let bytes = golden("rgba.png");
    let input = processor(r#"{"size": {"height": 16, "width": 13}}"#).prepare(bytes.clone(), ROOMY).unwrap();
    assert_eq!(input.bytes, bytes);
    assert_eq!(input.sha256.len(), 64);
    assert_eq!((input.rows, input.cols, input.rgb.len()), (ROWS, COLS, ROWS * COLS * 3));
    assert_eq!(input.pixels[1], input.normalisation.value(f32::from(input.rgb[3]), 0));
}

#[test]
fn shorthands_and_defaults_are_the_processors() {
    let square = |config: &str| ImageProcessor::new(config.as_bytes(), (224, 224)).is_ok();
    assert!(square("{}"), "224 × 224 bilinear is the default");
    assert!(square(r#"{"size": 224, "image_mean": 0.5, "unknown": [1], "resample": null}"#));
    assert!(square(r#"{"size": {"shortest_edge": 256}, "do_center_crop": true, "crop_size": 224}"#));
    assert!(square(r#"{"do_resize": false}"#));
}

#[test]
fn absurd_configurations_are_refused_by_name() {
    for (config, part) in [
        ("", "EOF"),
        (r#"{"size": {"height": 0, "width": 13}}"#, "size is 0 pixels"),
        (r#"{"size": 100000}"#, "size is 100000 pixels"),
        (r#"{"size": -3}"#, "size: "),
        (r#"{"size": {"shortest_edge": 16, "longest_edge": 20}}"#, "shortest_edge alone"),
        (r#"{"size": {"max_height": 16, "max_width": 20}}"#, "shortest_edge alone"),
        (r#"{"size": {"height": 16, "width": 14}}"#, "config.json says that the model takes 13 x 16"),
        (r#"{"do_center_crop": true}"#, "crop_size is missing"),
        (r#"{"resample": 9}"#, "resample is 9"),
        (r#"{"image_std": [0.5, 0.0, 0.5]}"#, "image_std"),
        (r#"{"image_std": [1e39, 1, 1]}"#, "image_std"),
        (r#"{"image_mean": [1e39, 1, 1]}"#, "image_mean"),
        (r#"{"image_mean": [1, 1]}"#, "image_mean"),
        (r#"{"rescale_factor": 0}"#, "rescale_factor"),
        (r#"{"image_processor_type": "ConvNextImageProcessor", "size": 16, "crop_pct": 0}"#, "crop_pct"),
        (r#"{"image_processor_type": "ConvNextImageProcessor", "size": 16, "crop_pct": 1e-300}"#, "crop_pct"),
        (r#"{"image_processor_type": "ConvNextImageProcessor", "size": {"height": 16, "width": 13}}"#, "shortest_edge"),
    ] {
        let config = if config.contains("size") || config.is_empty() || config.contains("center") {
            config.to_owned()
        } else {
            config.replacen('{', r#"{"size": {"height": 16, "width": 13}, "#, 1)
        };
        let error = config_error(&config);
        assert!(error.starts_with("preprocessor_config.json: ") && error.contains(part), "{config}: {error}");
    }
}

#[test]
fn an_image_that_the_steps_do_not_fit_is_told_its_shape() {
    let error = processor(r#"{"do_resize": false}"#).prepare(golden("wide.png"), ROOMY).unwrap_err().to_string();
    assert!(error.contains("60 x 9") && error.contains("13 x 16"), "{error}");
    // A sliver: resizing its short side to 4096 would make the long one millions of pixels.
    let config =
        r#"{"size": {"shortest_edge": 4096}, "do_center_crop": true, "crop_size": {"height": 16, "width": 13}}"#;
    let mut sliver = std::io::Cursor::new(Vec::new());
    let image = ::image::RgbImage::new(1, 3000);
    image.write_to(&mut sliver, ::image::ImageFormat::Png).unwrap();
    let error = processor(config).prepare(sliver.into_inner(), ROOMY).unwrap_err();
    assert!(matches!(error, ImageError::Shape { became_height: 12_288_000, .. }), "{error}");
}

/// A PNG of `width × height` whose header is right and whose data are not there.
fn header_only(width: u32, height: u32) -> Vec<u8> {
    let mut png = b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR".to_vec();
    png.extend(width.to_be_bytes());
    png.extend(height.to_be_bytes());
    png.extend([8, 6, 0, 0, 0]);
    png.extend(crc32(&png[12..]).to_be_bytes());
    png.extend(b"\x00\x00\x00\x00IDAT");
    png.extend(crc32(b"IDAT").to_be_bytes());
    png
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}

#[test]
fn a_bomb_is_refused_by_its_header() {
    let processor = processor(r#"{"size": {"height": 16, "width": 13}}"#);
    let error = processor.prepare(header_only(60_000, 60_000), ROOMY).unwrap_err();
    assert!(matches!(error, ImageError::TooLarge { pixels: 3_600_000_000, max: 4_194_304 }), "{error}");
    let error = processor.prepare(golden("tall.png"), ImageLimits { pixels: 61 * 23 - 1 }).unwrap_err();
    assert!(matches!(error, ImageError::TooLarge { pixels: 1403, max: 1402 }), "{error}");
}

#[test]
fn broken_files_say_so() {
    let processor = processor(r#"{"size": {"height": 16, "width": 13}}"#);
    let refused = |bytes: &[u8]| match processor.prepare(bytes.to_vec(), ROOMY) {
        Err(error @ ImageError::Decode(_)) => error.to_string(),
        other => panic!("{other:?}"),
    };
    for file in ["noise_down.png", "lossless.webp"] {
        let whole = golden(file);
        refused(&whole[..whole.len() / 2]);
    }
    refused(&golden("grey.jpeg")[..30]);
    let mut lying = golden("exif_6.webp");
    let exif = lying.windows(4).position(|name| name == b"EXIF").unwrap();
    lying[exif + 4..exif + 8].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(refused(&lying).contains("cut off"));
    refused(&header_only(10, 10));
    refused(b"");
    assert!(refused(b"GIF89a\x01\x00\x01\x00\x00\x00\x00").contains("Gif files are not read"));
    assert!(refused(b"hello").contains("PNG, JPEG or WebP"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_bytes_make_it_panic(
        file in prop::sample::select(vec!["noise_up.png", "palette.png", "grey.jpeg", "cmyk.jpeg", "lossy.webp", "animated.webp"]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = golden(file);
        for (index, byte) in changes {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        let prepared = processor(r#"{"size": {"height": 16, "width": 13}}"#).prepare(bytes, ROOMY);
        if let Ok(input) = prepared {
            prop_assert_eq!(input.rgb.len(), ROWS * COLS * 3);
        }
    }

    #[test]
    fn no_random_bytes_are_an_image(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = processor(r#"{"size": {"height": 16, "width": 13}}"#).prepare(bytes, ROOMY);
    }

    #[test]
    fn resizing_a_plain_colour_keeps_it(
        colour in any::<[u8; 3]>(), rows in 1usize..40, cols in 1usize..40, resample in 0u32..6,
    ) {
        let filter = resize::Filter::from_pillow(resample).unwrap();
        let source = colour.repeat(rows * cols);
        let out = resize::resize(&source, (rows, cols), (ROWS, COLS), 0..ROWS, 0..COLS, filter);
        prop_assert_eq!(out, colour.repeat(ROWS * COLS));
    }
}
