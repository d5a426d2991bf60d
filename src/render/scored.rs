//! What of an answer carries a score, and how names and numbers are written: shared by all formats.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::RenderError;
use crate::explain::outcome::{InputView, TextView};
use crate::explain::{Answer, Explanation};
use crate::methods::Amount;
use crate::tasks::{ClassScore, Prediction};

/// One word or token of the input with its score.
pub(super) struct Unit<'a> {
    pub text: &'a str,
    pub score: f32,
    /// Whitespace stood before it.
    pub gap: bool,
    /// It begins the second text of a pair.
    pub second_text: bool,
}

/// The input's words (else its tokens, sentences or spans) with `explanation`'s scores; empty where it scores none.
pub(super) fn units<'a>(view: &'a TextView, explanation: &'a Explanation) -> Vec<Unit<'a>> {
    let scores = &explanation.attribution.scores;
    let mut place = Place::default();
    if let (Some(units), Some(scores)) =
        (&explanation.attribution.units, scores.sentences.as_ref().or(scores.spans.as_ref()))
    {
        let units = units.iter().zip(scores);
        units.map(|(word, score)| place.unit(&word.text, *score, word.start, word.end, word.sequence)).collect()
    } else if let Some(scores) = &scores.words {
        let words = view.words.iter().zip(scores);
        words.map(|(word, score)| place.unit(&word.text, *score, word.start, word.end, word.sequence)).collect()
    } else if let Some(scores) = &scores.tokens {
        let tokens = view.tokens.iter().zip(scores);
        let unit = |(token, score): (&'a crate::input::text::Token, &f32)| {
            let mut unit = place.unit(&token.text, *score, token.start, token.end, token.sequence.flatten());
            unit.gap |= token.special;
            unit
        };
        tokens.map(unit).collect()
    } else {
        Vec::new()
    }
}

/// Where the last unit ended.
#[derive(Default)]
struct Place {
    end: Option<usize>,
    sequence: usize,
}

impl Place {
    fn unit<'a>(&mut self, text: &'a str, score: f32, start: usize, end: usize, sequence: Option<usize>) -> Unit<'a> {
        let sequence = sequence.unwrap_or(self.sequence);
        let second_text = sequence > self.sequence;
        let gap = second_text || self.end.is_some_and(|last| start > last);
        *self = Self { end: Some(end), sequence };
        Unit { text, score, gap, second_text }
    }
}

/// Scores over an image: `rows` × `cols` values, row by row, over what the model sees.
pub(super) struct ScoreMap {
    pub rows: usize,
    pub cols: usize,
    pub values: Vec<f32>,
}

impl ScoreMap {
    /// The segments' scores pixel by pixel, else the grid's; `None` where the explanation has neither.
    pub(super) fn of(explanation: &Explanation) -> Result<Option<Self>, RenderError> {
        let attribution = &explanation.attribution;
        if let (Some(png), Some(scores)) = (&attribution.segments, &attribution.scores.segments) {
            return Self::segments(&explanation.method, png, scores).map(Some);
        }
        Ok(attribution.scores.grid.as_ref().and_then(|grid| {
            let cols = grid.first().map_or(0, Vec::len);
            let values: Vec<f32> = grid.iter().flatten().copied().collect();
            (cols > 0 && values.len() == grid.len() * cols).then_some(Self { rows: grid.len(), cols, values })
        }))
    }

    fn segments(method: &str, png: &str, scores: &[f32]) -> Result<Self, RenderError> {
        let fail = |detail: String| RenderError::Segments { method: method.to_owned(), detail };
        let bytes = STANDARD.decode(png).map_err(|error| fail(error.to_string()))?;
        let labels = image::load_from_memory_with_format(&bytes, image::ImageFormat::Png)
            .map_err(|error| fail(error.to_string()))?
            .into_luma16();
        let score = |label: &u16| scores.get(usize::from(*label)).copied();
        let values: Option<Vec<f32>> = labels.as_raw().iter().map(score).collect();
        let values = values.ok_or_else(|| fail(format!("a value is not under {}", scores.len())))?;
        Ok(Self { rows: labels.height() as usize, cols: labels.width() as usize, values })
    }

    /// The score at a place in the region the model sees, both coordinates in 0 … 1.
    pub(super) fn at(&self, x: f32, y: f32) -> f32 {
        let cell = |place: f32, cells: usize| ((place * cells as f32) as usize).min(cells.saturating_sub(1));
        let index = cell(y, self.rows) * self.cols + cell(x, self.cols);
        self.values.get(index).copied().unwrap_or(0.0)
    }
}

/// The largest magnitude: what the strongest colour stands for. 1 where all scores are 0.
pub(super) fn scale(scores: impl Iterator<Item = f32>) -> f32 {
    let largest = scores.fold(0.0_f32, |largest, score| largest.max(score.abs()));
    if largest > 0.0 { largest } else { 1.0 }
}

/// A score with its sign: three decimals, a fourth or an exponent where those would say little.
pub(super) fn signed(value: f32) -> String {
    match value.abs() {
        0.0 => format!("{value:+.3}"),
        size if size < 0.000_5 => format!("{value:+.1e}"),
        size if size < 0.01 => format!("{value:+.4}"),
        _ => format!("{value:+.3}"),
    }
}

/// `integrated_gradients → POSITIVE`, or the method alone where it has no target.
pub(super) fn title(explanation: &Explanation) -> String {
    match &explanation.target {
        Some(target) => format!("{} → {}", explanation.method, target),
        None => explanation.method.clone(),
    }
}

/// What is known about the numbers, in a line: `logit −0.310 → +4.100, residual +4.0e-4, 24 evaluations`.
pub(super) fn quality(explanation: &Explanation) -> String {
    let attribution = &explanation.attribution;
    let mut parts = Vec::new();
    let one = |amount: &Option<Amount>| amount.as_ref().and_then(Amount::one);
    if let (Some(base), Some(output)) = (one(&attribution.base_value), one(&attribution.output_value)) {
        let space = explanation.settings.get("output").and_then(|output| output.as_str()).unwrap_or("output");
        parts.push(format!("{space} {} → {}", signed(base), signed(output)));
    }
    if let Some(residual) = one(&attribution.residual) {
        parts.push(format!("residual {}", signed(residual)));
    }
    if let Some(r2) = attribution.diagnostics.r2 {
        parts.push(format!("R² {r2:.3}"));
    }
    match attribution.diagnostics.evaluations {
        1 => parts.push("1 evaluation".to_owned()),
        count => parts.push(format!("{count} evaluations")),
    }
    match (attribution.diagnostics.exact, attribution.diagnostics.converged) {
        (Some(true), _) => parts.push("exact".to_owned()),
        (_, Some(false)) => parts.push("not converged".to_owned()),
        _ => {}
    }
    if attribution.partial {
        parts.push("partial".to_owned());
    }
    parts.join(", ")
}

/// `POSITIVE 0.998 · NEGATIVE 0.002`: the predicted class first, then the others by probability (else logit), at
/// most `count`. Of tokens `Clara B-PER 0.981 · …`, of a question its answer.
pub(super) fn prediction(answer: &Answer, count: usize) -> String {
    let parts = parts(answer);
    let mut line = parts.iter().take(count).cloned().collect::<Vec<_>>().join(" · ");
    if parts.len() > count {
        line.push_str(&format!(" · {} more", parts.len() - count));
    }
    line
}

/// `POSITIVE 0.998`: the first part of the prediction alone, short enough for a title.
pub(super) fn predicted(answer: &Answer) -> String {
    parts(answer).into_iter().next().unwrap_or_default()
}

/// `POSITIVE`: the same without its number.
pub(super) fn predicted_name(answer: &Answer) -> String {
    match &answer.prediction {
        Prediction::Class(class) => class.label.clone(),
        Prediction::Answer(found) => found.text.clone(),
        Prediction::Completion(found) => found.completion.clone(),
        Prediction::Tokens(_) => predicted(answer),
    }
}

fn parts(answer: &Answer) -> Vec<String> {
    match &answer.prediction {
        Prediction::Class(class) => ranked(&class.scores).into_iter().map(class_name).collect(),
        Prediction::Completion(found) => vec![format!("“{}”", found.completion)],
        Prediction::Answer(found) => vec![format!("“{}” {:.3}", found.text, found.score)],
        Prediction::Tokens(found) => {
            let tokens = match &answer.input {
                InputView::Text(text) => text.tokens.as_slice(),
                InputView::Image(_) => &[],
            };
            // `O`: outside of what such a model looks for.
            let named = tokens.iter().zip(&found.tokens).filter_map(|(token, own)| Some((token, own.as_ref()?)));
            let (inside, outside): (Vec<_>, Vec<_>) = named.partition(|(_, own)| own.label != "O");
            let shown = if inside.is_empty() { outside } else { inside };
            shown.iter().map(|(token, own)| format!("{} {} {:.3}", token.text, own.label, own.probability)).collect()
        }
    }
}

/// The likeliest first, where there are no probabilities those of the largest outputs.
pub(super) fn ranked(scores: &[ClassScore]) -> Vec<&ClassScore> {
    let mut classes: Vec<&ClassScore> = scores.iter().collect();
    classes.sort_by(|a, b| {
        let value = |score: &ClassScore| score.probability.unwrap_or(score.logit);
        value(b).total_cmp(&value(a)).then(a.index.cmp(&b.index))
    });
    classes
}

pub(super) fn class_name(class: &ClassScore) -> String {
    match class.probability {
        Some(probability) => format!("{} {probability:.3}", class.label),
        None => format!("{} {}", class.label, signed(class.logit)),
    }
}

/// `sentiment (bundled:sentiment, bert, text-classification)`.
pub(super) fn model(answer: &Answer) -> String {
    let model = &answer.model;
    format!("{} ({}, {}, {})", model.name, model.source, model.architecture, model.task)
}

/// Text that a terminal, SVG or HTML shows and does not act on: control characters become U+FFFD.
pub(super) fn harmless(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Text for XML and HTML, in an element or an attribute in double quotes.
pub fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // XML 1.0 allows neither controls nor these two, not even escaped.
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}
