//! No NaN or infinity leaves: JSON has neither, and serde_json would write `null` in their place.
//!
//! Every type is taken apart by all of its fields, so that a new one does not compile until it is looked at here.

use super::outcome::{Answer, Explanation, InputView};
use crate::methods::attribution::{Attribution, Diagnostics, LensLayer, Neuron, PixelMap, Scores};
use crate::tasks::ClassScore;

/// The first number of `answer` that is not finite, by its place.
pub(super) fn not_finite(answer: &Answer) -> Option<String> {
    let Answer { input, prediction, explanations, .. } = answer;
    let region = match input {
        InputView::Text(_) => true,
        InputView::Image(image) => finite(&[image.region.x, image.region.y, image.region.width, image.region.height]),
    };
    if !region {
        return Some("input.region".to_owned());
    }
    if !prediction.is_finite() {
        return Some("the prediction".to_owned());
    }
    explanations.iter().flatten().find_map(|explanation| {
        let Explanation { method, target: _, settings: _, attribution, elapsed_ms } = explanation;
        let place = if elapsed_ms.is_finite() { place_in(attribution)? } else { "elapsed_ms" };
        Some(format!("{method}: {place}"))
    })
}

fn finite<'a>(values: impl IntoIterator<Item = &'a f32>) -> bool {
    values.into_iter().all(|value| value.is_finite())
}

fn place_in(attribution: &Attribution) -> Option<&'static str> {
    let Attribution {
        scores,
        grid: _,
        segments: _,
        base_value,
        output_value,
        residual,
        heads,
        neurons,
        layers,
        diagnostics,
        partial: _,
    } = attribution;
    let neuron = |&Neuron { layer: _, unit: _, activation, influence }: &Neuron| finite(&[activation, influence]);
    let lens = |LensLayer { layer: _, scores }: &LensLayer| scores.iter().all(ClassScore::is_finite);
    let values = [
        ("base_value", finite(base_value)),
        ("output_value", finite(output_value)),
        ("residual", finite(residual)),
        ("scores", scores_are_finite(scores)),
        ("heads", finite(heads.iter().flatten().flatten())),
        ("neurons", neurons.iter().flatten().all(neuron)),
        ("layers", layers.iter().flatten().all(lens)),
        ("diagnostics", diagnostics_are_finite(diagnostics)),
    ];
    values.into_iter().find(|(_, finite)| !finite).map(|(place, _)| place)
}

fn scores_are_finite(scores: &Scores) -> bool {
    let Scores { tokens, words, grid, segments, pixels, layers } = scores;
    finite(tokens.iter().flatten())
        && finite(words.iter().flatten())
        && finite(grid.iter().flatten().flatten())
        && finite(segments.iter().flatten())
        && finite(layers.iter().flatten().flatten().flatten().flatten())
        && pixels.as_ref().is_none_or(|PixelMap { png: _, scale, offset }| finite([scale, offset]))
}

fn diagnostics_are_finite(diagnostics: &Diagnostics) -> bool {
    let Diagnostics {
        evaluations: _,
        converged: _,
        convergence_delta,
        nodes: _,
        exact: _,
        samples: _,
        standard_error,
        r2,
        intercept,
        precision_error,
    } = diagnostics;
    let numbers = [convergence_delta, r2, intercept, precision_error];
    finite(numbers.into_iter().flatten()) && finite(standard_error.iter().flatten())
}
