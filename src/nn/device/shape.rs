//! The few operations on rows: add constants, prepend tokens, pick rows.

use std::sync::Arc;

use candle_core::{DType, Result, Tensor};

use super::{Backward, Session};
use crate::nn::{Array, Error, Node, Tape};

/// x + constant, of the same shape.
///
/// # Errors
/// `Device`.
pub(in crate::nn) fn add_constant(
    tape: &mut Tape<'_>,
    session: &Arc<Session>,
    x: &Node,
    constant: &Array,
) -> std::result::Result<Node, Error> {
    session.apply(tape, "add", (x, None), |x, _| Ok(((x + session.tensor_of(constant)?)?, Pass)))
}

/// Hands the gradient on as it is.
struct Pass;

impl Backward for Pass {
    fn backward(&self, grad: &Tensor, _wanted: [bool; 2]) -> Result<[Option<Tensor>; 2]> {
        Ok([Some(grad.clone()), None])
    }
}

/// Puts `tokens` (rows of `x`'s width) in front of every sequence of `length` rows of `x`, which are a multiple of it.
///
/// # Errors
/// `Device`.
pub(in crate::nn) fn prepend(
    tape: &mut Tape<'_>,
    session: &Arc<Session>,
    x: &Node,
    tokens: &[f32],
    length: usize,
) -> std::result::Result<Node, Error> {
    session.apply(tape, "prepend", (x, None), |x, _| {
        let (rows, cols) = x.dims2()?;
        let sequences = rows / length;
        let skip = tokens.len() / cols;
        let tokens = Tensor::from_slice(tokens, (1, skip, cols), session.device())?;
        let tokens = tokens.broadcast_as((sequences, skip, cols))?.contiguous()?;
        let y = Tensor::cat(&[&tokens, &x.reshape((sequences, length, cols))?], 1)?;
        Ok((y.reshape((sequences * (skip + length), cols))?, Behind { skip, length }))
    })
}

/// The gradient of what stands behind the prepended tokens.
struct Behind {
    skip: usize,
    length: usize,
}

impl Backward for Behind {
    fn backward(&self, grad: &Tensor, _wanted: [bool; 2]) -> Result<[Option<Tensor>; 2]> {
        let (rows, cols) = grad.dims2()?;
        let sequences = rows / (self.skip + self.length);
        let behind = grad.reshape((sequences, self.skip + self.length, cols))?.narrow(1, self.skip, self.length)?;
        Ok([Some(behind.reshape((sequences * self.length, cols))?), None])
    }
}

/// The rows of `x` that `rows` names, in that order; all exist, and there is one at least.
///
/// # Errors
/// `Device`.
pub(in crate::nn) fn select(
    tape: &mut Tape<'_>,
    session: &Arc<Session>,
    x: &Node,
    rows: &[usize],
) -> std::result::Result<Node, Error> {
    session.apply(tape, "select", (x, None), |x, _| {
        let places = places(rows, session)?;
        Ok((x.index_select(&places, 0)?, Select { places, of: x.dims2()? }))
    })
}

/// Indices of rows on the device.
fn places(rows: &[usize], session: &Session) -> Result<Tensor> {
    // A row's number fits: 2^32 rows of one column are more than a device holds.
    let places: Vec<u32> = rows.iter().map(|&row| row as u32).collect();
    Tensor::from_vec(places, rows.len(), session.device())
}

struct Select {
    places: Tensor,
    /// Rows and columns of what was picked from.
    of: (usize, usize),
}

impl Backward for Select {
    fn backward(&self, grad: &Tensor, _wanted: [bool; 2]) -> Result<[Option<Tensor>; 2]> {
        let zeros = Tensor::zeros(self.of, DType::F32, grad.device())?;
        Ok([Some(zeros.index_add(&self.places, &grad.contiguous()?, 0)?), None])
    }
}
