//! The layers of a vision transformer, read as its family's [`Design`] says.

use super::config::{self, Sizes};
use super::encoder::{Layer, Mixing};
use super::relative::{entries, spread};
use super::vision::{self, named};
use super::vision_transformer::{Design, Keys};
use super::{LoadError, Weights};
use crate::nn::{Bias, Linear};

/// Patches beyond which tables of relative positions are refused: each layer's takes a number for every pair of them.
const MOST_RELATED: usize = 2_048;

/// What every layer is read with.
pub struct Stack<'a> {
    design: &'a Design,
    keys: &'a Keys,
    weights: &'a Weights<'a>,
    sizes: &'a Sizes,
    epsilon: f32,
    grid: (usize, usize),
    /// The score bias that all layers share, where each has no own.
    shared: Option<Bias>,
}

impl<'a> Stack<'a> {
    pub fn new(
        design: &'a Design,
        keys: &'a Keys,
        weights: &'a Weights<'a>,
        (sizes, epsilon): (&'a Sizes, f32),
        grid: (usize, usize),
    ) -> Result<Self, LoadError> {
        let shared = match design.relative {
            [None, Some(names)] => Some(table(weights, &format!("{}.", design.name), names, sizes.heads, grid)?),
            _ => None,
        };
        Ok(Self { design, keys, weights, sizes, epsilon, grid, shared: shared.map(Bias::shared) })
    }

    /// One layer. Names of its parts are those of transformers 5's modules or, as on the hub, those of every release
    /// before.
    pub fn layer(&self, index: usize) -> Result<Layer, LoadError> {
        let Self { design, weights, .. } = *self;
        let norm = design.norms[0];
        let roots = ["encoder.layer", "layers"].map(|stack| format!("{}.{stack}.{index}.", design.name));
        let modern = weights.contains(&format!("{}{norm}.weight", roots[1]));
        let root = &roots[usize::from(modern)];
        let name = |names: &[&str]| named(weights, root, names);
        let (hidden, intermediate) = (self.sizes.hidden, self.sizes.intermediate);
        let [attended, fed] = match design.scales {
            Some(scales) => scales.map(|scale| weights.tensor(&format!("{root}{scale}"), &[hidden])),
            None => [Ok(vec![1.0; hidden]), Ok(vec![1.0; hidden])],
        };
        let output = name(&["attention.output.dense", "attention.o_proj"]);
        let (up, down) = match design.gated {
            true => (gated_up(weights, root, hidden, intermediate)?, name(&["mlp.weights_out", "mlp.down_proj"])),
            false => {
                let up = weights.linear(&name(&["intermediate.dense", "mlp.fc1"]), hidden, intermediate, true)?;
                (up, name(&["output.dense", "mlp.fc2"]))
            }
        };
        Ok(Layer {
            qkv: self.projections(root)?,
            output: vision::scaled_linear(weights, &output, hidden, &attended?)?,
            mixing: self.bias(root)?.map_or(Mixing::Plain, Mixing::Biased),
            attention_norm: Some(weights.layer_norm(&format!("{root}{norm}"), hidden, self.epsilon)?),
            up,
            down: vision::scaled_linear(weights, &down, intermediate, &fed?)?,
            feed_forward_norm: weights.layer_norm(&format!("{root}{}", design.norms[1]), hidden, self.epsilon)?,
        })
    }

    /// Queries, keys and values side by side.
    fn projections(&self, root: &str) -> Result<Linear, LoadError> {
        let hidden = self.sizes.hidden;
        let (mut weight, mut bias) = (Vec::new(), Vec::new());
        for (old, new) in [("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj")] {
            let old = format!("attention.attention.{old}");
            let name = named(self.weights, root, &[&old, &format!("attention.{new}")]);
            weight.extend(self.weights.tensor(&format!("{name}.weight"), &[hidden, hidden])?);
            match self.keys.qkv_bias && (new != "k_proj" || self.design.key_bias) {
                true => bias.extend(self.weights.tensor(&format!("{name}.bias"), &[hidden])?),
                false => bias.resize(bias.len() + hidden, 0.0),
            }
        }
        Ok(Linear::new(weight, self.keys.qkv_bias.then_some(bias), hidden, 3 * hidden)?)
    }

    /// What is added to the layer's scores: its own table of relative positions, the shared one, or both.
    fn bias(&self, root: &str) -> Result<Option<Bias>, LoadError> {
        let Some(names) = self.design.relative[0] else { return Ok(self.shared.clone()) };
        let mut sum = table(self.weights, root, names, self.sizes.heads, self.grid)?;
        if let Some(names) = self.design.relative[1] {
            let root = format!("{}.", self.design.name);
            let shared = table(self.weights, &root, names, self.sizes.heads, self.grid)?;
            sum.iter_mut().zip(shared).for_each(|(sum, shared)| *sum += shared);
        }
        Ok(Some(Bias::shared(sum)))
    }
}

/// A table of relative positions behind one of two names, spread over queries and keys.
fn table(
    weights: &Weights<'_>,
    root: &str,
    names: [&str; 2],
    heads: usize,
    grid: (usize, usize),
) -> Result<Vec<f32>, LoadError> {
    config::check("image_size", grid.0 * grid.1, 1, MOST_RELATED)?;
    let names = names.map(|name| format!("{root}{name}.relative_position_bias_table"));
    let name = names.iter().find(|name| weights.contains(name)).unwrap_or(&names[0]);
    let table = weights.tensor(name, &[entries(grid, true), heads])?;
    Ok(spread(&table, heads, grid, true))
}

/// Gate and up side by side: one tensor on the hub, two in transformers 5.
fn gated_up(weights: &Weights<'_>, root: &str, hidden: usize, intermediate: usize) -> Result<Linear, LoadError> {
    let two = ["mlp.gate_proj", "mlp.up_proj"].map(|part| format!("{root}{part}"));
    match weights.contains(&format!("{}.weight", two[0])) {
        true => weights.stacked(&two.each_ref().map(|name| (name.as_str(), intermediate)), hidden, true),
        false => weights.linear(&format!("{root}mlp.weights_in"), hidden, 2 * intermediate, true),
    }
}
