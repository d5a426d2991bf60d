//! Writes a completion token by token, before anything is explained: what is explained then is as if it had been sent.

use std::cell::Cell;
use std::sync::Arc;

use super::super::evaluate::{Evaluate, Question};
use super::lead::Lead;
use super::{Means, Spent};
use crate::explain::{Generation, Plan, Processor, RunError};
use crate::input::Input;
use crate::input::text::{TextInput, TextProcessor};
use crate::models::{Batch, Content, Prefix, Row, TapPlan};
use crate::nn::{self, Precision};
use crate::numerics::draw::Drawing;
use crate::tasks::{WrittenToken, log_probability};

/// The plan's input with its completion written; `None` where there is nothing to write.
///
/// # Errors
/// The model failed or the job had to stop.
pub fn completed(
    plan: &Plan,
    model: &dyn Evaluate,
    means: Means<'_>,
    spent: &Cell<Spent>,
) -> Result<Option<Input>, RunError> {
    let (Some(generation), Input::Text(text), Processor::Text(processor)) =
        (&plan.generation, &plan.input, &plan.model.processor)
    else {
        return Ok(None);
    };
    let lead = Lead { means, seat: means.turns.seat(plan.cost.tokens), spent };
    let writer = Writer { lead, model, text, processor, generation };
    let text = writer.write(plan.seed).map_err(|error| match error {
        nn::Error::Stopped(why) => RunError::Stopped(why),
        error => RunError::Model(error),
    })?;
    Ok(Some(Input::Text(text)))
}

struct Writer<'a> {
    lead: Lead<'a>,
    model: &'a dyn Evaluate,
    text: &'a TextInput,
    processor: &'a TextProcessor,
    generation: &'a Generation,
}

impl Writer<'_> {
    fn write(&self, seed: u64) -> Result<TextInput, nn::Error> {
        let Generation { max_new_tokens, temperature, top_p, top_k, stop } = self.generation;
        let mut drawing = Drawing::new(seed, *temperature, *top_k, *top_p);
        let prompt: Vec<u32> = self.text.own_tokens().iter().map(|token| token.id).collect();
        let before = prompt.last().copied().unwrap_or(0);
        let (mut written, mut stopped) = (Vec::new(), false);
        let (mut prefix, mut told) = (None, String::new());
        while written.len() < *max_new_tokens && !stopped {
            let logits = self.next(prompt.iter().chain(&written).copied().collect(), &mut prefix)?;
            let id = u32::try_from(drawing.next(&logits)).unwrap_or(0);
            written.push(id);
            stopped = self.processor.ends(id)
                || !stop.is_empty() && {
                    let text = self.processor.text_behind(before, &written);
                    stop.iter().any(|stop| text.contains(stop.as_str()))
                };
            let whole = stopped || written.len() == *max_new_tokens;
            self.tell((before, &written, whole), &logits, &mut told);
        }
        let continuation = self.processor.continued(before, prompt.len(), &written, stopped);
        Ok(self.text.clone().followed_by(continuation))
    }

    /// Tells the newest of `written`, drawn from `logits`: what it adds to the text that was `told` before.
    fn tell(&self, (before, written, whole): (u32, &[u32], bool), logits: &[f32], told: &mut String) {
        let (audience, Some((&id, others))) = (self.lead.means.audience, written.split_last()) else { return };
        if !audience.listens() {
            return;
        }
        let shown = match whole {
            true => self.processor.shown(before, written, true),
            false => self.processor.settled(before, written),
        };
        let new = shown.strip_prefix(told.as_str()).unwrap_or_default();
        told.push_str(new);
        audience.writes(others.len(), WrittenToken::new(id, new.to_owned(), log_probability(logits, id)));
    }

    /// The logits of what follows `ids`, of which `prefix` has been read before. They are the same without it.
    fn next(&self, ids: Vec<u32>, prefix: &mut Option<Arc<Prefix>>) -> Result<Vec<f32>, nn::Error> {
        let reuses = self.model.reuses(ids.len());
        let taps = &TapPlan { prefix: reuses, ..TapPlan::default() };
        let known = prefix.take().filter(|_| reuses);
        let own = ids.get(known.as_ref().map_or(0, |prefix| prefix.tokens)..).unwrap_or_default().to_vec();
        let read = vec![own.len().saturating_sub(1)];
        let rows = vec![Row { content: Content::Tokens { ids: own, type_ids: Vec::new() }, read }];
        let batch = match known {
            Some(known) => Batch::behind(known, rows),
            None => Batch::new(rows),
        };
        let question = Question { taps, ..Question::logits(Precision::F32) };
        let evaluation = self.lead.evaluate(self.model, &batch, question)?;
        *prefix = evaluation.taps.prefix;
        Ok(evaluation.logits)
    }
}

#[cfg(test)]
mod tests;
