//! What a backward hands on where a function is not linear: its gradient, or what other rules put in the gradient's
//! place. Layers give the rules' numbers; [`Tape::backward`](super::Tape::backward) follows the tape's rule.

use super::kernel::for_rows;

/// How a backward goes through what is not linear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rule {
    #[default]
    Gradient,
    /// Guided backpropagation (Springenberg et al. 2015): a ReLU hands on gradients above 0 alone.
    Guided,
    /// DeepLIFT's rescale rule (Shrikumar et al. 2017): every operation hands on multipliers, with which the
    /// differences of its inputs add up to that of its output. The forward's rows are pairs of equal length: row i
    /// of the first half is an input, row i of the second its baseline.
    DeepLift,
}

/// What guided backpropagation has to know of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// No activation.
    None,
    Relu,
    /// Another activation, by its name.
    Other(&'static str),
}

/// `multiplier` of every pair of `x`'s rows by `body(the input's row, the baseline's, multiplier)`; both rows of a pair
/// get it. Rows have `cols` numbers, in `multiplier` as in `x`.
pub(super) fn for_pairs(
    x: &[f32],
    cols: usize,
    mut multiplier: Vec<f32>,
    body: impl Fn(&[f32], &[f32], &mut [f32]) + Sync,
) -> Vec<f32> {
    let (inputs, baselines) = x.split_at(x.len() / 2);
    multiplier.truncate(inputs.len());
    for_rows(&mut multiplier, cols, |row, multiplier| {
        let row = row * cols..(row + 1) * cols;
        body(&inputs[row.clone()], &baselines[row], multiplier);
    });
    both(multiplier)
}

/// What the first row of every pair has, for the second as well.
pub(super) fn both(mut multiplier: Vec<f32>) -> Vec<f32> {
    multiplier.extend_from_within(..);
    multiplier
}

/// The multipliers of y = c / σ ∘ weight with c = x − centre and σ = √(mean c² + ε), in place of those of y. Centring is
/// linear, the mean of squares follows the product rule and the root the rescale rule. The quotient follows the product
/// rule of c = y σ: Δy = (Δc − Δσ (y + y′)/2) · 2/(σ + σ′). As a product with 1/σ it would add up as well, but out of
/// terms that cancel where one row is next to nothing and its 1/σ therefore huge, as zeros are that stand for "nothing".
/// Without `centred` the centre is 0: RMS norm.
pub(super) fn lift_norm(
    (x, baseline): (&[f32], &[f32]),
    weight: &[f32],
    epsilon: f32,
    centred: bool,
    multiplier: &mut [f32],
) {
    let n = x.len() as f64;
    let centre = |row: &[f32]| if centred { row.iter().map(|&x| f64::from(x)).sum::<f64>() / n } else { 0.0 };
    let centres = (centre(x), centre(baseline));
    let deviation = |row: &[f32], centre: f64| {
        let squares: f64 = row.iter().map(|&x| (f64::from(x) - centre).powi(2)).sum();
        (squares / n + f64::from(epsilon)).sqrt()
    };
    let (sigma, other) = (deviation(x, centres.0), deviation(baseline, centres.1));
    let scale = 2.0 / (sigma + other);
    let of_both = |at: usize| (f64::from(x[at]) - centres.0, f64::from(baseline[at]) - centres.1);
    let weighted: Vec<f64> = multiplier.iter().zip(weight).map(|(m, w)| f64::from(*m) * f64::from(*w)).collect();
    let along = |(at, m): (usize, &f64)| {
        let (own, from) = of_both(at);
        m * 0.5 * (own / sigma + from / other)
    };
    // Δσ / Δ mean c² is 1/(σ + σ′).
    let of_squares = -scale * weighted.iter().enumerate().map(along).sum::<f64>() * 0.5 * scale / n;
    let of_deviation = |(at, m): (usize, &f64)| {
        let (own, from) = of_both(at);
        m * scale + of_squares * (own + from)
    };
    let lifted: Vec<f64> = weighted.iter().enumerate().map(of_deviation).collect();
    let mean = if centred { lifted.iter().sum::<f64>() / n } else { 0.0 };
    multiplier.iter_mut().zip(lifted).for_each(|(multiplier, lifted)| *multiplier = (lifted - mean) as f32);
}
