//! Units by every measure, over the fake job's known activations.

use serde_json::{Value, json};

use super::*;
use crate::methods::erased::ErasedMethod;
use crate::methods::support::fake::{self, Fake, LAYERS, inside};

/// The first output's gradient is 0.5 on average, the second's 0.
fn model() -> Fake {
    let mut fake = Fake::text(2).white(|x| vec![x[0], 1.0], |x, cotangent| vec![0.5 * cotangent[0]; x.len()]);
    fake.targets = vec![fake::target(0)];
    fake
}

fn run(fake: &Fake, settings: &Value) -> Vec<Attribution> {
    let planned = Neurons.plan(settings.as_object().unwrap().clone(), &fake.subject()).unwrap();
    planned.explain(fake).unwrap()
}

fn size(embedding: &[f32]) -> f32 {
    embedding.iter().sum::<f32>() / embedding.len() as f32
}

/// Mean activation, and Σ activation · gradient, of every unit.
fn oracle(layer: usize, scale: f32) -> Vec<(f64, f64)> {
    let unit = |unit: usize| {
        let places = (0..4).map(|position| {
            let value = f64::from(inside::state(layer, position, unit) * scale);
            (value / 4.0, value * 0.5 * f64::from(inside::slope(position, unit)))
        });
        places.fold((0.0, 0.0), |sum, place| (sum.0 + place.0, sum.1 + place.1))
    };
    (0..inside::UNITS).map(unit).collect()
}

#[test]
fn all_units_stand_in_order_of_what_they_are_measured_by() {
    let fake = model();
    let scale = 1.0 + size(&fake.embedding(None).unwrap());
    for measure in ["activation", "gradient"] {
        let found = run(&fake, &json!({"measure": measure, "top": 1000}));
        let neurons = found[0].neurons.as_ref().unwrap();
        assert_eq!(neurons.len(), LAYERS * inside::UNITS);
        let key = |neuron: &Neuron| if measure == "activation" { neuron.activation } else { neuron.influence }.abs();
        assert!(neurons.windows(2).all(|pair| key(&pair[0]) >= key(&pair[1])), "{measure}");
        for neuron in neurons {
            let (activation, influence) = oracle(neuron.layer, scale)[neuron.unit];
            assert!((f64::from(neuron.activation) - activation).abs() < 1e-5);
            assert!((f64::from(neuron.influence) - influence).abs() < 1e-5);
        }
    }
    let few = run(&fake, &json!({"layers": [-1], "top": 3}));
    let few = few[0].neurons.as_ref().unwrap();
    assert!(few.len() == 3 && few.iter().all(|neuron| neuron.layer == LAYERS - 1));
}

/// The fake's activations are linear along the path and its gradient is constant: conductance is exact at any number
/// of steps.
#[test]
fn conductance_is_the_integral_along_the_path() {
    let fake = model();
    let (input, pads) = (fake.embedding(None).unwrap(), fake.embedding(Some(&[1, 0, 0, 2])).unwrap());
    for steps in [1, 7] {
        let found = run(&fake, &json!({"measure": "conductance", "steps": steps, "top": 1000}));
        for neuron in found[0].neurons.as_ref().unwrap() {
            let (_, influence) = oracle(neuron.layer, size(&input) - size(&pads))[neuron.unit];
            assert!((f64::from(neuron.influence) - influence).abs() < 1e-5, "{neuron:?} against {influence}");
            let (activation, _) = oracle(neuron.layer, 1.0 + size(&input))[neuron.unit];
            assert!((f64::from(neuron.activation) - activation).abs() < 1e-5);
        }
        assert_eq!(found[0].diagnostics.evaluations, steps + 1);
    }
}

#[test]
fn several_targets_share_a_forward_and_images_have_units() {
    let mut fake = model();
    fake.targets = vec![fake::target(0), fake::target(1)];
    let found = run(&fake, &json!({}));
    assert_eq!((found.len(), fake.rows.get()), (2, 1));
    let second = found[1].neurons.as_ref().unwrap();
    assert!(second.iter().all(|neuron| neuron.influence == 0.0));
    assert_eq!((second[0].layer, second[0].unit), (0, 0), "equal ones stand in their own order");
    let image = run(&Fake::image(4), &json!({"measure": "conductance", "steps": 2}));
    assert_eq!(image[0].neurons.as_ref().unwrap().len(), LAYERS * inside::UNITS);
}

#[test]
fn what_is_out_of_range_is_refused_in_place() {
    for (settings, path) in [
        (json!({"top": 0}), "/top"),
        (json!({"steps": 5}), "/steps"),
        (json!({"baseline": "pad"}), "/baseline"),
        (json!({"measure": "conductance", "steps": 0}), "/steps"),
        (json!({"measure": "conductance", "steps": 2000}), "/steps"),
        (json!({"measure": "conductance", "baseline": "blur"}), "/baseline"),
        (json!({"measure": "weight"}), "/measure"),
        (json!({"layers": [9]}), "/layers/0"),
    ] {
        let planned = Neurons.plan(settings.as_object().unwrap().clone(), &model().subject());
        assert_eq!(planned.err().unwrap().path, path, "{settings}");
    }
}
