//! Every layer against candle's elementary operations in f64, values and gradients, over odd shapes; every layer's rows
//! alone and among others.

use std::sync::Arc;

use candle_core::{D, DType, Device, Tensor, Var};
use proptest::prelude::*;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::{Layer, close, random};
use crate::nn::*;

fn config() -> ProptestConfig {
    ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() }
}

fn tensor(data: &[f32], shape: &[usize]) -> Tensor {
    Tensor::from_slice(data, shape, &Device::Cpu).unwrap().to_dtype(DType::F64).unwrap()
}

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_dtype(DType::F32).unwrap().to_vec1().unwrap()
}

fn run(layer: Layer<'_>, x: &[f32], cols: usize, seed: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let mut tape = Tape::new(&(), true);
    let input = tape.variable(Array::new(x.to_vec(), x.len() / cols, cols));
    let y = layer(&mut tape, &input);
    let gradient = tape.backward(&y, &seed[..y.value().len()], &input).unwrap();
    assert_eq!(input.value(), x, "a layer wrote into an input that is still held");
    (y.value().to_vec(), gradient)
}

/// Values and gradients of `layer` are those of `oracle`, and each row's bits are those it has alone.
fn check(name: &str, (rows, cols): (usize, usize), layer: Layer<'_>, oracle: impl Fn(&Tensor) -> Tensor) {
    let mut rng = ChaCha8Rng::seed_from_u64((rows * 1000 + cols) as u64);
    // Not at 0, where candle's ReLU has slope 1, PyTorch's and ours 0.
    let x: Vec<f32> = random(&mut rng, rows * cols).iter().map(|&x| 3.0 * if x == 0.0 { 0.5 } else { x }).collect();
    let var = Var::from_tensor(&tensor(&x, &[rows, cols])).unwrap();
    let theirs = oracle(&var);
    let width = theirs.dim(1).unwrap();
    let seed = random(&mut rng, rows * width);
    let loss = (&theirs * tensor(&seed, &[rows, width])).unwrap().sum_all().unwrap();
    let gradient = loss.backward().unwrap().get(&var).unwrap().clone();
    let (y, own) = run(layer, &x, cols, &seed);
    close(name, &y, &flat(&theirs), 2e-6);
    let (gradient, scale) = (flat(&gradient), flat(&gradient.abs().unwrap().max_all().unwrap())[0]);
    for (own, theirs) in own.iter().zip(&gradient) {
        assert!((own - theirs).abs() <= 2e-6 * (1.0 + scale), "gradient of {name}: {own} against {theirs}");
    }
    for row in [0, rows / 2, rows - 1] {
        let (alone, gradient) = run(layer, &x[row * cols..][..cols], cols, &seed[row * width..]);
        assert_eq!(alone, y[row * width..][..width], "{name}, row {row} of {rows}");
        assert_eq!(gradient, own[row * cols..][..cols], "gradient of {name}, row {row} of {rows}");
    }
}

/// Of the norms. In narrow rows a norm's gradient is a small difference of numbers up to 1 / √ε, so that a small ε would
/// measure f32's rounding and not the layer.
const EPSILON: f32 = 0.0625;

/// x / √(mean(x²) + ε) ∘ weight over the last dimension.
fn rms(x: &Tensor, weight: &[f32], epsilon: f64) -> Tensor {
    let mean = x.sqr().unwrap().mean_keepdim(D::Minus1).unwrap();
    let normed = x.broadcast_div(&(mean + epsilon).unwrap().sqrt().unwrap()).unwrap();
    normed.broadcast_mul(&tensor(weight, &[weight.len()])).unwrap()
}

fn activated(name: &str, x: &Tensor) -> Tensor {
    match name {
        "gelu" => x.gelu_erf(),
        "gelu_new" => {
            let inner = ((x + (x.powf(3.0).unwrap() * 0.044715).unwrap()).unwrap()
                * (2.0 / std::f64::consts::PI).sqrt())
            .unwrap();
            (x * 0.5).unwrap() * (inner.tanh().unwrap() + 1.0).unwrap()
        }
        "silu" => x / (x.neg().unwrap().exp().unwrap() + 1.0).unwrap(),
        "relu" => x.relu(),
        other => panic!("{other}"),
    }
    .unwrap()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn linear((rows, inputs, outputs) in (1usize..40, 1usize..90, 1usize..90), salt: u64) {
        let mut rng = ChaCha8Rng::seed_from_u64(salt);
        let (weight, bias) = (random(&mut rng, inputs * outputs), random(&mut rng, outputs));
        let scaled: Vec<f32> = weight.iter().map(|w| w / (inputs as f32).sqrt()).collect();
        let layer = Linear::new(&scaled, Some(bias.clone()), inputs, outputs).unwrap();
        check("linear", (rows, inputs), &|tape, x| layer.forward(tape, x).unwrap(), |x| {
            let weight = tensor(&scaled, &[outputs, inputs]).t().unwrap();
            x.matmul(&weight).unwrap().broadcast_add(&tensor(&bias, &[outputs])).unwrap()
        });
    }

    #[test]
    fn rms_norm((rows, cols) in (1usize..40, 1usize..100), offset in prop_oneof![Just(0.0f32), Just(1.0)]) {
        let mut rng = ChaCha8Rng::seed_from_u64(cols as u64);
        let weight = random(&mut rng, cols);
        let layer = RmsNorm::new(weight.clone(), EPSILON, offset).unwrap();
        let weight: Vec<f32> = weight.iter().map(|w| w + offset).collect();
        check("rms norm", (rows, cols), &|tape, x| layer.forward(tape, x).unwrap(), |x| rms(x, &weight, EPSILON.into()));
    }

    #[test]
    fn query_key_norm((heads, kv_heads, depth, rows) in (1usize..4, 1usize..4, 1usize..40, 1usize..20)) {
        let mut rng = ChaCha8Rng::seed_from_u64(depth as u64);
        let (query, key) = (random(&mut rng, depth), random(&mut rng, depth));
        let norm = |weight: &[f32]| RmsNorm::new(weight.to_vec(), EPSILON, 0.0).unwrap();
        let layer = QueryKeyNorm { query: norm(&query), key: norm(&key), heads, kv_heads };
        let cols = (heads + 2 * kv_heads) * depth;
        check("query and key norm", (rows, cols), &|tape, x| layer.forward(tape, x.clone()).unwrap(), |x| {
            let part = |first: usize, of: usize, weight: Option<&[f32]>| {
                let part = x.narrow(1, first * depth, of * depth).unwrap().reshape((rows, of, depth)).unwrap();
                let part = weight.map_or(part.clone(), |weight| rms(&part, weight, EPSILON.into()));
                part.reshape((rows, of * depth)).unwrap()
            };
            let parts = [part(0, heads, Some(&query)), part(heads, kv_heads, Some(&key)), part(heads + kv_heads, kv_heads, None)];
            Tensor::cat(&parts, 1).unwrap()
        });
    }

    #[test]
    fn gate((rows, width) in (1usize..40, 1usize..90), name in prop::sample::select(vec!["gelu", "gelu_new", "silu", "relu"])) {
        let layer = Gate { activation: Activation::named(name).unwrap() };
        check(name, (rows, 2 * width), &|tape, x| layer.forward(tape, x).unwrap(), |x| {
            (activated(name, &x.narrow(1, 0, width).unwrap()) * x.narrow(1, width, width).unwrap()).unwrap()
        });
    }

    #[test]
    fn activation((rows, cols) in (1usize..40, 1usize..90), name in prop::sample::select(vec!["gelu", "gelu_new", "silu", "relu"])) {
        let layer = Activation::named(name).unwrap();
        check(name, (rows, cols), &|tape, x| layer.forward(tape, x.clone()), |x| activated(name, x));
    }

    #[test]
    fn layer_norm((rows, cols) in (1usize..40, 2usize..100)) {
        let mut rng = ChaCha8Rng::seed_from_u64(cols as u64);
        let (weight, bias) = (random(&mut rng, cols), random(&mut rng, cols));
        let layer = LayerNorm::new(weight.clone(), bias.clone(), EPSILON).unwrap();
        check("layer norm", (rows, cols), &|tape, x| layer.forward(tape, x).unwrap(), |x| {
            let centred = x.broadcast_sub(&x.mean_keepdim(1).unwrap()).unwrap();
            let variance = (centred.sqr().unwrap().mean_keepdim(1).unwrap() + f64::from(EPSILON)).unwrap();
            let normed = centred.broadcast_div(&variance.sqrt().unwrap()).unwrap();
            let scaled = normed.broadcast_mul(&tensor(&weight, &[cols])).unwrap();
            scaled.broadcast_add(&tensor(&bias, &[cols])).unwrap()
        });
    }

    #[test]
    fn rotary((heads, kv_heads, half, rest, rows) in (1usize..4, 1usize..3, 1usize..20, 0usize..5, 1usize..20)) {
        let (depth, position) = (2 * half + rest, 11);
        let rope = Rope::new(1e4, 2 * half, RopeScaling::None).unwrap();
        let layer = Rotary { heads, kv_heads, depth };
        let cols = (heads + 2 * kv_heads) * depth;
        // All tokens at one position, so that a row alone is turned alike.
        let rotate = |tape: &mut Tape<'_>, x: &Node| {
            let angles = rope.angles(&[0, x.rows()], &vec![position; x.rows()]).unwrap();
            layer.forward(tape, x.clone(), &Arc::new(angles)).unwrap()
        };
        let angle: Vec<f32> = (0..half).map(|i| position as f32 / 1e4f32.powf(i as f32 / half as f32)).collect();
        check("rotary", (rows, cols), &rotate, |x| {
            let angle = tensor(&angle, &[half]);
            let (cos, sin) = (angle.cos().unwrap(), angle.sin().unwrap());
            let x = x.reshape((rows, heads + 2 * kv_heads, depth)).unwrap();
            let turning = x.narrow(1, 0, heads + kv_heads).unwrap();
            let (a, b) = (turning.narrow(2, 0, half).unwrap(), turning.narrow(2, half, half).unwrap());
            let by = |x: &Tensor, y: &Tensor| x.broadcast_mul(y).unwrap();
            let first = (by(&a, &cos) - by(&b, &sin)).unwrap();
            let second = (by(&b, &cos) + by(&a, &sin)).unwrap();
            let turned = Tensor::cat(&[first, second, turning.narrow(2, 2 * half, rest).unwrap()], 2).unwrap();
            let values = x.narrow(1, heads + kv_heads, kv_heads).unwrap();
            Tensor::cat(&[turned, values], 1).unwrap().reshape((rows, cols)).unwrap()
        });
    }
}

/// In place or not, recorded or not: the same bits.
#[test]
fn layers_in_place_give_the_same_bits() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let x = random(&mut rng, 7 * 24);
    let rope = Rope::new(1e4, 6, RopeScaling::None).unwrap();
    let angles = Arc::new(rope.angles(&[0, 7], &[0, 1, 2, 3, 4, 5, 6]).unwrap());
    let norm = RmsNorm::new(random(&mut rng, 6), 1e-6, 1.0).unwrap();
    let norm = QueryKeyNorm { query: norm.clone(), key: norm, heads: 2, kv_heads: 1 };
    let rotary = Rotary { heads: 2, kv_heads: 1, depth: 6 };
    let both = |tape: &mut Tape<'_>, x: Node| {
        let x = norm.forward(tape, x).unwrap();
        rotary.forward(tape, x, &angles).unwrap().value().to_vec()
    };
    let array = || Array::new(x.clone(), 7, 24);
    let alone = both(&mut Tape::new(&(), false), Node::constant(array()));
    let held = Node::constant(array());
    assert_eq!(both(&mut Tape::new(&(), false), held.clone()), alone);
    assert_eq!(held.value(), x);
    let mut tape = Tape::new(&(), true);
    let variable = tape.variable(array());
    assert_eq!(both(&mut tape, variable), alone);
}
