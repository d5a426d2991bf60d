//! Rows of masks behind what they share with the whole input, on a tiny decoder: the numbers of rows that share nothing,
//! with fewer tokens computed.

use std::path::{Path, PathBuf};

use super::super::super::evaluate::Question;
use super::super::*;
use super::Stem;
use crate::engine::fake::{self, Rereading};
use crate::hub::{self, HubOptions, Source};
use crate::input::text::{Continuation, Token};
use crate::input::units::{Fill, Units};
use crate::methods::Masking;
use crate::models::{self, Batch, Content, Model, Row};
use crate::nn::Precision;
use crate::tasks::{self, InputRow};

const WORDS: usize = 14;
const COMPLETION: usize = 5;

/// A prompt of [`WORDS`] words between two specials, and a completion.
fn prompt() -> Input {
    let Input::Text(mut text) = fake::text(WORDS) else { unreachable!() };
    text.specials.unk = Some(3);
    let token = |id: usize| Token {
        id: id as u32,
        text: String::new(),
        start: 0,
        end: 1,
        special: false,
        word: None,
        sequence: None,
    };
    let continuation = Continuation {
        tokens: (0..COMPLETION).map(|index| token(40 + 7 * index)).collect(),
        written: vec![String::new(); COMPLETION],
        prompt: WORDS + 2,
        ..Continuation::default()
    };
    Input::Text(text.followed_by(continuation))
}

/// Outputs of `masks`, and what was computed for them.
fn outputs(model: &dyn Evaluate, budget: usize, fill: Fill, masks: &[Mask]) -> (Vec<Vec<f32>>, Spent) {
    let (input, task) = (prompt(), tasks::of_model(model.spec()));
    let (turns, cancel, deadline, spent) = (Turns::new(), Cancel::new(), Deadline::none(), Cell::default());
    let taps = TapPlan::default();
    let work = Work {
        model,
        helpers: &[],
        task: &*task,
        input: &input,
        lexicon: None,
        target: &TargetSpec::Predicted,
        taps: &taps,
        seed: 0,
        partial: false,
        cost: 100,
    };
    let watch = Watch { deadline: &deadline, cancel: &cancel };
    let means =
        Means { turns: &turns, watch, threads: 2, tokens_per_turn: budget, device: &Device::default(), audience: &() };
    let job = JobCtx::begin(work, means, &spent).unwrap();
    let units = Units::words(input.as_text().unwrap());
    let before = spent.get();
    let masking = Masking { units: &units, fill, precision: Precision::F32 };
    // In two calls: the second needs more of what is shared than the first, or less.
    let (first, second) = masks.split_at(masks.len() / 2);
    let mut all = job.outputs(masking, first).unwrap();
    all.extend(job.outputs(masking, second).unwrap());
    let spent = spent.get();
    (all, Spent { rows: spent.rows - before.rows, tokens: spent.tokens - before.tokens })
}

fn without(unit: usize) -> Mask {
    let mut mask = Mask::full(WORDS);
    mask.set(unit, false);
    mask
}

fn model(name: &str) -> Box<dyn Model> {
    let options = HubOptions {
        cache: PathBuf::new(),
        endpoint: String::new(),
        token: None,
        offline: true,
        deadline: Duration::from_secs(1),
        progress: false,
    };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    models::load(&hub::open(&Source::Folder(path), &options).unwrap()).unwrap()
}

#[test]
fn rows_behind_what_they_share_have_the_same_bits() {
    for name in ["tiny-llama-lm", "tiny-gpt2-lm"] {
        let model = model(name);
        let placed = Placed { model: &*model, device: &Device::default() };
        let singles: Vec<Mask> = (0..WORDS).map(without).collect();
        let backwards: Vec<Mask> = singles.iter().rev().cloned().collect();
        let halves: Vec<Mask> = (1..200_usize)
            .map(|pattern| {
                let mut mask = Mask::empty(WORDS);
                (0..WORDS).for_each(|unit| mask.set(unit, (pattern * 40_503) >> unit & 1 == 1));
                mask
            })
            .collect();
        for masks in [&singles, &backwards, &halves] {
            for (budget, fill) in [(30, Fill::Remove), (1000, Fill::Remove), (200, Fill::Unk)] {
                let (shared, own) = outputs(&placed, budget, fill, masks);
                let (apart, all) = outputs(&Rereading(placed), budget, fill, masks);
                assert_eq!(shared, apart, "{name} {budget} {fill:?}");
                assert_eq!(own.rows, all.rows, "what is shared is no row");
                assert!(own.tokens < all.tokens, "{name}: {} of {}", own.tokens, all.tokens);
            }
        }
        // Leaving one out: on average half of the prompt is shared, and computed once.
        let (_, own) = outputs(&placed, 1000, Fill::Remove, &singles);
        let (_, all) = outputs(&Rereading(placed), 1000, Fill::Remove, &singles);
        assert!(own.tokens * 10 < all.tokens * 7, "{name}: {} of {}", own.tokens, all.tokens);
    }
}

#[test]
fn one_row_alone_shares_nothing() {
    let model = model("tiny-llama-lm");
    let placed = Placed { model: &*model, device: &Device::default() };
    let masks = [without(WORDS - 1), without(0)];
    assert_eq!(outputs(&placed, 1000, Fill::Remove, &masks), outputs(&Rereading(placed), 1000, Fill::Remove, &masks));
}

/// Grouped heads keep fewer numbers of a token than the hidden size, and precisions share the room.
#[test]
fn what_is_kept_is_counted_as_it_is() {
    let model = model("tiny-llama-lm");
    let placed = Placed { model: &*model, device: &Device::default() };
    let ids: Vec<u32> = (0..12).collect();
    let row = Row { content: Content::Tokens { ids: ids.clone(), type_ids: Vec::new() }, read: vec![11] };
    let taps = TapPlan { prefix: true, ..TapPlan::default() };
    let question = Question { taps: &taps, ..Question::logits(Precision::F32) };
    let prefix = placed.evaluate(&(), &Batch::new(vec![row.clone()]), question).unwrap().taps.prefix.unwrap();
    let numbers: usize = prefix.layers.iter().flatten().map(|part| part.data().len()).sum();
    assert_eq!(numbers, model.kept() * 12);

    let rows = [InputRow { row, tokens: ids.iter().map(|&id| id as usize).collect() }];
    let stem = Stem { room: 15, ..Stem::of(&placed, &rows).unwrap() };
    assert_eq!(stem.most(40, Precision::F32), 12);
    stem.known.borrow_mut().push((Precision::F32, prefix));
    assert_eq!((stem.most(40, Precision::F32), stem.most(40, Precision::Bf16)), (12, 3));
}
