//! Layers on a device against those on the host, values and gradients, each an oracle for the other; layers that know
//! no device among those that do; failures. The gradient tests of `nn::tests` run on every device as well.

use std::cell::Cell;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::weights::Constants;
use super::*;
use crate::nn::tape::{Backward as HostBackward, Inputs};
use crate::nn::tests::{Layer, OFFSETS, check_gradient, close, linear, norm, random};
use crate::nn::{Activation, Array, Attention, Error, Node, Patches, Tape, add_constant, prepend, select};

/// The layer's output and its gradient for a fixed seed.
fn run(device: &Device, (rows, cols): (usize, usize), layer: Layer<'_>) -> (Vec<f32>, Vec<f32>) {
    let mut rng = ChaCha8Rng::seed_from_u64(21);
    let mut tape = Tape::new(&(), true).on(device);
    let x = tape.variable(Array::new(random(&mut rng, rows * cols), rows, cols));
    let y = layer(&mut tape, &x);
    let seed = random(&mut rng, y.rows() * y.cols());
    let gradient = tape.backward(&y, &seed, &x).unwrap();
    (y.numbers().unwrap().to_vec(), gradient)
}

#[track_caller]
fn same_as_on_the_host(name: &str, rows: usize, cols: usize, layer: Layer<'_>) {
    let (values, gradient) = run(&Device::default(), (rows, cols), layer);
    for device in &Device::every()[1..] {
        let (own, own_gradient) = run(device, (rows, cols), layer);
        close(&format!("{name} on {device:?}"), &own, &values, 5e-6);
        close(&format!("gradient of {name} on {device:?}"), &own_gradient, &gradient, 1e-5);
    }
}

#[test]
fn layers_are_those_of_the_host() {
    for (inputs, outputs) in [(5, 3), (3, 1), (70, 80), (300, 65)] {
        let layer = linear(1, inputs, outputs);
        same_as_on_the_host("linear", 9, inputs, &|tape, x| layer.forward(tape, x).unwrap());
    }
    let layer = linear(2, 12, 12);
    same_as_on_the_host("residual", 4, 12, &|tape, x| layer.forward_add(tape, x, x).unwrap());
    let layer = norm(3, 37);
    same_as_on_the_host("layer norm", 3, 37, &|tape, x| layer.forward(tape, x).unwrap());
    for name in ["gelu", "gelu_new", "silu", "relu", "tanh"] {
        let (layer, activation) = (linear(4, 9, 7), Activation::named(name).unwrap());
        same_as_on_the_host(name, 5, 9, &|tape, x| activation.forward(tape, x.clone()));
        same_as_on_the_host(name, 5, 9, &|tape, x| layer.forward_activated(tape, x, activation).unwrap());
    }
    let patches = Patches { channels: 2, patch_rows: 2, patch_cols: 3, grid_rows: 2, grid_cols: 4 };
    same_as_on_the_host("patches", 3, 96, &|tape, x| patches.forward(tape, x).unwrap());
    same_as_on_the_host("prepend", 6, 4, &|tape, x| prepend(tape, x, &[1.0, 2.0, 3.0, 4.0], 3).unwrap());
    same_as_on_the_host("select", 6, 4, &|tape, x| select(tape, x, &[5, 0, 5]).unwrap());
    let constant = Array::new(vec![2.0; 24], 6, 4);
    same_as_on_the_host("add", 6, 4, &|tape, x| add_constant(tape, x, &constant).unwrap());
}

/// Sequences of like length stand apart from one another, and some are empty.
#[test]
fn attention_is_that_of_the_host_whatever_the_lengths() {
    let borders: [&[usize]; 5] = [&OFFSETS, &[0, 13], &[0, 0, 3, 8, 11, 13], &[0, 4, 8, 12, 13], &[0, 6, 12, 12, 13]];
    for offsets in borders {
        for (heads, depth) in [(1, 1), (3, 4)] {
            let layer = Attention::new(heads, depth);
            same_as_on_the_host("attention", 13, 3 * heads * depth, &|tape, x| {
                layer.forward(tape, x, offsets, None, false).unwrap().0
            });
            let probabilities = |device: &Device| {
                let x = random(&mut ChaCha8Rng::seed_from_u64(5), 13 * 3 * heads * depth);
                let node = Node::constant(Array::new(x, 13, 3 * heads * depth));
                let kept = layer.forward(&mut Tape::new(&(), false).on(device), &node, offsets, None, true).unwrap().1;
                kept.unwrap().values
            };
            let host = probabilities(&Device::default());
            Device::every().iter().for_each(|device| close("probabilities", &probabilities(device), &host, 1e-6));
        }
    }
}

/// y = x ∘ x, on the host alone: a layer that knows nothing of devices.
fn square(tape: &mut Tape<'_>, x: &Node) -> Node {
    struct Square(Array);
    impl HostBackward for Square {
        fn backward(&self, grad: Vec<f32>, inputs: &mut Inputs<'_>) {
            inputs.add(0, grad.iter().zip(self.0.data()).map(|(grad, x)| 2.0 * grad * x).collect());
        }
        fn lift(&self, _: Vec<f32>, _: &mut Inputs<'_>) {
            unreachable!("devices follow gradients alone");
        }
    }
    let y = x.value().iter().map(|x| x * x).collect();
    tape.record(Array::new(y, x.rows(), x.cols()), [Some(x), None], || Square(x.array().clone()))
}

/// y = a + b, on the host alone.
fn sum(tape: &mut Tape<'_>, a: &Node, b: &Node) -> Node {
    struct Sum;
    impl HostBackward for Sum {
        fn backward(&self, grad: Vec<f32>, inputs: &mut Inputs<'_>) {
            inputs.add(0, grad.clone());
            inputs.add(1, grad);
        }
        fn lift(&self, _: Vec<f32>, _: &mut Inputs<'_>) {
            unreachable!("devices follow gradients alone");
        }
    }
    let y = a.value().iter().zip(b.value()).map(|(a, b)| a + b).collect();
    tape.record(Array::new(y, a.rows(), a.cols()), [Some(a), Some(b)], || Sum)
}

#[test]
fn a_layer_without_a_device_works_among_those_with_one() {
    let (first, second) = (linear(6, 8, 8), linear(7, 8, 8));
    let block = |tape: &mut Tape<'_>, x: &Node| {
        let x = first.forward(tape, x).unwrap();
        let y = square(tape, &x);
        let y = sum(tape, &y, &x);
        let y = second.forward_add(tape, &y, &x).unwrap();
        sum(tape, &y, &y)
    };
    check_gradient("a mixed block", 5, 8, &block);
    same_as_on_the_host("a mixed block", 5, 8, &block);
}

#[test]
fn what_is_empty_or_wrong_is_told_as_on_the_host() {
    let device = Device::composed();
    let mut tape = Tape::new(&(), true).on(&device);
    let none = tape.variable(Array::new(Vec::new(), 0, 5));
    assert_eq!(linear(1, 5, 3).forward(&mut tape, &none).unwrap().rows(), 0);
    let x = tape.variable(Array::new(vec![1.0; 12], 3, 4));
    assert_eq!(select(&mut tape, &x, &[]).unwrap().rows(), 0);
    assert!(matches!(select(&mut tape, &x, &[3]), Err(Error::Shape { op: "select", .. })));
    assert!(matches!(linear(1, 5, 3).forward(&mut tape, &x), Err(Error::Shape { op: "linear", .. })));
    // Nothing leads from one variable to the other.
    let other = tape.variable(Array::new(vec![1.0; 3], 1, 3));
    assert_eq!(tape.backward(&other, &[1.0; 3], &x).unwrap(), [0.0; 12]);
}

#[test]
fn a_failure_that_nobody_could_be_told_ends_the_forward() {
    let mut tape = Tape::new(&(), true).on(&Device::composed());
    let x = tape.variable(Array::new(vec![1.0; 6], 2, 3));
    let session = tape.device_of(&x).unwrap();
    let y = Activation::TANH.forward(&mut tape, x.clone());
    assert!(tape.step().is_ok());
    let refused = session.apply_or_fail(&mut tape, "activation", &x, |x, _| {
        let y = x.matmul(x)?;
        Ok((y, Nothing))
    });
    assert!(refused.is_none());
    assert!(matches!(tape.step(), Err(Error::Device { op: "activation", .. })));
    assert!(matches!(y.numbers(), Err(Error::Device { op: "activation", .. })));
    assert!(matches!(tape.backward(&y, &[1.0; 6], &x), Err(Error::Device { op: "activation", .. })));
}

struct Nothing;

impl Backward for Nothing {
    fn backward(&self, _grad: &Tensor, _wanted: [bool; 2]) -> Result<[Option<Tensor>; 2]> {
        Ok([None, None])
    }
}

#[test]
fn constants_are_uploaded_once_and_again_after_a_failure() {
    let (uploaded, uploads) = (Uploaded::default(), Cell::new(0));
    let device = candle_core::Device::Cpu;
    let upload = || {
        uploads.set(uploads.get() + 1);
        match uploads.get() {
            1 => Err(candle_core::Error::Msg("no room".to_owned())),
            _ => Ok(Constants { weight: Tensor::new(&[1.0_f32], &device)?, bias: None }),
        }
    };
    assert!(uploaded.on(&device, upload).is_err());
    assert!(uploaded.on(&device, upload).is_ok() && uploaded.clone().on(&device, upload).is_ok());
    assert_eq!(uploads.get(), 2);
}
