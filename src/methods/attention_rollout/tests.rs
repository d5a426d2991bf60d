//! Rollout against products of whole matrices, over the fake job's known maps.

use serde_json::{Value, json};

use super::*;
use crate::methods::Grid;
use crate::methods::erased::ErasedMethod;
use crate::methods::support::fake::{Fake, LAYERS, inside};
use crate::models::Reads;

fn run(fake: &Fake, settings: &Value) -> Attribution {
    let planned = AttentionRollout.plan(settings.as_object().unwrap().clone(), &fake.subject()).unwrap();
    planned.explain(fake).unwrap().remove(0)
}

/// R of the definition: Â_L · … · Â_s.
fn brute(length: usize, by: Fusion, discard: f64, start: usize) -> Vec<f64> {
    let mut rolled: Vec<f64> = (0..length * length).map(|at| f64::from(u8::from(at % (length + 1) == 0))).collect();
    for layer in start..LAYERS {
        let mut map: Vec<f64> = inside::fused(layer, length, by).into_iter().map(f64::from).collect();
        let mut sorted: Vec<(f64, usize)> = map.iter().copied().zip(0..).collect();
        sorted.sort_by(|a, b| a.partial_cmp(b).unwrap());
        let lowest = (discard * map.len() as f64) as usize;
        sorted[..lowest].iter().for_each(|&(_, at)| map[at] = 0.0);
        for (query, row) in map.chunks_mut(length).enumerate() {
            row[query] += 1.0;
            let total: f64 = row.iter().sum();
            row.iter_mut().for_each(|entry| *entry /= total);
        }
        let product = |at: usize| -> f64 {
            (0..length).map(|k| map[at / length * length + k] * rolled[k * length + at % length]).sum()
        };
        rolled = (0..length * length).map(product).collect();
    }
    rolled
}

fn close(ours: &[f32], oracle: &[f64]) {
    assert_eq!(ours.len(), oracle.len());
    for (ours, oracle) in ours.iter().zip(oracle) {
        assert!((f64::from(*ours) - oracle).abs() < 1e-6, "{ours} against {oracle}");
    }
}

#[test]
fn a_row_is_that_of_the_product_of_all_layers() {
    let fake = Fake::text(3);
    for (settings, by, discard, start) in [
        (json!({}), Fusion::Mean, 0.0, 0),
        (json!({"head_fusion": "max", "discard_ratio": 0.3}), Fusion::Max, 0.3, 0),
        (json!({"head_fusion": "min", "start_layer": -1}), Fusion::Min, 0.0, LAYERS - 1),
        (json!({"discard_ratio": 0.99, "start_layer": 1}), Fusion::Mean, 0.99, 1),
    ] {
        let found = run(&fake, &settings);
        let tokens = found.scores.tokens.unwrap();
        close(&tokens, &brute(5, by, discard, start)[..5]);
        assert!((tokens.iter().sum::<f32>() - 1.0).abs() < 1e-6, "a distribution");
        assert_eq!(found.scores.words.unwrap(), tokens[1..4]);
        assert_eq!(found.diagnostics.evaluations, 1);
    }
}

#[test]
fn where_the_head_reads_all_positions_their_mean_is_read() {
    let mut fake = Fake::text(2);
    fake.spec.reads = Reads::Mean;
    let rolled = brute(4, Fusion::Mean, 0.0, 0);
    let mean: Vec<f64> = (0..4).map(|key| (0..4).map(|query| rolled[query * 4 + key]).sum::<f64>() / 4.0).collect();
    close(&run(&fake, &json!({})).scores.tokens.unwrap(), &mean);
}

#[test]
fn an_image_shows_its_patches_and_an_empty_text_its_specials() {
    let found = run(&Fake::image(6), &json!({"normalize": "max"}));
    assert_eq!(found.grid, Some(Grid { rows: 3, cols: 3 }));
    let cells = found.scores.grid.unwrap().concat();
    assert!((cells.iter().fold(0.0_f32, |max, &cell| max.max(cell)) - 1.0).abs() < 1e-6);
    let found = run(&Fake::text(0), &json!({}));
    assert_eq!((found.scores.tokens.unwrap().len(), found.scores.words.unwrap().len()), (2, 0));
}

#[test]
fn what_is_out_of_range_is_refused_in_place() {
    let fake = Fake::text(3);
    for (settings, path) in [
        (json!({"discard_ratio": 1.0}), "/discard_ratio"),
        (json!({"discard_ratio": -0.1}), "/discard_ratio"),
        (json!({"start_layer": 3}), "/start_layer"),
        (json!({"start_layer": -4}), "/start_layer"),
        (json!({"head_fusion": "sum"}), "/head_fusion"),
    ] {
        let planned = AttentionRollout.plan(settings.as_object().unwrap().clone(), &fake.subject());
        assert_eq!(planned.err().unwrap().path, path, "{settings}");
    }
    let mut long = Fake::text(3);
    long.spec.layers = 1 << 24;
    let error = AttentionRollout.plan(serde_json::Map::new(), &long.subject()).err().unwrap();
    assert_eq!(error.path, "/start_layer");
}
