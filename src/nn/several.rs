//! Gradients of several seeds in one walk back. A layer whose backward is a product with its weight reads the weight once
//! for all of them, where a walk for each would read it, and cut it into pieces, again and again: of a short text that
//! takes longer than multiplying.

use super::tape::{Backward, Inputs, Op};
use super::{Error, Node, Tape};

/// Numbers of a gradient that the widest value of a walk has, of all seeds together (16 MiB): about a thousand tokens of a
/// base-sized model, beyond which more rows make a product no faster.
const AT_ONCE: usize = 4 << 20;

impl Tape<'_> {
    /// [`Tape::backward`] from each of `seeds`, with the same bits.
    ///
    /// # Errors
    /// As [`Tape::backward`].
    pub fn backward_all(&self, of: &Node, seeds: &[Vec<f32>], wrt: &Node) -> Result<Vec<Vec<f32>>, Error> {
        let alone = || seeds.iter().map(|seed| self.backward(of, seed, wrt)).collect();
        let numbers = of.rows() * of.cols();
        let fits = numbers > 0 && seeds.iter().all(|seed| seed.len() == numbers);
        let (Some(start), Some(variable)) = (of.entry(), wrt.entry()) else { return alone() };
        if !fits || start < variable || self.device_of(of).is_some() {
            return alone();
        }
        let entries = &self.entries()[variable..=start];
        let widest = entries.iter().map(|entry| entry.shape.0 * entry.shape.1).max().unwrap_or(0);
        let together = AT_ONCE / widest.max(1);
        if together < 2 || seeds.len() < 2 {
            return alone();
        }
        let mut all = Vec::with_capacity(seeds.len());
        for seeds in seeds.chunks(together) {
            self.check_rule(&self.entries()[..=start], of.rows())?;
            match self.walk_all(start, seeds, variable)? {
                Some(found) => all.extend(found.chunks_exact(found.len() / seeds.len()).map(<[f32]>::to_vec)),
                None => all.resize(all.len() + seeds.len(), vec![0.0; wrt.rows() * wrt.cols()]),
            }
        }
        Ok(all)
    }

    /// The gradients at `variable`, one behind another; `None` where nothing flows.
    fn walk_all(&self, start: usize, seeds: &[Vec<f32>], variable: usize) -> Result<Option<Vec<f32>>, Error> {
        let mut grads: Vec<Option<Vec<f32>>> = Vec::new();
        grads.resize_with(start + 1, || None);
        grads[start] = Some(seeds.concat());
        for index in (variable + 1..=start).rev() {
            let entry = &self.entries()[index];
            let (Some(grad), Op::Host(op)) = (grads[index].take(), &entry.op) else { continue };
            match op.takes_several(self.rule()) {
                true => self.back(&**op, grad, &mut Inputs::new(entry.inputs, &mut grads))?,
                false => self.back_each(&**op, (&grad, seeds.len()), entry.inputs, &mut grads)?,
            }
        }
        Ok(grads[variable].take().filter(|found| !found.is_empty()))
    }

    /// One step back through `op`, which takes one seed's gradient at a time: each adds to what its own inputs have.
    fn back_each(
        &self,
        op: &dyn Backward,
        (grad, seeds): (&[f32], usize),
        inputs: [Option<usize>; 2],
        grads: &mut [Option<Vec<f32>>],
    ) -> Result<(), Error> {
        let mut entries: Vec<usize> = inputs.into_iter().flatten().collect();
        entries.dedup();
        let places = inputs.map(|input| input.and_then(|input| entries.iter().position(|entry| *entry == input)));
        let before: Vec<Option<Vec<f32>>> = entries.iter().map(|&entry| grads[entry].take()).collect();
        let mut after = vec![Vec::new(); entries.len()];
        for seed in 0..seeds {
            let own = |all: &[f32]| {
                let len = all.len() / seeds;
                all[seed * len..][..len].to_vec()
            };
            let mut part: Vec<Option<Vec<f32>>> = before.iter().map(|sum| sum.as_deref().map(own)).collect();
            self.back(op, own(grad), &mut Inputs::new(places, &mut part))?;
            after.iter_mut().zip(part).for_each(|(after, part)| after.extend(part.unwrap_or_default()));
        }
        for (entry, after) in entries.into_iter().zip(after) {
            grads[entry] = (!after.is_empty()).then_some(after);
        }
        Ok(())
    }
}
