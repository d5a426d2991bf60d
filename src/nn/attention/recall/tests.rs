//! Maps of the probabilities and of their gradient against plain loops, and nodes' gradients against single walks back.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::nn::tests::{OFFSETS, check_gradient, close, linear, norm, random};
use crate::nn::{Activation, Array, Device, Distances, Window, silence};

/// dO Vᵀ by loops, 0 where P is 0.
fn naive(attention: &Attention, qkv: &[f32], p: &[f32], grad: &[f32], offsets: &[usize]) -> Vec<f32> {
    let Attention { heads, kv_heads, depth, .. } = *attention;
    let (stride, width) = (attention.columns(), heads * depth);
    let mut out = Vec::new();
    for pair in offsets.windows(2) {
        for head in 0..heads {
            let value = (heads + kv_heads + head / (heads / kv_heads)) * depth;
            for query in pair[0]..pair[1] {
                for key in pair[0]..pair[1] {
                    let (grad, value) = (&grad[query * width + head * depth..], &qkv[key * stride + value..]);
                    out.push((0..depth).map(|column| grad[column] * value[column]).sum::<f32>());
                }
            }
        }
    }
    out.iter().zip(p).map(|(slope, p)| if *p == 0.0 { 0.0 } else { *slope }).collect()
}

/// The heads of `p` and of `slopes` as one map a row, and each head's sum, by loops.
fn mapped(heads: usize, p: &[f32], slopes: &[f32], offsets: &[usize]) -> [Vec<f32>; 4] {
    let (mut largest, mut sum, mut relevance, mut importance) = (vec![], vec![], vec![], vec![]);
    let mut begin = 0;
    for pair in offsets.windows(2) {
        let square = (pair[1] - pair[0]) * (pair[1] - pair[0]);
        let own = |numbers: &[f32], head: usize, at: usize| numbers[begin + head * square + at];
        for at in 0..square {
            let each = |head: usize| (own(p, head, at), own(slopes, head, at));
            largest.push((0..heads).map(|head| each(head).0).fold(0.0, f32::max));
            sum.push((0..heads).map(|head| each(head).0).sum());
            relevance.push((0..heads).map(|head| (each(head).0 * each(head).1).max(0.0)).sum::<f32>() / heads as f32);
        }
        for head in 0..heads {
            importance.push((0..square).map(|at| (own(p, head, at) * own(slopes, head, at)).abs()).sum());
        }
        begin += heads * square;
    }
    [largest, sum, relevance, importance]
}

fn check(recall: &Recall, grad: &[f32], (heads, p, slopes): (usize, &[f32], &[f32]), offsets: &[usize]) {
    let [largest, sum, relevance, importance] = mapped(heads, p, slopes, offsets);
    close("largest", &recall.folded(f32::max).unwrap(), &largest, 1e-5);
    close("sum", &recall.folded(|a, b| a + b).unwrap(), &sum, 1e-5);
    let (map, of_heads) = recall.relevance(grad).unwrap();
    close("relevance", &map, &relevance, 1e-5);
    close("importance", &of_heads, &importance, 1e-5);
    assert!(recall.relevance(&grad[1..]).is_err());
}

#[test]
fn maps_of_heads_are_those_of_plain_loops() {
    let mut rng = ChaCha8Rng::seed_from_u64(31);
    let window = Some(Window { left: 2, right: 1 });
    for attention in [
        Attention::new(2, 3),
        Attention { causal: true, kv_heads: 2, ..Attention::new(4, 5) },
        Attention { window, softcap: Some(2.0), ..Attention::new(3, 4) },
    ] {
        for offsets in [OFFSETS.to_vec(), vec![0, 130, 131]] {
            let tokens = offsets[offsets.len() - 1];
            let qkv = random(&mut rng, tokens * attention.columns());
            let grad = random(&mut rng, tokens * attention.heads * attention.depth);
            for device in Device::every() {
                let mut tape = Tape::new(&(), true).on(&device);
                let node = tape.variable(Array::new(qkv.clone(), tokens, attention.columns()));
                let (out, p) = attention.forward(&mut tape, &node, &offsets, None, true).unwrap();
                let recall = Recall::plain(attention, None, (&node, &out), &offsets);
                let p = p.unwrap().values;
                let slopes = naive(&attention, &qkv, &p, &grad, &offsets);
                check(&recall, &grad, (attention.heads, &p, &slopes), &offsets);
            }
        }
    }
}

#[test]
fn disentangled_attention_has_its_values_in_the_same_place() {
    let mut rng = ChaCha8Rng::seed_from_u64(32);
    let (heads, depth) = (2, 3);
    let table = Some(Arc::new(random(&mut rng, 8 * heads * depth)));
    let distances = Distances { span: 4, logarithmic: None };
    let attention = Arc::new(Disentangled { heads, scale: 0.4, distances, keys: table.clone(), queries: table });
    let (qkv, grad) = (random(&mut rng, 13 * 18), random(&mut rng, 13 * 6));
    let mut tape = Tape::new(&(), true);
    let node = tape.variable(Array::new(qkv.clone(), 13, 18));
    let (out, p) = attention.forward(&mut tape, &node, &OFFSETS, true).unwrap();
    let recall = Recall::disentangled(&attention, (&node, &out), &OFFSETS);
    let p = p.unwrap().values;
    let slopes = naive(&Attention::new(heads, depth), &qkv, &p, &grad, &OFFSETS);
    check(&recall, &grad, (heads, &p, &slopes), &OFFSETS);
}

#[test]
fn silenced_values_are_a_zeroed_column() {
    let mut rng = ChaCha8Rng::seed_from_u64(33);
    check_gradient("silence", 6, 4, &|tape, x| silence(tape, x, &[0, 4], 1..3).unwrap());
    let attention = Attention::new(2, 3);
    let qkv = Node::constant(Array::new(random(&mut rng, 5 * 18), 5, 18));
    let mut tape = Tape::new(&(), false);
    let (_, p) = attention.forward(&mut tape, &qkv, &[0, 5], None, true).unwrap();
    let silent = silence(&mut tape, &qkv, &[3], 12..18).unwrap();
    let (out, _) = attention.forward(&mut tape, &silent, &[0, 5], None, false).unwrap();
    let p = p.unwrap().values;
    for (place, ours) in out.value().iter().enumerate() {
        let (query, column) = (place / 6, place % 6);
        let keys = (0..5).filter(|key| *key != 3);
        let value = |key: usize| p[column / 3 * 25 + query * 5 + key] * qkv.value()[key * 18 + 12 + column];
        assert!((ours - keys.map(value).sum::<f32>()).abs() < 1e-5);
    }
    assert!(silence(&mut tape, &qkv, &[5], 12..18).is_err() && silence(&mut tape, &qkv, &[0], 12..19).is_err());
}

/// One walk for several nodes gives the bits that a walk for each gives, on every device.
#[test]
fn gradients_at_nodes_are_those_of_single_walks() {
    let mut rng = ChaCha8Rng::seed_from_u64(34);
    let (values, seed) = (random(&mut rng, 4 * 8), random(&mut rng, 4 * 8));
    let (first, second, layer) = (linear(1, 8, 8), linear(2, 8, 8), norm(3, 8));
    for device in Device::every() {
        let mut tape = Tape::new(&(), true).on(&device);
        let x = tape.variable(Array::new(values.clone(), 4, 8));
        let a = first.forward_activated(&mut tape, &x, Activation::TANH).unwrap();
        let b = layer.forward(&mut tape, &a).unwrap();
        let c = second.forward_add(&mut tape, &b, &a).unwrap();
        let found = tape.gradients(&c, &seed, &[&b, &x, &a, &c, &b]).unwrap();
        for (found, node) in found.iter().zip([&b, &x, &a, &c, &b]) {
            let alone = tape.gradients(&c, &seed, &[node]).unwrap();
            assert_eq!(*found, alone[0]);
        }
        assert_eq!(found[1], tape.backward(&c, &seed, &x).unwrap());
        assert_eq!(found[3], seed);
        // What comes later has no part in what came before.
        assert_eq!(tape.gradients(&a, &seed, &[&c]).unwrap(), [vec![0.0; 32]]);
        assert!(tape.gradients(&c, &seed, &[&Node::constant(Array::new(values.clone(), 4, 8))]).is_err());
        assert!(tape.gradients(&c, &seed[1..], &[&x]).is_err());
        assert!(tape.gradients(&c, &seed, &[]).unwrap().is_empty());
    }
}
