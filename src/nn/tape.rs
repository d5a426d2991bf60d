//! The tape: what a forward leaves behind so that gradients can be had, as often as wanted.
//!
//! A node that depends on no variable is not recorded, and a tape that does not record keeps nothing, so a forward
//! alone frees every activation as soon as the model lets go of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::device::{self, Device, Session};
use super::rule::{Rule, Unit};
use super::{Array, Error, Precision};

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

    /// The numbers, row by row; on a device, as [`Array::data`] says.
    pub fn value(&self) -> &[f32] {
        self.array.data()
    }

    /// The numbers, row by row: what is read at the end of a forward.
    ///
    /// # Errors
    /// `Device`, where they cannot be downloaded or something before them failed.
    pub fn numbers(&self) -> Result<&[f32], Error> {
        self.array.resident().map_or_else(|| Ok(self.value()), device::Resident::checked)
    }

    pub fn rows(&self) -> usize {
        self.array.rows()
    }

    pub fn cols(&self) -> usize {
        self.array.cols()
    }

    /// Its place on the tape, where gradients may be asked for.
    pub(super) fn entry(&self) -> Option<usize> {
        self.entry
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
    /// The same with the multipliers of [`Rule::DeepLift`], on a tape that follows it. Both rows of a pair have the
    /// same ones.
    fn lift(&self, multiplier: Vec<f32>, inputs: &mut Inputs<'_>);
    /// What [`Rule::Guided`] has to know.
    fn unit(&self) -> Unit {
        Unit::None
    }
    /// Whether, by this rule, gradients of several seeds one behind another are taken as one: what was kept of a row is then
    /// that of the same row of each seed.
    fn takes_several(&self, _rule: Rule) -> bool {
        false
    }
}

/// Where a [`Backward`] puts its inputs' gradients.
pub(super) struct Inputs<'a> {
    entries: [Option<usize>; 2],
    grads: &'a mut [Option<Vec<f32>>],
}

impl<'a> Inputs<'a> {
    /// Inputs whose gradients are wanted have a place in `grads`.
    pub fn new(entries: [Option<usize>; 2], grads: &'a mut [Option<Vec<f32>>]) -> Self {
        Self { entries, grads }
    }

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

pub(super) struct Entry {
    pub inputs: [Option<usize>; 2],
    /// Rows and columns of the value.
    pub shape: (usize, usize),
    pub op: Op,
}

impl Entry {
    fn unit(&self) -> Option<Unit> {
        match &self.op {
            Op::Host(op) => Some(op.unit()),
            Op::Variable | Op::Device(_) => None,
        }
    }
}

/// What made an entry's value.
pub(super) enum Op {
    Variable,
    Host(Box<dyn Backward>),
    Device(Box<dyn device::Backward>),
}

/// Records a forward; see the module.
pub struct Tape<'a> {
    pace: &'a dyn Pace,
    recording: bool,
    precision: Precision,
    rule: Rule,
    entries: Vec<Entry>,
    /// `None`: on the host.
    session: Option<Arc<Session>>,
}

impl<'a> Tape<'a> {
    /// A tape that keeps what gradients need only if `recording`.
    pub fn new(pace: &'a dyn Pace, recording: bool) -> Self {
        Self { pace, recording, precision: Precision::F32, rule: Rule::Gradient, entries: Vec::new(), session: None }
    }

    /// Computes on `device`; on the host unless this is called, and under other rules than the gradient.
    pub fn on(mut self, device: &Device) -> Self {
        self.session = device.session().filter(|_| self.fuses());
        self
    }

    /// What backward hands on; gradients unless this is called. Before anything is recorded.
    pub fn under(mut self, rule: Rule) -> Self {
        self.rule = rule;
        self.session = self.session.take().filter(|_| self.fuses());
        self
    }

    pub(super) fn rule(&self) -> Rule {
        self.rule
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Whether a layer may keep an activation's slopes alone: other rules than the gradient ask for more, of an
    /// activation by itself.
    pub(super) fn fuses(&self) -> bool {
        self.rule == Rule::Gradient
    }

    /// Where a layer over `x` computes, unless on the host. Devices take no empty arrays.
    pub(super) fn device_of(&self, x: &Node) -> Option<Arc<Session>> {
        self.session.as_ref().filter(|_| x.rows() * x.cols() > 0).cloned()
    }

    /// The numbers that products are made of: f32 unless this is called. A gradient is f32 whatever the forward was,
    /// and so is everything on a device.
    pub fn computing_in(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self
    }

    pub(super) fn precision(&self) -> Precision {
        self.precision
    }

    /// To be called after every layer: gives way to others and notices that the work is no longer wanted.
    ///
    /// # Errors
    /// `Stopped`; `Device`, where a layer's numbers could not be had from there.
    pub fn step(&self) -> Result<(), Error> {
        self.session.as_ref().map_or(Ok(()), |session| session.check())?;
        Ok(self.pace.step()?)
    }

    /// A variable: gradients with respect to it can be asked for.
    pub fn variable(&mut self, array: Array) -> Node {
        let array = match &self.session {
            Some(session) => session.at_home(array),
            None => array,
        };
        let entry = self.recording.then(|| self.push(&array, [None, None], Op::Variable));
        Node { array, entry }
    }

    /// The result of an operation on `inputs`. `op` is only made where somebody may ask for its gradient.
    pub(super) fn record<B: Backward + 'static>(
        &mut self,
        array: Array,
        inputs: [Option<&Node>; 2],
        op: impl FnOnce() -> B,
    ) -> Node {
        self.record_as(array, inputs, || Op::Host(Box::new(op())))
    }

    /// The same of an operation that ran on the device.
    pub(super) fn record_on_device<B: device::Backward + 'static>(
        &mut self,
        array: Array,
        inputs: [Option<&Node>; 2],
        op: B,
    ) -> Node {
        self.record_as(array, inputs, || Op::Device(Box::new(op)))
    }

    fn record_as(&mut self, array: Array, inputs: [Option<&Node>; 2], op: impl FnOnce() -> Op) -> Node {
        let entries = inputs.map(|node| node.and_then(|node| node.entry));
        let tracked = self.recording && entries.iter().any(Option::is_some);
        let entry = tracked.then(|| self.push(&array, entries, op()));
        Node { array, entry }
    }

    /// Whether an operation on `nodes` will be recorded.
    pub(super) fn tracks(&self, nodes: &[&Node]) -> bool {
        self.recording && nodes.iter().any(|node| node.entry.is_some())
    }

    fn push(&mut self, value: &Array, inputs: [Option<usize>; 2], op: Op) -> usize {
        self.entries.push(Entry { inputs, shape: (value.rows(), value.cols()), op });
        self.entries.len() - 1
    }

    /// d (Σ seed · `of`) / d `wrt`: `seed` has the shape of `of`, the result that of `wrt`. Rows of a batch do not
    /// mix, so one call gives every row's gradient. Consumes nothing: several targets share a forward.
    ///
    /// On a tape [`under`](Self::under) another rule, what that one hands on in place of gradients. DeepLIFT's seeds
    /// are the same for both rows of a pair.
    ///
    /// # Errors
    /// `Shape` where `seed` does not fit, `wrt` is no variable of this tape or DeepLIFT's rows are no pairs; `NoRule`;
    /// `Stopped`; `Device`.
    pub fn backward(&self, of: &Node, seed: &[f32], wrt: &Node) -> Result<Vec<f32>, Error> {
        let numbers = of.rows() * of.cols();
        if seed.len() != numbers {
            return Err(Error::shape("backward", format!("a seed of {} for {numbers} numbers", seed.len())));
        }
        let Some(variable) = wrt.entry else {
            return Err(Error::shape("backward", "gradients are asked for where nothing was recorded"));
        };
        let Some(start) = of.entry.filter(|&start| start >= variable) else {
            return Ok(vec![0.0; wrt.rows() * wrt.cols()]);
        };
        if let Some(session) = self.device_of(of) {
            let gradient = device::gradient(&session, &self.entries, (start, seed), variable, || self.step())?;
            return Ok(gradient.unwrap_or_else(|| vec![0.0; wrt.rows() * wrt.cols()]));
        }
        self.check_rule(&self.entries[..=start], of.rows())?;
        let mut grads: Vec<Option<Vec<f32>>> = Vec::new();
        grads.resize_with(start + 1, || None);
        grads[start] = Some(seed.to_vec());
        for index in (variable + 1..=start).rev() {
            let (Some(grad), Op::Host(op)) = (grads[index].take(), &self.entries[index].op) else { continue };
            self.back(&**op, grad, &mut Inputs::new(self.entries[index].inputs, &mut grads))?;
        }
        Ok(grads[variable].take().unwrap_or_else(|| vec![0.0; wrt.rows() * wrt.cols()]))
    }

    /// One step back through `op`, by the tape's rule.
    pub(super) fn back(&self, op: &dyn Backward, mut grad: Vec<f32>, inputs: &mut Inputs<'_>) -> Result<(), Error> {
        if self.rule == Rule::Guided && op.unit() == Unit::Relu {
            grad.iter_mut().for_each(|grad| *grad = grad.max(0.0));
        }
        match self.rule {
            Rule::Gradient | Rule::Guided => op.backward(grad, inputs),
            Rule::DeepLift => op.lift(grad, inputs),
        }
        Ok(self.pace.step()?)
    }

    /// Whether the rule has a meaning for these operations, the last of which has `rows` rows.
    pub(super) fn check_rule(&self, entries: &[Entry], rows: usize) -> Result<(), Error> {
        if self.rule == Rule::DeepLift && !rows.is_multiple_of(2) {
            return Err(Error::shape("backward", format!("{rows} rows, which are no pairs")));
        }
        if self.rule != Rule::Guided {
            return Ok(());
        }
        let units: Vec<Unit> = entries.iter().filter_map(Entry::unit).collect();
        if units.contains(&Unit::Relu) {
            return Ok(());
        }
        let names: BTreeSet<&str> =
            units.iter().filter_map(|unit| if let Unit::Other(name) = unit { Some(*name) } else { None }).collect();
        let found = names.into_iter().collect::<Vec<_>>().join(" and ");
        let found = if found.is_empty() { "no activation at all" } else { &found };
        let detail = format!(
            "is defined for networks of ReLUs, and this model has {found}; without ReLUs it would be the plain gradient: \
             use \"gradient\" or another method"
        );
        Err(Error::NoRule { rule: "guided backpropagation", detail })
    }

    /// d (Σ seed · `of`) / d each of `wrt`, which are nodes of the forward that led to `of`: one walk back for all of
    /// them, as far as the first.
    ///
    /// # Errors
    /// As [`Tape::backward`].
    pub fn gradients(&self, of: &Node, seed: &[f32], wrt: &[&Node]) -> Result<Vec<Vec<f32>>, Error> {
        let numbers = of.rows() * of.cols();
        if seed.len() != numbers {
            return Err(Error::shape("backward", format!("a seed of {} for {numbers} numbers", seed.len())));
        }
        let Some(wanted) = wrt.iter().map(|node| node.entry).collect::<Option<Vec<usize>>>() else {
            return Err(Error::shape("backward", "gradients are asked for where nothing was recorded"));
        };
        let mut found: Vec<Option<Vec<f32>>> = vec![None; wrt.len()];
        if let (Some(start), Some(&first)) = (of.entry, wanted.iter().min()) {
            self.check_rule(&self.entries[..=start], of.rows())?;
            match self.device_of(of) {
                Some(session) => {
                    let stop = (first, wanted.as_slice());
                    found = device::gradients(&session, &self.entries, (start, seed), stop, || self.step())?;
                }
                None => self.walk((start, seed), first, &wanted, &mut found)?,
            }
        }
        let whole =
            |(found, node): (Option<Vec<f32>>, &&Node)| found.unwrap_or_else(|| vec![0.0; node.rows() * node.cols()]);
        Ok(found.into_iter().zip(wrt).map(whole).collect())
    }

    /// Goes back from entry `start` to entry `first` and copies the gradients of the `wanted` entries into `found`.
    fn walk(
        &self,
        (start, seed): (usize, &[f32]),
        first: usize,
        wanted: &[usize],
        found: &mut [Option<Vec<f32>>],
    ) -> Result<(), Error> {
        let mut grads: Vec<Option<Vec<f32>>> = Vec::new();
        grads.resize_with(start + 1, || None);
        grads[start] = Some(seed.to_vec());
        for index in (first..=start).rev() {
            let Some(grad) = grads[index].take() else { continue };
            for (_, found) in wanted.iter().zip(found.iter_mut()).filter(|(wanted, _)| **wanted == index) {
                *found = Some(grad.clone());
            }
            if let (true, Op::Host(op)) = (index > first, &self.entries[index].op) {
                self.back(&**op, grad, &mut Inputs::new(self.entries[index].inputs, &mut grads))?;
            }
        }
        Ok(())
    }
}
