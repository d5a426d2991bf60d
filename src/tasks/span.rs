//! Extractive question answering: which tokens of the context (the pair's second text) answer the question.
//!
//! One input is one row with two logits a token: that an answer begins, and that it ends there. Probabilities are a
//! softmax over the context's tokens alone; where perturbation deletes some, over those that are left.

use std::collections::HashSet;

use super::perturb::text_rows;
use super::rows::{Read, Reading};
use super::tokens::check_token;
use super::{
    AnswerPrediction, AnswerTarget, Classification, EndTarget, Focus, OutputSpace, Outputs, Pairing, PerturbError,
    Perturber, Prediction, Readout, Rows, StartTarget, Target, TargetError, TargetSpec, Task, Verdict,
};
use crate::input::units::{Fill, Units};
use crate::input::{Input, TextInput};
use crate::models::Spec;

/// The longest answer in tokens, as the pipelines'.
const LONGEST: usize = 15;
/// Logits of a token: start, end.
const ENDS: usize = 2;
const HOW: &str = "\"answer\", {\"start\": token} or {\"end\": token}";

/// Finds an answer in a context.
#[derive(Debug, Clone, Copy)]
pub struct QuestionAnswering;

/// The context's tokens.
fn context(text: &TextInput) -> Vec<usize> {
    let second = |token: &crate::input::text::Token| !token.special && token.sequence == Some(Some(1));
    text.tokens.iter().enumerate().filter(|(_, token)| second(token)).map(|(place, _)| place).collect()
}

fn context_of(input: &Input) -> Vec<usize> {
    input.as_text().map(context).unwrap_or_default()
}

/// The rows that `tokens` are read in.
fn rows(spec: &Spec, input: &Input, tokens: Vec<usize>) -> Rows {
    let reading = Reading { read: Read::Tokens(tokens), ..Reading::default() };
    input.as_text().map(|text| Rows::of_text(spec, text, &[reading])).unwrap_or_default()
}

/// One end's logits (0: start, 1: end) at `tokens`.
fn end_logits(logits: &[f32], tokens: &[usize], end: usize) -> Vec<f32> {
    tokens.iter().filter_map(|token| logits.get(token * ENDS + end).copied()).collect()
}

/// The span with the largest sum of both logits, the first of equals, as tokens of the input. `None` without context.
fn best(logits: &[f32], context: &[usize]) -> Option<(usize, usize)> {
    let (starts, ends) = (end_logits(logits, context, 0), end_logits(logits, context, 1));
    let mut best: Option<(f64, usize, usize)> = None;
    for (start, &from) in starts.iter().enumerate() {
        for (end, &to) in ends.iter().enumerate().skip(start).take(LONGEST) {
            let sum = f64::from(from) + f64::from(to);
            if best.is_none_or(|(most, ..)| sum > most) {
                best = Some((sum, start, end));
            }
        }
    }
    best.and_then(|(_, start, end)| Some((*context.get(start)?, *context.get(end)?)))
}

/// The kinds of softmax in play have no labels of their own.
fn softmax() -> Classification {
    Classification::softmax(Vec::new())
}

/// The one target that `spec` names.
fn target(spec: &TargetSpec, path: &str) -> Result<Target, TargetError> {
    let token = |token: &u64| usize::try_from(*token).unwrap_or(usize::MAX);
    match spec {
        TargetSpec::Predicted => Ok(Target::Answer(AnswerTarget::Answer)),
        TargetSpec::Name(name) | TargetSpec::Text(name) if name == "answer" => Ok(Target::Answer(AnswerTarget::Answer)),
        TargetSpec::Start(start) => Ok(Target::Start(StartTarget { start: token(start) })),
        TargetSpec::End(end) => Ok(Target::End(EndTarget { end: token(end) })),
        _ => Err(TargetError {
            path: path.to_owned(),
            detail: format!("this is no target of a question; give {HOW}, tokens as they stand in input.tokens"),
        }),
    }
}

/// The distinct targets in the order written, each with its place in the request's.
fn distinct(spec: &TargetSpec) -> Result<Vec<(String, Target)>, TargetError> {
    let (mut known, mut all) = (HashSet::new(), Vec::new());
    for (path, spec) in spec.flat() {
        let target = target(spec, &path)?;
        if known.insert(target.clone()) {
            all.push((path, target));
        }
    }
    if all.is_empty() {
        let detail = format!("the list is empty; give {HOW}, or leave it out for the answer");
        return Err(TargetError { path: String::new(), detail });
    }
    Ok(all)
}

impl Task for QuestionAnswering {
    fn name(&self) -> &'static str {
        "question-answering"
    }

    fn pairing(&self) -> Pairing {
        Pairing::Required("this model answers questions: \"text\" is the question and \"pair\" the context")
    }

    fn whole(&self, spec: &Spec, input: &Input) -> Rows {
        rows(spec, input, (0..input.as_text().map_or(0, |text| text.tokens.len())).collect())
    }

    fn check_target(&self, spec: &TargetSpec) -> Result<usize, TargetError> {
        distinct(spec).map(|targets| targets.len())
    }

    fn check_input(&self, spec: &TargetSpec, input: &Input) -> Result<(), TargetError> {
        let context = context_of(input);
        for (path, target) in distinct(spec)? {
            let (key, token) = match target {
                Target::Start(StartTarget { start }) => ("start", start),
                Target::End(EndTarget { end }) => ("end", end),
                _ => continue,
            };
            let path = format!("{path}/{key}");
            check_token(token as u64, &path, input.as_text())?;
            if context.binary_search(&token).is_err() {
                let detail = format!("token {token} belongs to the question; an answer is in the context");
                return Err(TargetError { path, detail });
            }
        }
        Ok(())
    }

    fn targets(&self, spec: &TargetSpec, input: &Input, _logits: &[f32]) -> Result<Vec<Target>, TargetError> {
        self.check_input(spec, input)?;
        Ok(distinct(spec)?.into_iter().map(|(_, target)| target).collect())
    }

    fn focus(&self, spec: &Spec, input: &Input, _: &Rows, logits: &[f32], targets: &[Target]) -> Focus {
        let context = context_of(input);
        let span = best(logits, &context).unwrap_or_default();
        let mut parts: Vec<Part> = Vec::new();
        for target in targets {
            let part = Part::of(target, span, &context);
            if !parts.contains(&part) {
                parts.push(part);
            }
        }
        let read: Vec<usize> = parts.iter().flat_map(|part| part.read.iter().copied()).collect();
        let logits = read.iter().flat_map(|token| logits.iter().skip(token * ENDS).take(ENDS)).copied().collect();
        let rows = rows(spec, input, read);
        let looked = (rows.rows.len() == 1).then_some(0);
        Focus { readout: Box::new(AtSpan { span, parts }), logits, rows, looked }
    }

    /// Deletion may leave an end no other token of the context to weigh it against.
    fn outputs(&self, target: &TargetSpec) -> Outputs {
        if self.decides(target) { Outputs::Probability } else { Outputs::Number }
    }

    /// The answer's both ends are read, and not what else could be one.
    fn decides(&self, target: &TargetSpec) -> bool {
        distinct(target).is_ok_and(|targets| targets.iter().all(|(_, target)| !matches!(target, Target::Answer(_))))
    }

    fn rows_a_mask(&self, targets: usize) -> usize {
        targets
    }

    fn prediction(&self, input: &Input, logits: &[f32]) -> Prediction {
        let all: Vec<usize> = (0..input.as_text().map_or(0, |text| text.tokens.len())).collect();
        let context = context_of(input);
        let (start_logits, end_logits_) = (end_logits(logits, &all, 0), end_logits(logits, &all, 1));
        let empty = AnswerPrediction {
            text: String::new(),
            start: 0,
            end: 0,
            score: 0.0,
            start_logits,
            end_logits: end_logits_,
        };
        let (Some((first, last)), Some(text)) = (best(logits, &context), input.as_text()) else {
            return Prediction::Answer(empty);
        };
        let probability = |token: usize, end: usize| {
            let place = context.iter().position(|&known| known == token).unwrap_or_default();
            softmax().output(&end_logits(logits, &context, end), place, OutputSpace::Probability)
        };
        let (start, end) = (text.tokens[first].start, text.tokens[last].end);
        Prediction::Answer(AnswerPrediction {
            text: text.pair.iter().flat_map(|pair| pair.chars()).skip(start).take(end.saturating_sub(start)).collect(),
            start,
            end,
            score: (probability(first, 0) * probability(last, 1)) as f32,
            ..empty
        })
    }
}

/// Tokens that are read together, and those of them that deletion leaves in place.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    /// Of the answer rather than of one end.
    answer: bool,
    held: Vec<usize>,
    read: Vec<usize>,
}

impl Part {
    /// What `target` needs: of the answer both ends' own logits, of an end all that its softmax is over.
    fn of(target: &Target, (start, end): (usize, usize), context: &[usize]) -> Self {
        let held = match target {
            Target::Start(StartTarget { start }) => vec![*start],
            Target::End(EndTarget { end }) => vec![*end],
            _ if start == end => vec![start],
            _ => vec![start, end],
        };
        let answer = matches!(target, Target::Answer(_));
        Self { answer, read: if answer { held.clone() } else { context.to_vec() }, held }
    }
}

/// The logits of some parts, one behind another.
struct AtSpan {
    /// Of the whole input's prediction.
    span: (usize, usize),
    parts: Vec<Part>,
}

impl AtSpan {
    /// The target's part and where in the logits it begins.
    fn part(&self, target: &Target) -> Option<(&Part, usize)> {
        let mut begin = 0;
        for part in &self.parts {
            // An end's context is the part's own tokens; the answer's needs none.
            if *part == Part::of(target, self.span, &part.read) {
                return Some((part, begin));
            }
            begin += part.read.len() * ENDS;
        }
        None
    }

    /// Where in the logits each of the summands stands: which end, and the token's place in its part.
    fn ends(&self, target: &Target, part: &Part) -> Vec<(usize, usize)> {
        let place = |token: usize| part.read.iter().position(|&read| read == token).unwrap_or_default();
        match target {
            Target::Start(StartTarget { start }) => vec![(0, place(*start))],
            Target::End(EndTarget { end }) => vec![(1, place(*end))],
            _ => vec![(0, place(self.span.0)), (1, place(self.span.1))],
        }
    }
}

impl Readout for AtSpan {
    fn perturber<'a>(
        &self,
        spec: &Spec,
        input: &'a Input,
        units: &'a Units,
        fill: Fill,
    ) -> Result<Box<dyn Perturber + 'a>, PerturbError> {
        let reading = |part: &Part| Reading {
            read: Read::Tokens(part.read.clone()),
            held: part.held.clone(),
            ..Reading::default()
        };
        text_rows(spec, input, units, fill, self.parts.iter().map(reading).collect())
    }

    /// The whole input reads every token.
    fn positions(&self) -> Option<Vec<usize>> {
        Some(self.parts.iter().flat_map(|part| part.read.iter().copied()).collect())
    }

    fn value(&self, logits: &[f32], target: &Target, output: OutputSpace) -> f64 {
        let Some((part, begin)) = self.part(target) else { return f64::NAN };
        let own = logits.get(begin..begin + part.read.len() * ENDS).unwrap_or_default();
        let value = |(end, place): (usize, usize)| {
            let logits: Vec<f32> = own.iter().skip(end).step_by(ENDS).copied().collect();
            softmax().output(&logits, place, output)
        };
        self.ends(target, part).into_iter().map(value).sum()
    }

    fn cotangent(&self, logits: &[f32], target: &Target, output: OutputSpace) -> Vec<f32> {
        let mut gradient = vec![0.0; logits.len()];
        if let Some((part, begin)) = self.part(target) {
            let own = logits.get(begin..begin + part.read.len() * ENDS).unwrap_or_default();
            for (end, place) in self.ends(target, part) {
                let logits: Vec<f32> = own.iter().skip(end).step_by(ENDS).copied().collect();
                let mut of_end = vec![0.0; logits.len()];
                softmax().add_gradient(&logits, place, output, 1.0, &mut of_end);
                for (place, value) in of_end.into_iter().enumerate() {
                    gradient[begin + place * ENDS + end] += value as f32;
                }
            }
        }
        gradient
    }

    fn verdict(&self, logits: &[f32], target: &Target) -> Option<Verdict> {
        if matches!(target, Target::Answer(_)) {
            return None;
        }
        let (part, begin) = self.part(target)?;
        let own = logits.get(begin..begin + part.read.len() * ENDS)?;
        let &(end, place) = self.ends(target, part).first()?;
        let logits: Vec<f32> = own.iter().skip(end).step_by(ENDS).copied().collect();
        softmax().verdict_of(&logits, place, None)
    }

    fn reading(&self, target: &Target) -> Option<usize> {
        match target {
            Target::Start(StartTarget { start }) => Some(*start),
            Target::End(EndTarget { end }) => Some(*end),
            _ => Some(self.span.0),
        }
    }
}

#[cfg(test)]
#[path = "span_tests.rs"]
mod tests;
