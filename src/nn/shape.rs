//! The few operations on rows that families need: add constants, prepend a token, pick rows.

use super::device;
use super::kernel::add_assign;
use super::tape::{Backward, Inputs};
use super::{Array, Error, Node, Tape};

/// x + constant, of the same shape.
pub fn add_constant(tape: &mut Tape<'_>, x: &Node, constant: &Array) -> Result<Node, Error> {
    if (x.rows(), x.cols()) != (constant.rows(), constant.cols()) {
        return Err(Error::shape("add", "a constant of another shape"));
    }
    if let Some(session) = tape.device_of(x) {
        return device::add_constant(tape, &session, x, constant);
    }
    let mut y = x.value().to_vec();
    add_assign(&mut y, constant.data());
    Ok(tape.record(Array::new(y, x.rows(), x.cols()), [Some(x), None], || Pass))
}

/// Hands the gradient on as it is.
struct Pass;

impl Backward for Pass {
    fn backward(&self, grad: Vec<f32>, inputs: &mut Inputs<'_>) {
        inputs.add(0, grad);
    }
}

/// Puts `token` in front of every sequence of `length` rows of `x`.
pub fn prepend(tape: &mut Tape<'_>, x: &Node, token: &[f32], length: usize) -> Result<Node, Error> {
    let cols = x.cols();
    if token.len() != cols || length == 0 || !x.rows().is_multiple_of(length) {
        return Err(Error::shape("prepend", format!("{} rows in sequences of {length}", x.rows())));
    }
    if let Some(session) = tape.device_of(x) {
        return device::prepend(tape, &session, x, token, length);
    }
    let sequences = x.rows() / length;
    let mut y = Vec::with_capacity(x.value().len() + sequences * cols);
    for sequence in x.value().chunks_exact(length * cols) {
        y.extend_from_slice(token);
        y.extend_from_slice(sequence);
    }
    let op = Behind { skip: cols, keep: length * cols };
    Ok(tape.record(Array::new(y, sequences * (length + 1), cols), [Some(x), None], || op))
}

/// The gradient of what stands behind each prepended token.
struct Behind {
    skip: usize,
    keep: usize,
}

impl Backward for Behind {
    fn backward(&self, grad: Vec<f32>, inputs: &mut Inputs<'_>) {
        let sequences = grad.chunks_exact(self.skip + self.keep);
        inputs.add(0, sequences.flat_map(|sequence| &sequence[self.skip..]).copied().collect());
    }
}

/// The rows of `x` that `rows` names, in that order.
pub fn select(tape: &mut Tape<'_>, x: &Node, rows: &[usize]) -> Result<Node, Error> {
    if let Some(row) = rows.iter().find(|&&row| row >= x.rows()) {
        return Err(Error::shape("select", format!("row {row} of {}", x.rows())));
    }
    if let Some(session) = tape.device_of(x).filter(|_| !rows.is_empty()) {
        return device::select(tape, &session, x, rows);
    }
    let cols = x.cols();
    let mut y = Vec::with_capacity(rows.len() * cols);
    for &row in rows {
        y.extend_from_slice(&x.value()[row * cols..][..cols]);
    }
    let op = || Select { rows: rows.to_vec(), of: x.rows(), cols };
    Ok(tape.record(Array::new(y, rows.len(), cols), [Some(x), None], op))
}

struct Select {
    rows: Vec<usize>,
    of: usize,
    cols: usize,
}

impl Backward for Select {
    fn backward(&self, grad: Vec<f32>, inputs: &mut Inputs<'_>) {
        let mut out = vec![0.0; self.of * self.cols];
        for (&row, grad) in self.rows.iter().zip(grad.chunks_exact(self.cols)) {
            add_assign(&mut out[row * self.cols..][..self.cols], grad);
        }
        inputs.add(0, out);
    }
}
