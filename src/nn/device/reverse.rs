//! The reverse pass of a tape on a device. Operations that were recorded on the host get their gradient on the host.

use std::sync::Arc;

use candle_core::{Result, Tensor};

use super::Session;
use crate::nn::Error;
use crate::nn::tape::{Entry, Inputs, Op};

/// d (Σ seed · entry `start`) / d entry `variable`, row by row; `None` where nothing flows. `step` is called after
/// every operation.
///
/// # Errors
/// `Device`, and those of `step`.
pub(in crate::nn) fn gradient(
    session: &Arc<Session>,
    entries: &[Entry],
    from: (usize, &[f32]),
    variable: usize,
    step: impl Fn() -> std::result::Result<(), Error>,
) -> std::result::Result<Option<Vec<f32>>, Error> {
    let found = gradients(session, entries, from, (variable, &[variable]), step)?;
    Ok(found.into_iter().next().flatten())
}

/// The same for several entries, of which `first` is the first.
///
/// # Errors
/// As [`gradient`].
pub(in crate::nn) fn gradients(
    session: &Arc<Session>,
    entries: &[Entry],
    (start, seed): (usize, &[f32]),
    (first, wanted): (usize, &[usize]),
    step: impl Fn() -> std::result::Result<(), Error>,
) -> std::result::Result<Vec<Option<Vec<f32>>>, Error> {
    let failed = |error: candle_core::Error| session.error("backward", &error);
    let mut grads: Vec<Option<Tensor>> = vec![None; start + 1];
    let mut found: Vec<Option<Tensor>> = vec![None; wanted.len()];
    grads[start] = Some(session.upload(seed, entries[start].shape).map_err(failed)?);
    for index in (first..=start).rev() {
        let entry = &entries[index];
        let Some(grad) = grads[index].take() else { continue };
        for (_, found) in wanted.iter().zip(&mut found).filter(|(wanted, _)| **wanted == index) {
            *found = Some(grad.clone());
        }
        let parts = match &entry.op {
            _ if index == first => break,
            Op::Variable => continue,
            Op::Device(op) => op.backward(&grad, entry.inputs.map(|input| input.is_some())),
            Op::Host(op) => on_host(session, entries, entry, &**op, &grad),
        };
        for (input, part) in entry.inputs.iter().zip(parts.map_err(failed)?) {
            if let (Some(input), Some(part)) = (input, part) {
                let sum = match grads[*input].take() {
                    Some(sum) => (sum + part).map_err(failed)?,
                    None => part,
                };
                grads[*input] = Some(sum);
            }
        }
        step()?;
    }
    let numbers = |grad: Option<Tensor>| grad.map(|grad| grad.flatten_all()?.to_vec1()).transpose().map_err(failed);
    found.into_iter().map(numbers).collect()
}

/// The gradients that an operation of the host gives its inputs.
fn on_host(
    session: &Session,
    entries: &[Entry],
    entry: &Entry,
    op: &dyn crate::nn::tape::Backward,
    grad: &Tensor,
) -> Result<[Option<Tensor>; 2]> {
    let mut grads = [None, None];
    // Each input has a place of its own, also where both are the same entry.
    let places = [entry.inputs[0].map(|_| 0), entry.inputs[1].map(|_| 1)];
    op.backward(grad.flatten_all()?.to_vec1()?, &mut Inputs::new(places, &mut grads));
    let [first, second] = grads;
    let upload = |input: Option<usize>, grad: Option<Vec<f32>>| match (input, grad) {
        (Some(input), Some(grad)) => session.upload(&grad, entries[input].shape).map(Some),
        _ => Ok(None),
    };
    Ok([upload(entry.inputs[0], first)?, upload(entry.inputs[1], second)?])
}
