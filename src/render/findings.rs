//! What an explanation found beside scores, in lines: a rule, the leaves of a tree, a changed input, what layers answer.

use super::scored;
use crate::explain::Explanation;
use crate::methods::{Change, Edit, LensLayer, Neuron};

/// Of a layer's answer.
const CLASSES: usize = 5;

/// One line each; none where there are scores alone.
pub(super) fn lines(explanation: &Explanation) -> Vec<String> {
    let attribution = &explanation.attribution;
    let mut lines = Vec::new();
    if let Some(rule) = &attribution.rule {
        let [low, high] = rule.precision_bounds;
        lines.push(format!(
            "{} (precision {low:.3} to {high:.3}, coverage {:.2} %)",
            rule.text,
            100.0 * f64::from(rule.coverage)
        ));
    }
    lines.extend(attribution.rules.iter().flatten().cloned());
    lines.extend(attribution.layers.iter().flatten().map(layer));
    lines.extend(attribution.change.iter().flat_map(change));
    lines
}

/// What a layer answers: its likeliest classes.
fn layer(layer: &LensLayer) -> String {
    let classes: Vec<String> =
        scored::ranked(&layer.scores).into_iter().take(CLASSES).map(scored::class_name).collect();
    format!("layer {}: {}", layer.layer, classes.join(" · "))
}

/// Units inside the model with what they are ordered by.
pub(super) fn neurons(explanation: &Explanation) -> Vec<(String, f32)> {
    let activation = explanation.settings.get("measure").is_some_and(|measure| measure == "activation");
    let value = |neuron: &Neuron| if activation { neuron.activation } else { neuron.influence };
    let named = |neuron: &Neuron| (format!("layer {} unit {}", neuron.layer, neuron.unit), value(neuron));
    explanation.attribution.neurons.iter().flatten().map(named).collect()
}

/// A picture in base64 that an explanation found.
pub(super) fn picture(explanation: &Explanation) -> Option<&str> {
    explanation.attribution.change.as_ref()?.image.as_deref()
}

fn change(change: &Change) -> Vec<String> {
    if !change.found {
        return vec!["no change found that makes the model say something else".to_owned()];
    }
    let mut lines: Vec<String> = change.edits.iter().map(edit).collect();
    if let Some(text) = &change.text {
        lines.push(format!("changed text: {text}"));
    }
    if let Some(pair) = &change.pair {
        lines.push(format!("changed second text: {pair}"));
    }
    let minimal = match change.minimal {
        Some(true) => ", the smallest",
        _ => "",
    };
    let said = change.prediction.as_ref().map_or_else(String::new, |said| match said.probability {
        Some(probability) => format!("the model then says {} {probability:.3}, ", said.label),
        None => format!("the model then says {}, ", said.label),
    });
    lines.push(format!("{said}distance {:.3}{minimal}", change.distance));
    lines
}

fn edit(edit: &Edit) -> String {
    let Edit { start, end, from, to, sequence } = edit;
    let text = if *sequence == Some(1) { " of the second text" } else { "" };
    match to.as_str() {
        "" => format!("“{}” removed (characters {start} to {end}{text})", from.trim()),
        to => format!("“{from}” → “{to}” (characters {start} to {end}{text})"),
    }
}
