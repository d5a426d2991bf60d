//! Rules beside the gradient: DeepLIFT's multipliers add up through every layer, guided backpropagation clips at ReLUs.

use proptest::prelude::*;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::tests::{Layer, linear, norm, random};
use super::*;

/// Multipliers of `rows` pairs through `layer`, and how far Σ multiplier · Δx is from Σ seed · Δy for each of two
/// seeds, relative to the sizes of what is added.
fn lift(name: &str, x: &[f32], cols: usize, layer: Layer<'_>) -> Vec<f32> {
    let mut tape = Tape::new(&(), true).under(Rule::DeepLift);
    let input = tape.variable(Array::new(x.to_vec(), x.len() / cols, cols));
    let output = layer(&mut tape, &input);
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut last = Vec::new();
    for _ in 0..2 {
        let half = random(&mut rng, output.value().len() / 2);
        let seed = [half.clone(), half.clone()].concat();
        last = tape.backward(&output, &seed, &input).unwrap();
        let (own, other) = last.split_at(last.len() / 2);
        assert_eq!(own, other, "{name}: both rows of a pair have the same multipliers");
        // Σ weight · Δvalue, and the size of what rounding may take from it.
        let sum = |weights: &[f32], values: &[f32]| -> (f64, f64) {
            let (x, baseline) = values.split_at(values.len() / 2);
            let pairs = weights.iter().zip(x.iter().zip(baseline));
            pairs.fold((0.0, 1e-3), |(sum, size), (w, (x, y))| {
                let (w, x, y) = (f64::from(*w), f64::from(*x), f64::from(*y));
                (sum + w * (x - y), size + w.abs() * (x.abs() + y.abs()))
            })
        };
        let (before, after) = (sum(own, x), sum(&half, output.value()));
        let (off, size) = (before.0 - after.0, before.1 + after.1);
        assert!(off.abs() <= 1e-6 * size, "{name}: off by {off} of {size}");
    }
    last
}

fn check(name: &str, pairs: usize, cols: usize, layer: Layer<'_>) {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    for size in [0.01, 1.0, 6.0] {
        let x: Vec<f32> = random(&mut rng, 2 * pairs * cols).iter().map(|x| size * x).collect();
        lift(name, &x, cols, layer);
        // A baseline of zeros, one that hardly differs, and one that does not.
        let half = &x[..pairs * cols];
        lift(name, &[half, &vec![0.0; pairs * cols]].concat(), cols, layer);
        for near in [1e-4, 0.0] {
            let moved: Vec<f32> = half.iter().map(|x| x + near * x.abs()).collect();
            lift(name, &[half, moved.as_slice()].concat(), cols, layer);
        }
    }
}

/// Borders of two pairs of rows of 1 and 6 tokens.
const OFFSETS: [usize; 5] = [0, 1, 7, 8, 14];

#[test]
fn multipliers_add_up_through_every_layer() {
    let (first, wide) = (linear(1, 6, 6), linear(2, 6, 9));
    check("linear", 3, 6, &|tape, x| first.forward(tape, x).unwrap());
    check("residual", 3, 6, &|tape, x| first.forward_add(tape, x, x).unwrap());
    for name in ["gelu", "gelu_new", "silu", "tanh", "relu"] {
        let activation = Activation::named(name).unwrap();
        check(name, 3, 6, &|tape, x| activation.forward(tape, x.clone()));
        check(name, 3, 6, &|tape, x| wide.forward_activated(tape, x, activation).unwrap());
        check("gate", 3, 6, &|tape, x| Gate { activation }.forward(tape, x).unwrap());
    }
    let layer = norm(3, 6);
    check("layer norm", 3, 6, &|tape, x| layer.forward(tape, x).unwrap());
    let rms = |cols: usize| RmsNorm::new(vec![0.7; cols], 1e-6, 1.0).unwrap();
    check("rms norm", 3, 6, &|tape, x| rms(6).forward(tape, x).unwrap());
    let norm = QueryKeyNorm { query: rms(3), key: rms(3), heads: 2, kv_heads: 1 };
    check("query and key norm", 3, 12, &|tape, x| norm.forward(tape, x.clone()).unwrap());
    check("soft cap", 3, 6, &|tape, x| Softcap { cap: 2.0 }.forward(tape, x.clone()));
    check("neighbours", 7, 4, &|tape, x| neighbours(tape, x, &OFFSETS, 3).unwrap());
    check("mean", 7, 4, &|tape, x| mean(tape, x, &OFFSETS).unwrap());
    check("mean of rows", 4, 4, &|tape, x| mean_rows(tape, x, 4, 1).unwrap());
    check("sum", 3, 6, &|tape, x| {
        let y = Activation::TANH.forward(tape, x.clone());
        add(tape, x, &y).unwrap()
    });
    check("prepend", 4, 4, &|tape, x| prepend(tape, x, &[0.5; 8], 2).unwrap());
    check("select", 3, 4, &|tape, x| select(tape, x, &[2, 0, 5, 3]).unwrap());
    let patches = Patches { channels: 2, patch_rows: 2, patch_cols: 3, grid_rows: 2, grid_cols: 2 };
    check("patches", 1, 48, &|tape, x| patches.forward(tape, x).unwrap());
}

#[test]
fn multipliers_add_up_through_attention() {
    let plain = Attention { kv_heads: 1, ..Attention::new(2, 3) };
    let biases =
        Bias::relative(2, &OFFSETS, |head, distance| if distance == -2 { f32::NEG_INFINITY } else { head as f32 });
    for (attention, bias) in [
        (plain, None),
        (Attention { causal: true, softcap: Some(2.0), ..plain }, None),
        (Attention { window: Some(Window { left: 1, right: 2 }), ..plain }, Some(&biases)),
        (Attention { scale: 8.0, ..Attention::new(2, 3) }, None),
    ] {
        let columns = attention.columns();
        check("attention", 7, columns, &|tape, x| attention.forward(tape, x, &OFFSETS, bias, false).unwrap().0);
    }
    for (keys, queries, logarithmic) in [(true, true, Some(16)), (true, false, None), (false, true, None)] {
        let layer = super::tests::disentangled(2, 3, keys, queries, logarithmic);
        check("disentangled", 7, 18, &|tape, x| layer.forward(tape, x, &OFFSETS, false).unwrap().0);
    }
}

#[test]
fn multipliers_add_up_through_images() {
    for (size, stride, padding) in [((2, 2), 2, 0), ((3, 3), 2, 1)] {
        let window = ImageWindow { rows: 5, cols: 4, channels: 3, size, stride, padding };
        let pool = MaxPool::new(window).unwrap();
        check("max pool", 20, 3, &|tape, x| pool.forward(tape, x).unwrap());
        let mut rng = ChaCha8Rng::seed_from_u64(8);
        let conv = Conv2d::new(random(&mut rng, 5 * 3 * size.0 * size.1), None, 5, window).unwrap();
        check("convolution", 20, 3, &|tape, x| conv.forward_activated(tape, x, Activation::RELU).unwrap());
    }
    let depthwise = Depthwise::new(&[0.3; 27], vec![0.1; 3], (5, 4), 3).unwrap();
    check("depthwise", 20, 3, &|tape, x| depthwise.forward(tape, x).unwrap());
}

/// Attention in f64, an operation at a time: exponential and reciprocal by the rescale rule, sum as it is, products by the
/// product rule, over scores that were centred to a sum of 1.
#[test]
fn attention_follows_the_rules_one_operation_at_a_time() {
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let (n, depth) = (4, 2);
    let x: Vec<f32> = random(&mut rng, 2 * n * 3 * depth).iter().map(|x| 2.0 * x).collect();
    let attention = Attention::new(1, depth);
    let mut tape = Tape::new(&(), true).under(Rule::DeepLift);
    let input = tape.variable(Array::new(x.clone(), 2 * n, 3 * depth));
    let (y, _) = attention.forward(&mut tape, &input, &[0, n, 2 * n], None, false).unwrap();
    let half = random(&mut rng, n * depth);
    let ours = tape.backward(&y, &[half.clone(), half.clone()].concat(), &input).unwrap();
    let at = |stream: usize, token: usize, part: usize, d: usize| {
        f64::from(x[((stream * n + token) * 3 + part) * depth + d])
    };
    let mut oracle = vec![0.0; n * 3 * depth];
    for query in 0..n {
        // log p = s − L of both rows.
        let scores: Vec<Vec<f64>> = (0..2)
            .map(|s| {
                let dot = |key| (0..depth).map(|d| at(s, query, 0, d) * at(s, key, 1, d)).sum::<f64>();
                (0..n).map(|key| dot(key) * f64::from(attention.scale)).collect()
            })
            .collect();
        let level = [0, 1].map(|s| scores[s].iter().map(|score| score.exp()).sum::<f64>().ln());
        let p: Vec<Vec<f64>> =
            (0..2).map(|s| scores[s].iter().map(|score| (score - level[s]).exp()).collect()).collect();
        let step = |key: usize| scores[0][key] - scores[1][key] - level[0] + level[1];
        let of_exp: Vec<f64> = (0..n).map(|key| (p[0][key] - p[1][key]) / step(key)).collect();
        let weights: Vec<f64> = of_exp.iter().map(|m| m / of_exp.iter().sum::<f64>()).collect();
        // What centres the scores is linear in them and moves as L does.
        let moved: f64 = (0..n).map(|key| weights[key] * (scores[0][key] - scores[1][key])).sum();
        assert!((moved - level[0] + level[1]).abs() < 1e-12);
        let of_p = |key: usize| {
            (0..depth)
                .map(|d| f64::from(half[query * depth + d]) * 0.5 * (at(0, key, 2, d) + at(1, key, 2, d)))
                .sum::<f64>()
        };
        // p = e · r with r = 1 / S: S is 1 in both rows, so that the reciprocal's multiplier is its slope, −1.
        let of_r: f64 = (0..n).map(|key| of_p(key) * 0.5 * (p[0][key] + p[1][key])).sum();
        let of_s: Vec<f64> = (0..n).map(|key| (of_p(key) - of_r) * of_exp[key]).collect();
        let mean: f64 = of_s.iter().sum();
        for key in 0..n {
            let score = (of_s[key] - weights[key] * mean) * f64::from(attention.scale);
            let p = 0.5 * (p[0][key] + p[1][key]);
            for d in 0..depth {
                oracle[query * 3 * depth + d] += score * 0.5 * (at(0, key, 1, d) + at(1, key, 1, d));
                oracle[(key * 3 + 1) * depth + d] += score * 0.5 * (at(0, query, 0, d) + at(1, query, 0, d));
                oracle[(key * 3 + 2) * depth + d] += p * f64::from(half[query * depth + d]);
            }
        }
    }
    for (ours, oracle) in ours.iter().zip(&oracle) {
        assert!((f64::from(*ours) - oracle).abs() < 2e-6, "{ours} {oracle}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Scores that differ by hundreds between the two rows neither overflow nor lose the sum.
    #[test]
    fn large_scores_stay_finite(seed in 0u64..1000, size in 1.0f32..40.0) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let x: Vec<f32> = random(&mut rng, 2 * 7 * 12).iter().map(|x| size * x).collect();
        let attention = Attention { kv_heads: 1, ..Attention::new(2, 3) };
        let mut tape = Tape::new(&(), true).under(Rule::DeepLift);
        let input = tape.variable(Array::new(x, 14, 12));
        let (y, _) = attention.forward(&mut tape, &input, &OFFSETS, None, false).unwrap();
        let multipliers = tape.backward(&y, &vec![1.0; y.value().len()], &input).unwrap();
        prop_assert!(multipliers.iter().all(|x| x.is_finite()));
    }
}

#[test]
fn a_linear_layers_multipliers_are_its_gradient() {
    let layer = linear(4, 5, 3);
    let x = random(&mut ChaCha8Rng::seed_from_u64(1), 20);
    let run = |rule: Rule| {
        let mut tape = Tape::new(&(), true).under(rule);
        let input = tape.variable(Array::new(x.clone(), 4, 5));
        let y = layer.forward(&mut tape, &input).unwrap();
        tape.backward(&y, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0].repeat(2), &input).unwrap()
    };
    assert_eq!(run(Rule::DeepLift), run(Rule::Gradient));
}

#[test]
fn deep_lift_needs_pairs() {
    let mut tape = Tape::new(&(), true).under(Rule::DeepLift);
    let x = tape.variable(Array::new(vec![1.0; 3], 3, 1));
    let y = Activation::RELU.forward(&mut tape, x.clone());
    assert!(matches!(tape.backward(&y, &[1.0; 3], &x), Err(Error::Shape { .. })));
}

/// Captum's hook: at a ReLU, gradients below 0 are cut as well as those of units below 0.
#[test]
fn guided_backpropagation_clips_at_relus_alone() {
    let run = |rule: Rule, activation: Activation, seed: &[f32]| {
        let mut tape = Tape::new(&(), true).under(rule);
        let x = tape.variable(Array::new(vec![1.0, 2.0, -3.0, 0.5], 1, 4));
        let y = activation.forward(&mut tape, x.clone());
        tape.backward(&y, seed, &x)
    };
    let seed = [2.0, -1.0, 4.0, -0.0];
    assert_eq!(run(Rule::Guided, Activation::RELU, &seed).unwrap(), [2.0, 0.0, 0.0, 0.0]);
    assert_eq!(run(Rule::Gradient, Activation::RELU, &seed).unwrap(), [2.0, -1.0, 0.0, -0.0]);
    let error = run(Rule::Guided, Activation::named("gelu").unwrap(), &seed).unwrap_err();
    assert!(matches!(&error, Error::NoRule { .. }) && error.to_string().contains("this model has gelu;"), "{error}");
    let layer = linear(4, 4, 4);
    let mut tape = Tape::new(&(), true).under(Rule::Guided);
    let x = tape.variable(Array::new(vec![1.0; 4], 1, 4));
    let y = layer.forward(&mut tape, &x).unwrap();
    assert!(tape.backward(&y, &seed, &x).unwrap_err().to_string().contains("no activation at all"));
    // With a ReLU somewhere, other activations keep their gradient, and a fused ReLU clips too.
    let mut tape = Tape::new(&(), true).under(Rule::Guided);
    let x = tape.variable(Array::new(vec![1.0, -1.0, 0.5, 2.0], 1, 4));
    let y = layer.forward_activated(&mut tape, &x, Activation::RELU).unwrap();
    let z = Activation::TANH.forward(&mut tape, y.clone());
    let guided = tape.backward(&z, &[1.0, -1.0, 1.0, -1.0], &x).unwrap();
    let slope =
        |at: usize| if y.value()[at] > 0.0 { (1.0 - z.value()[at].powi(2)) * [1.0, 0.0, 1.0, 0.0][at] } else { 0.0 };
    let weights = layer.weight().rows();
    for (input, guided) in guided.iter().enumerate() {
        let expected: f32 = (0..4).map(|output| slope(output) * weights[output * 4 + input]).sum();
        assert!((guided - expected).abs() < 1e-5, "{guided} {expected}");
    }
}

/// Captum's DeepLift on a network of ReLUs (tests/golden/gradients.py).
#[test]
fn a_network_of_relus_has_captums_scores() {
    let golden: serde_json::Value =
        serde_json::from_str(include_str!("../../tests/golden/methods/gradients.json")).unwrap();
    let golden = &golden["deep_lift"];
    let numbers = |value: &serde_json::Value| -> Vec<f32> {
        value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect()
    };
    let layers: Vec<Linear> = golden["layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|layer| {
            let (weight, bias) = (numbers(&layer["weight"]), numbers(&layer["bias"]));
            let (inputs, outputs) = (weight.len() / bias.len(), bias.len());
            Linear::new(weight, Some(bias), inputs, outputs).unwrap()
        })
        .collect();
    let pair = numbers(&golden["pair"]);
    let mut tape = Tape::new(&(), true).under(Rule::DeepLift);
    let input = tape.variable(Array::new(pair.clone(), 2, 6));
    let x = layers[0].forward_activated(&mut tape, &input, Activation::RELU).unwrap();
    let x = layers[1].forward_activated(&mut tape, &x, Activation::RELU).unwrap();
    let y = layers[2].forward(&mut tape, &x).unwrap();
    let multipliers = tape.backward(&y, &[0.0, 1.0, 0.0, 1.0], &input).unwrap();
    let scores: Vec<f32> = (0..6).map(|at| multipliers[at] * (pair[at] - pair[6 + at])).collect();
    super::tests::close("scores", &scores, &numbers(&golden["scores"]), 2e-6);
}
