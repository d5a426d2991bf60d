//! One forward, or forward and gradient, for every line on standard input: what `benches/peers/compare.py` sets
//! against PyTorch and ONNX Runtime in turn.
//!
//!     cargo bench --bench rounds -- FOLDER ROWS TOKENS forward|gradient
//!
//! Prints one line of JSON a round: seconds, the logits, and the sum of the gradient's absolute values. Without
//! arguments it does nothing, so that `cargo bench` passes over it.

use std::io::{BufRead, Write};
use std::time::{Duration, Instant};

use explaind::hub::{self, HubOptions, HubOverrides, Source};
use explaind::models::{self, Batch, Content, Model, Row, TapPlan};
use explaind::nn::Tape;

/// As the service has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [folder, rows, tokens, work] = arguments.as_slice() else { return Ok(()) };
    // SAFETY: sets one integer inside the allocator: freed pages are kept, as the service keeps them.
    unsafe { libmimalloc_sys::mi_option_set(15, -1) }
    let overrides =
        HubOverrides { cache: None, offline: Some(true), deadline: Duration::from_secs(1), progress: false };
    let options = HubOptions::from_env(|_| None, overrides);
    let model = models::load(&hub::open(&Source::parse(folder)?, &options)?)?;
    let batch = batch(&*model, rows.parse()?, tokens.parse()?);
    let gradient = work == "gradient";
    for line in std::io::stdin().lock().lines() {
        line?;
        let began = Instant::now();
        // On a thread of the pool, as the service computes.
        let (logits, size) = rayon::scope(|_| round(&*model, &batch, gradient))?;
        let seconds = began.elapsed().as_secs_f64();
        println!("{}", serde_json::json!({"seconds": seconds, "logits": logits, "gradient": size}));
        std::io::stdout().flush()?;
    }
    Ok(())
}

/// The logits and the sum of the gradient's absolute values.
fn round(model: &dyn Model, batch: &Batch, gradient: bool) -> Result<(Vec<f32>, f64), explaind::nn::Error> {
    let mut tape = Tape::new(&(), gradient);
    let outputs = model.forward(&mut tape, batch, &TapPlan::default())?;
    let logits = outputs.logits.value().to_vec();
    if !gradient {
        return Ok((logits, 0.0));
    }
    // The first label's logit of every row.
    let labels = outputs.logits.cols();
    let seed: Vec<f32> = (0..logits.len()).map(|at| f32::from(u8::from(at % labels == 0))).collect();
    let gradient = tape.backward(&outputs.logits, &seed, &outputs.input)?;
    Ok((logits, gradient.iter().map(|x| f64::from(x.abs())).sum()))
}

/// The inputs that compare.py makes by the same formulas.
fn batch(model: &dyn Model, rows: usize, tokens: usize) -> Batch {
    let spec = model.spec();
    let row = |row: usize| match &spec.image {
        Some(image) => {
            let pixel = |at: usize| ((at * 31 + row * 7) % 255) as f32 / 127.0 - 1.0;
            let pixels = (0..image.channels * image.rows * image.cols).map(pixel).collect();
            Row { content: Content::Pixels(pixels), read: vec![0] }
        }
        None => {
            let id = |at: usize| ((at * 131 + row * 17) % (spec.vocab - 1)) as u32;
            let ids: Vec<u32> = (0..tokens).map(id).collect();
            let read = vec![spec.reads.position(ids.iter().copied())];
            Row { content: Content::Tokens { ids, type_ids: Vec::new() }, read }
        }
    };
    Batch::new((0..rows).map(row).collect())
}
