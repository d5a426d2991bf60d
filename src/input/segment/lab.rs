//! sRGB bytes into CIE Lab, as `skimage.color.rgb2lab` (D65, 2° observer), in f64.

/// Rows of the matrix from linear sRGB to XYZ.
const XYZ: [[f64; 3]; 3] =
    [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]];
/// XYZ of the D65 white point.
const WHITE: [f64; 3] = [0.95047, 1.0, 1.08883];

/// Lab of every pixel. `level(byte)` is the sRGB level (0 to 1) of a byte.
pub(super) fn lab(rgb: &[u8], level: impl Fn(u8) -> f64) -> Vec<[f64; 3]> {
    let linear: Vec<f64> = (0..=255).map(|byte| linear(level(byte))).collect();
    let pixel = |rgb: &[u8; 3]| {
        let [r, g, b] = rgb.map(|byte| linear[usize::from(byte)]);
        let mut xyz = [0.0; 3];
        for ((out, row), white) in xyz.iter_mut().zip(XYZ).zip(WHITE) {
            *out = bend((row[0] * r + row[1] * g + row[2] * b) / white);
        }
        let [x, y, z] = xyz;
        [116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)]
    };
    rgb.as_chunks::<3>().0.iter().map(pixel).collect()
}

fn linear(level: f64) -> f64 {
    if level > 0.04045 { ((level + 0.055) / 1.055).powf(2.4) } else { level / 12.92 }
}

/// Lab's cube root, straight near black.
fn bend(value: f64) -> f64 {
    if value > 0.008856 { value.cbrt() } else { 7.787 * value + 16.0 / 116.0 }
}
