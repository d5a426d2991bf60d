//! y = x Wᵀ + b with constant W and b: its backward is one product, and it keeps nothing for it.

use std::sync::Arc;

use super::kernel::{add_assign, for_rows, project, project_transposed, vectorised};
use super::tape::{Backward, Inputs};
use super::{Array, Error, Node, Tape};

/// A frozen linear layer, as `torch.nn.Linear` (weight: outputs × inputs).
#[derive(Debug, Clone)]
pub struct Linear {
    weight: Arc<Vec<f32>>,
    bias: Option<Arc<Vec<f32>>>,
    inputs: usize,
    outputs: usize,
}

impl Linear {
    pub fn new(weight: Vec<f32>, bias: Option<Vec<f32>>, inputs: usize, outputs: usize) -> Result<Self, Error> {
        let bias_fits = bias.as_ref().is_none_or(|bias| bias.len() == outputs);
        if weight.len() != inputs * outputs || !bias_fits || inputs == 0 || outputs == 0 {
            return Err(Error::shape("linear", format!("weights that are not {outputs} × {inputs}")));
        }
        Ok(Self { weight: Arc::new(weight), bias: bias.map(Arc::new), inputs, outputs })
    }

    /// Several layers over the same input as one whose outputs stand side by side.
    pub fn stack(layers: Vec<Linear>) -> Result<Self, Error> {
        let inputs = layers.first().map_or(0, |layer| layer.inputs);
        if layers.iter().any(|layer| layer.inputs != inputs) {
            return Err(Error::shape("linear", "layers of different inputs cannot be stacked"));
        }
        let outputs = layers.iter().map(|layer| layer.outputs).sum();
        let bias = layers.iter().any(|layer| layer.bias.is_some()).then(|| {
            let parts = layers.iter().map(|layer| match &layer.bias {
                Some(bias) => bias.to_vec(),
                None => vec![0.0; layer.outputs],
            });
            parts.flatten().collect()
        });
        Self::new(layers.iter().flat_map(|layer| layer.weight.iter().copied()).collect(), bias, inputs, outputs)
    }

    pub fn forward(&self, tape: &mut Tape<'_>, x: &Node) -> Result<Node, Error> {
        let y = self.project(x)?;
        Ok(tape.record(y, [Some(x), None], || self.backward()))
    }

    /// `forward(x) + residual`.
    pub fn forward_add(&self, tape: &mut Tape<'_>, x: &Node, residual: &Node) -> Result<Node, Error> {
        let y = self.project(x)?;
        if (y.rows(), y.cols()) != (residual.rows(), residual.cols()) {
            return Err(Error::shape("linear", "a residual of another shape"));
        }
        let (rows, cols) = (y.rows(), y.cols());
        let mut y = y.into_vec();
        add_assign(&mut y, residual.value());
        Ok(tape.record(Array::new(y, rows, cols), [Some(x), Some(residual)], || self.backward()))
    }

    fn project(&self, x: &Node) -> Result<Array, Error> {
        if x.cols() != self.inputs {
            return Err(Error::shape("linear", format!("{} columns for {} inputs", x.cols(), self.inputs)));
        }
        let mut y = project(x.value(), &self.weight, self.inputs, self.outputs);
        if let Some(bias) = &self.bias {
            for_rows(&mut y, self.outputs, |_, y| {
                vectorised(|| y.iter_mut().zip(bias.iter()).for_each(|(y, b)| *y += b));
            });
        }
        Ok(Array::new(y, x.rows(), self.outputs))
    }

    fn backward(&self) -> LinearBackward {
        LinearBackward { weight: self.weight.clone(), inputs: self.inputs, outputs: self.outputs }
    }
}

struct LinearBackward {
    weight: Arc<Vec<f32>>,
    inputs: usize,
    outputs: usize,
}

impl Backward for LinearBackward {
    fn backward(&self, grad: Vec<f32>, inputs: &mut Inputs<'_>) {
        if inputs.wants(0) {
            inputs.add(0, project_transposed(&grad, &self.weight, self.inputs, self.outputs));
        }
        inputs.add(1, grad);
    }
}
