//! Tests of `span`: the answer, targets, softmaxes over what is left of the context.

use super::super::test_input::{spec, texts};
use super::*;
use crate::input::units::Mask;
use crate::models::About;

/// `[CLS] a [SEP] b c d e [SEP]`: the context is tokens 3 … 6.
fn question() -> Input {
    texts(1, Some(4))
}

/// Start and end logits of the context; the question and the specials have the largest of all.
fn logits(ends: [(f32, f32); 4]) -> Vec<f32> {
    let mut all = vec![(90.0, 90.0); 8];
    all[3..7].copy_from_slice(&ends);
    all.into_iter().flat_map(|(start, end)| [start, end]).collect()
}

const ENDS_OF: [(f32, f32); 4] = [(0.0, 9.0), (3.0, 1.0), (1.0, 2.0), (2.0, 0.5)];

fn focus(spec_: &TargetSpec) -> (Focus, Vec<Target>) {
    let (input, logits) = (question(), logits(ENDS_OF));
    let rows = QuestionAnswering.whole(&spec(About::Span, &["start", "end"]), &input);
    let targets = QuestionAnswering.targets(spec_, &input, &logits).unwrap();
    (QuestionAnswering.focus(&spec(About::Span, &["start", "end"]), &input, &rows, &logits, &targets), targets)
}

#[test]
fn the_answer_is_the_best_span_of_the_context() {
    let Prediction::Answer(answer) = QuestionAnswering.prediction(&question(), &logits(ENDS_OF)) else { panic!() };
    // Start 0 with end 0 (0 + 9) beats start 1 with end 2 (3 + 2); start 1 with end 0 is no span.
    assert_eq!((answer.text.as_str(), answer.start, answer.end), ("b", 0, 1));
    assert_eq!((answer.start_logits.len(), answer.end_logits[3]), (8, 9.0));
    let sum = |values: [f64; 4]| values.iter().map(|value| value.exp()).sum::<f64>();
    let expected = 9f64.exp() / (sum([0.0, 3.0, 1.0, 2.0]) * sum([9.0, 1.0, 2.0, 0.5]));
    assert!((f64::from(answer.score) - expected).abs() < 1e-6);
    let two = logits([(0.0, 0.0), (3.0, 1.0), (1.0, 2.0), (2.0, 0.5)]);
    let Prediction::Answer(answer) = QuestionAnswering.prediction(&question(), &two) else { panic!() };
    assert_eq!((answer.text.as_str(), answer.start, answer.end), ("c d", 2, 5));
}

#[test]
fn an_answer_has_at_most_fifteen_tokens() {
    let context: Vec<usize> = (0..20).collect();
    let far = |end: usize| {
        let mut logits = vec![0.0; 40];
        logits[0] = 5.0;
        logits[2 * end + 1] = 5.0;
        best(&logits, &context).unwrap()
    };
    assert_eq!(far(14), (0, 14));
    assert_ne!(far(15), (0, 15));
    assert_eq!(best(&[], &[]), None);
}

#[test]
fn targets_are_the_answer_or_one_end() {
    let list = TargetSpec::List(vec![TargetSpec::Start(4), TargetSpec::Name("answer".into()), TargetSpec::End(3)]);
    let (focus, targets) = focus(&list);
    let value = |target: &Target, output| focus.readout.value(&focus.logits, target, output);
    assert_eq!(value(&targets[0], OutputSpace::Logit), 3.0);
    assert_eq!(value(&targets[1], OutputSpace::Logit), 9.0);
    assert_eq!(value(&targets[2], OutputSpace::Logit), 9.0);
    let sum = [0.0f64, 3.0, 1.0, 2.0].iter().map(|value| value.exp()).sum::<f64>();
    assert!((value(&targets[0], OutputSpace::Probability) - 3f64.exp() / sum).abs() < 1e-12);
    assert_eq!(focus.readout.reading(&targets[1]), Some(3));
    assert_eq!(QuestionAnswering.outputs(&list), Outputs::Number);
    assert_eq!(QuestionAnswering.outputs(&TargetSpec::Start(4)), Outputs::Probability);
    assert_eq!(QuestionAnswering.outputs(&TargetSpec::Predicted), Outputs::Number);
}

#[test]
fn a_target_counts_where_it_is_first_written() {
    let (start, end) = (TargetSpec::Start(4), TargetSpec::End(3));
    let list =
        TargetSpec::List(vec![start.clone(), end, start, TargetSpec::Predicted, TargetSpec::Name("answer".into())]);
    assert_eq!(QuestionAnswering.check_target(&list), Ok(3));
    let (_, targets) = focus(&list);
    let expected = [
        Target::Start(StartTarget { start: 4 }),
        Target::End(EndTarget { end: 3 }),
        Target::Answer(AnswerTarget::Answer),
    ];
    assert_eq!(targets, expected);
}

#[test]
fn cotangents_are_the_derivatives() {
    let list = TargetSpec::List(vec![TargetSpec::Start(4), TargetSpec::Predicted, TargetSpec::End(6)]);
    let (focus, targets) = focus(&list);
    for target in &targets {
        for output in [OutputSpace::Logit, OutputSpace::Probability, OutputSpace::LogProbability] {
            let exact = focus.readout.cotangent(&focus.logits, target, output);
            for index in 0..focus.logits.len() {
                let at = |offset: f32| {
                    let mut moved = focus.logits.clone();
                    moved[index] += offset;
                    focus.readout.value(&moved, target, output)
                };
                let difference = (at(1.0 / 512.0) - at(-1.0 / 512.0)) * 256.0;
                assert!((difference - f64::from(exact[index])).abs() < 1e-5, "{target} {output:?} {index}");
            }
        }
    }
}

#[test]
fn deleted_tokens_leave_the_softmax() {
    let (focus, targets) = focus(&TargetSpec::Start(4));
    let input = question();
    let units = Units::words(input.as_text().unwrap());
    let spec = spec(About::Span, &["start", "end"]);
    let perturber = focus.readout.perturber(&spec, &input, &units, Fill::Remove).unwrap();
    // All but token 6 are gone; token 4, the target, stays.
    let mut mask = Mask::empty(5);
    mask.set(4, true);
    let rows = perturber.rows(&mask);
    assert_eq!(rows[0].read, [2, 3], "[CLS] [SEP] c e [SEP]");
    let outputs = perturber.outputs(&mask, &[3.0, 0.0, 2.0, 0.0], 2);
    let value = focus.readout.value(&outputs, &targets[0], OutputSpace::Probability);
    assert!((value - 1.0 / (1.0 + (-1f64).exp())).abs() < 1e-12, "{value}");
}

#[test]
fn wrong_targets_say_where_and_what_to_do() {
    for (spec, path, part) in [
        (TargetSpec::Index(1), "", "no target of a question"),
        (TargetSpec::Name("predicted".into()), "", "no target of a question"),
        (TargetSpec::List(vec![]), "", "empty"),
        (TargetSpec::List(vec![TargetSpec::Predicted, TargetSpec::Start(0)]), "/1/start", "special"),
        (TargetSpec::End(1), "/end", "belongs to the question"),
        (TargetSpec::End(99), "/end", "the input has 8"),
    ] {
        let checked = QuestionAnswering.check_target(&spec);
        let error = checked.and_then(|_| QuestionAnswering.check_input(&spec, &question())).unwrap_err();
        assert!(error.path == path && error.detail.contains(part), "{spec:?}: {error:?}");
    }
}
