//! Scores of units as the lists of an answer.

use super::super::reduce;
use super::super::settings::{Presentation, float, floats};
use super::Choice;
use crate::input::text::{TextInput, Word};
use crate::input::units::{UnitKind, Units};
use crate::input::{Input, spans};
use crate::methods::{Attribution, Ctx, Diagnostics, Error, Scores};
use crate::tasks::{OutputSpace, Target};

/// What a method found for one target.
pub struct Scored<'a> {
    /// One a unit.
    pub scores: &'a [f64],
    /// One a unit; `None` where nothing is estimated.
    pub errors: Option<&'a [f64]>,
    /// The target's output with nothing present and at the input.
    pub base: f64,
    pub output: f64,
    /// Whether the scores add up to `output` − `base`: the answer then says what is left.
    pub complete: bool,
}

/// The lists of the units' kind, the values at both ends and the standard errors; the rest of the diagnostics is the
/// method's.
///
/// # Errors
/// A number that is not finite.
pub fn answer(
    choice: &Choice,
    presentation: Presentation,
    input: &Input,
    units: &Units,
    scored: &Scored<'_>,
) -> Result<Attribution, Error> {
    let Scored { scores, errors, base, output, complete } = *scored;
    let mut shown = scores.to_vec();
    let scale = presentation.apply(&mut shown);
    let errors = errors.map(|errors| errors.iter().map(|error| error * scale).collect::<Vec<f64>>());
    let list = floats(&shown, "a score")?;
    let errors = errors.map(|errors| floats(&errors, "a standard error")).transpose()?;
    let residual = complete.then(|| float(output - base - scores.iter().sum::<f64>(), "the residual")).transpose()?;
    let mut attribution = Attribution {
        base_value: Some(float(base, "the base value")?),
        output_value: Some(float(output, "the output value")?),
        residual,
        ..Attribution::default()
    };
    attribution.diagnostics.standard_error = match (units, input) {
        (Units::Text { kind: UnitKind::Token, members }, Input::Text(text)) => {
            errors.map(|errors| aligned(&errors, members, text.tokens.len()))
        }
        _ => errors,
    };
    match (units, input) {
        (Units::Text { members, .. }, Input::Text(text)) => {
            attribution.units = places(choice, text);
            attribution.scores = match choice.unit {
                UnitKind::Token => of_text(choice.unit, aligned(&list, members, text.tokens.len())),
                unit => of_text(unit, list),
            };
        }
        (Units::Image { segmentation, .. }, Input::Image(image)) => {
            if let Some(grid) = choice.grid {
                let place = reduce::cells(image.rows, image.cols, grid);
                let cells = reduce::segment_cells(&segmentation.labels, scores, &place, grid);
                let cells = presentation.list(cells, "a cell's score")?;
                attribution.scores.grid = Some(reduce::rows(&cells, grid));
                attribution.grid = Some(grid);
            }
            attribution.segments = Some(reduce::segment_picture(segmentation));
            attribution.scores.segments = Some(list);
        }
        _ => return Err(Error::Missing { what: "units of the input's kind" }),
    }
    Ok(attribution)
}

/// The answer for a text without units: its lists are empty, and the output is the same at both ends.
///
/// # Errors
/// An output that is not finite.
pub fn nothing(
    choice: &Choice,
    ctx: &dyn Ctx,
    target: &Target,
    output: OutputSpace,
    complete: bool,
) -> Result<Attribution, Error> {
    let value = float(ctx.task().value(ctx.logits(), target, output), "the output value")?;
    Ok(Attribution {
        scores: of_text(choice.unit, Vec::new()),
        units: (choice.unit == UnitKind::Sentence).then(Vec::new),
        base_value: Some(value),
        output_value: Some(value),
        residual: complete.then_some(0.0),
        diagnostics: Diagnostics { evaluations: 1, exact: Some(true), ..Diagnostics::default() },
        ..Attribution::default()
    })
}

/// The one list that a text's units have.
fn of_text(unit: UnitKind, list: Vec<f32>) -> Scores {
    match unit {
        UnitKind::Token => Scores { tokens: Some(list), ..Scores::default() },
        UnitKind::Sentence => Scores { sentences: Some(list), ..Scores::default() },
        UnitKind::Span => Scores { spans: Some(list), ..Scores::default() },
        _ => Scores { words: Some(list), ..Scores::default() },
    }
}

/// Numbers for every pair of units as rows of the answer's list: 0 at tokens of no unit.
///
/// # Errors
/// A number that is not finite.
pub fn matrix(input: &Input, units: &Units, pairs: &[f64]) -> Result<Vec<Vec<f32>>, Error> {
    let rows = pairs.chunks(units.len().max(1));
    let rows = rows.map(|row| floats(row, "an interaction")).collect::<Result<Vec<_>, Error>>()?;
    let (Units::Text { kind: UnitKind::Token, members }, Input::Text(text)) = (units, input) else { return Ok(rows) };
    let tokens = text.tokens.len();
    let mut matrix = vec![vec![0.0; tokens]; tokens];
    for (row, &token) in rows.iter().zip(members.iter().flatten()) {
        if let Some(entry) = matrix.get_mut(token) {
            *entry = aligned(row, members, tokens);
        }
    }
    Ok(matrix)
}

/// Where the units stand, where the answer's `input` does not list them.
fn places(choice: &Choice, text: &TextInput) -> Option<Vec<Word>> {
    match choice.unit {
        UnitKind::Sentence => Some(spans::sentences(text).places),
        UnitKind::Span => spans::spans(text, choice.spans.as_deref()?).ok().map(|parts| parts.places),
        _ => None,
    }
}

/// One entry a token, 0 at those of no unit.
fn aligned(scores: &[f32], members: &[Vec<usize>], tokens: usize) -> Vec<f32> {
    let mut list = vec![0.0; tokens];
    for (&score, &token) in scores.iter().zip(members.iter().flatten()) {
        if let Some(entry) = list.get_mut(token) {
            *entry = score;
        }
    }
    list
}
