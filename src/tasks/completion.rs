//! Text generation: a softmax over the vocabulary at every token of a completion, each given the prompt and the tokens of
//! the completion before it.
//!
//! One input is one row, the prompt and the completion but its last token, read in front of every completion token: one
//! forward gives what the model makes of all of them. Perturbation takes units of the prompt away and never a completion
//! token. Every completion token is a target, a class of the vocabulary at a token; where all are asked for they make one
//! explanation. A vocabulary has far more logits than can be kept: of each token's, what the targets and the prediction
//! need is kept as they are computed ([`Condense`]).

pub(super) mod readout;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};

use self::readout::AtNext;
pub use self::readout::{TOLD, likeliest};
use super::rows::{Read, Reading};
use super::target::CompletionTarget;
use super::{
    Class, ClassSpec, CompletionPrediction, Condense, Explained, Finish, Focus, Outputs, Pairing, Prediction, Readout,
    Rows, Target, TargetError, TargetSpec, Task, TokenSpec, TokenTarget, WrittenToken,
};
use crate::input::text::{Continuation, Token};
use crate::input::{Input, TextInput};
use crate::models::Spec;

const HOW: &str = "leave it out for every completion token, or name tokens as {\"token\": 0} or {\"token\": 0, \
                   \"against\": \" cat\"}, by their place in input.completion";

/// Says what follows a prompt.
#[derive(Debug, Clone, Copy)]
pub struct Completion;

/// What one entry of a request's target names.
enum Named<'s> {
    /// Every completion token.
    All,
    Token(&'s TokenSpec),
    Place(usize),
}

impl Completion {
    fn named<'s>(spec: &'s TargetSpec, path: &str) -> Result<Named<'s>, TargetError> {
        match spec {
            TargetSpec::Predicted => Ok(Named::All),
            TargetSpec::Name(name) | TargetSpec::Text(name)
                if ["completion", "all", "predicted"].contains(&name.as_str()) =>
            {
                Ok(Named::All)
            }
            // Of a query or a command line: its place alone.
            TargetSpec::Text(text) if text.parse::<usize>().is_ok() => {
                Ok(Named::Place(text.parse().unwrap_or_default()))
            }
            TargetSpec::Token(token) => Ok(Named::Token(token)),
            _ => Err(TargetError {
                path: path.to_owned(),
                detail: format!("a language model is asked for tokens of its completion: {HOW}"),
            }),
        }
    }

    /// Every entry of the request's target, with its place in it.
    fn all(spec: &TargetSpec) -> Result<Vec<(String, Named<'_>)>, TargetError> {
        let list = spec.flat();
        if list.is_empty() {
            return Err(TargetError { path: String::new(), detail: format!("the list is empty: {HOW}") });
        }
        list.into_iter().map(|(path, spec)| Self::named(spec, &path).map(|named| (path, named))).collect()
    }

    /// The class that a request names, which has been looked up before.
    fn known(class: &ClassSpec, path: &str) -> Result<Class, TargetError> {
        match class {
            ClassSpec::Class(class) => Ok(class.clone()),
            ClassSpec::Index(index) => {
                Ok(Class { label: index.to_string(), index: usize::try_from(*index).unwrap_or(usize::MAX) })
            }
            ClassSpec::Label(label) => {
                Err(TargetError { path: path.to_owned(), detail: format!("\"{label}\" was never looked up") })
            }
        }
    }

    fn target(named: &Named<'_>, path: &str, continuation: &Continuation) -> Result<TokenTarget, TargetError> {
        let (place, label, against) = match named {
            Named::Token(TokenSpec { token, label, against }) => {
                (usize::try_from(*token).unwrap_or(usize::MAX), label.as_ref(), against.as_ref())
            }
            Named::Place(place) => (*place, None, None),
            Named::All => (0, None, None),
        };
        let own = continuation.tokens.get(place).ok_or_else(|| missing(place, path, continuation))?;
        let class = match label {
            Some(label) => Self::known(label, &format!("{path}/label"))?,
            None => {
                let label = continuation.written.get(place).cloned().unwrap_or_default();
                Class { label, index: own.id as usize }
            }
        };
        let path = format!("{path}/against");
        let against = against.map(|class| Self::known(class, &path)).transpose()?;
        Class::unlike(class.index, against.as_ref(), &path)?;
        Ok(TokenTarget { token: place, label: class.label, index: class.index, against })
    }

    fn own(place: usize, continuation: &Continuation) -> TokenTarget {
        let label = continuation.written.get(place).cloned().unwrap_or_default();
        let index = continuation.tokens.get(place).map_or(0, |token| token.id as usize);
        TokenTarget { token: place, label, index, against: None }
    }

    /// What is kept of the whole input's logits: at every token what the prediction says of it, then what `targets` need.
    fn whole_of(continuation: &Continuation, targets: &[Target]) -> AtNext {
        let own = (0..continuation.tokens.len()).map(|place| Target::Token(Self::own(place, continuation)));
        AtNext::behind(continuation, &own.chain(targets.iter().cloned()).collect::<Vec<_>>())
    }
}

fn missing(place: usize, path: &str, continuation: &Continuation) -> TargetError {
    let count = continuation.tokens.len();
    let detail = format!("there is no token {place}: the completion has {count}, counted from 0");
    TargetError { path: format!("{path}/token"), detail }
}

fn continuation_of(input: &Input) -> Option<&Continuation> {
    input.as_text()?.continuation.as_ref()
}

/// The rows read in front of the completion tokens `places`.
fn rows(spec: &Spec, text: &TextInput, prompt: usize, places: impl Iterator<Item = usize>) -> Rows {
    let read = places.map(|place| (prompt + place).saturating_sub(1)).collect();
    Rows::of_text(spec, text, &[Reading { read: Read::Tokens(read), ..Reading::default() }])
}

impl Task for Completion {
    fn name(&self) -> &'static str {
        "text-generation"
    }

    fn pairing(&self) -> Pairing {
        Pairing::Refused("a language model reads one prompt")
    }

    fn prompted(&self) -> bool {
        true
    }

    fn whole(&self, spec: &Spec, input: &Input) -> Rows {
        let (Some(text), Some(continuation)) = (input.as_text(), continuation_of(input)) else {
            return Rows::default();
        };
        // Before anything is written, what follows the prompt is read.
        rows(spec, text, continuation.prompt, 0..continuation.tokens.len().max(1))
    }

    fn check_target(&self, spec: &TargetSpec) -> Result<usize, TargetError> {
        let mut distinct = HashSet::new();
        for (_, named) in Self::all(spec)? {
            distinct.insert(match named {
                Named::All => None,
                Named::Place(place) => Some((place as u64, None, None)),
                Named::Token(TokenSpec { token, label, against }) => {
                    Some((*token, label.as_ref().map(written), against.as_ref().map(written)))
                }
            });
        }
        Ok(distinct.len())
    }

    fn check_input(&self, spec: &TargetSpec, input: &Input) -> Result<(), TargetError> {
        let Some(continuation) = continuation_of(input) else { return Ok(()) };
        let most = continuation.pending;
        let yet = |place: usize, path: &str| match place < most {
            true => Ok(()),
            false => {
                let detail = format!("there is no token {place}: at most {most} are written (generate.max_new_tokens)");
                Err(TargetError { path: format!("{path}/token"), detail })
            }
        };
        for (path, named) in Self::all(spec)? {
            match &named {
                Named::Token(TokenSpec { token, .. }) if continuation.pending > 0 => {
                    yet(usize::try_from(*token).unwrap_or(usize::MAX), &path)?;
                }
                Named::Place(place) if continuation.pending > 0 => yet(*place, &path)?,
                Named::All if continuation.pending > 0 => {}
                named => drop(Self::target(named, &path, continuation)?),
            }
        }
        Ok(())
    }

    fn targets(&self, spec: &TargetSpec, input: &Input, _logits: &[f32]) -> Result<Vec<Target>, TargetError> {
        let Some(continuation) = continuation_of(input) else { return Ok(Vec::new()) };
        let (mut seen, mut targets) = (HashSet::new(), Vec::new());
        let mut push = |target: TokenTarget| {
            if seen.insert(target.clone()) {
                targets.push(Target::Token(target));
            }
        };
        for (path, named) in Self::all(spec)? {
            match named {
                Named::All => {
                    (0..continuation.tokens.len()).for_each(|place| push(Self::own(place, continuation)));
                }
                named => push(Self::target(&named, &path, continuation)?),
            }
        }
        Ok(targets)
    }

    fn explained(&self, spec: &TargetSpec, input: &Input, targets: &[Target]) -> Vec<Explained> {
        let Some(continuation) = continuation_of(input) else { return Vec::new() };
        let (mut seen, mut all) = (HashSet::new(), Vec::new());
        let known = |(at, target): (usize, &'_ Target)| match target {
            Target::Token(target) => Some((target.clone(), at)),
            _ => None,
        };
        let places: HashMap<TokenTarget, usize> = targets.iter().enumerate().filter_map(known).collect();
        let place = |target: &TokenTarget| places.get(target).copied();
        for (path, named) in Self::all(spec).unwrap_or_default() {
            let one = match named {
                Named::All => {
                    let of = (0..continuation.tokens.len()).filter_map(|at| place(&Self::own(at, continuation)));
                    Some(Explained { target: Target::Completion(CompletionTarget::Completion), of: of.collect() })
                }
                named => Self::target(&named, &path, continuation)
                    .ok()
                    .and_then(|target| Some(Explained { of: vec![place(&target)?], target: Target::Token(target) })),
            };
            all.extend(one.filter(|one| seen.insert(one.target.clone())));
        }
        all
    }

    fn objectives(&self, spec: &TargetSpec, input: &Input, explanations: usize) -> usize {
        let Some(continuation) = continuation_of(input) else { return explanations };
        let everything = Self::all(spec).is_ok_and(|all| all.iter().any(|(_, named)| matches!(named, Named::All)));
        let all = continuation.tokens.len().max(continuation.pending);
        if everything { all + explanations - 1 } else { explanations }
    }

    fn focus(&self, spec: &Spec, input: &Input, _: &Rows, logits: &[f32], targets: &[Target]) -> Focus {
        let (Some(text), Some(continuation)) = (input.as_text(), continuation_of(input)) else {
            return Focus { readout: Box::new(AtNext::default()), logits: vec![], rows: Rows::default(), looked: None };
        };
        let readout = AtNext::behind(continuation, targets).within(Self::whole_of(continuation, targets));
        let logits = readout.part(logits).into_owned();
        let rows = rows(spec, text, continuation.prompt, readout.places().iter().copied());
        let looked = (rows.rows.len() == 1).then_some(0);
        Focus { readout: Box::new(readout), logits, rows, looked }
    }

    fn condense(&self, spec: &TargetSpec, input: &Input) -> Option<Box<dyn Condense>> {
        // A target that is none ends the request where the targets are asked for.
        let targets = self.targets(spec, input, &[]).unwrap_or_default();
        Some(Box::new(Self::whole_of(continuation_of(input)?, &targets)))
    }

    /// The log-probability of every completion token.
    fn condensed(&self, input: &Input, logits: Vec<f32>) -> Vec<f32> {
        let tokens = continuation_of(input).map_or(0, |continuation| continuation.tokens.len());
        logits.chunks_exact((logits.len() / tokens.max(1)).max(1)).filter_map(readout::log_probability).collect()
    }

    fn outputs(&self, target: &TargetSpec) -> Outputs {
        let contrast = |spec: &TargetSpec| matches!(spec, TargetSpec::Token(TokenSpec { against: Some(_), .. }));
        let contrasts = target.flat().into_iter().any(|(_, spec)| contrast(spec));
        if contrasts { Outputs::Odds } else { Outputs::Entropy }
    }

    fn decides(&self, _target: &TargetSpec) -> bool {
        true
    }

    fn prediction(&self, input: &Input, logits: &[f32]) -> Prediction {
        let empty = Continuation::default();
        let continuation = continuation_of(input).unwrap_or(&empty);
        let token = |(token, &log_probability): (&Token, &f32)| {
            WrittenToken::new(token.id, token.text.clone(), log_probability)
        };
        Prediction::Completion(CompletionPrediction {
            completion: continuation.text.clone(),
            tokens: continuation.tokens.iter().zip(logits).map(token).collect(),
            finish: if continuation.stopped { Finish::Stop } else { Finish::Length },
        })
    }
}

/// What a model whose vocabulary has these logits gives the token `id`.
pub fn log_probability(logits: &[f32], id: u32) -> f32 {
    readout::log_probability(&readout::kept_of(logits, id as usize)).unwrap_or(f32::NAN)
}

/// A class as it was written, to tell repeated targets.
fn written(class: &ClassSpec) -> String {
    match class {
        ClassSpec::Index(index) => index.to_string(),
        ClassSpec::Label(label) => format!("\"{label}"),
        ClassSpec::Class(class) => class.index.to_string(),
    }
}
