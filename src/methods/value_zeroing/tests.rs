//! Value zeroing over the fake job's known states.

use serde_json::{Value, json};

use super::*;
use crate::methods::erased::ErasedMethod;
use crate::methods::support::fake::{Fake, HIDDEN, LAYERS, inside};

fn run(fake: &Fake, settings: &Value) -> (Value, Attribution) {
    let planned = ValueZeroing.plan(settings.as_object().unwrap().clone(), &fake.subject()).unwrap();
    (planned.settings().clone(), planned.explain(fake).unwrap().remove(0))
}

/// 1 − cosine of what the fake gives without and with `token` silenced, `size` being its embedding's mean.
fn oracle(layer: usize, length: usize, size: f32) -> Vec<f64> {
    let state = |position: usize, silenced: Option<usize>| -> Vec<f64> {
        let column = |column: usize| {
            let moved = silenced.filter(|_| column == 0).map_or(0.0, |at| inside::shift(layer, position, at));
            f64::from(inside::state(layer, position, column) * (1.0 + size) + moved)
        };
        (0..HIDDEN).map(column).collect()
    };
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let mut out = Vec::new();
    for query in 0..length {
        let clean = state(query, None);
        let row: Vec<f64> = (0..length)
            .map(|key| {
                let other = state(query, Some(key));
                1.0 - dot(&clean, &other) / (dot(&clean, &clean) * dot(&other, &other)).sqrt()
            })
            .collect();
        let total: f64 = row.iter().sum();
        out.extend(row.into_iter().map(|share| share / total));
    }
    out
}

#[test]
fn a_matrix_a_layer_from_one_row_a_token() {
    let fake = Fake::text(3);
    let embedding: Vec<f32> = fake.embedding(None).unwrap();
    let size = embedding.iter().sum::<f32>() / embedding.len() as f32;
    let (settings, found) = run(&fake, &json!({"layers": [-1, 0]}));
    assert_eq!(settings, json!({"layers": [LAYERS - 1, 0]}));
    let layers = found.scores.layers.unwrap();
    for (layer, index) in layers.iter().zip([LAYERS, 1]) {
        assert_eq!(layer.len(), 1, "one head");
        for (ours, oracle) in layer[0].concat().iter().zip(oracle(index, 5, size)) {
            assert!((f64::from(*ours) - oracle).abs() < 1e-5, "{ours} against {oracle}");
        }
        assert!(layer[0].iter().all(|row| (row.iter().sum::<f32>() - 1.0).abs() < 1e-6));
    }
    // The deepest chosen layer, read at the first token.
    assert_eq!(found.scores.tokens.unwrap(), layers[0][0][0]);
    assert_eq!((found.diagnostics.evaluations, fake.rows.get()), (6, 6), "n + 1 rows for all layers");
}

#[test]
fn the_default_is_the_last_layer_and_an_image_has_a_grid() {
    let (settings, found) = run(&Fake::text(0), &json!({}));
    assert_eq!(settings, json!({"layers": [LAYERS - 1]}));
    assert_eq!(found.scores.layers.unwrap()[0][0].len(), 2);
    let (_, found) = run(&Fake::image(6), &json!({"layers": "all"}));
    assert_eq!((found.scores.layers.unwrap().len(), found.scores.grid.unwrap().len()), (LAYERS, 3));
}

#[test]
fn what_would_be_too_much_is_refused() {
    let fake = Fake::text(3);
    let plan = |settings: Value, subject| ValueZeroing.plan(settings.as_object().unwrap().clone(), &subject).err();
    let refused = plan(json!({"layers": "all"}), Subject { response_values: 74, ..fake.subject() }).unwrap();
    assert_eq!(refused.path, "/layers");
    assert!(refused.detail.contains("75 numbers and limits.response_values leaves 74"), "{refused}");
    let refused = plan(json!({}), Subject { max_evaluations: 5, ..fake.subject() }).unwrap();
    assert!(refused.detail.contains("5 positions take 6 rows"), "{refused}");
    assert_eq!(plan(json!({"layers": [3]}), fake.subject()).unwrap().path, "/layers/0");
}

#[test]
fn equal_states_are_no_distance_apart_and_nothing_is_divided_by_zero() {
    assert_eq!(distance(&[1.0, 2.0], &[1.0, 2.0]), 0.0);
    assert_eq!(distance(&[0.0, 0.0], &[1.0, 2.0]), 0.0);
    assert!((distance(&[1.0, 0.0], &[0.0, 3.0]) - 1.0).abs() < 1e-12);
    let mut matrix = vec![0.0, 0.0, 1.0, 3.0];
    normalise(&mut matrix, 2);
    assert_eq!(matrix, [1.0, 0.0, 0.25, 0.75]);
}
