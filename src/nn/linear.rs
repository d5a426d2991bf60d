//! y = x Wᵀ + b with constant W and b, and what follows it in one pass: an activation or a residual. Backward is one
//! product and keeps nothing but the activation's slopes.

use std::sync::Arc;

use super::device::{self, After, Uploaded};
use super::kernel::{Epilogue, Frozen, multiply_assign};
use super::tape::{Backward, Inputs};
use super::{Activation, Array, Error, Narrow, Node, Rule, StoredRows, Tape};

/// A frozen linear layer, as `torch.nn.Linear`. Its weight is held once, in the order in which products read it.
#[derive(Debug, Clone)]
pub struct Linear {
    /// Wᵀ: inputs × outputs.
    weight: Arc<Frozen>,
    bias: Option<Arc<Vec<f32>>>,
    uploaded: Uploaded,
}

impl Linear {
    /// `weight`: outputs × inputs, row by row.
    ///
    /// # Errors
    /// `Shape` where the lengths do not fit.
    pub fn new(
        weight: impl AsRef<[f32]>,
        bias: Option<Vec<f32>>,
        inputs: usize,
        outputs: usize,
    ) -> Result<Self, Error> {
        let weight = weight.as_ref();
        Self::made(weight.len(), bias, (inputs, outputs), || Frozen::new(weight, inputs, outputs))
    }

    /// The same with a weight of two bytes a number, which stays as it is: it takes half the memory, and gives the bits
    /// that the same numbers give in f32.
    ///
    /// # Errors
    /// As [`Linear::new`].
    pub fn narrow(
        weight: (&[u16], Narrow),
        bias: Option<Vec<f32>>,
        inputs: usize,
        outputs: usize,
    ) -> Result<Self, Error> {
        let (bits, kind) = weight;
        Self::made(bits.len(), bias, (inputs, outputs), || Frozen::narrow(bits, kind, inputs, outputs))
    }

    /// The same with a weight that stays as its file has it: `parts` one below the other, whole rows each.
    ///
    /// # Errors
    /// As [`Linear::new`].
    pub fn stored(
        parts: Vec<StoredRows>,
        bias: Option<Vec<f32>>,
        inputs: usize,
        outputs: usize,
    ) -> Result<Self, Error> {
        let whole = |part: &StoredRows| {
            part.kind.size(inputs)?.checked_mul(part.rows).filter(|size| *size == (*part.bytes).as_ref().len())
        };
        if parts.iter().any(|part| whole(part).is_none()) {
            return Err(Error::shape("linear", format!("stored rows that are not of {inputs} numbers")));
        }
        let numbers = parts.iter().map(|part| part.rows * inputs).sum();
        Self::made(numbers, bias, (inputs, outputs), || Frozen::stored(parts, inputs))
    }

    fn made(
        numbers: usize,
        bias: Option<Vec<f32>>,
        (inputs, outputs): (usize, usize),
        weight: impl FnOnce() -> Frozen,
    ) -> Result<Self, Error> {
        let bias_fits = bias.as_ref().is_none_or(|bias| bias.len() == outputs);
        if numbers != inputs * outputs || !bias_fits || inputs == 0 || outputs == 0 {
            return Err(Error::shape("linear", format!("weights that are not {outputs} × {inputs}")));
        }
        Ok(Self { weight: Arc::new(weight()), bias: bias.map(Arc::new), uploaded: Uploaded::default() })
    }

    fn inputs(&self) -> usize {
        self.weight.inputs()
    }

    pub(super) fn outputs(&self) -> usize {
        self.weight.outputs()
    }

    pub(super) fn weight(&self) -> Arc<Frozen> {
        self.weight.clone()
    }

    pub(super) fn bias(&self) -> Option<&[f32]> {
        self.bias.as_ref().map(|bias| bias.as_slice())
    }

    /// x Wᵀ + b.
    ///
    /// # Errors
    /// `Shape` where `x` has not as many columns as the layer inputs.
    pub fn forward(&self, tape: &mut Tape<'_>, x: &Node) -> Result<Node, Error> {
        if let Some(node) = self.on_device(tape, x, &After::Nothing) {
            return node;
        }
        let y = self.product(tape, x, self.epilogue())?;
        Ok(tape.record(y, [Some(x), None], || LinearBackward { weight: self.weight.clone(), slope: None }))
    }

    /// `forward(x) + residual`.
    ///
    /// # Errors
    /// `Shape`, also where the residual has another shape than the result.
    pub fn forward_add(&self, tape: &mut Tape<'_>, x: &Node, residual: &Node) -> Result<Node, Error> {
        if (x.rows(), self.outputs()) != (residual.rows(), residual.cols()) {
            return Err(Error::shape("linear", "a residual of another shape"));
        }
        if let Some(node) = self.on_device(tape, x, &After::Residual(residual)) {
            return node;
        }
        let y = self.product(tape, x, Epilogue { residual: Some(residual.value()), ..self.epilogue() })?;
        let op = || LinearBackward { weight: self.weight.clone(), slope: None };
        Ok(tape.record(y, [Some(x), Some(residual)], op))
    }

    /// `activation(forward(x))`.
    ///
    /// # Errors
    /// `Shape`, as [`Linear::forward`].
    pub fn forward_activated(&self, tape: &mut Tape<'_>, x: &Node, activation: Activation) -> Result<Node, Error> {
        if let Some(node) = self.on_device(tape, x, &After::Activation(activation.kind())) {
            return node;
        }
        if !tape.fuses() {
            let y = self.forward(tape, x)?;
            return Ok(activation.forward(tape, y));
        }
        let mut slope = tape.tracks(&[x]).then(Vec::new);
        let epilogue = Epilogue { activation: Some(activation.kind()), slope: slope.as_mut(), ..self.epilogue() };
        let y = self.product(tape, x, epilogue)?;
        Ok(tape.record(y, [Some(x), None], || LinearBackward { weight: self.weight.clone(), slope }))
    }

    fn epilogue(&self) -> Epilogue<'_> {
        Epilogue { bias: self.bias(), ..Epilogue::default() }
    }

    /// The layer on the tape's device, if it has one.
    fn on_device(&self, tape: &mut Tape<'_>, x: &Node, after: &After<'_>) -> Option<Result<Node, Error>> {
        let session = tape.device_of(x)?;
        let bias = self.bias.as_ref().map(|bias| bias.as_slice());
        let layer = device::Layer { weight: &self.weight, bias, uploaded: &self.uploaded };
        Some(self.check(x).and_then(|()| layer.forward(tape, &session, x, after)))
    }

    fn check(&self, x: &Node) -> Result<(), Error> {
        if x.cols() == self.inputs() {
            return Ok(());
        }
        Err(Error::shape("linear", format!("{} columns for {} inputs", x.cols(), self.inputs())))
    }

    fn product(&self, tape: &Tape<'_>, x: &Node, epilogue: Epilogue<'_>) -> Result<Array, Error> {
        self.check(x)?;
        Ok(Array::new(self.weight.product(x.value(), tape.precision(), epilogue), x.rows(), self.outputs()))
    }
}

struct LinearBackward {
    weight: Arc<Frozen>,
    /// The activation's, at every output.
    slope: Option<Vec<f32>>,
}

impl Backward for LinearBackward {
    fn backward(&self, mut grad: Vec<f32>, inputs: &mut Inputs<'_>) {
        if let Some(slope) = &self.slope {
            grad.chunks_mut(slope.len().max(1)).for_each(|grad| multiply_assign(grad, slope));
        }
        inputs.add_with(0, |sum| self.weight.transposed_product(&grad, sum));
        inputs.add(1, grad);
    }

    fn takes_several(&self, _rule: Rule) -> bool {
        true
    }

    fn lift(&self, multiplier: Vec<f32>, inputs: &mut Inputs<'_>) {
        // Linear: under other rules than the gradient no activation is part of it.
        self.backward(multiplier, inputs);
    }
}
