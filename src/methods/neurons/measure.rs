//! Activation and influence of every unit: at the input, or along a path to it.

use crate::methods::{Ctx, Error, Objective, Pass, TappedState};
use crate::models::TapPlan;
use crate::nn::Rule;

/// Of all tapped layers, and each objective's value at the input.
#[derive(Debug, Default)]
pub struct Sums {
    pub layers: Vec<LayerSums>,
    pub values: Vec<f64>,
}

#[derive(Debug)]
pub struct LayerSums {
    pub layer: usize,
    /// One a unit: its mean over positions at the input.
    pub activation: Vec<f64>,
    /// One an objective: one a unit.
    pub influence: Vec<Vec<f64>>,
}

impl LayerSums {
    fn new(state: &TappedState<'_>, objectives: usize) -> Self {
        let width = state.width.max(1);
        let mut activation = vec![0.0; width];
        for position in state.values.chunks(width) {
            activation.iter_mut().zip(position).for_each(|(sum, &value)| *sum += f64::from(value));
        }
        let positions = (state.values.len() / width).max(1) as f64;
        activation.iter_mut().for_each(|sum| *sum /= positions);
        Self { layer: state.layer, activation, influence: vec![vec![0.0; width]; objectives] }
    }
}

/// Σ over positions of activation · gradient.
pub fn at_input(ctx: &dyn Ctx, objectives: &[Objective], taps: TapPlan) -> Result<Sums, Error> {
    let mut sums = Sums::default();
    let pass = Pass { rows: 1, embedding: None, objectives, rule: Rule::Gradient, taps };
    ctx.pass(&pass, &mut |view| {
        sums.values = view.values.to_vec();
        for state in &view.inside.activations {
            let mut layer = LayerSums::new(state, objectives.len());
            for (influence, gradient) in layer.influence.iter_mut().zip(&state.gradients) {
                let products = state.values.iter().zip(*gradient);
                add(influence, products.map(|(&value, &slope)| f64::from(value) * f64::from(slope)));
            }
            sums.layers.push(layer);
        }
        Ok(())
    })?;
    Ok(sums)
}

/// One node of a path: what its neighbour is compared with.
struct Node {
    values: Vec<f32>,
    gradients: Vec<Vec<f32>>,
}

impl Node {
    fn of(state: &TappedState<'_>) -> Self {
        let gradients = state.gradients.iter().map(|gradient| gradient.to_vec()).collect();
        Self { values: state.values.to_vec(), gradients }
    }
}

/// Σ over positions of ∫ gradient · d activation from `baseline` to the input, trapezoidal over `steps` pieces.
pub fn along(
    ctx: &dyn Ctx,
    objectives: &[Objective],
    taps: TapPlan,
    (steps, baseline): (usize, &[f32]),
) -> Result<Sums, Error> {
    let input = ctx.embedding(None)?;
    let variant = |row: usize, out: &mut [f32]| {
        let share = row as f32 / steps as f32;
        for ((out, from), to) in out.iter_mut().zip(baseline).zip(&input) {
            *out = if row == steps { *to } else { from + share * (to - from) };
        }
    };
    let (mut sums, mut before) = (Sums::default(), Vec::<Node>::new());
    let pass = Pass { rows: steps + 1, embedding: Some(&variant), objectives, rule: Rule::Gradient, taps };
    ctx.pass(&pass, &mut |view| {
        let states = &view.inside.activations;
        if view.row == 0 {
            sums.layers = states.iter().map(|state| LayerSums::new(state, objectives.len())).collect();
        }
        for ((layer, before), state) in sums.layers.iter_mut().zip(&before).zip(states) {
            for (objective, influence) in layer.influence.iter_mut().enumerate() {
                let (Some(old), Some(new)) = (before.gradients.get(objective), state.gradients.get(objective)) else {
                    return Err(Error::Missing { what: "the activations' gradient" });
                };
                let steps = state.values.iter().zip(&before.values).map(|(&to, &from)| f64::from(to) - f64::from(from));
                let slopes = old.iter().zip(*new).map(|(&old, &new)| (f64::from(old) + f64::from(new)) / 2.0);
                add(influence, steps.zip(slopes).map(|(step, slope)| step * slope));
            }
        }
        if view.row == steps {
            sums.values = view.values.to_vec();
            for (layer, state) in sums.layers.iter_mut().zip(states) {
                layer.activation = LayerSums::new(state, 0).activation;
            }
        }
        before = states.iter().map(Node::of).collect();
        Ok(())
    })?;
    Ok(sums)
}

/// Adds what every unit has at every position, position after position.
fn add(units: &mut [f64], products: impl Iterator<Item = f64>) {
    let width = units.len().max(1);
    for (place, product) in products.enumerate() {
        units[place % width] += product;
    }
}
