//! The few operations on rows that families need: add, prepend a token, pick rows, put neighbours side by side,
//! average, silence.

use std::ops::Range;

use super::device;
use super::kernel::add_assign;
use super::tape::{Backward, Inputs};
use super::{Array, Error, Node, Rule, Tape};

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

    fn takes_several(&self, _rule: Rule) -> bool {
        true
    }

    fn lift(&self, multiplier: Vec<f32>, inputs: &mut Inputs<'_>) {
        // Linear.
        self.backward(multiplier, inputs);
    }
}

/// x + y, of the same shape.
pub fn add(tape: &mut Tape<'_>, x: &Node, y: &Node) -> Result<Node, Error> {
    if (x.rows(), x.cols()) != (y.rows(), y.cols()) {
        return Err(Error::shape("add", "two nodes of different shapes"));
    }
    let mut sum = x.value().to_vec();
    add_assign(&mut sum, y.value());
    Ok(tape.record(Array::new(sum, x.rows(), x.cols()), [Some(x), Some(y)], || PassBoth))
}

/// Hands the gradient on to both.
struct PassBoth;

impl Backward for PassBoth {
    fn backward(&self, grad: Vec<f32>, inputs: &mut Inputs<'_>) {
        inputs.add(0, grad.clone());
        inputs.add(1, grad);
    }

    fn takes_several(&self, _rule: Rule) -> bool {
        true
    }

    fn lift(&self, multiplier: Vec<f32>, inputs: &mut Inputs<'_>) {
        // Linear.
        self.backward(multiplier, inputs);
    }
}

/// For every row of a sequence, the `width` rows around it side by side (`width` odd), zeros beyond the sequence: what
/// a convolution over a sequence multiplies with its weights.
pub fn neighbours(tape: &mut Tape<'_>, x: &Node, offsets: &[usize], width: usize) -> Result<Node, Error> {
    let sorted = offsets.first() == Some(&0) && offsets.windows(2).all(|pair| pair[0] <= pair[1]);
    if width.is_multiple_of(2) || !sorted || offsets.last() != Some(&x.rows()) {
        return Err(Error::shape("neighbours", format!("{} rows, {width} side by side", x.rows())));
    }
    let op = Neighbours { offsets: offsets.to_vec(), width, cols: x.cols() };
    let mut y = vec![0.0; x.rows() * width * x.cols()];
    op.pairs(|row, place, neighbour| {
        y[(row * width + place) * op.cols..][..op.cols].copy_from_slice(&x.value()[neighbour * op.cols..][..op.cols]);
    });
    Ok(tape.record(Array::new(y, x.rows(), width * x.cols()), [Some(x), None], || op))
}

struct Neighbours {
    offsets: Vec<usize>,
    width: usize,
    cols: usize,
}

impl Neighbours {
    /// Calls `visit(row, place beside it, neighbour)` for every neighbour that there is.
    fn pairs(&self, mut visit: impl FnMut(usize, usize, usize)) {
        for pair in self.offsets.windows(2) {
            for row in pair[0]..pair[1] {
                for place in 0..self.width {
                    let neighbour =
                        (row + place).checked_sub(self.width / 2).filter(|at| (pair[0]..pair[1]).contains(at));
                    if let Some(neighbour) = neighbour {
                        visit(row, place, neighbour);
                    }
                }
            }
        }
    }
}

impl Backward for Neighbours {
    fn backward(&self, grad: Vec<f32>, inputs: &mut Inputs<'_>) {
        let mut out = vec![0.0; grad.len() / self.width];
        self.pairs(|row, place, neighbour| {
            let grad = &grad[(row * self.width + place) * self.cols..][..self.cols];
            add_assign(&mut out[neighbour * self.cols..][..self.cols], grad);
        });
        inputs.add(0, out);
    }

    fn lift(&self, multiplier: Vec<f32>, inputs: &mut Inputs<'_>) {
        // Linear.
        self.backward(multiplier, inputs);
    }
}

/// The mean of each sequence's rows, one row a sequence.
pub fn mean(tape: &mut Tape<'_>, x: &Node, offsets: &[usize]) -> Result<Node, Error> {
    let ordered = offsets.first() == Some(&0) && offsets.windows(2).all(|pair| pair[0] < pair[1]);
    if !ordered || offsets.last() != Some(&x.rows()) {
        return Err(Error::shape("mean", format!("{} rows in sequences that end elsewhere or are empty", x.rows())));
    }
    let cols = x.cols();
    let mut y = vec![0.0; (offsets.len() - 1) * cols];
    for (pair, y) in offsets.windows(2).zip(y.chunks_exact_mut(cols)) {
        for row in x.value()[pair[0] * cols..pair[1] * cols].chunks_exact(cols) {
            add_assign(y, row);
        }
        let share = 1.0 / (pair[1] - pair[0]) as f32;
        y.iter_mut().for_each(|y| *y *= share);
    }
    let op = Mean { offsets: offsets.to_vec(), cols };
    Ok(tape.record(Array::new(y, offsets.len() - 1, cols), [Some(x), None], || op))
}

struct Mean {
    offsets: Vec<usize>,
    cols: usize,
}

impl Backward for Mean {
    fn backward(&self, grad: Vec<f32>, inputs: &mut Inputs<'_>) {
        let mut out = Vec::with_capacity(self.offsets.last().map_or(0, |rows| rows * self.cols));
        for (pair, grad) in self.offsets.windows(2).zip(grad.chunks_exact(self.cols)) {
            let share = 1.0 / (pair[1] - pair[0]) as f32;
            for _ in pair[0]..pair[1] {
                out.extend(grad.iter().map(|grad| grad * share));
            }
        }
        inputs.add(0, out);
    }

    fn lift(&self, multiplier: Vec<f32>, inputs: &mut Inputs<'_>) {
        // Linear.
        self.backward(multiplier, inputs);
    }
}

/// Puts `tokens` (some rows of `x`'s width) in front of every sequence of `length` rows of `x`.
pub fn prepend(tape: &mut Tape<'_>, x: &Node, tokens: &[f32], length: usize) -> Result<Node, Error> {
    let cols = x.cols();
    if cols == 0 || !tokens.len().is_multiple_of(cols) || length == 0 || !x.rows().is_multiple_of(length) {
        return Err(Error::shape("prepend", format!("{} rows in sequences of {length}", x.rows())));
    }
    if let Some(session) = tape.device_of(x) {
        return device::prepend(tape, &session, x, tokens, length);
    }
    let sequences = x.rows() / length;
    let mut y = Vec::with_capacity(x.value().len() + sequences * tokens.len());
    for sequence in x.value().chunks_exact(length * cols) {
        y.extend_from_slice(tokens);
        y.extend_from_slice(sequence);
    }
    let rows = y.len() / cols;
    let op = Behind { skip: tokens.len(), keep: length * cols };
    Ok(tape.record(Array::new(y, rows, cols), [Some(x), None], || op))
}

/// The gradient of what stands behind the prepended tokens.
struct Behind {
    skip: usize,
    keep: usize,
}

impl Backward for Behind {
    fn backward(&self, grad: Vec<f32>, inputs: &mut Inputs<'_>) {
        let sequences = grad.chunks_exact(self.skip + self.keep);
        inputs.add(0, sequences.flat_map(|sequence| &sequence[self.skip..]).copied().collect());
    }

    fn lift(&self, multiplier: Vec<f32>, inputs: &mut Inputs<'_>) {
        // Linear.
        self.backward(multiplier, inputs);
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

    fn lift(&self, multiplier: Vec<f32>, inputs: &mut Inputs<'_>) {
        // Linear.
        self.backward(multiplier, inputs);
    }
}

/// Zeros in the columns `cols` of the rows that `rows` names.
pub fn silence(tape: &mut Tape<'_>, x: &Node, rows: &[usize], cols: Range<usize>) -> Result<Node, Error> {
    if cols.start > cols.end || cols.end > x.cols() || rows.iter().any(|&row| row >= x.rows()) {
        return Err(Error::shape("silence", format!("columns {cols:?} of {} × {}", x.rows(), x.cols())));
    }
    let op = Silence { rows: rows.to_vec(), cols, width: x.cols() };
    let mut y = x.value().to_vec();
    op.clear(&mut y);
    Ok(tape.record(Array::new(y, x.rows(), x.cols()), [Some(x), None], || op))
}

struct Silence {
    rows: Vec<usize>,
    cols: Range<usize>,
    width: usize,
}

impl Silence {
    fn clear(&self, values: &mut [f32]) {
        for row in &self.rows {
            values[row * self.width..][self.cols.clone()].fill(0.0);
        }
    }
}

impl Backward for Silence {
    fn backward(&self, mut grad: Vec<f32>, inputs: &mut Inputs<'_>) {
        self.clear(&mut grad);
        inputs.add(0, grad);
    }

    fn lift(&self, multiplier: Vec<f32>, inputs: &mut Inputs<'_>) {
        // Linear.
        self.backward(multiplier, inputs);
    }
}
