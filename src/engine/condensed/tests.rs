//! What is kept of logits is what a forward with all of them gives, whatever the head reads at a time.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::hub::{self, HubOptions, Source};
use crate::models::{self, Content, Outputs, Row, TapPlan};
use crate::nn::{Device, Node, Precision};

/// A model, and how many positions its head ever read at a time.
struct Watched {
    model: Box<dyn Model>,
    most: AtomicUsize,
}

impl Model for Watched {
    fn spec(&self) -> &Spec {
        self.model.spec()
    }
    fn embed(&self, tape: &mut Tape<'_>, batch: &Batch) -> Result<Node, nn::Error> {
        self.model.embed(tape, batch)
    }
    fn forward(&self, tape: &mut Tape<'_>, batch: &Batch, taps: &TapPlan) -> Result<Outputs, nn::Error> {
        self.model.forward(tape, batch, taps)
    }
    fn states(&self, tape: &mut Tape<'_>, batch: &Batch, taps: &TapPlan) -> Result<Outputs, nn::Error> {
        self.model.states(tape, batch, taps)
    }
    fn head(&self, tape: &mut Tape<'_>, states: &Node) -> Result<Node, nn::Error> {
        self.most.fetch_max(states.rows(), Ordering::Relaxed);
        self.model.head(tape, states)
    }
}

/// The same without a head apart.
struct Whole(Watched);

impl Model for Whole {
    fn spec(&self) -> &Spec {
        self.0.spec()
    }
    fn embed(&self, tape: &mut Tape<'_>, batch: &Batch) -> Result<Node, nn::Error> {
        self.0.embed(tape, batch)
    }
    fn forward(&self, tape: &mut Tape<'_>, batch: &Batch, taps: &TapPlan) -> Result<Outputs, nn::Error> {
        self.0.forward(tape, batch, taps)
    }
}

fn load(name: &str) -> Watched {
    let source = Source::Folder(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name));
    let offline = HubOptions {
        cache: std::path::PathBuf::new(),
        endpoint: String::new(),
        token: None,
        offline: true,
        deadline: std::time::Duration::ZERO,
        progress: false,
    };
    Watched { model: models::load(&hub::open(&source, &offline).unwrap()).unwrap(), most: AtomicUsize::new(0) }
}

/// Keeps a logit, another at each position, and the position.
struct Kept;

impl Kept {
    fn index(position: usize) -> usize {
        3 + 2 * position
    }
}

impl Condense for Kept {
    fn width(&self) -> usize {
        2
    }
    fn condense(&self, position: usize, logits: &[f32], kept: &mut [f32]) {
        kept.copy_from_slice(&[logits[Self::index(position)], position as f32]);
    }
}

/// Positions that each row reads.
const READ: usize = 5;

fn row(ids: std::ops::Range<u32>) -> Row {
    let read = (ids.len() - READ..ids.len()).collect();
    Row { content: Content::Tokens { ids: ids.map(|id| id % 60 + 2).collect(), type_ids: Vec::new() }, read }
}

/// What [`Kept`] keeps of a whole forward's logits.
fn kept(logits: &[f32], labels: usize) -> Vec<f32> {
    let own = |(row, logits): (usize, &[f32])| [logits[Kept::index(row % READ)], (row % READ) as f32];
    logits.chunks(labels).enumerate().flat_map(own).collect()
}

/// Where the kept logits are differentiated.
const PLACES: [usize; 3] = [4, 0, 2];

/// Of a forward with all logits.
fn whole(model: &dyn Model, batch: &Batch, rule: Rule, taps: &TapPlan) -> Result<Evaluation, nn::Error> {
    let (rows, labels) = (batch.rows.len(), model.spec().outputs());
    let seed = |objective: usize, logits: &[f32]| {
        let mut seed = vec![0.0; logits.len()];
        let place = PLACES[objective];
        (0..rows).for_each(|row| seed[(row * READ + place) * labels + Kept::index(place)] = 1.0);
        Ok(seed)
    };
    let question = Question { taps, objectives: PLACES.len(), seed: &seed, rule, ..Question::logits(Precision::F32) };
    let mut evaluation = Placed { model, device: &Device::default() }.evaluate(&(), batch, question)?;
    evaluation.logits = kept(&evaluation.logits, labels);
    evaluation.taps.lens.iter_mut().for_each(|lens| lens.values = kept(&lens.values, labels));
    Ok(evaluation)
}

/// Of one whose logits are never all there.
fn condensed(
    model: &dyn Model,
    (batch, at_once): (&Batch, usize),
    rule: Rule,
    taps: &TapPlan,
) -> Result<Evaluation, nn::Error> {
    let labels = model.spec().outputs();
    let seed = |objective: usize, logits: &[f32]| {
        let mut seed = vec![0.0; logits.len()];
        seed.chunks_mut(labels).for_each(|seed| seed[Kept::index(PLACES[objective])] = 1.0);
        Ok(seed)
    };
    let question = Question { taps, objectives: PLACES.len(), seed: &seed, rule, ..Question::logits(Precision::F32) };
    let condensed = Condensed { by: &Kept, places: &PLACES };
    evaluate_by(at_once, Placed { model, device: &Device::default() }, (&(), batch), question, condensed)
}

fn close(what: &str, ours: &[f32], whole: &[f32]) {
    assert_eq!(ours.len(), whole.len(), "{what}");
    let largest = whole.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
    for (at, (own, whole)) in ours.iter().zip(whole).enumerate() {
        assert!((own - whole).abs() <= 1e-6 * largest, "{what} {at}: {own} for {whole}");
    }
}

#[test]
fn what_is_kept_is_that_of_all_logits() {
    for name in ["tiny-gpt2-lm", "tiny-llama-lm"] {
        let model = load(name);
        let taps = TapPlan { lens: vec![0, 1, model.spec().layers], likeliest: 3, ..TapPlan::default() };
        let batch = Batch::new(vec![row(0..9), row(10..16), row(3..15)]);
        let expected = whole(&model, &batch, Rule::Gradient, &taps).unwrap();
        for at_once in [2, 4, 100] {
            model.most.store(0, Ordering::Relaxed);
            let found = condensed(&model, (&batch, at_once), Rule::Gradient, &taps).unwrap();
            assert_eq!((&found.logits, found.labels), (&expected.logits, 2), "{name} {at_once}");
            for (found, expected) in found.taps.lens.iter().zip(&expected.taps.lens) {
                assert_eq!((found.layer, found.width, &found.lengths), (expected.layer, 2, &expected.lengths));
                assert_eq!(found.values, expected.values, "{name} {at_once}");
            }
            assert_eq!(found.taps.likeliest, expected.taps.likeliest, "{name} {at_once}");
            assert_eq!((found.taps.likeliest.len(), found.taps.likeliest[0].width), (3, 9));
            assert_eq!((found.taps.lens.len(), found.gradients.len()), (3, PLACES.len()));
            for (found, expected) in found.gradients.iter().zip(&expected.gradients) {
                close(name, found, expected);
            }
            let most = model.most.load(Ordering::Relaxed);
            assert!(most <= at_once.min(3 * READ), "{name}: {most} positions at a time for {at_once}");
        }
        // A model without a head apart.
        let found = condensed(&Whole(model), (&batch, 4), Rule::Gradient, TapPlan::NOTHING).unwrap();
        assert_eq!(found.logits, expected.logits, "{name}");
        close(name, &found.gradients[1], &expected.gradients[1]);
    }
}

#[test]
fn rules_go_through_the_head() {
    for name in ["tiny-gpt2-lm", "tiny-llama-lm"] {
        let model = load(name);
        let pair = Batch::new(vec![row(0..9), row(20..29)]);
        let expected = whole(&model, &pair, Rule::DeepLift, TapPlan::NOTHING).unwrap();
        let found = condensed(&model, (&pair, 2), Rule::DeepLift, TapPlan::NOTHING).unwrap();
        assert_eq!(found.logits, expected.logits);
        for (found, expected) in found.gradients.iter().zip(&expected.gradients) {
            close(name, found, expected);
        }
        let guided = condensed(&model, (&pair, 2), Rule::Guided, TapPlan::NOTHING);
        assert!(matches!(guided, Err(nn::Error::NoRule { .. })), "{name} has no ReLU");
    }
}

/// Gradients at what is tapped.
#[test]
fn taps_are_differentiated() {
    let model = load("tiny-llama-lm");
    let taps = TapPlan { hidden: vec![1], gradients: true, ..TapPlan::default() };
    let batch = Batch::new(vec![row(0..9)]);
    let expected = whole(&model, &batch, Rule::Gradient, &taps).unwrap();
    let found = condensed(&model, (&batch, 2), Rule::Gradient, &taps).unwrap();
    assert!(found.gradients.is_empty());
    let pairs = found.taps.hidden[0].gradients.iter().zip(&expected.taps.hidden[0].gradients);
    assert_eq!(pairs.len(), PLACES.len());
    pairs.for_each(|(found, expected)| close("hidden", found, expected));
}

/// Nobody waits any more: the head stops between two blocks.
#[test]
fn the_head_gives_way_between_blocks() {
    struct Counting(AtomicUsize);
    impl Pace for Counting {
        fn step(&self) -> Result<(), nn::Stopped> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
    }
    let model = load("tiny-llama-lm");
    let batch = Batch::new(vec![row(0..9)]);
    let steps = |at_once: usize| {
        let pace = Counting(AtomicUsize::new(0));
        let condensed = Condensed { by: &Kept, places: &[] };
        let placed = Placed { model: &model, device: &Device::default() };
        evaluate_by(at_once, placed, (&pace, &batch), Question::logits(Precision::F32), condensed).unwrap();
        pace.0.into_inner()
    };
    assert_eq!(steps(2), steps(100) + 2, "three blocks for one");
}
