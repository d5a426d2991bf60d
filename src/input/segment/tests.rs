//! Agreement with scikit-image's label maps (tests/golden/input.py), numbering and determinism.

use std::path::PathBuf;

use proptest::prelude::*;

use super::*;

fn golden(name: &str) -> ::image::DynamicImage {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/input").join(name);
    ::image::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Adjusted Rand index (Hubert and Arabie 1985) of two labellings: 1 for the same partition, 0 for chance.
fn adjusted_rand(a: &[u16], b: &[u16]) -> f64 {
    let width = |labels: &[u16]| labels.iter().max().map_or(0, |&label| usize::from(label) + 1);
    let (rows, cols) = (width(a), width(b));
    let mut table = vec![0.0; rows * cols];
    for (&a, &b) in a.iter().zip(b) {
        table[usize::from(a) * cols + usize::from(b)] += 1.0;
    }
    let pairs = |n: f64| n * (n - 1.0) / 2.0;
    let both: f64 = table.iter().map(|&n| pairs(n)).sum();
    let of_a: f64 = table.chunks(cols).map(|row| pairs(row.iter().sum())).sum();
    let of_b: f64 = (0..cols).map(|col| pairs(table.iter().skip(col).step_by(cols).sum())).sum();
    let chance = of_a * of_b / pairs(a.len() as f64);
    (both - chance) / ((of_a + of_b) / 2.0 - chance)
}

fn agreement(image: &str, method: &str) -> f64 {
    let rgb = golden(&format!("{image}.png")).into_rgb8();
    let (rows, cols) = (rgb.height() as usize, rgb.width() as usize);
    let expected = golden(&format!("{image}_{method}.png")).into_luma16().into_raw();
    let ours = if method == "slic" { slic(&rgb, rows, cols, 50) } else { quickshift(&rgb, rows, cols, 0) };
    check(&ours);
    let index = adjusted_rand(&ours.labels, &expected);
    println!("{image} {method}: {} segments, adjusted Rand index {index}", ours.count);
    index
}

/// Labels are compact, in the order of their first pixel.
fn check(segmentation: &Segmentation) {
    assert_eq!(segmentation.labels.len(), segmentation.rows * segmentation.cols);
    let mut seen = 0;
    for &label in &segmentation.labels {
        assert!(usize::from(label) <= seen, "label {label} before {seen}");
        seen = seen.max(usize::from(label) + 1);
    }
    assert_eq!(seen, segmentation.count);
}

#[test]
fn slic_is_scikit_images() {
    for image in ["cells", "shapes"] {
        let index = agreement(image, "slic");
        // Reached: 1, equal maps.
        assert!(index > 0.99, "{image}: {index}");
    }
}

#[test]
fn quickshift_is_scikit_images_but_for_the_noise() {
    for image in ["cells", "shapes"] {
        let index = agreement(image, "quickshift");
        // Reached: 1 here too, since these images leave little to the noise.
        assert!(index > 0.9, "{image}: {index}");
    }
}

#[test]
fn the_same_seed_gives_the_same_segments_on_any_number_of_threads() {
    // Flat and larger than the window: all densities away from the border are equal, so the noise decides.
    let (rows, cols) = (64, 60);
    let flat = vec![90; rows * cols * 3];
    let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let first = quickshift(&flat, rows, cols, 7);
    assert_eq!(first, alone.install(|| quickshift(&flat, rows, cols, 7)));
    assert!(first.count > 1);
    assert_ne!(first.labels, quickshift(&flat, rows, cols, 8).labels);
}

#[test]
fn patches_tile_the_image() {
    let even = patches(4, 6, 2, 3);
    check(&even);
    assert_eq!(even.count, 6);
    assert_eq!(even.labels[..12], [0, 0, 1, 1, 2, 2, 0, 0, 1, 1, 2, 2]);
    // ⌊r · 5 / 3⌋: rows 0, 1–2, 3–4.
    let odd = patches(5, 1, 3, 1);
    assert_eq!(odd.labels, [0, 1, 1, 2, 2]);
    assert_eq!(patches(2, 2, 9, 9).count, 4);
    assert_eq!(patches(2, 2, 0, 0).count, 1);
}

#[test]
fn a_png_carries_the_labels() {
    let segmentation = patches(30, 30, 30, 30);
    let png = png16(&segmentation.labels, 30, 30);
    let back = ::image::load_from_memory(&png).unwrap();
    assert_eq!(back.color(), ::image::ColorType::L16);
    assert_eq!(back.into_luma16().into_raw(), segmentation.labels);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_image_is_covered(
        (rows, cols, rgb) in (1usize..20, 1usize..20).prop_flat_map(|(rows, cols)| {
            (Just(rows), Just(cols), prop::collection::vec(any::<u8>(), rows * cols * 3))
        }),
        segments in 0usize..500, seed in any::<u64>(), grid in (0usize..30, 0usize..30),
    ) {
        check(&slic(&rgb, rows, cols, segments));
        check(&quickshift(&rgb, rows, cols, seed));
        check(&patches(rows, cols, grid.0, grid.1));
    }
}
