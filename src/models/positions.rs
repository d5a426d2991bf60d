//! Position embeddings of one patch grid for another, as `torch.nn.functional.interpolate` in bicubic mode.

/// How the table is resampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resampling {
    /// Four neighbours, whatever the ratio (a = −0.75).
    Plain,
    /// `antialias=True`: where the grid shrinks the kernel widens (a = −0.5).
    Antialiased,
}

/// Source samples and their weights for one sample of the result.
type Taps = Vec<(usize, f64)>;

impl Resampling {
    fn taps(self, from: usize, to: usize) -> Vec<Taps> {
        let scale = from as f64 / to as f64;
        (0..to)
            .map(|index| match self {
                Self::Plain => plain((index as f64 + 0.5) * scale - 0.5, from),
                Self::Antialiased => antialiased((index as f64 + 0.5) * scale, scale.max(1.0), from),
            })
            .collect()
    }
}

fn plain(at: f64, from: usize) -> Taps {
    let base = at.floor();
    // Neighbours beyond the edge are the edge.
    let source = |offset: i64| (base as i64 + offset).clamp(0, from as i64 - 1) as usize;
    (-1..=2).map(|offset| (source(offset), cubic((at - base - offset as f64).abs(), -0.75))).collect()
}

fn antialiased(centre: f64, stretch: f64, from: usize) -> Taps {
    let support = 2.0 * stretch;
    let first = (centre - support + 0.5).max(0.0) as usize;
    let end = ((centre + support + 0.5) as usize).min(from);
    let weight = |source: usize| cubic(((source as f64 - centre + 0.5) / stretch).abs(), -0.5);
    let sum: f64 = (first..end).map(weight).sum();
    (first..end).map(|source| (source, weight(source) / sum)).collect()
}

/// Keys' cubic.
fn cubic(x: f64, a: f64) -> f64 {
    if x < 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        ((x - 5.0) * x + 8.0) * x * a - 4.0 * a
    } else {
        0.0
    }
}

/// `table`: an entry of `width` numbers for each cell of a grid of `from` rows and columns; the result, one for each of
/// `to`.
pub fn resample(
    table: &[f32],
    width: usize,
    from: (usize, usize),
    to: (usize, usize),
    resampling: Resampling,
) -> Vec<f32> {
    if from == to {
        return table.to_vec();
    }
    let (down, across) = (resampling.taps(from.0, to.0), resampling.taps(from.1, to.1));
    let mut out = Vec::with_capacity(to.0 * to.1 * width);
    for rows in &down {
        for cols in &across {
            let mut entry = vec![0.0_f64; width];
            for &(row, down) in rows {
                for &(col, across) in cols {
                    let source = &table[(row * from.1 + col) * width..][..width];
                    entry.iter_mut().zip(source).for_each(|(sum, &x)| *sum += down * across * f64::from(x));
                }
            }
            out.extend(entry.into_iter().map(|x| x as f32));
        }
    }
    out
}
