//! `explaind replay`: an answer asked for again, in this process, and compared.

use std::io::Write as _;
use std::process::ExitCode;

use serde::Serialize;

use super::args::{ReplayArguments, ReplayFormat};
use super::failure::DOES_NOT_HOLD;
use super::{Failure, load, read_file};
use crate::config::{Compute, ModelSetting, Settings};
use crate::engine;
use crate::explain::replay::{self, Comparison, Difference, RecordError, Recorded};
use crate::explain::{self, Catalog};

/// Differences that are written for people; programs get more.
const WRITTEN: usize = 20;

pub(super) fn run(arguments: &ReplayArguments, settings: &Settings) -> Result<ExitCode, Failure> {
    let recorded = Recorded::read(&read_file(&arguments.answer)?)?;
    let file = arguments.input.as_deref().map(read_file).transpose()?;
    let found = match recorded.request(file.as_deref()) {
        Ok((request, image)) => {
            let elsewhere = arguments.model.as_deref().map(|text| ModelSetting::parse(text).source);
            let model = load::recorded(&recorded, elsewhere.as_deref(), settings).map_err(Failure::Recorded)?;
            let mut models = load::helpers(&recorded, settings).map_err(Failure::Recorded)?;
            models.insert(0, model);
            let catalog = Catalog::new(models)?.computing_in(settings.compute.precision)?;
            let mut limits = settings.limits.clone();
            // It was allowed where the answer was given, and nobody waits here.
            limits.deadline_ms = limits.deadline_ms.max(recorded.deadline_ms().unwrap_or(0));
            let device = engine::open_device(settings.compute.device)?;
            let id = recorded.id().to_owned();
            let plan = explain::plan(&catalog, &limits, id, request, image, recorded.wanted())?;
            let Compute { threads, tokens_per_turn, .. } = settings.compute;
            let answer = engine::run_to_the_end(&plan, threads, tokens_per_turn, &device)?;
            let replayed = replay::parse(&explain::to_bytes(&answer)?).map_err(RecordError::Damaged)?;
            replay::compare(recorded.answer(), &replayed, elsewhere.is_some())
        }
        // Everything would differ; this says why.
        Err(RecordError::OtherInput(difference)) => Comparison::of(*difference),
        Err(error) => return Err(error.into()),
    };
    let written = match arguments.format {
        ReplayFormat::Json => json(&found)?,
        ReplayFormat::Text => text(&recorded, &found),
    };
    super::print(&written)?;
    Ok(if found.same() { ExitCode::SUCCESS } else { ExitCode::from(DOES_NOT_HOLD) })
}

fn json(found: &Comparison) -> Result<Vec<u8>, Failure> {
    #[derive(Serialize)]
    struct View<'a> {
        same: bool,
        #[serde(flatten)]
        found: &'a Comparison,
    }
    let view = View { same: found.same(), found };
    let mut bytes = serde_json::to_vec(&view).map_err(|error| Failure::io("the comparison", error.into()))?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn text(recorded: &Recorded, found: &Comparison) -> Vec<u8> {
    let mut text = Vec::new();
    // Writing into memory does not fail.
    for warning in &found.warnings {
        let _ = writeln!(text, "warning: {}", line(warning));
    }
    for difference in found.differences.iter().take(WRITTEN) {
        let _ = writeln!(text, "{}", line(difference));
    }
    if found.count > WRITTEN {
        let _ = writeln!(text, "… and {} more; --format json has them", found.count - WRITTEN);
    }
    let what = match recorded.explanations() {
        0 => "prediction".to_owned(),
        1 => "1 explanation".to_owned(),
        many => format!("{many} explanations"),
    };
    let (model, places) = (recorded.model(), if found.count == 1 { "place" } else { "places" });
    let _ = match (found.same(), found.largest) {
        (true, _) => writeln!(text, "the same: {what} by {model}, apart from id and elapsed_ms"),
        (false, Some(largest)) => writeln!(
            text,
            "not the same: {what} by {model} in {} {places}; the largest difference of two numbers is {largest:.3e}",
            found.count
        ),
        (false, None) => writeln!(text, "not the same: {what} by {model} in {} {places}", found.count),
    };
    text
}

/// `/a/b: recorded 1, replayed 2 (why)`.
fn line(difference: &Difference) -> String {
    let value = |value: &Option<serde_json::Value>| match value {
        Some(value) => value.to_string(),
        None => "nothing".to_owned(),
    };
    let remark = difference.remark.map(|remark| format!(" ({remark})")).unwrap_or_default();
    let Difference { pointer, recorded, replayed, .. } = difference;
    format!("{pointer}: recorded {}, replayed {}{remark}", value(recorded), value(replayed))
}
