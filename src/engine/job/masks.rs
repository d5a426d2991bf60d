//! The black-box seam of a job: masks into rows, rows into forwards by a token budget, and what they gave kept.

use std::collections::HashSet;
use std::sync::Arc;

use super::super::memo::{Shelf, shared_tokens, whole_tokens};
use super::JobCtx;
use super::stem::Branch;
use crate::input::units::Mask;
use crate::methods::{Error, Masking};
use crate::models::Prefix;
use crate::tasks::Perturber;

/// A prefix is worth its own forward where rows leave out so many times its tokens.
const WORTH: usize = 2;

impl JobCtx<'_> {
    /// As [`crate::methods::Ctx::outputs`].
    pub(super) fn masked(&self, masking: Masking<'_>, masks: &[Mask]) -> Result<Vec<Vec<f32>>, Error> {
        let mut seen = HashSet::new();
        let missing: Vec<&Mask> = {
            let mut memo = self.memo.borrow_mut();
            let shelf = memo.shelf(masking);
            // With every unit present the input is whole: its logits are the prediction's.
            shelf.entry(Mask::full(masking.units.len())).or_insert_with(|| self.focus.logits.as_slice().into());
            masks.iter().filter(|mask| !shelf.contains_key(mask) && seen.insert(*mask)).collect()
        };
        let beyond = if missing.is_empty() { Shelf::new() } else { self.evaluate_masks(masking, missing)? };
        let mut memo = self.memo.borrow_mut();
        let shelf = memo.shelf(masking);
        let known = |mask| shelf.get(mask).or_else(|| beyond.get(mask)).map_or_else(Vec::new, |logits| logits.to_vec());
        Ok(masks.iter().map(known).collect())
    }

    /// Evaluates `masks` (none of them known, none twice) and keeps their logits; returns those that there was no room
    /// to keep. Rows are made chunk by chunk: those of 1,000 masked images would not fit into memory.
    fn evaluate_masks(&self, masking: Masking<'_>, mut masks: Vec<&Mask>) -> Result<Shelf, Error> {
        let Masking { units, fill, .. } = masking;
        let perturber = self.focus.readout.perturber(self.spec(), self.work.input, units, fill)?;
        let prefix = self.prefix(masking, &masks)?;
        // Rows of like length share a forward, so that the last chunk of long ones is the only thin one. The sort
        // is stable and its key depends on the mask alone.
        let shared = |mask: &Mask| prefix.as_ref().map_or(0, |prefix| shared_tokens(units, mask).min(prefix.tokens));
        masks.sort_by_cached_key(|mask| whole_tokens(self.work.input, units, fill, mask).saturating_sub(shared(mask)));
        let budget = self.lead.means.tokens_per_turn;
        let (mut chunk, mut beyond) = (Chunk::default(), Shelf::new());
        for mask in masks {
            let rows = perturber.rows(mask).into_iter().map(|row| match (&self.stem, &prefix) {
                (Some(stem), Some(prefix)) => stem.branch(row, prefix.tokens),
                _ => Branch::whole(row),
            });
            let rows: Vec<Branch> = rows.collect();
            let tokens = rows.iter().map(|branch| self.spec().row_tokens(branch.row.len())).sum::<usize>();
            if !chunk.masks.is_empty() && chunk.tokens + tokens > budget {
                let full = std::mem::take(&mut chunk);
                self.evaluate_chunk(masking, &*perturber, (full, prefix.as_ref()), &mut beyond)?;
            }
            chunk.masks.push((mask, rows.len()));
            chunk.rows.extend(rows);
            chunk.tokens += tokens;
        }
        if !chunk.masks.is_empty() {
            self.evaluate_chunk(masking, &*perturber, (chunk, prefix.as_ref()), &mut beyond)?;
        }
        Ok(beyond)
    }

    /// The first tokens of the whole input that rows of `masks` stand behind, where that saves something.
    fn prefix(&self, masking: Masking<'_>, masks: &[&Mask]) -> Result<Option<Arc<Prefix>>, Error> {
        let Some(stem) = &self.stem else { return Ok(None) };
        let shared = masks.iter().map(|mask| stem.most(shared_tokens(masking.units, mask), masking.precision));
        let (most, all) = shared.fold((0, 0), |(most, all), own| (most.max(own), all + own));
        if most == 0 || all < WORTH * most {
            return Ok(None);
        }
        Ok(Some(stem.prefix(&self.lead, self.work.model, most, masking.precision)?))
    }

    fn evaluate_chunk(
        &self,
        masking: Masking<'_>,
        perturber: &dyn Perturber,
        (chunk, prefix): (Chunk<'_>, Option<&Arc<Prefix>>),
        beyond: &mut Shelf,
    ) -> Result<(), Error> {
        // A mask of several rows has their logits behind one another.
        let mut rows = chunk.rows.iter();
        let read = |branch: &Branch| branch.row.read.len();
        let positions = |&(mask, count): &(_, usize)| (mask, rows.by_ref().take(count).map(read).sum::<usize>());
        let masks: Vec<(&Mask, usize)> = chunk.masks.iter().map(positions).collect();
        let (logits, labels) = self.lead.logits_behind(&self.reading(&[]), prefix, chunk.rows, masking.precision)?;
        let mut rest = logits.as_slice();
        let mut memo = self.memo.borrow_mut();
        for (mask, positions) in masks {
            let (own, others) = rest.split_at((positions * labels).min(rest.len()));
            memo.keep(masking, mask, &perturber.outputs(mask, own, labels), beyond);
            rest = others;
        }
        Ok(())
    }
}

/// Masks whose rows go into one forward (or, of a long text's mask alone, several), each with its number of rows.
#[derive(Default)]
struct Chunk<'m> {
    masks: Vec<(&'m Mask, usize)>,
    rows: Vec<Branch>,
    tokens: usize,
}
