//! Attention against the composed candle operations in f64, values and gradients; rows against their neighbours.

use candle_core::{D, DType, Device, Tensor, Var};
use proptest::prelude::*;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::nn::tests::{check_gradient, close, random};

/// Borders of rows of these lengths.
fn borders(lengths: &[usize]) -> Vec<usize> {
    let mut offsets = vec![0];
    for len in lengths {
        offsets.push(offsets[offsets.len() - 1] + len);
    }
    offsets
}

struct Results {
    y: Vec<f32>,
    p: Vec<f32>,
    gradient: Vec<f32>,
}

/// Values and, for the cotangent `seed`, gradient of packed rows.
fn ours(attention: &Attention, qkv: &[f32], offsets: &[usize], bias: Option<&Bias>, seed: &[f32]) -> Results {
    let mut tape = Tape::new(&(), true);
    let x = tape.variable(Array::new(qkv.to_vec(), offsets[offsets.len() - 1], attention.columns()));
    let (y, p) = attention.forward(&mut tape, &x, offsets, bias, true).unwrap();
    let gradient = tape.backward(&y, seed, &x).unwrap();
    Results { y: y.value().to_vec(), p: p.unwrap().values, gradient }
}

/// One row by candle's elementary operations in f64. `hidden` are −∞ where a query does not see a key.
fn composed(attention: &Attention, qkv: &[f32], bias: &[f32], seed: &[f32]) -> Results {
    let Attention { heads, kv_heads, depth, .. } = *attention;
    let n = qkv.len() / attention.columns();
    let tensor = |data: &[f32], shape: &[usize]| {
        Tensor::from_slice(data, shape, &Device::Cpu).unwrap().to_dtype(DType::F64).unwrap()
    };
    let x = Var::from_tensor(&tensor(qkv, &[n, attention.columns()])).unwrap();
    let part = |first: usize, of: usize| {
        let part = x.narrow(1, first * depth, of * depth).unwrap().reshape((n, of, 1, depth)).unwrap();
        let part = part.broadcast_as((n, of, heads / of, depth)).unwrap().reshape((n, heads, depth)).unwrap();
        part.transpose(0, 1).unwrap().contiguous().unwrap()
    };
    let (q, k, v) = (part(0, heads), part(heads, kv_heads), part(heads + kv_heads, kv_heads));
    let mut scores =
        (q.matmul(&k.transpose(1, 2).unwrap().contiguous().unwrap()).unwrap() * f64::from(attention.scale)).unwrap();
    if let Some(cap) = attention.softcap.map(f64::from) {
        scores = ((scores / cap).unwrap().tanh().unwrap() * cap).unwrap();
    }
    let scores = (scores + tensor(bias, &[heads, n, n])).unwrap();
    let scores = scores.broadcast_add(&tensor(&hidden(attention, n), &[n, n])).unwrap();
    let p = candle_nn::ops::softmax(&scores, D::Minus1).unwrap();
    let y = p.matmul(&v).unwrap().transpose(0, 1).unwrap().reshape((n, heads * depth)).unwrap();
    let loss = (&y * tensor(seed, &[n, heads * depth])).unwrap().sum_all().unwrap();
    let gradient = loss.backward().unwrap().get(&x).unwrap().clone();
    let flat = |t: &Tensor| t.flatten_all().unwrap().to_dtype(DType::F32).unwrap().to_vec1().unwrap();
    Results { y: flat(&y), p: flat(&p), gradient: flat(&gradient) }
}

/// −10⁹ where a query does not see a key: with a soft cap in front, scores are small beside it.
fn hidden(attention: &Attention, n: usize) -> Vec<f32> {
    let sees = |query: usize, key: usize| {
        let near = attention.window.is_none_or(|window| key + window.left >= query && key <= query + window.right);
        near && (!attention.causal || key <= query)
    };
    (0..n * n).map(|at| if sees(at / n, at % n) { 0.0 } else { -1e9 }).collect()
}

/// Packed rows have the bits they have alone, and the numbers of the composed operations.
fn check(attention: &Attention, lengths: &[usize], biased: bool) {
    let mut rng = ChaCha8Rng::seed_from_u64(lengths.len() as u64);
    let (offsets, columns) = (borders(lengths), attention.columns());
    let width = attention.heads * attention.depth;
    let tokens = offsets[lengths.len()];
    let qkv: Vec<f32> = random(&mut rng, tokens * columns).iter().map(|x| 2.0 * x).collect();
    let seed = random(&mut rng, tokens * width);
    let tables: Vec<Vec<f32>> =
        lengths.iter().map(|n| random(&mut rng, if biased { attention.heads * n * n } else { 0 })).collect();
    let bias = biased.then(|| Bias::by_row(tables.clone(), (0..lengths.len()).collect()).unwrap());
    let packed = ours(attention, &qkv, &offsets, bias.as_ref(), &seed);
    let mut first_probability = 0;
    for (row, &n) in lengths.iter().enumerate().filter(|(_, n)| **n > 0) {
        let start = offsets[row];
        let (own, own_seed) = (&qkv[start * columns..][..n * columns], &seed[start * width..][..n * width]);
        let own_bias = biased.then(|| Bias::shared(tables[row].clone()));
        let alone = ours(attention, own, &[0, n], own_bias.as_ref(), own_seed);
        assert_eq!(alone.y, packed.y[start * width..][..n * width], "row {row}");
        assert_eq!(alone.gradient, packed.gradient[start * columns..][..n * columns], "gradient of row {row}");
        let numbers = attention.heads * n * n;
        assert_eq!(alone.p, packed.p[first_probability..][..numbers], "probabilities of row {row}");
        first_probability += numbers;
        let zeros = vec![0.0; numbers];
        let oracle = composed(attention, own, if biased { &tables[row] } else { &zeros }, own_seed);
        close("attention", &alone.y, &oracle.y, 2e-6);
        close("probabilities", &alone.p, &oracle.p, 2e-6);
        close("gradient", &alone.gradient, &oracle.gradient, 1e-5);
        let hidden = hidden(attention, n);
        for (at, p) in alone.p.iter().enumerate() {
            assert!(hidden[at % (n * n)] == 0.0 || p.to_bits() == 0, "a hidden key has probability {p}");
        }
    }
}

fn window() -> impl Strategy<Value = Option<Window>> {
    proptest::option::of((0usize..60, 0usize..60).prop_map(|(left, right)| Window { left, right }))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn equals_composed_operations(
        (kv_heads, group, depth) in (1usize..4, 1usize..4, prop_oneof![Just(1usize), 2usize..9, Just(33), Just(64)]),
        lengths in proptest::collection::vec(prop_oneof![0usize..4, 4usize..40, 90usize..130], 1..4),
        causal: bool,
        window in window(),
        softcap in proptest::option::of(0.5f32..4.0),
        biased: bool,
    ) {
        let plain = Attention::new(kv_heads * group, depth);
        check(&Attention { kv_heads, causal, window, softcap, ..plain }, &lengths, biased);
    }
}

/// Rows whose scores do not fit one block.
#[test]
fn long_rows_are_taken_in_blocks() {
    let plain = Attention::new(2, 4);
    check(&plain, &[600], false);
    let window = Some(Window { left: 70, right: 3 });
    check(&Attention { kv_heads: 1, window, ..plain }, &[1100], true);
    check(&Attention { causal: true, softcap: Some(3.0), ..plain }, &[700, 2], false);
}

#[test]
fn threads_do_not_show() {
    let window = Some(Window { left: 20, right: 9 });
    let attention = Attention { kv_heads: 2, window, softcap: Some(2.0), ..Attention::new(6, 8) };
    let offsets = borders(&[33, 1, 120, 7]);
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let qkv = random(&mut rng, offsets[4] * attention.columns());
    let seed = random(&mut rng, offsets[4] * 48);
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let results = pool.install(|| ours(&attention, &qkv, &offsets, None, &seed));
        (results.y, results.p, results.gradient)
    };
    let one = with(1);
    assert!([2, 5].into_iter().all(|threads| with(threads) == one));
}

#[test]
fn gradients_are_those_of_central_differences() {
    for (heads, kv_heads, depth) in [(1, 1, 1), (2, 2, 3), (4, 2, 8)] {
        let plain = Attention { kv_heads, ..Attention::new(heads, depth) };
        let capped = Attention { causal: true, softcap: Some(0.5), ..plain };
        for layer in [plain, capped] {
            check_gradient("attention", 13, layer.columns(), &|tape, x| {
                layer.forward(tape, x, &[0, 1, 6, 6, 13], None, false).unwrap().0
            });
        }
    }
}

#[test]
fn a_relative_bias_depends_on_the_distance() {
    let offsets = [0, 3, 3, 5];
    let bias = Bias::relative(2, &offsets, |head, distance| (100 * head) as f32 + distance as f32);
    assert_eq!(bias.of_row(0)[..9], [0.0, 1.0, 2.0, -1.0, 0.0, 1.0, -2.0, -1.0, 0.0]);
    assert_eq!(bias.of_row(0)[9..12], [100.0, 101.0, 102.0]);
    assert_eq!(bias.of_row(2), [0.0, 1.0, -1.0, 0.0, 100.0, 101.0, 99.0, 100.0]);
    assert!(bias.of_row(1).is_empty());
}

/// As transformers 5.23 has them: 32 buckets up to a distance of 128.
#[test]
fn buckets_are_those_of_t5() {
    let both = [-200, -128, -91, -90, -64, -20, -9, -8, -1, 0, 1, 7, 8, 11, 12, 16, 45, 46, 127];
    let buckets = both.map(|distance| relative_bucket(distance, 32, 128, true));
    assert_eq!(buckets, [15, 15, 15, 14, 14, 10, 8, 8, 1, 0, 17, 23, 24, 24, 25, 26, 28, 29, 31]);
    let back = [-200, -113, -112, -60, -17, -16, -15, 0, 5];
    let buckets = back.map(|distance| relative_bucket(distance, 32, 128, false));
    assert_eq!(buckets, [31, 31, 30, 26, 16, 16, 15, 0, 0]);
}

#[test]
fn what_does_not_fit_is_refused() {
    let node = Node::constant(Array::new(vec![0.0; 60], 5, 12));
    let run = |attention: Attention, offsets: &[usize], bias: Option<&Bias>| {
        attention.forward(&mut Tape::new(&(), false), &node, offsets, bias, false).map(drop)
    };
    let fits = Attention::new(2, 2);
    assert!(run(fits, &[0, 2, 5], None).is_ok());
    assert!(run(Attention { kv_heads: 1, ..Attention::new(4, 2) }, &[0, 5], None).is_ok());
    for offsets in [&[0, 4][..], &[1, 5], &[0, 3, 2, 5], &[]] {
        assert!(run(fits, offsets, None).is_err());
    }
    for (heads, kv_heads, depth) in [(3, 2, 2), (0, 1, 2), (1, 0, 2), (2, 2, 0), (2, 1, 2)] {
        assert!(run(Attention { kv_heads, ..Attention::new(heads, depth) }, &[0, 5], None).is_err());
    }
    assert!(run(fits, &[0, 5], Some(&Bias::shared(vec![0.0; 50]))).is_ok());
    assert!(run(fits, &[0, 5], Some(&Bias::shared(vec![0.0; 49]))).is_err());
    assert!(Bias::by_row(vec![vec![0.0; 50]], vec![1]).is_err());
    assert!(run(fits, &[0, 5], Some(&Bias::by_row(vec![vec![0.0; 50]], vec![0, 0]).unwrap())).is_err());
}
