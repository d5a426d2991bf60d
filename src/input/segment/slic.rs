//! SLIC superpixels: k-means over place and colour, each centre searching its own neighbourhood.

use super::Segmentation;
use super::lab::lab;

/// Weight of place against colour; scikit-image's default.
const COMPACTNESS: f64 = 10.0;
const ITERATIONS: usize = 10;

/// A cluster: mean place and mean colour (Lab ÷ compactness).
#[derive(Debug, Clone, Copy, Default)]
struct Centre {
    row: f64,
    col: f64,
    colour: [f64; 3],
    pixels: usize,
}

/// A pixel grid of centres: distance between them down and across.
#[derive(Debug, Clone, Copy)]
struct Grid {
    rows: usize,
    cols: usize,
}

/// SLIC (Achanta et al. 2012) over an RGB image of bytes (`rows × cols × 3`, row by row), as
/// `skimage.segmentation.slic(image, n_segments=segments, compactness=10, sigma=0, start_label=0)` with its other
/// defaults: 10 iterations, Lab of the image stretched to 0..1, connectivity enforced. The number of segments found is
/// near `segments`, not equal to it.
pub fn slic(rgb: &[u8], rows: usize, cols: usize, segments: usize) -> Segmentation {
    let pixels = rows * cols;
    if pixels == 0 || rgb.len() < pixels * 3 {
        return Segmentation::from_labels(rows, cols, vec![0; pixels]);
    }
    let colours = scaled_lab(rgb);
    let (grid, mut centres) = seeds(rows, cols, segments.clamp(1, pixels));
    let labels = cluster(&colours, rows, cols, grid, &mut centres);
    let size = pixels as f64 / centres.len() as f64;
    let labels = connect(&labels, rows, cols, (0.5 * size) as usize, (3.0 * size) as usize);
    Segmentation::from_labels(rows, cols, labels)
}

/// Lab ÷ compactness of the image stretched so that its smallest byte is 0 and its largest 1.
fn scaled_lab(rgb: &[u8]) -> Vec<[f64; 3]> {
    let low = rgb.iter().copied().min().unwrap_or(0);
    let high = rgb.iter().copied().max().unwrap_or(0);
    let level = |byte: u8| f64::from(byte) / 255.0;
    let span = if high > low { level(high) - level(low) } else { 1.0 };
    let ratio = 1.0 / COMPACTNESS;
    let mut colours = lab(rgb, |byte| (level(byte) - level(low)) / span);
    colours.iter_mut().for_each(|colour| *colour = colour.map(|value| value * ratio));
    colours
}

/// `skimage.util.regular_grid`: centres as evenly apart in both directions as the number allows.
fn seeds(rows: usize, cols: usize, segments: usize) -> (Grid, Vec<Centre>) {
    let wanted = segments as f64;
    let even = ((rows * cols) as f64 / wanted).sqrt();
    let (short, long) = (rows.min(cols) as f64, rows.max(cols) as f64);
    // A side shorter than the step gets one row of centres, the other all of them.
    let (short_step, long_step) = if short < even { (short, long / wanted) } else { (even, even) };
    let (down, across) = if rows <= cols { (short_step, long_step) } else { (long_step, short_step) };
    let axis = |step: f64, length: usize| {
        let start = (step / 2.0).floor() as usize;
        let step = (step.round_ties_even() as usize).max(1);
        ((start..length).step_by(step), step)
    };
    let ((row_seeds, down), (col_seeds, across)) = (axis(down, rows), axis(across, cols));
    let centre = |row: usize, col: usize| Centre { row: row as f64, col: col as f64, ..Centre::default() };
    let centres = row_seeds.flat_map(|row| col_seeds.clone().map(move |col| centre(row, col))).collect();
    (Grid { rows: down, cols: across }, centres)
}

/// Assigns pixels to centres and moves the centres, until nothing changes or the iterations are spent.
fn cluster(colours: &[[f64; 3]], rows: usize, cols: usize, grid: Grid, centres: &mut [Centre]) -> Vec<usize> {
    let step = grid.rows.max(grid.cols) as f64;
    let weight = 1.0 / (step * step);
    let mut labels = vec![0; rows * cols];
    let mut distances = vec![f64::MAX; rows * cols];
    for _ in 0..ITERATIONS {
        distances.fill(f64::MAX);
        for (label, centre) in centres.iter().enumerate() {
            // A centre that lost all its pixels has no place any more.
            if !centre.row.is_nan() {
                claim(label, centre, (colours, rows, cols), grid, weight, &mut labels, &mut distances);
            }
        }
        average(colours, cols, &labels, centres);
    }
    labels
}

/// Gives `centre` the pixels of its neighbourhood that are nearer to it than to the centres before it.
fn claim(
    label: usize,
    centre: &Centre,
    (colours, rows, cols): (&[[f64; 3]], usize, usize),
    grid: Grid,
    weight: f64,
    labels: &mut [usize],
    distances: &mut [f64],
) {
    let span = |at: f64, step: usize, length: usize| {
        let reach = 2.0 * step as f64;
        ((at - reach).max(0.0) as usize)..((at + reach + 1.0).min(length as f64) as usize)
    };
    for row in span(centre.row, grid.rows, rows) {
        let down = (centre.row - row as f64) * (centre.row - row as f64);
        for col in span(centre.col, grid.cols, cols) {
            let across = (centre.col - col as f64) * (centre.col - col as f64);
            let index = row * cols + col;
            let mut colour = 0.0;
            for (a, b) in colours[index].iter().zip(centre.colour) {
                colour += (a - b) * (a - b);
            }
            let distance = (down + across) * weight + colour;
            if distances[index] > distance {
                distances[index] = distance;
                labels[index] = label;
            }
        }
    }
}

/// Moves every centre to the mean of its pixels.
fn average(colours: &[[f64; 3]], cols: usize, labels: &[usize], centres: &mut [Centre]) {
    centres.fill(Centre::default());
    for (index, (&label, colour)) in labels.iter().zip(colours).enumerate() {
        let centre = &mut centres[label];
        centre.row += (index / cols) as f64;
        centre.col += (index % cols) as f64;
        centre.colour.iter_mut().zip(colour).for_each(|(sum, value)| *sum += value);
        centre.pixels += 1;
    }
    for centre in centres {
        let pixels = centre.pixels as f64;
        centre.row /= pixels;
        centre.col /= pixels;
        centre.colour = centre.colour.map(|sum| sum / pixels);
    }
}

/// Makes every segment one connected piece of less than `max_size` pixels; pieces below `min_size` join the neighbour
/// seen last, as in the paper's own code.
fn connect(labels: &[usize], rows: usize, cols: usize, min_size: usize, max_size: usize) -> Vec<usize> {
    const NONE: usize = usize::MAX;
    let mut connected = vec![NONE; labels.len()];
    let mut next = 0;
    let mut piece = Vec::new();
    for start in 0..labels.len() {
        if connected[start] != NONE {
            continue;
        }
        connected[start] = next;
        piece.clear();
        piece.push(start);
        let mut adjacent = next;
        let mut visited = 0;
        while visited < piece.len() && piece.len() < max_size {
            for neighbour in neighbours(piece[visited], rows, cols).into_iter().flatten() {
                if labels[neighbour] == labels[start] && connected[neighbour] == NONE {
                    connected[neighbour] = next;
                    piece.push(neighbour);
                    if piece.len() >= max_size {
                        break;
                    }
                } else if connected[neighbour] != NONE && connected[neighbour] != next {
                    adjacent = connected[neighbour];
                }
            }
            visited += 1;
        }
        if piece.len() < min_size {
            piece.iter().for_each(|&pixel| connected[pixel] = adjacent);
        } else {
            next += 1;
        }
    }
    connected
}

/// Right, left, below, above: the order decides which neighbour is seen last.
fn neighbours(pixel: usize, rows: usize, cols: usize) -> [Option<usize>; 4] {
    let (row, col) = (pixel / cols, pixel % cols);
    [
        (col + 1 < cols).then(|| pixel + 1),
        (col > 0).then(|| pixel - 1),
        (row + 1 < rows).then(|| pixel + cols),
        (row > 0).then(|| pixel - cols),
    ]
}
