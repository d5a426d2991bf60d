//! What is read in front of completion tokens, and prompts with some of their units away.

use std::borrow::Cow;

use crate::input::text::Continuation;
use crate::input::units::{Fill, Mask, Units};
use crate::input::{Input, TextInput};
use crate::models::{Content, Row, Spec};
use crate::nn::Partition;
use crate::tasks::classification::{largest, log_sum_exp, softplus};
use crate::tasks::perturb::{NOTHING_REMAINS, replacement};
use crate::tasks::{Classification, OutputSpace, PerturbError, Perturber, Readout, Target, TokenTarget, Verdict};

/// A softmax over a vocabulary, whose words are nobody's labels.
pub(in crate::tasks) fn softmax() -> Classification {
    Classification::softmax(Vec::new())
}

/// Numbers kept of a token that is asked about: its logit, its log-probability, its log-odds, the largest logit of the
/// others.
const KEPT: usize = 4;

/// The softmaxes in front of some completion tokens, or at masks, one behind another.
///
/// A digest holds [`KEPT`] numbers for each token of the vocabulary that a target names, then each place's entropy.
#[derive(Debug, Clone, Default)]
pub(in crate::tasks) struct AtNext {
    vocab: usize,
    /// Tokens of the prompt.
    prompt: usize,
    /// The completion in front of the last token that is asked about.
    read: Vec<u32>,
    /// The tokens that are asked about: of a completion, or of a text with masks.
    places: Vec<usize>,
    /// What could stand there: a place among `places`, and an id.
    asked: Vec<(usize, usize)>,
}

impl AtNext {
    pub fn behind(continuation: &Continuation, vocab: usize, targets: &[Target]) -> Self {
        let readout = Self::new(vocab, targets);
        // Nothing depends on what stands behind.
        let last = readout.places.iter().copied().max().unwrap_or(0);
        let read = continuation.tokens.iter().take(last).map(|token| token.id).collect();
        Self { prompt: continuation.prompt, read, ..readout }
    }

    /// What `targets` ask of the softmaxes at their tokens.
    pub fn new(vocab: usize, targets: &[Target]) -> Self {
        let mut readout = Self { vocab, ..Self::default() };
        for target in targets {
            let Target::Token(TokenTarget { token, index, against, .. }) = target else { continue };
            let at = readout.places.iter().position(|place| place == token).unwrap_or_else(|| {
                readout.places.push(*token);
                readout.places.len() - 1
            });
            for index in std::iter::once(*index).chain(against.as_ref().map(|against| against.index)) {
                if !readout.asked.contains(&(at, index)) {
                    readout.asked.push((at, index));
                }
            }
        }
        readout
    }

    pub fn places(&self) -> &[usize] {
        &self.places
    }

    fn at<'l>(&self, logits: &'l [f32], place: usize) -> &'l [f32] {
        logits.get(place * self.vocab..(place + 1) * self.vocab).unwrap_or_default()
    }

    /// The digest of the logits at all places.
    pub fn condensed(&self, logits: &[f32]) -> Vec<f32> {
        let mut digest = Vec::with_capacity(self.asked.len() * KEPT + self.places.len());
        let mut entropies = vec![f32::NAN; self.places.len()];
        for &(place, index) in &self.asked {
            let Some((front, [logit, behind @ ..])) = self.at(logits, place).split_at_checked(index) else {
                digest.extend([f32::NAN; KEPT]);
                continue;
            };
            let others = Partition::of(front).and(Partition::of(behind));
            let odds = f64::from(*logit) - others.log_sum();
            // From the odds, so that nothing cancels where the probability is close to 1.
            let log_probability = -softplus(-odds);
            digest.extend([
                *logit,
                log_probability as f32,
                odds as f32,
                others.largest().max(f64::from(f32::MIN)) as f32,
            ]);
            entropies[place] = others.and(Partition::of_one(*logit)).entropy() as f32;
        }
        digest.extend(entropies);
        digest
    }

    fn place(&self, target: &TokenTarget) -> Option<usize> {
        self.places.iter().position(|place| *place == target.token)
    }

    /// What the digest keeps of `index` at the target's token.
    fn kept<'d>(&self, digest: &'d [f32], target: &TokenTarget, index: usize) -> Option<&'d [f32]> {
        let place = self.place(target)?;
        let at = self.asked.iter().position(|asked| *asked == (place, index))?;
        digest.get(at * KEPT..(at + 1) * KEPT)
    }

    fn of(&self, digest: &[f32], target: &TokenTarget, index: usize, output: OutputSpace) -> f64 {
        let Some(&[logit, log_probability, log_odds, _]) = self.kept(digest, target, index) else { return f64::NAN };
        match output {
            OutputSpace::Logit => f64::from(logit),
            OutputSpace::LogProbability => f64::from(log_probability),
            OutputSpace::LogOdds => f64::from(log_odds),
            OutputSpace::Probability => f64::from(log_probability).exp(),
            OutputSpace::Entropy => {
                let place = self.place(target).unwrap_or(usize::MAX);
                digest.get((self.asked.len() * KEPT).saturating_add(place)).map_or(f64::NAN, |&value| f64::from(value))
            }
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

    fn digest<'l>(&self, logits: &'l [f32]) -> Cow<'l, [f32]> {
        Cow::Owned(self.condensed(logits))
    }

    fn value(&self, digest: &[f32], target: &Target, output: OutputSpace) -> f64 {
        let Target::Token(target) = target else { return f64::NAN };
        let value = self.of(digest, target, target.index, output);
        target.against.as_ref().map_or(value, |against| value - self.of(digest, target, against.index, output))
    }

    fn cotangent(&self, logits: &[f32], target: &Target, output: OutputSpace) -> Vec<f32> {
        let mut gradient = vec![0.0_f32; logits.len()];
        if let Target::Token(target) = target
            && let Some(place) = self.place(target)
            && let Some(slots) = gradient.get_mut(place * self.vocab..(place + 1) * self.vocab)
        {
            let own = self.at(logits, place);
            let mut slopes = vec![0.0; own.len()];
            softmax().add_gradient(own, target.index, output, 1.0, &mut slopes);
            if let Some(against) = &target.against {
                softmax().add_gradient(own, against.index, output, -1.0, &mut slopes);
            }
            slots.iter_mut().zip(slopes).for_each(|(slot, slope)| *slot = slope as f32);
        }
        gradient
    }

    fn depends(&self, target: &Target, _output: OutputSpace, position: usize) -> bool {
        matches!(target, Target::Token(target) if self.place(target) == Some(position))
    }

    /// A logit is its own multiplier; what is made of all of them takes the mean over the way.
    fn multiplier(&self, logits: &[f32], baseline: &[f32], target: &Target, output: OutputSpace) -> Vec<f32> {
        match output {
            OutputSpace::Logit => self.cotangent(logits, target, output),
            _ => crate::tasks::mean_cotangent(self, logits, baseline, target, output),
        }
    }

    fn likeliest(&self, logits: &[f32], target: &Target, count: usize) -> Vec<(usize, f32, f64)> {
        let place = if let Target::Token(target) = target { self.place(target) } else { None };
        let own = place.map_or(&[][..], |place| self.at(logits, place));
        let normaliser = log_sum_exp(own);
        let score = |index: usize| (index, own[index], f64::from(own[index]) - normaliser);
        largest(own, count).into_iter().map(score).collect()
    }

    fn verdict(&self, digest: &[f32], target: &Target) -> Option<Verdict> {
        let Target::Token(target) = target else { return None };
        let own = self.kept(digest, target, target.index)?;
        let other = match &target.against {
            Some(against) => self.kept(digest, target, against.index)?[0],
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

    fn outputs<'l>(&self, _mask: &Mask, logits: &'l [f32], _labels: usize) -> Cow<'l, [f32]> {
        self.readout.digest(logits)
    }
}
