//! The layers of `nn` at the sizes of a base model, in GFLOP/s or GB/s beside what this machine can do at most.
//!
//!     cargo bench --bench kernels [-- FILTER]
//!
//! The peaks are measured first: multiply-adds that stay in registers, and a sum of two arrays far beyond the caches
//! (bytes read and written), each on all threads. criterion prints elements a second; read "Gelem/s" as GFLOP/s in the
//! group `flop`, and as GB/s in the group `byte`.

use std::hint::black_box;
use std::time::Instant;

use criterion::{Criterion, Throughput};
use explaind::nn::{
    Activation, Array, Attention, Gate, LayerNorm, Linear, Node, RmsNorm, Rope, RopeScaling, Rotary, Tape,
};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

/// As the service has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const WIDTH: usize = 768;
const HEADS: usize = 12;

fn main() {
    // SAFETY: sets one integer inside the allocator: freed pages are kept, as the service keeps them.
    unsafe { libmimalloc_sys::mi_option_set(15, -1) }
    let mut criterion = Criterion::default().sample_size(20).configure_from_args();
    if std::env::args().any(|argument| argument == "--bench") {
        println!("peak: {:.0} GFLOP/s, {:.1} GB/s", peak_flops() / 1e9, peak_bytes() / 1e9);
    }
    linear(&mut criterion);
    attention(&mut criterion);
    elementwise(&mut criterion);
    criterion.final_summary();
}

fn numbers(len: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7919) % 1009) as f32 / 1009.0 - 0.5).collect()
}

fn array(rows: usize, cols: usize) -> Array {
    Array::new(numbers(rows * cols), rows, cols)
}

/// Runs `layer` over an input of `rows × cols`, forward alone and with the gradient of its sum.
fn both(
    group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>,
    name: &str,
    (rows, cols): (usize, usize),
    work: u64,
    backward: u64,
    layer: impl Fn(&mut Tape<'_>, &Node) -> Node,
) {
    let input = array(rows, cols);
    group.throughput(Throughput::Elements(work));
    group.bench_function(format!("{name}/forward"), |bencher| {
        bencher.iter(|| black_box(layer(&mut Tape::new(&(), false), &Node::constant(input.clone()))));
    });
    group.throughput(Throughput::Elements(work + backward));
    group.bench_function(format!("{name}/gradient"), |bencher| {
        bencher.iter(|| {
            let mut tape = Tape::new(&(), true);
            let x = tape.variable(input.clone());
            let y = layer(&mut tape, &x);
            let seed = vec![1.0; y.value().len()];
            black_box(tape.backward(&y, &seed, &x).ok())
        });
    });
}

fn linear(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("flop");
    let Some(gelu) = Activation::named("gelu") else { return };
    for rows in [128, 1024] {
        for (inputs, outputs) in [(WIDTH, WIDTH), (WIDTH, 3 * WIDTH), (WIDTH, 4 * WIDTH), (4 * WIDTH, WIDTH)] {
            let Ok(layer) = Linear::new(numbers(inputs * outputs), Some(numbers(outputs)), inputs, outputs) else {
                return;
            };
            let work = 2 * (rows * inputs * outputs) as u64;
            let name = format!("linear {rows}x{inputs}x{outputs}");
            both(&mut group, &name, (rows, inputs), work, work, |tape, x| layer.forward(tape, x).expect("shapes fit"));
            if outputs == 4 * WIDTH {
                let name = format!("linear+gelu {rows}x{inputs}x{outputs}");
                both(&mut group, &name, (rows, inputs), work, work, |tape, x| {
                    layer.forward_activated(tape, x, gelu).expect("shapes fit")
                });
            }
        }
    }
    group.finish();
}

fn attention(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("flop");
    for (rows, length) in [(8, 128), (32, 32), (2, 512)] {
        let offsets: Vec<usize> = (0..=rows).map(|row| row * length).collect();
        // Two products of length × length × width forward; backward makes the first again and then four.
        let product = 2 * (rows * length * length * WIDTH) as u64;
        let name = format!("attention {rows}x{length}");
        both(&mut group, &name, (rows * length, 3 * WIDTH), 2 * product, 5 * product, |tape, qkv| {
            Attention::new(HEADS, WIDTH / HEADS).forward(tape, qkv, &offsets, None, false).expect("shapes fit").0
        });
    }
    group.finish();
}

fn elementwise(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("byte");
    let rows = 1024;
    let bytes = |cols: usize, passes: usize| (passes * rows * cols * size_of::<f32>()) as u64;
    let Ok(norm) = LayerNorm::new(numbers(WIDTH), numbers(WIDTH), 1e-12) else { return };
    both(&mut group, "layer norm", (rows, WIDTH), bytes(WIDTH, 2), bytes(WIDTH, 3), |tape, x| {
        norm.forward(tape, x).expect("shapes fit")
    });
    for name in ["gelu", "gelu_new", "silu"] {
        let Some(activation) = Activation::named(name) else { continue };
        both(&mut group, name, (rows, 4 * WIDTH), bytes(4 * WIDTH, 2), bytes(4 * WIDTH, 3), |tape, x| {
            activation.forward(tape, x.clone())
        });
    }
    for name in ["silu", "gelu"] {
        let Some(activation) = Activation::named(name) else { continue };
        let gate = Gate { activation };
        both(
            &mut group,
            &format!("gate {name}"),
            (rows, 8 * WIDTH),
            bytes(4 * WIDTH, 3),
            bytes(4 * WIDTH, 5),
            |tape, x| gate.forward(tape, x).expect("shapes fit"),
        );
    }
    let Ok(norm) = RmsNorm::new(numbers(WIDTH), 1e-6, 0.0) else { return };
    both(&mut group, "rms norm", (rows, WIDTH), bytes(WIDTH, 2), bytes(WIDTH, 3), |tape, x| {
        norm.forward(tape, x).expect("shapes fit")
    });
    let depth = WIDTH / HEADS;
    let positions: Vec<usize> = (0..rows).collect();
    let Ok(angles) = Rope::new(1e4, depth, RopeScaling::None).and_then(|rope| rope.angles(&[0, rows], &positions))
    else {
        return;
    };
    let (rotary, angles) = (Rotary { heads: HEADS, kv_heads: HEADS, depth }, std::sync::Arc::new(angles));
    both(&mut group, "rotary", (rows, 3 * WIDTH), bytes(3 * WIDTH, 2), bytes(3 * WIDTH, 2), |tape, x| {
        rotary.forward(tape, x.clone(), &angles).expect("shapes fit")
    });
    group.finish();
}

/// Multiply-adds a second, counted twice, with everything in registers.
fn peak_flops() -> f64 {
    const CHAINS: usize = 24;
    const STEPS: usize = 4_000_000;
    struct Chains;
    impl WithSimd for Chains {
        type Output = (f32, usize);
        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> (f32, usize) {
            let (factor, term) = (simd.splat_f32s(black_box(0.999)), simd.splat_f32s(black_box(0.001)));
            let mut chains = [simd.splat_f32s(1.0); CHAINS];
            for _ in 0..STEPS {
                for chain in &mut chains {
                    *chain = simd.mul_add_e_f32s(*chain, factor, term);
                }
            }
            let total = chains.into_iter().fold(term, |sum, chain| simd.add_f32s(sum, chain));
            (simd.reduce_sum_f32s(total), S::F32_LANES)
        }
    }
    let threads = rayon::current_num_threads();
    let once = || {
        let began = Instant::now();
        let lanes: usize = (0..threads).into_par_iter().map(|_| black_box(pulp::Arch::new().dispatch(Chains)).1).sum();
        (2 * CHAINS * STEPS * lanes) as f64 / began.elapsed().as_secs_f64()
    };
    (0..5).map(|_| once()).fold(0.0, f64::max)
}

/// Bytes a second of a = b + c on arrays of 128 MB: two read, one written.
fn peak_bytes() -> f64 {
    let len = 32 << 20;
    let (b, c, mut a) = (vec![1.0_f32; len], vec![2.0_f32; len], vec![0.0_f32; len]);
    let mut once = || {
        let began = Instant::now();
        let part = len / rayon::current_num_threads();
        let parts = a.par_chunks_mut(part).zip(b.par_chunks(part)).zip(c.par_chunks(part));
        parts.for_each(|((a, b), c)| a.iter_mut().zip(b).zip(c).for_each(|((a, b), c)| *a = b + c));
        black_box(&mut a);
        (3 * len * size_of::<f32>()) as f64 / began.elapsed().as_secs_f64()
    };
    (0..5).map(|_| once()).fold(0.0, f64::max)
}
