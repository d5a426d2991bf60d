//! How large an answer about a completion may be: a method gives an explanation for each of its tokens, or one with a
//! matrix of all of them.

use serde::Deserialize;
use serde_json::Value;

use super::items::Chosen;
use super::plan::Field;
use crate::input::TextInput;
use crate::input::units::{UnitKind, Units};
use crate::methods::{Planned, Subject};

/// Refuses methods that give an explanation for each of more targets than `most`, where `explanations` of `targets` were
/// asked for.
pub(super) fn explanations(
    chosen: &[Chosen],
    (explanations, targets): (usize, usize),
    most: usize,
) -> Result<(), Field> {
    let each = |chosen: &Chosen| match (chosen.method.targeted(), chosen.method.adds_up()) {
        (false, _) => 1,
        (true, true) => explanations,
        (true, false) => targets,
    };
    let all: usize = chosen.iter().map(each).sum();
    let apart = chosen.iter().find(|chosen| each(chosen) > explanations);
    let Some(apart) = apart.filter(|_| all > most) else { return Ok(()) };
    let detail = format!(
        "\"{}\" explains each of up to {targets} tokens by itself, so that there may be {all} explanations and the limit \
         is {most} (limits.explanations); name fewer tokens in \"target\", as [{{\"token\": 0}}], or write fewer",
        apart.method.name()
    );
    Err(Field::new(&apart.pointer, detail))
}

/// The method with its settings, its numbers taken off what is left of `limits.response_values`.
pub(super) fn planned(chosen: Chosen, subject: &mut Subject<'_>) -> Result<Box<dyn Planned>, Field> {
    let pointer = chosen.pointer.clone();
    let planned = chosen.plan(subject)?;
    let left = subject.response_values.saturating_sub(planned.values());
    let numbers = subject.input.as_text().map_or(0, |text| matrix(&*planned, text, subject.targets));
    if numbers > left {
        let detail = format!(
            "scores of {} completion tokens by what stands before them are {numbers} numbers and limits.response_values \
             leaves {left}; name fewer tokens in \"target\", explain fewer, or score \"sentence\" or \"span\" units",
            subject.targets
        );
        return Err(Field::new(pointer, detail));
    }
    subject.response_values = left - numbers;
    Ok(planned)
}

/// Numbers of the matrices of `targets` completion tokens; none where there is no completion.
fn matrix(planned: &dyn Planned, text: &TextInput, targets: usize) -> usize {
    let Some(continuation) = &text.continuation else { return 0 };
    if !planned.targeted() {
        return 0;
    }
    let prompt = continuation.prompt;
    let setting = |name: &str| planned.settings().get(name);
    let before = match setting("unit").and_then(|unit| UnitKind::deserialize(unit).ok()) {
        _ if planned.looks() => prompt + targets / 2,
        Some(UnitKind::Sentence) => Units::sentences(text).len(),
        Some(UnitKind::Span) => setting("spans").and_then(Value::as_array).map_or(0, Vec::len),
        _ => prompt,
    };
    targets.saturating_mul(before)
}
