//! The tape: what a forward leaves behind so that gradients can be had, as often as wanted.
//!
//! A node that depends on no variable is not recorded, and a tape that does not record keeps nothing, so a forward
//! alone frees every activation as soon as the model lets go of it.

use super::{Array, Error};

/// Why work was given up between two layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Stopped {
    #[error("the deadline has passed")]
    Deadline,
    #[error("nobody waits for the answer any more")]
    Cancelled,
}

/// Asked after every layer: gives the turn to somebody else if it is theirs, and says whether to go on.
pub trait Pace: Sync {
    fn step(&self) -> Result<(), Stopped>;
}

/// No turns, no deadline: tests and measurements.
impl Pace for () {
    fn step(&self) -> Result<(), Stopped> {
        Ok(())
    }
}

/// A value of a forward, `rows × cols`.
#[derive(Debug, Clone)]
pub struct Node {
    array: Array,
    /// Its entry, where gradients may be asked for.
    entry: Option<usize>,
}

impl Node {
    /// A value that no gradient flows through.
    pub fn constant(array: Array) -> Self {
        Self { array, entry: None }
    }

    /// The numbers, row by row.
    pub fn value(&self) -> &[f32] {
        self.array.data()
    }

    pub fn rows(&self) -> usize {
        self.array.rows()
    }

    pub fn cols(&self) -> usize {
        self.array.cols()
    }

    pub(crate) fn array(&self) -> &Array {
        &self.array
    }

    pub(crate) fn into_array(self) -> Array {
        self.array
    }

    /// The numbers, and a node without them in the same place on the tape: for operations that work in place and whose
    /// gradient needs no input.
    pub(super) fn into_parts(self) -> (Array, Self) {
        (self.array, Self { array: Array::new(Vec::new(), 0, 0), entry: self.entry })
    }
}

/// A recorded operation: turns the gradient of its output into those of its inputs.
pub(super) trait Backward: Send {
    /// Adds the gradient of each wanted input to `inputs`.
    fn backward(&self, grad: Vec<f32>, inputs: &mut Inputs<'_>);
}

/// Where a [`Backward`] puts its inputs' gradients.
pub(super) struct Inputs<'a> {
    entries: [Option<usize>; 2],
    grads: &'a mut [Option<Vec<f32>>],
}

impl Inputs<'_> {
    /// Replaces the gradient of input `input`, where it is wanted, by what `add` makes of the one so far.
    pub fn add_with(&mut self, input: usize, add: impl FnOnce(Option<Vec<f32>>) -> Vec<f32>) {
        if let Some(entry) = self.entries[input] {
            let sum = add(self.grads[entry].take());
            self.grads[entry] = Some(sum);
        }
    }

    /// Adds to the gradient of input `input`; nothing happens where it is not wanted.
    pub fn add(&mut self, input: usize, grad: Vec<f32>) {
        let Some(entry) = self.entries[input] else { return };
        match &mut self.grads[entry] {
            Some(sum) => super::kernel::add_assign(sum, &grad),
            empty => *empty = Some(grad),
        }
    }
}

struct Entry {
    inputs: [Option<usize>; 2],
    /// `None` for a variable.
    op: Option<Box<dyn Backward>>,
}

/// Records a forward; see the module.
pub struct Tape<'a> {
    pace: &'a dyn Pace,
    recording: bool,
    entries: Vec<Entry>,
}

impl<'a> Tape<'a> {
    /// A tape that keeps what gradients need only if `recording`.
    pub fn new(pace: &'a dyn Pace, recording: bool) -> Self {
        Self { pace, recording, entries: Vec::new() }
    }

    /// To be called after every layer: gives way to others and notices that the work is no longer wanted.
    pub fn step(&self) -> Result<(), Error> {
        Ok(self.pace.step()?)
    }

    /// A variable: gradients with respect to it can be asked for.
    pub fn variable(&mut self, array: Array) -> Node {
        let entry = self.recording.then(|| self.push([None, None], None));
        Node { array, entry }
    }

    /// The result of an operation on `inputs`. `op` is only made where somebody may ask for its gradient.
    pub(super) fn record<B: Backward + 'static>(
        &mut self,
        array: Array,
        inputs: [Option<&Node>; 2],
        op: impl FnOnce() -> B,
    ) -> Node {
        let entries = inputs.map(|node| node.and_then(|node| node.entry));
        let tracked = self.recording && entries.iter().any(Option::is_some);
        let entry = tracked.then(|| self.push(entries, Some(Box::new(op()))));
        Node { array, entry }
    }

    /// Whether an operation on `nodes` will be recorded.
    pub(super) fn tracks(&self, nodes: &[&Node]) -> bool {
        self.recording && nodes.iter().any(|node| node.entry.is_some())
    }

    fn push(&mut self, inputs: [Option<usize>; 2], op: Option<Box<dyn Backward>>) -> usize {
        self.entries.push(Entry { inputs, op });
        self.entries.len() - 1
    }

    /// d (Σ seed · `of`) / d `wrt`: `seed` has the shape of `of`, the result that of `wrt`. Rows of a batch do not
    /// mix, so one call gives every row's gradient. Consumes nothing: several targets share a forward.
    ///
    /// # Errors
    /// `Shape` where `seed` does not fit or `wrt` is no variable of this tape; `Stopped`.
    pub fn backward(&self, of: &Node, seed: &[f32], wrt: &Node) -> Result<Vec<f32>, Error> {
        if seed.len() != of.value().len() {
            return Err(Error::shape("backward", format!("a seed of {} for {} numbers", seed.len(), of.value().len())));
        }
        let Some(variable) = wrt.entry else {
            return Err(Error::shape("backward", "gradients are asked for where nothing was recorded"));
        };
        let Some(start) = of.entry.filter(|&start| start >= variable) else {
            return Ok(vec![0.0; wrt.value().len()]);
        };
        let mut grads: Vec<Option<Vec<f32>>> = Vec::new();
        grads.resize_with(start + 1, || None);
        grads[start] = Some(seed.to_vec());
        for index in (variable + 1..=start).rev() {
            let (Some(grad), Some(op)) = (grads[index].take(), &self.entries[index].op) else { continue };
            op.backward(grad, &mut Inputs { entries: self.entries[index].inputs, grads: &mut grads });
            self.pace.step()?;
        }
        Ok(grads[variable].take().unwrap_or_else(|| vec![0.0; wrt.value().len()]))
    }
}
