//! Caching, chunking, order and stopping, over a model that is a function.

use super::*;
use crate::engine::fake::{Fake, FakeTask, text};
use crate::explain::Job;
use crate::input::units::{Fill, Units};
use crate::methods::{Masking, Objective};
use crate::nn::{Precision, Rule};
use crate::tasks::OutputSpace;

/// A job over `words` words, in forwards of at most `budget` tokens, that stops at the check after `checks`.
struct Stage {
    model: Fake,
    task: FakeTask,
    input: Input,
    target: TargetSpec,
    taps: TapPlan,
    turns: Turns,
    cancel: Cancel,
    deadline: Deadline,
    budget: usize,
    device: Device,
    spent: Cell<Spent>,
}

impl Stage {
    fn new(words: usize, budget: usize) -> Self {
        Self {
            model: Fake::new(),
            task: FakeTask { rows: 1 },
            input: text(words),
            target: TargetSpec::Index(1),
            taps: TapPlan::default(),
            turns: Turns::new(),
            cancel: Cancel::new(),
            deadline: Deadline::none(),
            budget,
            device: Device::default(),
            spent: Cell::default(),
        }
    }

    fn begin(&self) -> Result<JobCtx<'_>, RunError> {
        let work = Work {
            model: &self.model,
            task: &self.task,
            input: &self.input,
            lexicon: None,
            helpers: &[],
            target: &self.target,
            taps: &self.taps,
            seed: 7,
            partial: false,
            cost: 100,
        };
        let watch = Watch { deadline: &self.deadline, cancel: &self.cancel };
        let (turns, tokens_per_turn, device) = (&self.turns, self.budget, &self.device);
        JobCtx::begin(work, Means { turns, watch, threads: 2, tokens_per_turn, device, audience: &() }, &self.spent)
    }

    fn units(&self) -> Units {
        Units::words(self.input.as_text().unwrap())
    }
}

fn masking(units: &Units, fill: Fill) -> Masking<'_> {
    Masking { units, fill, precision: Precision::F32 }
}

fn mask(units: usize, present: &[usize]) -> Mask {
    let mut mask = Mask::empty(units);
    for &unit in present {
        mask.set(unit, true);
    }
    mask
}

/// The fake's logits of the specials (ids 1 and `words` + 2) and the given words (ids 2, 3, …).
fn expected(words: usize, present: &[usize]) -> Vec<f32> {
    let sum = (1 + words + 2 + present.iter().map(|word| word + 2).sum::<usize>()) as f32;
    vec![sum, 1.0 - sum]
}

#[test]
fn outputs_stand_in_the_order_of_the_masks() {
    let stage = Stage::new(4, 6);
    let job = stage.begin().unwrap();
    let sets: [&[usize]; 5] = [&[0, 1, 2], &[], &[3], &[0, 1, 2, 3], &[1, 3]];
    let masks: Vec<Mask> = sets.iter().map(|set| mask(4, set)).collect();
    let outputs = job.outputs(masking(&stage.units(), Fill::Remove), &masks).unwrap();
    assert_eq!(outputs, sets.map(|set| expected(4, set)));
}

#[test]
fn equal_masks_are_evaluated_once_a_request() {
    let stage = Stage::new(4, 100);
    let job = stage.begin().unwrap();
    let masks = [mask(4, &[0]), mask(4, &[1]), mask(4, &[0])];
    job.outputs(masking(&stage.units(), Fill::Remove), &masks).unwrap();
    job.outputs(masking(&stage.units(), Fill::Remove), &masks).unwrap();
    assert_eq!(stage.model.rows(), 1 + 2);
    assert_eq!(stage.spent.get(), Spent { rows: 3, tokens: 6 + 3 + 3 });
}

/// What others measured costs nothing once measuring begins, and before that everything.
#[test]
fn jobs_measure_with_what_they_all_know() {
    let stage = Stage::new(4, 100);
    let (units, shared) = (stage.units(), Shared::default());
    let masks = [mask(4, &[0, 1]), mask(4, &[2])];
    let beside = || JobCtx { shared: Some(&shared), ..stage.begin().unwrap() };
    let (first, second) = (beside(), beside());
    let found = first.outputs(masking(&units, Fill::Remove), &masks).unwrap();
    shared.0.borrow_mut().join(first.memo.into_inner());
    let before = stage.model.rows();
    assert_eq!(second.outputs(masking(&units, Fill::Remove), &masks[..1]).unwrap(), found[..1]);
    assert_eq!(stage.model.rows(), before + 1);
    Job::measures(&second);
    assert_eq!(second.outputs(masking(&units, Fill::Remove), &masks).unwrap(), found);
    assert_eq!(stage.model.rows(), before + 1);
}

#[test]
fn the_full_mask_is_the_prediction() {
    let stage = Stage::new(4, 100);
    let job = stage.begin().unwrap();
    let outputs = job.outputs(masking(&stage.units(), Fill::Remove), &[Mask::full(4)]).unwrap();
    assert_eq!(outputs[0], job.logits());
    assert_eq!(stage.model.rows(), 1);
}

#[test]
fn other_units_have_masks_of_their_own() {
    let stage = Stage::new(2, 100);
    let job = stage.begin().unwrap();
    let Units::Text { kind, mut members } = stage.units() else { unreachable!() };
    members.reverse();
    let reversed = Units::Text { kind, members };
    let masks = [mask(2, &[0])];
    let plain = job.outputs(masking(&stage.units(), Fill::Remove), &masks).unwrap();
    let other = job.outputs(masking(&reversed, Fill::Remove), &masks).unwrap();
    assert_eq!((plain[0].clone(), other[0].clone()), (expected(2, &[0]), expected(2, &[1])));
}

#[test]
fn masks_go_shortest_first_into_chunks_of_the_budget() {
    let stage = Stage::new(4, 9);
    let job = stage.begin().unwrap();
    let sets: [&[usize]; 4] = [&[0, 1, 2], &[], &[3], &[1, 3]];
    job.outputs(masking(&stage.units(), Fill::Remove), &sets.map(|set| mask(4, set))).unwrap();
    assert_eq!(*stage.model.chunks.borrow(), [vec![6], vec![2, 3, 4], vec![5]]);
}

#[test]
fn a_row_over_the_budget_goes_alone() {
    let stage = Stage::new(4, 1);
    let job = stage.begin().unwrap();
    job.outputs(masking(&stage.units(), Fill::Remove), &[mask(4, &[0]), mask(4, &[1])]).unwrap();
    assert_eq!(*stage.model.chunks.borrow(), [vec![6], vec![3], vec![3]]);
}

#[test]
fn no_result_depends_on_the_budget() {
    let present = |bits: usize| (0..4).filter(|unit| bits >> unit & 1 == 1).collect::<Vec<_>>();
    let masks: Vec<Mask> = (0..16).map(|bits| mask(4, &present(bits))).collect();
    let outputs = |budget| {
        let stage = Stage::new(4, budget);
        stage.begin().unwrap().outputs(masking(&stage.units(), Fill::Remove), &masks).unwrap()
    };
    assert_eq!(outputs(1), outputs(1000));
    assert_eq!(outputs(7), outputs(1000));
}

#[test]
fn several_rows_of_a_mask_are_concatenated() {
    let mut stage = Stage::new(2, 100);
    stage.task.rows = 2;
    let job = stage.begin().unwrap();
    let outputs = job.outputs(masking(&stage.units(), Fill::Remove), &[mask(2, &[1]), mask(2, &[])]).unwrap();
    assert_eq!(outputs, [expected(2, &[1]).repeat(2), expected(2, &[]).repeat(2)]);
}

#[test]
fn what_a_pass_says_of_a_token_is_the_sum_of_its_rows() {
    let objectives = [Objective { target: Target::class("", 1), output: OutputSpace::Logit }];
    let scaled = |row: usize, values: &mut [f32]| values.fill(row as f32);
    let seen = |budget: usize| {
        let mut stage = Stage::new(2, budget);
        stage.task.rows = 3;
        let job = stage.begin().unwrap();
        let mut seen = Vec::new();
        let pass = Pass {
            rows: 4,
            embedding: Some(&scaled),
            objectives: &objectives,
            rule: Rule::Gradient,
            taps: TapPlan::default(),
        };
        job.pass(&pass, &mut |view| {
            seen.push((view.row, view.values[0], view.gradients[0].to_vec(), view.logits.to_vec()));
            Ok(())
        })
        .unwrap();
        let looked = Pass { taps: TapPlan::attention(vec![0]), ..pass };
        assert!(job.pass(&looked, &mut |_| Ok(())).is_err(), "no single row has the layers");
        seen
    };
    let together = seen(1000);
    for (index, (row, value, gradient, logits)) in together.iter().enumerate() {
        let sum = 8.0 * index as f64;
        assert_eq!((*row, *value, gradient.as_slice()), (index, 3.0 * (1.0 - sum), [-3.0; 8].as_slice()));
        assert_eq!(*logits, [sum as f32, 1.0 - sum as f32].repeat(3));
    }
    // A variant's rows in one forward, in several, and each by itself.
    assert_eq!(seen(50), together);
    assert_eq!(seen(20), together);
    assert_eq!(seen(1), together);
}

#[test]
fn a_fill_that_does_not_fit_is_an_error() {
    let stage = Stage::new(2, 100);
    let job = stage.begin().unwrap();
    assert!(matches!(job.outputs(masking(&stage.units(), Fill::Zero), &[mask(2, &[])]), Err(Error::Perturb(_))));
}

#[test]
fn pass_delivers_variants_in_order_whatever_the_chunks() {
    let objectives = [0, 1].map(|index| Objective { target: Target::class("", index), output: OutputSpace::Logit });
    let scaled = |row: usize, values: &mut [f32]| values.fill(row as f32);
    let pass = |taps| Pass { rows: 5, embedding: Some(&scaled), objectives: &objectives, rule: Rule::Gradient, taps };
    // A recorded row of 4 tokens weighs 16 and a little for its attention.
    let stage = Stage::new(2, 40);
    let job = stage.begin().unwrap();
    let mut seen = Vec::new();
    job.pass(&pass(TapPlan::attention(vec![2])), &mut |view| {
        let sum = 8.0 * view.row as f32;
        assert_eq!(view.logits, [sum, 1.0 - sum]);
        assert_eq!(view.values, [f64::from(sum), f64::from(1.0 - sum)]);
        assert_eq!(view.gradients, [[1.0; 8].as_slice(), [-1.0; 8].as_slice()]);
        let attention = &view.attention[0];
        assert_eq!((attention.layer, attention.heads, attention.length, attention.values.len()), (2, 1, 4, 16));
        seen.push(view.row);
        Ok(())
    })
    .unwrap();
    assert_eq!(seen, [0, 1, 2, 3, 4]);
    assert_eq!(*stage.model.chunks.borrow(), [vec![4], vec![4, 4], vec![4, 4], vec![4]]);
    assert_eq!(stage.model.gradients.get(), 6, "one backward a chunk and objective");
}

#[test]
fn pass_without_objectives_computes_no_gradient() {
    let stage = Stage::new(2, 100);
    let job = stage.begin().unwrap();
    let pass = Pass { rows: 1, embedding: None, objectives: &[], rule: Rule::Gradient, taps: TapPlan::default() };
    job.pass(&pass, &mut |view| {
        assert!(view.values.is_empty() && view.gradients.is_empty() && view.attention.is_empty());
        assert_eq!(view.logits, job.logits());
        Ok(())
    })
    .unwrap();
    assert_eq!(stage.model.gradients.get(), 0);
}

#[test]
fn an_error_of_the_sink_ends_the_pass() {
    let stage = Stage::new(2, 4);
    let job = stage.begin().unwrap();
    let pass = Pass { rows: 3, embedding: None, objectives: &[], rule: Rule::Gradient, taps: TapPlan::default() };
    let ended = job.pass(&pass, &mut |_| Err(Error::NotFinite { what: "a score" }));
    assert!(matches!(ended, Err(Error::NotFinite { .. })));
    assert_eq!(stage.model.rows(), 2);
}

#[test]
fn embedding_is_the_models() {
    let stage = Stage::new(1, 100);
    let job = stage.begin().unwrap();
    assert_eq!(job.embedding(None).unwrap(), [1.0, 0.0, 2.0, 0.0, 3.0, 0.0]);
    assert_eq!(job.embedding(Some(&[9, 9, 9])).unwrap(), [9.0, 0.0, 9.0, 0.0, 9.0, 0.0]);
    assert!(matches!(job.embedding(Some(&[9])), Err(Error::Model(nn::Error::Shape { op: "embedding", .. }))));
}

#[test]
fn a_wrong_target_points_at_its_place() {
    let mut stage = Stage::new(1, 100);
    stage.target = TargetSpec::Index(9);
    let Err(RunError::Invalid { pointer, .. }) = stage.begin() else { panic!("no error") };
    assert_eq!(pointer, "/target/0");
}

#[test]
fn logits_that_are_not_finite_are_an_error() {
    let mut stage = Stage::new(1, 100);
    stage.model.bias = f32::INFINITY;
    assert!(matches!(stage.begin(), Err(RunError::Model(nn::Error::NotFinite))));
}

#[test]
fn the_deadline_stops_a_job_between_two_layers() {
    let mut stage = Stage::new(4, 1);
    // The first forward takes the turn and steps three times: four checks; the second one stops at its second layer.
    stage.deadline = Deadline::after_checks(6);
    let job = stage.begin().unwrap();
    let masks = [mask(4, &[0]), mask(4, &[1]), mask(4, &[2])];
    let stopped = job.outputs(masking(&stage.units(), Fill::Remove), &masks).unwrap_err();
    assert_eq!(stopped.stopped(), Some(Stopped::Deadline));
    assert_eq!(stage.model.rows(), 2, "the second row began");
    assert_eq!(stage.spent.get().rows, 1, "and does not count");
    assert_eq!(job.checkpoint(), Err(Stopped::Deadline));
}

#[test]
fn what_was_evaluated_before_the_deadline_stays_known() {
    let mut stage = Stage::new(4, 1);
    stage.deadline = Deadline::after_checks(8);
    let job = stage.begin().unwrap();
    let masks = [mask(4, &[0]), mask(4, &[1])];
    assert!(job.outputs(masking(&stage.units(), Fill::Remove), &masks).is_err());
    assert_eq!(job.outputs(masking(&stage.units(), Fill::Remove), &masks[..1]).unwrap(), [expected(4, &[0])]);
}

#[test]
fn a_caller_who_has_gone_stops_a_job() {
    let stage = Stage::new(4, 1);
    let job = stage.begin().unwrap();
    stage.cancel.cancel();
    assert_eq!(job.checkpoint(), Err(Stopped::Cancelled));
    let stopped = job.outputs(masking(&stage.units(), Fill::Remove), &[mask(4, &[])]).unwrap_err();
    assert_eq!(stopped.stopped(), Some(Stopped::Cancelled));
    assert!(matches!(stage.begin(), Err(RunError::Stopped(Stopped::Cancelled))));
}

#[test]
fn a_warning_stands_once() {
    let stage = Stage::new(1, 100);
    let job = stage.begin().unwrap();
    job.warn("unstable", "a".to_owned());
    job.warn("unstable", "a".to_owned());
    job.warn("unstable", "b".to_owned());
    assert_eq!(job.warnings().len(), 2);
}

#[test]
fn what_methods_tap_of_the_input_is_recorded_with_the_prediction() {
    let mut stage = Stage::new(3, 100);
    stage.taps.join(&TapPlan::attention(vec![2, 1]));
    let job = stage.begin().unwrap();
    let pass = |layers| Pass {
        rows: 1,
        embedding: None,
        objectives: &[],
        rule: Rule::Gradient,
        taps: TapPlan::attention(layers),
    };
    let mut layers = Vec::new();
    job.pass(&pass(vec![2]), &mut |view| {
        assert_eq!(view.logits, job.logits());
        layers.extend(view.attention.iter().map(|map| map.layer));
        Ok(())
    })
    .unwrap();
    assert_eq!((layers, stage.model.rows()), (vec![2], 1));
    job.pass(&pass(vec![0]), &mut |_| Ok(())).unwrap();
    assert_eq!(stage.model.rows(), 2);
}
