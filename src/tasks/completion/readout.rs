//! What is read in front of completion tokens, and prompts with some of their units away.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use crate::input::text::Continuation;
use crate::input::units::{Fill, Mask, Units};
use crate::input::{Input, TextInput};
use crate::models::{Content, Row, Spec};
use crate::nn::Partition;
use crate::tasks::classification::{largest, log_sum_exp, softplus};
use crate::tasks::perturb::{NOTHING_REMAINS, replacement};
use crate::tasks::{
    Classification, Condense, OutputSpace, PerturbError, Perturber, Readout, Target, TokenTarget, Verdict,
};

/// A softmax over a vocabulary, whose words are nobody's labels.
pub(in crate::tasks) fn softmax() -> Classification {
    Classification::softmax(Vec::new())
}

/// Numbers kept of what could stand at a place: its logit, its log-probability, its log-odds, the largest logit of the
/// others, and the place's entropy.
const KEPT: usize = 5;

/// The log-probability of the first that is asked about, out of what is kept of a place.
pub(super) fn log_probability(kept: &[f32]) -> Option<f32> {
    kept.get(1).copied()
}

/// What is kept of token `index` of a vocabulary that has these logits; NaN where it is none of them.
pub(super) fn kept_of(logits: &[f32], index: usize) -> [f32; KEPT] {
    let Some((front, [logit, behind @ ..])) = logits.split_at_checked(index) else { return [f32::NAN; KEPT] };
    let others = Partition::of(front).and(Partition::of(behind));
    let odds = f64::from(*logit) - others.log_sum();
    // From the odds, so that nothing cancels where the probability is close to 1.
    let log_probability = -softplus(-odds);
    let best = others.largest().max(f64::from(f32::MIN));
    let entropy = others.and(Partition::of_one(*logit)).entropy();
    [*logit, log_probability as f32, odds as f32, best as f32, entropy as f32]
}

/// Numbers told of each of the [`likeliest`]: its id, its logit, its log-probability.
pub const TOLD: usize = 3;

/// The `count` likeliest tokens of a vocabulary that has these logits, the likeliest first, [`TOLD`] numbers each.
pub fn likeliest(logits: &[f32], count: usize) -> Vec<f32> {
    let normaliser = log_sum_exp(logits);
    let told = |index: usize| [index as f32, logits[index], (f64::from(logits[index]) - normaliser) as f32];
    largest(logits, count).into_iter().flat_map(told).collect()
}

/// The softmaxes in front of some completion tokens, or at masks, one behind another. Of each, [`KEPT`] numbers are kept
/// for every token of the vocabulary that a target names there.
#[derive(Debug, Clone, Default)]
pub(in crate::tasks) struct AtNext {
    /// Tokens of the prompt.
    prompt: usize,
    /// The completion in front of the last token that is asked about.
    read: Vec<u32>,
    /// The tokens that are asked about: of a completion, or of a text with masks.
    places: Vec<usize>,
    /// Which of them a token is.
    place_of: HashMap<usize, usize>,
    /// The ids of what could stand there, for each of them.
    asked: Vec<Vec<usize>>,
    /// Numbers kept of a place.
    width: usize,
    /// What is kept of the whole input's logits, of which this is a part.
    whole: Option<Arc<Self>>,
}

impl AtNext {
    pub fn behind(continuation: &Continuation, targets: &[Target]) -> Self {
        let readout = Self::new(targets);
        // Nothing depends on what stands behind.
        let last = readout.places.iter().copied().max().unwrap_or(0);
        let read = continuation.tokens.iter().take(last).map(|token| token.id).collect();
        Self { prompt: continuation.prompt, read, ..readout }
    }

    /// What `targets` ask of the softmaxes at their tokens.
    pub fn new(targets: &[Target]) -> Self {
        let mut readout = Self::default();
        for target in targets {
            let Target::Token(TokenTarget { token, index, against, .. }) = target else { continue };
            let at = *readout.place_of.entry(*token).or_insert_with(|| {
                readout.places.push(*token);
                readout.asked.push(Vec::new());
                readout.places.len() - 1
            });
            for index in std::iter::once(*index).chain(against.as_ref().map(|against| against.index)) {
                if !readout.asked[at].contains(&index) {
                    readout.asked[at].push(index);
                }
            }
        }
        readout.width = KEPT * readout.asked.iter().map(Vec::len).max().unwrap_or(0);
        readout
    }

    /// The same, of an input whose own logits `whole` keeps.
    pub fn within(self, whole: Self) -> Self {
        Self { whole: Some(Arc::new(whole)), ..self }
    }

    pub fn places(&self) -> &[usize] {
        &self.places
    }

    fn place(&self, token: usize) -> Option<usize> {
        self.place_of.get(&token).copied()
    }

    /// What is kept of `index` at the token `token`.
    fn kept<'l>(&self, logits: &'l [f32], token: usize, index: usize) -> Option<&'l [f32]> {
        let place = self.place(token)?;
        let at = place * self.width + KEPT * self.asked.get(place)?.iter().position(|asked| *asked == index)?;
        logits.get(at..at + KEPT)
    }

    fn of(&self, logits: &[f32], target: &TokenTarget, index: usize, output: OutputSpace) -> f64 {
        let Some(&[logit, log_probability, log_odds, _, entropy]) = self.kept(logits, target.token, index) else {
            return f64::NAN;
        };
        match output {
            OutputSpace::Logit => f64::from(logit),
            OutputSpace::LogProbability => f64::from(log_probability),
            OutputSpace::LogOdds => f64::from(log_odds),
            OutputSpace::Probability => f64::from(log_probability).exp(),
            OutputSpace::Entropy => f64::from(entropy),
        }
    }
}

impl Condense for AtNext {
    fn width(&self) -> usize {
        self.width
    }

    fn condense(&self, position: usize, logits: &[f32], kept: &mut [f32]) {
        let Some(asked) = self.asked.get(position) else { return };
        for (&index, kept) in asked.iter().zip(kept.chunks_exact_mut(KEPT)) {
            kept.copy_from_slice(&kept_of(logits, index));
        }
    }
}

impl Readout for AtNext {
    fn perturber<'a>(
        &self,
        _: &Spec,
        input: &'a Input,
        units: &'a Units,
        fill: Fill,
    ) -> Result<Box<dyn Perturber + 'a>, PerturbError> {
        match (input, units) {
            (Input::Text(text), Units::Text { members, .. }) => {
                Ok(Box::new(PromptPerturber::new(self.clone(), text, members, fill)?))
            }
            _ => Err(PerturbError::WrongKind("mean")),
        }
    }

    fn condense(&self) -> Option<&dyn Condense> {
        Some(self)
    }

    fn part<'l>(&self, whole: &'l [f32]) -> Cow<'l, [f32]> {
        let Some(of) = &self.whole else { return Cow::Borrowed(whole) };
        let mut part = vec![0.0; self.places.len() * self.width];
        let places = self.places.iter().zip(&self.asked).zip(part.chunks_mut(self.width.max(1)));
        for ((&token, asked), part) in places {
            for (&index, part) in asked.iter().zip(part.chunks_exact_mut(KEPT)) {
                part.copy_from_slice(of.kept(whole, token, index).unwrap_or(&[f32::NAN; KEPT]));
            }
        }
        Cow::Owned(part)
    }

    fn positions(&self) -> Option<Vec<usize>> {
        let of = self.whole.as_ref()?;
        Some(self.places.iter().filter_map(|&token| of.place(token)).collect())
    }

    fn position(&self, target: &Target) -> Option<usize> {
        match target {
            Target::Token(target) => self.place(target.token),
            _ => None,
        }
    }

    fn value(&self, logits: &[f32], target: &Target, output: OutputSpace) -> f64 {
        let Target::Token(target) = target else { return f64::NAN };
        let value = self.of(logits, target, target.index, output);
        target.against.as_ref().map_or(value, |against| value - self.of(logits, target, against.index, output))
    }

    fn cotangent(&self, logits: &[f32], target: &Target, output: OutputSpace) -> Vec<f32> {
        let mut slopes = vec![0.0; logits.len()];
        if let Target::Token(target) = target {
            softmax().add_gradient(logits, target.index, output, 1.0, &mut slopes);
            if let Some(against) = &target.against {
                softmax().add_gradient(logits, against.index, output, -1.0, &mut slopes);
            }
        }
        slopes.into_iter().map(|slope| slope as f32).collect()
    }

    fn depends(&self, target: &Target, _output: OutputSpace, position: usize) -> bool {
        self.position(target) == Some(position)
    }

    /// A logit is its own multiplier; what is made of all of them takes the mean over the way.
    fn multiplier(&self, logits: &[f32], baseline: &[f32], target: &Target, output: OutputSpace) -> Vec<f32> {
        match output {
            OutputSpace::Logit => self.cotangent(logits, target, output),
            _ => crate::tasks::mean_cotangent(self, logits, baseline, target, output),
        }
    }

    fn verdict(&self, logits: &[f32], target: &Target) -> Option<Verdict> {
        let Target::Token(target) = target else { return None };
        let own = self.kept(logits, target.token, target.index)?;
        let other = match &target.against {
            Some(against) => self.kept(logits, target.token, against.index)?[0],
            None => own[3],
        };
        let margin = f64::from(own[0]) - f64::from(other);
        Some(Verdict { answers: margin > 0.0, margin })
    }

    fn reading(&self, target: &Target) -> Option<usize> {
        match target {
            Target::Token(target) => Some((self.prompt + target.token).saturating_sub(1)),
            _ => None,
        }
    }
}

/// Rows of a prompt with some of its units, and the completion behind them. What is read stands in front of completion
/// tokens, whatever of the prompt is left there.
struct PromptPerturber<'a> {
    readout: AtNext,
    text: &'a TextInput,
    /// Per token of the prompt: its unit; tokens of none always stay.
    unit_of: Vec<Option<usize>>,
    /// `None`: absent tokens are deleted.
    replacement: Option<u32>,
    /// What is left where deletion leaves nothing of the prompt.
    remainder: Option<u32>,
}

impl<'a> PromptPerturber<'a> {
    fn new(readout: AtNext, text: &'a TextInput, members: &[Vec<usize>], fill: Fill) -> Result<Self, PerturbError> {
        let mut unit_of = vec![None; readout.prompt.min(text.tokens.len())];
        for (unit, tokens) in members.iter().enumerate() {
            for &token in tokens {
                if let Some(slot) = unit_of.get_mut(token) {
                    *slot = Some(unit);
                }
            }
        }
        let (replacement, remainder) = (replacement(text, fill)?, text.specials.stand_in());
        if replacement.is_none() && remainder.is_none() && unit_of.iter().all(Option::is_some) {
            return Err(NOTHING_REMAINS);
        }
        Ok(Self { readout, text, unit_of, replacement, remainder })
    }
}

impl Perturber for PromptPerturber<'_> {
    fn rows(&self, mask: &Mask) -> Vec<Row> {
        let mut ids = Vec::with_capacity(self.text.tokens.len());
        for (token, unit) in self.text.tokens.iter().zip(&self.unit_of) {
            let present = unit.is_none_or(|unit| mask.contains(unit));
            ids.extend(if present { Some(token.id) } else { self.replacement });
        }
        if ids.is_empty() {
            ids.extend(self.remainder);
        }
        let prompt = ids.len();
        ids.extend(&self.readout.read);
        let read = self.readout.places.iter().map(|place| (prompt + place).saturating_sub(1)).collect();
        vec![Row { content: Content::Tokens { ids, type_ids: Vec::new() }, read }]
    }
}
