//! Relevance against products of whole matrices, over known maps.

use serde_json::{Value, json};

use super::*;
use crate::methods::erased::ErasedMethod;
use crate::methods::support::fake::{self, Fake, HEADS, LAYERS, inside};
use crate::models::Reads;

/// A model whose gradient is `slope` on average.
fn model(slope: f32) -> Fake {
    Fake::text(3).white(|x| vec![x[0], 1.0], move |x, cotangent| vec![slope * cotangent[0]; x.len()])
}

fn run(fake: &Fake, settings: &Value) -> Vec<Attribution> {
    let planned = AttentionRelevance.plan(settings.as_object().unwrap().clone(), &fake.subject()).unwrap();
    planned.explain(fake).unwrap()
}

/// R of the definition, the fake's relevance being its mean map times |slope|.
fn brute(length: usize, slope: f64, start: usize) -> Vec<f64> {
    let mut r: Vec<f64> = (0..length * length).map(|at| f64::from(u8::from(at % (length + 1) == 0))).collect();
    for layer in start..LAYERS {
        let map = inside::fused(layer, length, Fusion::Relevance);
        let product = |at: usize| -> f64 {
            let row = map[at / length * length..][..length].iter().enumerate();
            row.map(|(k, &share)| f64::from(share) * slope * r[k * length + at % length]).sum()
        };
        let more: Vec<f64> = (0..length * length).map(product).collect();
        r.iter_mut().zip(more).for_each(|(r, more)| *r += more);
    }
    r
}

#[test]
fn a_row_is_that_of_the_definition_without_its_own_entry() {
    let mut fake = model(0.5);
    fake.targets = vec![fake::target(0), fake::target(1)];
    for start in [0, 2] {
        let found = run(&fake, &json!({"start_layer": start}));
        assert_eq!(found.len(), 2);
        let tokens = found[0].scores.tokens.clone().unwrap();
        assert_eq!(tokens[0], 0.0, "the reading position's own");
        for (ours, oracle) in tokens.iter().zip(brute(5, 0.5, start)).skip(1) {
            assert!((f64::from(*ours) - oracle).abs() < 1e-6, "{ours} against {oracle}");
        }
        assert_eq!(found[0].scores.words.clone().unwrap(), tokens[1..4]);
        assert_eq!(found[0].heads, Some(vec![vec![0.5; HEADS]; LAYERS - start]));
        // The second output does not depend on the input.
        assert_eq!(found[1].scores.tokens, Some(vec![0.0; 5]));
        assert_eq!(found[1].output_value, Some(1.0));
    }
    assert_eq!(fake.rows.get(), 2, "one forward a request, whatever the targets");
}

#[test]
fn a_mean_reads_all_rows_without_the_identity() {
    let mut fake = model(0.5);
    fake.targets = vec![fake::target(0)];
    fake.spec.reads = Reads::Mean;
    let r = brute(5, 0.5, 0);
    let tokens = run(&fake, &json!({}))[0].scores.tokens.clone().unwrap();
    for (key, ours) in tokens.iter().enumerate() {
        let oracle = ((0..5).map(|query| r[query * 5 + key]).sum::<f64>() - 1.0) / 5.0;
        assert!((f64::from(*ours) - oracle).abs() < 1e-6, "{ours} against {oracle}");
    }
}

#[test]
fn images_short_texts_and_wrong_settings() {
    let found = run(&Fake::image(6), &json!({}));
    assert_eq!(found[0].scores.grid.as_ref().unwrap().len(), 3);
    assert_eq!(run(&Fake::text(0), &json!({}))[0].scores.words, Some(Vec::new()));
    for (settings, path) in [(json!({"start_layer": 3}), "/start_layer"), (json!({"output": "odds"}), "/output")] {
        let planned = AttentionRelevance.plan(settings.as_object().unwrap().clone(), &model(1.0).subject());
        assert_eq!(planned.err().unwrap().path, path);
    }
}
