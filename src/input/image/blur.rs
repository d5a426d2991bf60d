//! Gaussian blur, as `scipy.ndimage.gaussian_filter`: for the `blur` fill and baseline.
//!
//! Own code since the crates' blurs work in bytes, cut the kernel elsewhere or clamp at the borders.

/// Blurs an RGB image of bytes (`rows × cols × 3`, row by row) with standard deviation `sigma` in pixels: kernel cut
/// at 4 σ, borders mirrored with the edge pixel repeated (`mode="reflect"`). The result has the same layout, in bytes'
/// units (0 to 255). Up to σ = 0 it is the image itself.
pub fn blur(rgb: &[u8], rows: usize, cols: usize, sigma: f64) -> Vec<f32> {
    let kernel = kernel(sigma);
    let source: Vec<f64> = rgb.iter().map(|&byte| f64::from(byte)).collect();
    // Down the columns, then along the rows.
    let down = pass(&source, &kernel, rows, cols * 3);
    pass(&down, &kernel, cols, 3).into_iter().map(|value| value as f32).collect()
}

/// Half of the symmetric kernel, from the centre outwards, normalised over all of it.
fn kernel(sigma: f64) -> Vec<f64> {
    if sigma.is_nan() || sigma <= 0.0 {
        return vec![1.0];
    }
    let radius = (4.0 * sigma + 0.5) as usize;
    let half: Vec<f64> = (0..=radius).map(|x| (-0.5 * (x as f64 / sigma).powi(2)).exp()).collect();
    let sum = half[0] + 2.0 * half[1..].iter().sum::<f64>();
    half.iter().map(|weight| weight / sum).collect()
}

/// Convolves along an axis of `length` samples that lie `step` values apart, block after block.
fn pass(source: &[f64], kernel: &[f64], length: usize, step: usize) -> Vec<f64> {
    let mut out = vec![0.0; source.len()];
    if length == 0 || step == 0 {
        return out;
    }
    for (from, to) in source.chunks_exact(length * step).zip(out.chunks_exact_mut(length * step)) {
        for (index, line) in to.chunks_exact_mut(step).enumerate() {
            for (distance, &weight) in kernel.iter().enumerate() {
                let near = mirrored(index as isize - distance as isize, length) * step;
                let far = mirrored(index as isize + distance as isize, length) * step;
                let weight = if distance == 0 { weight / 2.0 } else { weight };
                let pairs = from[near..near + step].iter().zip(&from[far..far + step]);
                for (value, (a, b)) in line.iter_mut().zip(pairs) {
                    *value += weight * (a + b);
                }
            }
        }
    }
    out
}

/// The sample that stands at `index` when the line goes on mirrored: d c b a | a b c d | d c b a.
fn mirrored(index: isize, length: usize) -> usize {
    let period = 2 * length as isize;
    let index = index.rem_euclid(period);
    index.min(period - 1 - index) as usize
}
