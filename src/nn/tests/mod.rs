//! Every layer: its gradient against central differences, its rows against their neighbours; the composed candle
//! operations as an oracle for values.

mod composed;

use candle_core::{DType, Tensor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

pub fn random(rng: &mut ChaCha8Rng, n: usize) -> Vec<f32> {
    (0..n).map(|_| rng.random_range(-1.0f32..1.0)).collect()
}

pub type Layer<'a> = &'a dyn Fn(&mut Tape<'_>, &Node) -> Node;

/// ∂/∂ε Σ seed · layer(x + ε v) at 0 by central differences equals v · (gradient), for several directions v, on
/// every device.
pub fn check_gradient(name: &str, rows: usize, cols: usize, layer: Layer<'_>) {
    for device in Device::every() {
        check_gradient_on(&device, &format!("{name} on {device:?}"), (rows, cols), layer);
    }
}

fn check_gradient_on(device: &Device, name: &str, (rows, cols): (usize, usize), layer: Layer<'_>) {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let x = random(&mut rng, rows * cols);
    let run = |x: Vec<f32>| {
        let mut tape = Tape::new(&(), false).on(device);
        let node = tape.variable(Array::new(x, rows, cols));
        layer(&mut tape, &node).numbers().unwrap().to_vec()
    };
    let mut tape = Tape::new(&(), true).on(device);
    let input = tape.variable(Array::new(x.clone(), rows, cols));
    let output = layer(&mut tape, &input);
    assert_eq!(output.value(), run(x.clone()), "{name}: recording changes values");
    let seed = random(&mut rng, output.value().len());
    let gradient = tape.backward(&output, &seed, &input).unwrap();
    assert_eq!(gradient, tape.backward(&output, &seed, &input).unwrap(), "{name}: backward consumes the tape");
    let seeds = [seed.clone(), random(&mut rng, seed.len()), vec![0.0; seed.len()]];
    let alone: Vec<_> = seeds.iter().map(|seed| tape.backward(&output, seed, &input).unwrap()).collect();
    assert_eq!(tape.backward_all(&output, &seeds, &input).unwrap(), alone, "{name}: seeds beside one another");
    for _ in 0..4 {
        let v = random(&mut rng, x.len());
        let h = 5e-3f32;
        let at = |sign: f32| -> f64 {
            let y = run(x.iter().zip(&v).map(|(x, v)| x + sign * h * v).collect());
            y.iter().zip(&seed).map(|(y, s)| f64::from(y * s)).sum()
        };
        let numeric = (at(1.0) - at(-1.0)) / f64::from(2.0 * h);
        let exact: f64 = gradient.iter().zip(&v).map(|(g, v)| f64::from(g * v)).sum();
        let scale = gradient.iter().map(|g| f64::from(g * g)).sum::<f64>().sqrt().max(1e-3);
        assert!((numeric - exact).abs() < 5e-3 * scale, "{name}: {numeric} by differences, {exact} by the tape");
    }
}

pub(super) fn linear(seed: u64, inputs: usize, outputs: usize) -> Linear {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let weight = random(&mut rng, inputs * outputs);
    Linear::new(weight, Some(random(&mut rng, outputs)), inputs, outputs).unwrap()
}

pub(super) fn norm(seed: u64, width: usize) -> LayerNorm {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    LayerNorm::new(random(&mut rng, width), random(&mut rng, width), 1e-12).unwrap()
}

pub(super) const OFFSETS: [usize; 5] = [0, 1, 6, 6, 13];

#[test]
fn gradients_are_those_of_central_differences() {
    for (inputs, outputs) in [(5, 3), (3, 1), (1, 4), (70, 80), (80, 10), (10, 80)] {
        if cfg!(miri) && inputs * outputs > 800 {
            continue;
        }
        let layer = linear(1, inputs, outputs);
        check_gradient("linear", 9, inputs, &|tape, x| layer.forward(tape, x).unwrap());
    }
    let layer = linear(2, 12, 12);
    check_gradient("residual", 4, 12, &|tape, x| layer.forward_add(tape, x, x).unwrap());
    check_gradient("soft cap", 4, 12, &|tape, x| Softcap { cap: 0.7 }.forward(tape, x.clone()));
    for width in [3, 16, 37] {
        let layer = norm(3, width);
        check_gradient("layer norm", 3, width, &|tape, x| layer.forward(tape, x).unwrap());
    }
    for name in ["gelu", "gelu_new", "silu", "tanh"] {
        let layer = Activation::named(name).unwrap();
        check_gradient(name, 5, 9, &|tape, x| layer.forward(tape, x.clone()));
    }
    for (keys, queries, logarithmic) in [(true, true, Some(16)), (true, false, None), (false, true, None)] {
        let layer = disentangled(2, 3, keys, queries, logarithmic);
        check_gradient("disentangled attention", 13, 18, &|tape, x| layer.forward(tape, x, &OFFSETS, false).unwrap().0);
    }
    check_gradient("neighbours", 13, 4, &|tape, x| neighbours(tape, x, &OFFSETS, 3).unwrap());
    check_gradient("mean", 13, 4, &|tape, x| mean(tape, x, &[0, 1, 6, 13]).unwrap());
    check_gradient("sum", 5, 4, &|tape, x| {
        let y = Activation::named("tanh").unwrap().forward(tape, x.clone());
        add(tape, x, &y).unwrap()
    });
    let patches = Patches { channels: 2, patch_rows: 2, patch_cols: 3, grid_rows: 2, grid_cols: 2 };
    check_gradient("patches", 3, 48, &|tape, x| patches.forward(tape, x).unwrap());
    check_gradient("prepend", 6, 4, &|tape, x| prepend(tape, x, &[1.0, 2.0, 3.0, 4.0], 3).unwrap());
    check_gradient("select", 6, 4, &|tape, x| select(tape, x, &[5, 0, 5]).unwrap());
    check_gradient("prepend two", 6, 4, &|tape, x| prepend(tape, x, &[0.5; 8], 2).unwrap());
    check_gradient("mean", 10, 4, &|tape, x| mean_rows(tape, x, 5, 1).unwrap());
    let constant = Array::new(vec![2.0; 24], 6, 4);
    check_gradient("add", 6, 4, &|tape, x| add_constant(tape, x, &constant).unwrap());
}

pub(super) fn disentangled(
    heads: usize,
    depth: usize,
    keys: bool,
    queries: bool,
    logarithmic: Option<usize>,
) -> Disentangled {
    let mut rng = ChaCha8Rng::seed_from_u64(21);
    let mut table = |there: bool| there.then(|| std::sync::Arc::new(random(&mut rng, 8 * heads * depth)));
    let (keys, queries) = (table(keys), table(queries));
    Disentangled { heads, scale: 0.4, distances: Distances { span: 4, logarithmic }, keys, queries }
}

/// Without position tables disentangled attention is plain attention; a row's bits are its own.
#[test]
fn disentangled_attention_is_row_invariant_and_plain_without_tables() {
    let mut rng = ChaCha8Rng::seed_from_u64(22);
    let (heads, depth, offsets) = (2, 4, [0, 5, 6, 6, 17]);
    let width = 3 * heads * depth;
    let x = random(&mut rng, 17 * width);
    let run = |layer: &Disentangled, x: &[f32], offsets: &[usize]| {
        let x = Node::constant(Array::new(x.to_vec(), x.len() / width, width));
        let (y, p) = layer.forward(&mut Tape::new(&(), false), &x, offsets, true).unwrap();
        (y.value().to_vec(), p.unwrap().values)
    };
    let mut layer = disentangled(heads, depth, true, true, Some(9));
    let (packed, _) = run(&layer, &x, &offsets);
    for pair in offsets.windows(2).filter(|pair| pair[0] < pair[1]) {
        let (alone, _) = run(&layer, &x[pair[0] * width..pair[1] * width], &[0, pair[1] - pair[0]]);
        assert_eq!(alone, packed[pair[0] * heads * depth..pair[1] * heads * depth]);
    }
    (layer.keys, layer.queries, layer.scale) = (None, None, 1.0 / (depth as f32).sqrt());
    let node = Node::constant(Array::new(x.clone(), 17, width));
    let plain = Attention::new(heads, depth);
    let (y, p) = plain.forward(&mut Tape::new(&(), false), &node, &offsets, None, true).unwrap();
    let (ours, probabilities) = run(&layer, &x, &offsets);
    close("disentangled", &ours, y.value(), 1e-6);
    close("disentangled probabilities", &probabilities, &p.unwrap().values, 1e-6);
}

/// A value that is used twice gets the sum of both gradients.
#[test]
fn gradients_of_shared_values_add_up() {
    let (first, second, norm) = (linear(4, 8, 8), linear(5, 8, 8), norm(6, 8));
    check_gradient("block", 5, 8, &|tape, x| {
        let x = norm.forward(tape, x).unwrap();
        let y = first.forward(tape, &x).unwrap();
        let y = Activation::named("gelu").unwrap().forward(tape, y);
        second.forward_add(tape, &y, &x).unwrap()
    });
}

/// One row's bits are the same alone, among others, and anywhere in the batch.
#[test]
fn kernels_are_row_invariant() {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    for (inputs, outputs) in [(384, 1152), (100, 65), (384, 3), (64, 384), (7, 5)] {
        let layer = linear(9, inputs, outputs);
        let norm = norm(10, outputs);
        for rows in [1usize, 2, 7, 8, 9, 33, 64, 65, 130, 257] {
            let x = random(&mut rng, rows * inputs);
            let forward = |x: &[f32]| {
                let mut tape = Tape::new(&(), true);
                let x = tape.variable(Array::new(x.to_vec(), x.len() / inputs, inputs));
                let y = layer.forward(&mut tape, &x).unwrap();
                let y = norm.forward(&mut tape, &y).unwrap();
                let y = Activation::named("gelu").unwrap().forward(&mut tape, y);
                let gradient = tape.backward(&y, &vec![0.7; y.value().len()], &x).unwrap();
                (y.value().to_vec(), gradient)
            };
            let (together, gradient) = forward(&x);
            for row in [0, rows / 2, rows - 1] {
                let (alone, own) = forward(&x[row * inputs..][..inputs]);
                assert_eq!(alone, together[row * outputs..][..outputs], "{inputs} → {outputs}, row {row} of {rows}");
                assert_eq!(own, gradient[row * inputs..][..inputs], "gradient, {inputs} → {outputs}, {row} of {rows}");
            }
        }
    }
}

pub fn close(what: &str, ours: &[f32], oracle: &[f32], tolerance: f32) {
    assert_eq!(ours.len(), oracle.len(), "{what}");
    for (a, b) in ours.iter().zip(oracle) {
        assert!((a - b).abs() <= tolerance * (1.0 + b.abs()), "{what}: {a} against {b}");
    }
}

#[test]
fn norm_and_activations_equal_composed_operations() {
    let mut rng = ChaCha8Rng::seed_from_u64(13);
    let (rows, cols) = (5, 37);
    let x: Vec<f32> = random(&mut rng, rows * cols).iter().map(|x| 4.0 * x + 30.0).collect();
    let (weight, bias) = (random(&mut rng, cols), random(&mut rng, cols));
    let layer = LayerNorm::new(weight.clone(), bias.clone(), 1e-5).unwrap();
    let ours = layer.forward(&mut Tape::new(&(), false), &Node::constant(Array::new(x.clone(), rows, cols))).unwrap();
    let tensor = |v: &[f32], shape: &[usize]| {
        Tensor::from_slice(v, shape, &candle_core::Device::Cpu).unwrap().to_dtype(DType::F64).unwrap()
    };
    let oracle = candle_nn::ops::layer_norm_slow(
        &tensor(&x, &[rows, cols]),
        &tensor(&weight, &[cols]),
        &tensor(&bias, &[cols]),
        1e-5,
    );
    let oracle: Vec<f32> = oracle.unwrap().to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap();
    close("layer norm", ours.value(), &oracle, 2e-5);
    let x: Vec<f32> = (-600..600).map(|i| i as f32 * 0.01).collect();
    let t = tensor(&x, &[x.len()]);
    for (name, oracle) in [("gelu", t.gelu_erf()), ("gelu_new", t.gelu()), ("silu", t.silu()), ("relu", t.relu())] {
        let node = Node::constant(Array::new(x.clone(), 1, x.len()));
        let ours = Activation::named(name).unwrap().forward(&mut Tape::new(&(), false), node);
        let oracle: Vec<f32> = oracle.unwrap().to_dtype(DType::F32).unwrap().to_vec1().unwrap();
        close(name, ours.value(), &oracle, 1e-6);
    }
}
