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

/// The multipliers of (x − centre) / √(mean (x − centre)² + ε) ∘ weight, in place of those of its result: centring is
/// linear, the mean of squares and the last product follow the product rule, the root the rescale rule. Without
/// `centred` the centre is 0: RMS norm.
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
    let scale = |row: &[f32], centre: f64| {
        let squares: f64 = row.iter().map(|&x| (f64::from(x) - centre).powi(2)).sum();
        (squares / n + f64::from(epsilon)).sqrt().recip()
    };
    let (r, other) = (scale(x, centres.0), scale(baseline, centres.1));
    // Δ v^−½ / Δ v, written so that nothing cancels.
    let slope = -(r * other).powi(2) / (r + other);
    // The mean of both rows' deviations.
    let deviation = |at: usize| 0.5 * (f64::from(x[at]) - centres.0 + f64::from(baseline[at]) - centres.1);
    let own = |at: usize, multiplier: &[f32]| f64::from(multiplier[at]) * f64::from(weight[at]);
    let of_scale: f64 = (0..x.len()).map(|at| own(at, multiplier) * deviation(at)).sum();
    let of_deviation = |at: usize, multiplier: &[f32]| {
        own(at, multiplier) * 0.5 * (r + other) + of_scale * slope * 2.0 / n * deviation(at)
    };
    let mean = if centred { (0..x.len()).map(|at| of_deviation(at, multiplier)).sum::<f64>() / n } else { 0.0 };
    for at in 0..x.len() {
        multiplier[at] = (of_deviation(at, multiplier) - mean) as f32;
    }
}
