//! No NaN or infinity leaves: JSON has neither, and serde_json would write `null` in their place.
//!
//! Every type is taken apart by all of its fields, so that a new one does not compile until it is looked at here.

use super::faithfulness::{Curves, Faithfulness};
use super::outcome::{Answer, Explanation, InputView};
use crate::methods::attribution::{
    Amount, Attribution, Change, Diagnostics, LensLayer, Neuron, PixelMap, Rule, Scores, Tree,
};
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
    explanations.iter().flatten().find_map(place_in_explanation)
}

/// Whether JSON can hold all numbers of `explanation`.
pub fn is_finite(explanation: &Explanation) -> bool {
    place_in_explanation(explanation).is_none()
}

fn place_in_explanation(explanation: &Explanation) -> Option<String> {
    let Explanation { method, target: _, settings: _, attribution, faithfulness, reasons, elapsed_ms } = explanation;
    let scores = reasons.iter().flatten().map(|reason| &reason.score);
    let measured = faithfulness.iter().flatten().all(|measured| faithfulness_is_finite(measured));
    let place = match (elapsed_ms.is_finite(), measured && finite(scores)) {
        (false, _) => "elapsed_ms",
        (true, false) => "faithfulness",
        (true, true) => place_in(attribution)?,
    };
    Some(format!("{method}: {place}"))
}

fn faithfulness_is_finite(measured: &Faithfulness) -> bool {
    let Faithfulness {
        output: _,
        target: _,
        units: _,
        fractions,
        comprehensiveness,
        sufficiency,
        aopc_comprehensiveness,
        aopc_sufficiency,
        eraser,
        curves: Curves { taken: _, deletion, insertion },
        deletion_auc,
        insertion_auc,
        loo_correlation,
        infidelity,
        infidelity_scaled,
        max_sensitivity,
        sparsity,
        unmeasured: _,
        evaluations: _,
    } = measured;
    let lists = [fractions, comprehensiveness, sufficiency, deletion, insertion];
    let lists = lists.into_iter().chain([&eraser.fractions, &eraser.comprehensiveness, &eraser.sufficiency]);
    let optional = [loo_correlation, infidelity, infidelity_scaled, max_sensitivity, sparsity];
    let numbers = [aopc_comprehensiveness, aopc_sufficiency, deletion_auc, insertion_auc];
    let bins = [&eraser.aopc_comprehensiveness, &eraser.aopc_sufficiency];
    finite(lists.flatten()) && finite(optional.into_iter().flatten()) && finite(numbers.into_iter().chain(bins))
}

fn finite<'a>(values: impl IntoIterator<Item = &'a f32>) -> bool {
    values.into_iter().all(|value| value.is_finite())
}

fn place_in(attribution: &Attribution<Amount>) -> Option<&'static str> {
    let Attribution {
        scores,
        units: _,
        grid: _,
        segments: _,
        interactions,
        rule,
        tree,
        rules: _,
        change,
        base_value,
        output_value,
        residual,
        heads,
        neurons,
        layers,
        auto,
        diagnostics,
        partial: _,
    } = attribution;
    let neuron = |&Neuron { layer: _, unit: _, activation, influence }: &Neuron| finite(&[activation, influence]);
    let lens = |LensLayer { layer: _, scores }: &LensLayer| scores.iter().all(ClassScore::is_finite);
    let values = [
        ("base_value", base_value.as_ref().is_none_or(Amount::is_finite)),
        ("output_value", output_value.as_ref().is_none_or(Amount::is_finite)),
        ("residual", residual.as_ref().is_none_or(Amount::is_finite)),
        ("scores", scores_are_finite(scores)),
        ("interactions", finite(interactions.iter().flatten().flatten())),
        ("rule", rule.as_ref().is_none_or(rule_is_finite)),
        ("tree", tree.as_ref().is_none_or(Tree::is_finite)),
        ("change", change.as_ref().is_none_or(change_is_finite)),
        ("heads", finite(heads.iter().flatten().flatten())),
        ("neurons", neurons.iter().flatten().all(neuron)),
        ("layers", layers.iter().flatten().all(lens)),
        ("auto", auto.as_ref().is_none_or(|auto| auto.is_finite())),
        ("diagnostics", diagnostics_are_finite(diagnostics)),
    ];
    values.into_iter().find(|(_, finite)| !finite).map(|(place, _)| place)
}

fn scores_are_finite(scores: &Scores) -> bool {
    let Scores { tokens, words, sentences, spans, grid, segments, pixels, matrix, layers } = scores;
    finite(tokens.iter().flatten())
        && finite(words.iter().flatten())
        && finite(sentences.iter().flatten())
        && finite(spans.iter().flatten())
        && finite(grid.iter().flatten().flatten())
        && finite(segments.iter().flatten())
        && finite(matrix.iter().flatten().flatten())
        && finite(layers.iter().flatten().flatten().flatten().flatten())
        && pixels.as_ref().is_none_or(|PixelMap { png: _, scale, offset }| finite([scale, offset]))
}

fn rule_is_finite(rule: &Rule) -> bool {
    let Rule { units: _, text: _, precision, precision_bounds, coverage } = rule;
    finite([precision, coverage].into_iter().chain(precision_bounds))
}

fn change_is_finite(change: &Change) -> bool {
    let Change { found: _, minimal: _, edits: _, text: _, pair: _, image: _, distance, prediction } = change;
    distance.is_finite() && prediction.as_ref().is_none_or(|said| said.is_finite())
}

fn diagnostics_are_finite(diagnostics: &Diagnostics) -> bool {
    let Diagnostics {
        evaluations: _,
        converged: _,
        convergence_delta,
        residual_error,
        nodes: _,
        exact: _,
        samples: _,
        standard_error,
        r2,
        intercept,
        precision_error,
    } = diagnostics;
    let numbers = [convergence_delta, residual_error, r2, intercept, precision_error];
    finite(numbers.into_iter().flatten()) && finite(standard_error.iter().flatten())
}
