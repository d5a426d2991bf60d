//! Token classification: a softmax at every token.
//!
//! One input is one row that is read at every token but the specials. What is explained is the softmax at one token,
//! which perturbation never moves: where tokens are deleted, the explained one itself stays.

use std::collections::HashSet;

use super::perturb::text_rows;
use super::rows::{Read, Reading};
use super::{
    Class, ClassPrediction, ClassSpec, Classification, Focus, OutputSpace, Outputs, Pairing, PerturbError, Perturber,
    Prediction, Readout, Rows, Target, TargetError, TargetSpec, Task, TokenPrediction, TokenSpec, TokenTarget,
    TokensPrediction, Verdict,
};
use crate::input::units::{Fill, Units};
use crate::input::{Input, TextInput};
use crate::models::Spec;

/// A token classifier's labels.
#[derive(Debug, Clone)]
pub struct TokenClassification {
    classes: Classification,
    labels: usize,
}

const HOW: &str =
    "name a token by its place in input.tokens, as {\"token\": 3} or {\"token\": 3, \"label\": \"B-PER\"}";

impl TokenClassification {
    /// The task of the token classifier that `spec` describes.
    pub fn new(spec: &Spec) -> Self {
        Self { classes: Classification::softmax(spec.labels.clone()), labels: spec.labels.len() }
    }

    /// The one target that `spec` names; `logits` are its token's.
    fn target(&self, spec: &TargetSpec, path: &str, logits: Option<&[f32]>) -> Result<TokenTarget, TargetError> {
        let error = |detail: String| TargetError { path: path.to_owned(), detail };
        let (token, label, against) = match spec {
            TargetSpec::Token(TokenSpec { token, label, against }) => (*token, label.as_ref(), against.as_ref()),
            // Of a query or a command line: its place alone.
            TargetSpec::Text(text) => {
                (text.parse().map_err(|_| error(format!("this is no token: {HOW}")))?, None, None)
            }
            TargetSpec::Predicted => return Err(error(format!("a target is required: {HOW}"))),
            _ => return Err(error(format!("this model is asked for a token: {HOW}"))),
        };
        let token = usize::try_from(token).map_err(|_| error(format!("there is no token {token}")))?;
        let index = match (label, logits) {
            (Some(label), _) => Some(self.classes.side(label, &format!("{path}/label"))?),
            (None, logits) => logits.map(|logits| self.classes.predicted(logits)),
        };
        // What is predicted is still unknown where requests are checked.
        let against = self.classes.against(against, index.unwrap_or(usize::MAX), path)?;
        let index = index.unwrap_or(0);
        Ok(TokenTarget { token, label: self.classes.label(index), index, against })
    }

    /// Every target and its place in the request's, repeated ones too.
    fn all<'s>(&self, spec: &'s TargetSpec) -> Result<Vec<(String, &'s TargetSpec)>, TargetError> {
        match spec.flat() {
            list if list.is_empty() => {
                Err(TargetError { path: String::new(), detail: format!("the list is empty: {HOW}") })
            }
            list => Ok(list),
        }
    }
}

/// The tokens that a row is read at: all that have a prediction.
fn readable(text: &TextInput) -> impl Iterator<Item = usize> + '_ {
    text.tokens.iter().enumerate().filter(|(_, token)| !token.special).map(|(place, _)| place)
}

/// The token that a target names is there and no special.
pub(super) fn check_token(token: u64, path: &str, text: Option<&TextInput>) -> Result<usize, TargetError> {
    let error = |detail: String| Err(TargetError { path: path.to_owned(), detail });
    let tokens = text.map_or(&[][..], |text| &text.tokens);
    let place = usize::try_from(token).unwrap_or(usize::MAX);
    match tokens.get(place) {
        Some(known) if known.special => error(format!(
            "token {token} is the special \"{}\", of which the model is not asked; name another of input.tokens",
            known.text
        )),
        Some(_) => Ok(place),
        None => error(format!(
            "there is no token {token}: the input has {}, counted from 0, specials included",
            tokens.len()
        )),
    }
}

impl Task for TokenClassification {
    fn name(&self) -> &'static str {
        "token-classification"
    }

    fn pairing(&self) -> Pairing {
        Pairing::Refused("a token classifier reads one text")
    }

    fn needs_target(&self) -> bool {
        true
    }

    fn whole(&self, spec: &Spec, input: &Input) -> Rows {
        let Some(text) = input.as_text() else { return Rows::default() };
        let mut read: Vec<usize> = readable(text).collect();
        if read.is_empty() {
            // A forward reads something, also of a text without tokens; nobody looks at it.
            read.push(0);
        }
        Rows::of_text(spec, text, &[Reading { read: Read::Tokens(read), ..Reading::default() }])
    }

    fn check_target(&self, spec: &TargetSpec) -> Result<usize, TargetError> {
        let mut distinct = HashSet::new();
        for (path, spec) in self.all(spec)? {
            let named = matches!(spec, TargetSpec::Token(TokenSpec { label: Some(_), .. }));
            let target = self.target(spec, &path, None)?;
            distinct.insert((target.token, named.then_some(target.index), target.against));
        }
        Ok(distinct.len())
    }

    fn check_input(&self, spec: &TargetSpec, input: &Input) -> Result<(), TargetError> {
        for (path, spec) in self.all(spec)? {
            let target = self.target(spec, &path, None)?;
            check_token(target.token as u64, &format!("{path}{}", place_of(spec)), input.as_text())?;
        }
        Ok(())
    }

    fn targets(&self, spec: &TargetSpec, input: &Input, logits: &[f32]) -> Result<Vec<Target>, TargetError> {
        let mut seen = HashSet::new();
        let mut targets = Vec::new();
        // A request for the prediction alone names none.
        if *spec == TargetSpec::Predicted {
            return Ok(targets);
        }
        let readable: Vec<usize> = input.as_text().map_or(Vec::new(), |text| readable(text).collect());
        for (path, spec) in self.all(spec)? {
            let named = self.target(spec, &path, None)?;
            check_token(named.token as u64, &format!("{path}{}", place_of(spec)), input.as_text())?;
            let place = readable.iter().position(|&token| token == named.token).unwrap_or(0);
            let target = self.target(spec, &path, logits.chunks(self.labels.max(1)).nth(place))?;
            if seen.insert(target.clone()) {
                targets.push(Target::Token(target));
            }
        }
        Ok(targets)
    }

    fn focus(&self, spec: &Spec, input: &Input, _: &Rows, logits: &[f32], targets: &[Target]) -> Focus {
        let mut tokens: Vec<usize> = Vec::new();
        for target in targets {
            if let Target::Token(target) = target
                && !tokens.contains(&target.token)
            {
                tokens.push(target.token);
            }
        }
        let readable: Vec<usize> = input.as_text().map_or(Vec::new(), |text| readable(text).collect());
        let place = |token: &usize| readable.iter().position(|readable| readable == token);
        let places: Vec<usize> = tokens.iter().filter_map(place).collect();
        let of = |&place: &usize| logits.chunks(self.labels.max(1)).nth(place).unwrap_or_default();
        let logits = places.iter().flat_map(of).copied().collect();
        let reading = Reading { read: Read::Tokens(tokens.clone()), ..Reading::default() };
        let rows = input.as_text().map(|text| Rows::of_text(spec, text, &[reading])).unwrap_or_default();
        let looked = (rows.rows.len() == 1).then_some(0);
        let readout = AtTokens { classes: self.classes.clone(), labels: self.labels, tokens, places };
        Focus { readout: Box::new(readout), logits, rows, looked }
    }

    fn outputs(&self, _target: &TargetSpec) -> Outputs {
        self.classes.shared()
    }

    fn decides(&self, _target: &TargetSpec) -> bool {
        true
    }

    fn class(&self, spec: &ClassSpec) -> Result<Class, TargetError> {
        self.classes.class_of(spec)
    }

    fn rows_a_mask(&self, targets: usize) -> usize {
        targets
    }

    fn prediction(&self, input: &Input, logits: &[f32]) -> Prediction {
        let mut of_tokens = logits.chunks(self.labels.max(1));
        let tokens = input.as_text().map_or(&[][..], |text| &text.tokens);
        let predict = |logits: &[f32]| {
            let class = self.classes.of(logits);
            let probability = class.probability.unwrap_or(f32::NAN);
            TokenPrediction { label: class.label, index: class.index, probability, scores: class.scores }
        };
        let tokens = tokens.iter().map(|token| if token.special { None } else { of_tokens.next().map(predict) });
        Prediction::Tokens(TokensPrediction { tokens: tokens.collect() })
    }
}

/// Where in a target its token stands.
fn place_of(spec: &TargetSpec) -> &'static str {
    if matches!(spec, TargetSpec::Token(_)) { "/token" } else { "" }
}

/// The softmaxes at some tokens, one behind another.
struct AtTokens {
    classes: Classification,
    labels: usize,
    tokens: Vec<usize>,
    /// Where they stand among the tokens that the whole input reads.
    places: Vec<usize>,
}

impl AtTokens {
    /// Where in the logits the target's token begins.
    fn place(&self, target: &TokenTarget) -> Option<usize> {
        let place = self.tokens.iter().position(|&token| token == target.token)?;
        Some(place * self.labels)
    }

    /// The logits at the target's token.
    fn own<'l>(&self, logits: &'l [f32], target: &TokenTarget) -> Option<&'l [f32]> {
        let place = self.place(target)?;
        logits.get(place..place + self.labels)
    }
}

impl Readout for AtTokens {
    /// Deletion makes a row for every token, since each holds its own alone: what is said of a token does not depend
    /// on which others are asked for.
    fn perturber<'a>(
        &self,
        spec: &Spec,
        input: &'a Input,
        units: &'a Units,
        fill: Fill,
    ) -> Result<Box<dyn Perturber + 'a>, PerturbError> {
        let reading =
            |&token: &usize| Reading { read: Read::Tokens(vec![token]), held: vec![token], ..Reading::default() };
        text_rows(spec, input, units, fill, self.tokens.iter().map(reading).collect())
    }

    fn positions(&self) -> Option<Vec<usize>> {
        Some(self.places.clone())
    }

    fn value(&self, logits: &[f32], target: &Target, output: OutputSpace) -> f64 {
        let Target::Token(target) = target else { return f64::NAN };
        let Some(own) = self.own(logits, target) else { return f64::NAN };
        let value = self.classes.output(own, target.index, output);
        target.against.as_ref().map_or(value, |against| value - self.classes.output(own, against.index, output))
    }

    fn cotangent(&self, logits: &[f32], target: &Target, output: OutputSpace) -> Vec<f32> {
        let mut gradient = vec![0.0; logits.len()];
        if let Target::Token(target) = target
            && let Some(place) = self.place(target)
            && let Some(own) = logits.get(place..place + self.labels)
        {
            let slots = &mut gradient[place..place + self.labels];
            self.classes.add_gradient(own, target.index, output, 1.0, slots);
            if let Some(against) = &target.against {
                self.classes.add_gradient(own, against.index, output, -1.0, slots);
            }
        }
        gradient.into_iter().map(|value| value as f32).collect()
    }

    fn depends(&self, target: &Target, _output: OutputSpace, position: usize) -> bool {
        matches!(target, Target::Token(target) if self.tokens.get(position) == Some(&target.token))
    }

    fn verdict(&self, logits: &[f32], target: &Target) -> Option<Verdict> {
        let Target::Token(target) = target else { return None };
        self.classes.verdict_of(
            self.own(logits, target)?,
            target.index,
            target.against.as_ref().map(|class| class.index),
        )
    }

    fn said(&self, logits: &[f32], target: &Target) -> Option<ClassPrediction> {
        let Target::Token(target) = target else { return None };
        self.own(logits, target).map(|own| self.classes.of(own))
    }

    fn reading(&self, target: &Target) -> Option<usize> {
        match target {
            Target::Token(target) => Some(target.token),
            _ => None,
        }
    }
}

#[cfg(test)]
#[path = "tokens_tests.rs"]
mod tests;
