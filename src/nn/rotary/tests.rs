//! Angles against transformers (tests/golden/rope.py), rotation against its composed form.

use serde_json::Value;

use super::*;
use crate::nn::tests::close;

fn number(value: &Value, name: &str) -> Option<f64> {
    value.get(name).and_then(Value::as_f64)
}

fn list(value: &Value, name: &str) -> Vec<f64> {
    value[name].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

/// As a family reads config.json.
fn scaling(parameters: &Value, max_positions: usize) -> RopeScaling {
    let factor = number(parameters, "factor").unwrap_or(1.0);
    let original = number(parameters, "original_max_position_embeddings").map_or(max_positions, |x| x as usize);
    let attention_factor = number(parameters, "attention_factor");
    match parameters["rope_type"].as_str().unwrap() {
        "default" => RopeScaling::None,
        "linear" => RopeScaling::Linear { factor },
        "dynamic" => RopeScaling::Dynamic { factor, max_positions },
        "yarn" => RopeScaling::Yarn {
            factor,
            original_positions: original,
            beta_fast: number(parameters, "beta_fast").unwrap_or(32.0),
            beta_slow: number(parameters, "beta_slow").unwrap_or(1.0),
            attention_factor,
            mscale: number(parameters, "mscale"),
            mscale_all_dim: number(parameters, "mscale_all_dim"),
            truncate: parameters.get("truncate").and_then(Value::as_bool).unwrap_or(true),
        },
        "longrope" => RopeScaling::LongRope {
            short: list(parameters, "short_factor"),
            long: list(parameters, "long_factor"),
            original_positions: original,
            factor,
            attention_factor,
        },
        "llama3" => RopeScaling::Llama3 {
            factor,
            low_frequency: number(parameters, "low_freq_factor").unwrap(),
            high_frequency: number(parameters, "high_freq_factor").unwrap(),
            original_positions: original,
        },
        other => panic!("{other}"),
    }
}

#[test]
fn angles_are_those_of_transformers() {
    let golden: Value = serde_json::from_str(include_str!("../../../tests/golden/values/rope.json")).unwrap();
    let dimension = golden["dimension"].as_u64().unwrap() as usize;
    let max_positions = golden["max_position_embeddings"].as_u64().unwrap() as usize;
    for case in golden["cases"].as_array().unwrap() {
        let scaling = scaling(&case["parameters"], max_positions);
        let rope = Rope::new(case["theta"].as_f64().unwrap(), dimension, scaling).unwrap();
        // All rows in one batch: each has the angles it has alone.
        let rows = case["rows"].as_array().unwrap();
        let (mut offsets, mut positions) = (vec![0], Vec::new());
        for row in rows {
            positions.extend(list(row, "positions").iter().map(|&x| x as usize));
            offsets.push(positions.len());
        }
        let angles = rope.angles(&offsets, &positions).unwrap();
        for (row, first) in rows.iter().zip(offsets) {
            let (cos, sin) = (row["cos"].as_array().unwrap(), row["sin"].as_array().unwrap());
            for at in 0..cos.len() {
                let position = positions[first + at];
                // A frequency's last bit, seen from this far.
                let tolerance = 3e-7 * (1.0 + position as f64);
                let (own_cos, own_sin) = angles.of_token(first + at);
                for (own, theirs) in own_cos
                    .iter()
                    .chain(own_sin)
                    .zip(cos[at].as_array().unwrap().iter().chain(sin[at].as_array().unwrap()))
                {
                    let error = (f64::from(*own) - theirs.as_f64().unwrap()).abs();
                    assert!(error < tolerance, "{} at {position}: off by {error}", case["parameters"]);
                }
            }
        }
    }
}

#[test]
fn queries_and_keys_turn_in_pairs() {
    // Two heads of queries and one of keys and values, five columns each, of which four turn.
    let rotary = Rotary { heads: 2, kv_heads: 1, depth: 5 };
    let rope = Rope::new(100.0, 4, RopeScaling::None).unwrap();
    let positions = [0, 3, 9];
    let angles = Arc::new(rope.angles(&[0, 3], &positions).unwrap());
    let x: Vec<f32> = (0..60).map(|i| (i as f32 * 0.37).sin()).collect();
    let node = Node::constant(Array::new(x.clone(), 3, 20));
    let y = rotary.forward(&mut Tape::new(&(), false), node, &angles).unwrap();
    let mut expected = x;
    for (token, position) in positions.into_iter().enumerate() {
        for head in 0..3 {
            for (pair, frequency) in [1.0, 0.1].into_iter().enumerate() {
                let at = token * 20 + head * 5 + pair;
                let (sin, cos) = (position as f32 * frequency).sin_cos();
                let (a, b) = (expected[at], expected[at + 2]);
                (expected[at], expected[at + 2]) = (a * cos - b * sin, b * cos + a * sin);
            }
        }
    }
    close("rotary", y.value(), &expected, 1e-6);
    assert_eq!(y.value()[..20], expected[..20], "position 0 turns nothing");
}

#[test]
fn what_does_not_fit_is_refused() {
    assert!(Rope::new(1e4, 3, RopeScaling::None).is_err());
    assert!(Rope::new(1e4, 0, RopeScaling::None).is_err());
    assert!(Rope::new(f64::NAN, 4, RopeScaling::None).is_err());
    assert!(Rope::new(1e4, 4, RopeScaling::Linear { factor: 0.0 }).is_err());
    let lists = |long: usize| RopeScaling::LongRope {
        short: vec![1.0; 2],
        long: vec![1.0; long],
        original_positions: 8,
        factor: 2.0,
        attention_factor: None,
    };
    assert!(Rope::new(1e4, 4, lists(2)).is_ok());
    assert!(Rope::new(1e4, 4, lists(3)).is_err());
    let rope = Rope::new(1e4, 2, RopeScaling::Dynamic { factor: 2.0, max_positions: 0 }).unwrap();
    assert!(rope.angles(&[0, 1], &[0, 1]).is_err());
    assert!(rope.angles(&[], &[]).is_err());
    let angles = Arc::new(rope.angles(&[0, 2], &[0, 1]).unwrap());
    let turn = |rows: usize, depth: usize| {
        let node = Node::constant(Array::new(vec![0.0; rows * 3 * depth], rows, 3 * depth));
        Rotary { heads: 1, kv_heads: 1, depth }.forward(&mut Tape::new(&(), false), node, &angles).map(drop)
    };
    assert!(turn(2, 2).is_ok());
    assert!(turn(3, 2).is_err());
    assert!(turn(2, 1).is_err());
}
