//! Filling a mask: a softmax over the vocabulary at the one mask token of a text.
//!
//! A class is a token of the vocabulary, named by what it writes or by its id. `blank` is the other use of such a model.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use super::classification::largest;
use super::completion::readout::{AtNext, TOLD, likeliest};
use super::perturb::text_rows;
use super::rows::{Read, Reading};
use super::target::TokenTarget;
use super::{
    Class, ClassPrediction, ClassScore, ClassSpec, Condense, Contrast, Focus, OutputSpace, Outputs, Pairing,
    PerturbError, Perturber, Prediction, Readout, Rows, Target, TargetError, TargetSpec, Task, TokenSpec, Verdict,
    quote,
};
use crate::input::units::{Fill, Units};
use crate::input::{Input, TextInput};
use crate::models::Spec;

/// Tokens of a prediction, as many as the pipelines show.
const SHOWN: usize = 5;

/// Says what stands in the place of a mask.
#[derive(Debug, Clone)]
pub struct FillMask {
    vocab: usize,
    /// What each token of the vocabulary writes.
    words: Arc<[String]>,
    /// The tokens in the order of what they write, of equal ones the first in front: a request may name a thousand.
    order: Arc<[u32]>,
}

/// A class, and the one that it is compared with.
type Named = (Class, Option<Class>);

/// The place of the first mask.
fn mask_of(input: &Input) -> Option<usize> {
    masks(input.as_text()?).next()
}

fn masks(text: &TextInput) -> impl Iterator<Item = usize> + '_ {
    let mask = text.specials.mask;
    let is_mask = move |id: u32| mask == Some(id);
    text.tokens.iter().enumerate().filter(move |(_, token)| is_mask(token.id)).map(|(place, _)| place)
}

impl FillMask {
    /// `words` are what the tokens of the vocabulary write, by their ids.
    pub fn new(spec: &Spec, words: Arc<[String]>) -> Self {
        let mut order: Vec<u32> = (0..words.len() as u32).collect();
        order.sort_by_key(|&id| words.get(id as usize));
        Self { vocab: spec.vocab, words, order: order.into() }
    }

    /// The first token that writes `text`.
    fn token_of(&self, text: &str) -> Option<usize> {
        let written = |id: u32| self.words.get(id as usize).map_or("", String::as_str);
        let at = self.order.partition_point(|&id| written(id) < text);
        self.order.get(at).filter(|&&id| written(id) == text).map(|&id| id as usize)
    }

    fn label(&self, index: usize) -> String {
        self.words.get(index).cloned().unwrap_or_else(|| index.to_string())
    }

    fn class(&self, index: usize) -> Class {
        Class { label: self.label(index), index }
    }

    /// The token that `spec` names: a word also where the vocabulary has it behind a space alone.
    fn named(&self, spec: &ClassSpec, path: &str) -> Result<Class, TargetError> {
        let error = |detail: String| Err(TargetError { path: path.to_owned(), detail });
        let known = |index: usize| (index < self.vocab).then(|| self.class(index));
        match spec {
            ClassSpec::Index(index) => match known(usize::try_from(*index).unwrap_or(usize::MAX)) {
                Some(class) => Ok(class),
                None => error(format!("there is no token of id {index}: the vocabulary has {}", self.vocab)),
            },
            ClassSpec::Class(class) => match known(class.index).filter(|known| known.label == class.label) {
                Some(class) => Ok(class),
                None => {
                    error(format!("token {} is not {}; leave one of the two out", class.index, quote(&class.label)))
                }
            },
            ClassSpec::Label(word) => {
                let behind = format!(" {word}");
                let found = [word, &behind].into_iter().find_map(|text| self.token_of(text));
                match found.and_then(known) {
                    Some(class) => Ok(class),
                    None => error(format!(
                        "{} is no token of the vocabulary, so it cannot be filled in; name a token by what it writes \
                         or by its id",
                        quote(word)
                    )),
                }
            }
        }
    }

    /// A class, which stands at `key` of its target, and the one that it is compared with.
    fn pair(
        &self,
        class: &ClassSpec,
        against: Option<&ClassSpec>,
        path: &str,
        key: &str,
    ) -> Result<Named, TargetError> {
        let class = self.named(class, &format!("{path}/{key}"))?;
        let path = format!("{path}/against");
        let against = against.map(|against| self.named(against, &path)).transpose()?;
        Class::unlike(class.index, against.as_ref(), &path)?;
        Ok((class, against))
    }

    /// The classes that one entry of a request's target names; `None`: the predicted one.
    fn one(&self, spec: &TargetSpec, path: &str) -> Result<Option<Named>, TargetError> {
        let alone = |spec: &ClassSpec| Ok(Some((self.named(spec, path)?, None)));
        match spec {
            TargetSpec::Predicted => Ok(None),
            // Also where the vocabulary has that word: what stands for all inputs may not mean another thing for some.
            TargetSpec::Name(word) | TargetSpec::Text(word) if word == "predicted" => Ok(None),
            TargetSpec::Index(index) => alone(&ClassSpec::Index(*index)),
            TargetSpec::Name(word) | TargetSpec::Text(word) => {
                let label = ClassSpec::Label(word.clone());
                match (self.named(&label, path), word.parse::<u64>()) {
                    (Ok(class), _) => Ok(Some((class, None))),
                    (Err(_), Ok(index)) if matches!(spec, TargetSpec::Text(_)) => alone(&ClassSpec::Index(index)),
                    (Err(error), _) => Err(error),
                }
            }
            TargetSpec::Contrast(Contrast { index, against }) => {
                self.pair(index, against.as_ref(), path, "index").map(Some)
            }
            TargetSpec::Token(TokenSpec { label: None, against: None, .. }) => Ok(None),
            TargetSpec::Token(TokenSpec { label: Some(label), against, .. }) => {
                self.pair(label, against.as_ref(), path, "label").map(Some)
            }
            _ => Err(TargetError {
                path: path.to_owned(),
                detail: "a mask is filled with a token: name one by what it writes or by its id, or send \"predicted\""
                    .to_owned(),
            }),
        }
    }

    fn all(&self, spec: &TargetSpec) -> Result<Vec<Option<Named>>, TargetError> {
        let list = spec.flat();
        if list.is_empty() {
            let detail = "the list is empty; name a token, or leave the target out".to_owned();
            return Err(TargetError { path: String::new(), detail });
        }
        list.into_iter().map(|(path, spec)| self.one(spec, &path)).collect()
    }

    fn rows(spec: &Spec, input: &Input) -> Rows {
        let Some(text) = input.as_text() else { return Rows::default() };
        let read = Read::Tokens(vec![mask_of(input).unwrap_or(0)]);
        Rows::of_text(spec, text, &[Reading { read, ..Reading::default() }])
    }
}

impl Task for FillMask {
    fn name(&self) -> &'static str {
        "fill-mask"
    }

    fn pairing(&self) -> Pairing {
        Pairing::Refused("a mask is filled in one text")
    }

    fn check_text(&self, input: &Input) -> Result<(), String> {
        let Some(text) = input.as_text() else { return Ok(()) };
        let Some(mask) = text.specials.mask else {
            return Err("this model's tokenizer has no mask token, so that there is nothing to fill".to_owned());
        };
        let (mask, count) = (self.label(mask as usize), masks(text).count());
        match count {
            1 => Ok(()),
            0 if text.truncated() => {
                Err(format!("the part of the text that the model takes holds no {mask}; move it forward"))
            }
            0 => Err(format!("the text holds no {mask}; write one where a word is to be filled in")),
            _ => Err(format!("the text holds {count} times {mask} and one is filled at a time; write one")),
        }
    }

    /// The mask is the question, not a word of the text: without it nothing is asked.
    fn marked(&self, input: Input) -> Input {
        match (mask_of(&input), input) {
            (Some(mask), Input::Text(text)) => Input::Text(apart(text, mask)),
            (_, input) => input,
        }
    }

    fn whole(&self, spec: &Spec, input: &Input) -> Rows {
        Self::rows(spec, input)
    }

    fn check_target(&self, spec: &TargetSpec) -> Result<usize, TargetError> {
        Ok(self.all(spec)?.into_iter().collect::<HashSet<_>>().len())
    }

    fn check_input(&self, spec: &TargetSpec, input: &Input) -> Result<(), TargetError> {
        let mask = mask_of(input).unwrap_or(0);
        for (path, spec) in spec.flat() {
            if let TargetSpec::Token(TokenSpec { token, .. }) = spec
                && *token != mask as u64
            {
                let detail = format!("token {token} is no mask; the mask is token {mask}");
                return Err(TargetError { path: format!("{path}/token"), detail });
            }
        }
        Ok(())
    }

    fn targets(&self, spec: &TargetSpec, input: &Input, logits: &[f32]) -> Result<Vec<Target>, TargetError> {
        let token = mask_of(input).unwrap_or(0);
        let mut targets = Vec::new();
        for named in self.all(spec)? {
            let predicted = || (self.class(largest(logits, 1).first().copied().unwrap_or(0)), None);
            let (Class { label, index }, against) = named.unwrap_or_else(predicted);
            let target = Target::Token(TokenTarget { token, label, index, against });
            if !targets.contains(&target) {
                targets.push(target);
            }
        }
        Ok(targets)
    }

    fn focus(&self, spec: &Spec, input: &Input, _: &Rows, logits: &[f32], targets: &[Target]) -> Focus {
        let rows = Self::rows(spec, input);
        let looked = (rows.rows.len() == 1).then_some(0);
        let readout = AtMask { at: AtNext::new(targets), token: mask_of(input).unwrap_or(0) };
        let logits = readout.part(logits).into_owned();
        Focus { readout: Box::new(readout), logits, rows, looked }
    }

    fn condensed(&self, _: &Input, logits: Vec<f32>) -> Vec<f32> {
        likeliest(&logits, SHOWN)
    }

    fn outputs(&self, _target: &TargetSpec) -> Outputs {
        Outputs::Odds
    }

    fn decides(&self, _target: &TargetSpec) -> bool {
        true
    }

    fn prediction(&self, _: &Input, kept: &[f32]) -> Prediction {
        let score = |told: &[f32]| {
            let index = told[0] as usize;
            let probability = Some(f64::from(told[2]).exp() as f32);
            ClassScore { label: self.label(index), index, logit: told[1], probability }
        };
        let scores: Vec<ClassScore> = kept.chunks_exact(TOLD).map(score).collect();
        let first = scores.first().cloned();
        let (label, index) = first.as_ref().map(|best| (best.label.clone(), best.index)).unwrap_or_default();
        Prediction::Class(ClassPrediction {
            label,
            index,
            probability: first.and_then(|best| best.probability),
            scores,
        })
    }
}

/// The softmax at a mask, which deletion leaves where it is. What the targets need of the vocabulary's logits is kept of
/// masks and passes; those of the whole input stay until the targets are known, which may be its prediction.
#[derive(Debug, Clone)]
struct AtMask {
    at: AtNext,
    token: usize,
}

impl Readout for AtMask {
    fn perturber<'a>(
        &self,
        spec: &Spec,
        input: &'a Input,
        units: &'a Units,
        fill: Fill,
    ) -> Result<Box<dyn Perturber + 'a>, PerturbError> {
        text_rows(spec, input, units, fill, vec![held(self.token)])
    }

    fn condense(&self) -> Option<&dyn Condense> {
        Some(&self.at)
    }

    fn part<'l>(&self, whole: &'l [f32]) -> Cow<'l, [f32]> {
        let mut kept = vec![0.0; self.at.width()];
        Condense::condense(&self.at, 0, whole, &mut kept);
        Cow::Owned(kept)
    }

    fn position(&self, target: &Target) -> Option<usize> {
        self.at.position(target)
    }

    fn value(&self, logits: &[f32], target: &Target, output: OutputSpace) -> f64 {
        self.at.value(logits, target, output)
    }

    fn cotangent(&self, logits: &[f32], target: &Target, output: OutputSpace) -> Vec<f32> {
        self.at.cotangent(logits, target, output)
    }

    fn multiplier(&self, logits: &[f32], baseline: &[f32], target: &Target, output: OutputSpace) -> Vec<f32> {
        self.at.multiplier(logits, baseline, target, output)
    }

    fn verdict(&self, logits: &[f32], target: &Target) -> Option<Verdict> {
        self.at.verdict(logits, target)
    }

    fn reading(&self, _: &Target) -> Option<usize> {
        Some(self.token)
    }
}

/// `text` with token `mask` as special and without the word that it is. White space with that word goes to the next one, at
/// the end to the last.
fn apart(mut text: TextInput, mask: usize) -> TextInput {
    let Some(token) = text.tokens.get_mut(mask) else { return text };
    token.special = true;
    token.sequence = token.sequence.map(|_| None);
    let (start, end) = (token.start, token.end);
    let Some(own) = token.word.take() else { return text };
    if text.words.get(own).is_none_or(|word| word.start < start || word.end > end) {
        return text;
    }
    text.words.remove(own);
    let last = text.words.len().checked_sub(1);
    for token in &mut text.tokens {
        token.word = token.word.and_then(|word| Some(if word > own { word - 1 } else { word }.min(last?)));
    }
    text
}

/// The reading of one token that stays.
fn held(token: usize) -> Reading {
    Reading { read: Read::Tokens(vec![token]), held: vec![token], ..Reading::default() }
}

#[cfg(test)]
#[path = "fill_mask_tests.rs"]
mod tests;
