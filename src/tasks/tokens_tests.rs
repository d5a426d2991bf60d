//! Tests of `tokens`: targets, what is read, predictions.

use super::super::test_input::{spec, texts};
use super::*;
use crate::input::units::Mask;
use crate::models::{About, Content, Row};
use crate::tasks::ClassSpec;

const LABELS: [&str; 3] = ["O", "B-PER", "B-LOC"];
/// Of the tokens 1, 2 and 3.
const LOGITS: [f32; 9] = [0.0, 1.0, 2.0, 5.0, 4.0, 3.0, -1.0, 3.0, 0.5];

fn task() -> TokenClassification {
    TokenClassification::new(&spec(About::Tokens, &LABELS))
}

fn at(token: u64, label: Option<&str>) -> TargetSpec {
    TargetSpec::Token(TokenSpec { token, label: label.map(|label| ClassSpec::Label(label.into())), against: None })
}

fn focus(targets: &TargetSpec) -> (Focus, Vec<Target>) {
    let (task, input) = (task(), texts(3, None));
    let rows = task.whole(&spec(About::Tokens, &LABELS), &input);
    let targets = task.targets(targets, &input, &LOGITS).unwrap();
    (task.focus(&spec(About::Tokens, &LABELS), &input, &rows, &LOGITS, &targets), targets)
}

#[test]
fn every_token_but_the_specials_has_a_prediction() {
    let (task, input) = (task(), texts(3, None));
    let rows = task.whole(&spec(About::Tokens, &LABELS), &input);
    assert_eq!(rows.rows[0].row.read, [1, 2, 3]);
    let Prediction::Tokens(prediction) = task.prediction(&input, &LOGITS) else { panic!() };
    let labels: Vec<_> = prediction.tokens.iter().map(|token| token.as_ref().map(|t| t.label.as_str())).collect();
    assert_eq!(labels, [None, Some("B-LOC"), Some("O"), Some("B-PER"), None]);
    let second = prediction.tokens[2].as_ref().unwrap();
    assert_eq!((second.index, second.scores.len(), second.scores[1].logit), (0, 3, 4.0));
    let empty = texts(0, None);
    assert_eq!(task.whole(&spec(About::Tokens, &LABELS), &empty).rows[0].row.read, [0]);
    let Prediction::Tokens(prediction) = task.prediction(&empty, &LOGITS[..3]) else { panic!() };
    assert_eq!(prediction.tokens, [None, None]);
}

#[test]
fn a_target_is_a_token_and_its_predicted_or_named_class() {
    let list = TargetSpec::List(vec![at(3, None), at(3, Some("B-PER")), at(3, Some("O")), at(1, None), at(3, None)]);
    let (focus, targets) = focus(&list);
    let named: Vec<_> = targets.iter().map(ToString::to_string).collect();
    assert_eq!(named, ["B-PER at token 3", "O at token 3", "B-LOC at token 1"]);
    assert_eq!(task().check_target(&list), Ok(4), "the predicted ones may be others than those named");
    assert_eq!(focus.logits, [-1.0, 3.0, 0.5, 0.0, 1.0, 2.0]);
    assert_eq!(focus.rows.rows[0].row.read, [3, 1]);
    let value = |target| focus.readout.value(&focus.logits, target, OutputSpace::Logit);
    assert_eq!(targets.iter().map(value).collect::<Vec<_>>(), [3.0, -1.0, 2.0]);
    let sum: f64 = (0..3)
        .map(|index| TokenTarget { token: 3, label: String::new(), index, against: None })
        .map(|target| focus.readout.value(&focus.logits, &Target::Token(target), OutputSpace::Probability))
        .sum();
    assert!((sum - 1.0).abs() < 1e-12);
    assert_eq!(focus.readout.cotangent(&focus.logits, &targets[2], OutputSpace::Logit), [0.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
    assert_eq!(focus.readout.reading(&targets[2]), Some(1));
}

#[test]
fn wrong_targets_say_where_and_what_to_do() {
    let (task, input) = (task(), texts(3, None));
    for (spec, path, part) in [
        (TargetSpec::Predicted, "", "a target is required"),
        (TargetSpec::Index(1), "", "asked for a token"),
        (TargetSpec::Name("B-PER".into()), "", "asked for a token"),
        (TargetSpec::from_text("x"), "", "no token"),
        (TargetSpec::List(vec![]), "", "empty"),
        (TargetSpec::List(vec![at(1, None), at(1, Some("X"))]), "/1/label", "0 \"O\""),
        (at(0, None), "/token", "special"),
        (at(5, None), "/token", "the input has 5"),
        (at(u64::MAX, None), "/token", "no token"),
    ] {
        let error = task.check_target(&spec).and_then(|_| task.check_input(&spec, &input)).unwrap_err();
        assert!(error.path == path && error.detail.contains(part), "{spec:?}: {error:?}");
    }
    assert_eq!(task.check_input(&TargetSpec::from_text("3"), &input), Ok(()));
}

#[test]
fn deletion_keeps_each_target_in_a_row_of_its_own() {
    let (focus, _) = focus(&TargetSpec::List(vec![at(3, None), at(1, None)]));
    let (spec, input) = (spec(About::Tokens, &LABELS), texts(3, None));
    let units = Units::words(input.as_text().unwrap());
    let perturber = focus.readout.perturber(&spec, &input, &units, Fill::Remove).unwrap();
    let rows = perturber.rows(&Mask::empty(3));
    let ids = |row: &Row| match &row.content {
        Content::Tokens { ids, .. } => ids.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(rows.iter().map(ids).collect::<Vec<_>>(), [[100, 103, 104], [100, 101, 104]]);
    assert_eq!(rows.iter().map(|row| row.read.clone()).collect::<Vec<_>>(), [[1], [1]]);
    let whole = perturber.rows(&Mask::full(3));
    assert_eq!(whole.iter().map(|row| row.read.clone()).collect::<Vec<_>>(), [[3], [1]]);
}

#[test]
fn a_token_is_explained_against_another_label() {
    let read = |json: &str| serde_json::from_str::<TargetSpec>(json).unwrap();
    let (focus, targets) = focus(&read(r#"[{"token": 3, "against": "O"}, {"token": 1, "label": 2, "against": 0}]"#));
    assert_eq!(targets[0].to_string(), "B-PER against O at token 3");
    let value = |target: &Target, output| focus.readout.value(&focus.logits, target, output);
    assert_eq!([value(&targets[0], OutputSpace::Logit), value(&targets[1], OutputSpace::Logit)], [4.0, 2.0]);
    for target in &targets {
        for output in [OutputSpace::Logit, OutputSpace::Probability, OutputSpace::LogProbability, OutputSpace::LogOdds]
        {
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
    // As the answer names it, it can be asked for again.
    let again = read(&serde_json::to_string(&targets).unwrap());
    let (task, input) = (TokenClassification::new(&spec(About::Tokens, &LABELS)), texts(3, None));
    assert_eq!(task.targets(&again, &input, &LOGITS).unwrap(), targets);
    // The predicted label is known too late for the request's check, but not for the answer.
    let same = read(r#"{"token": 3, "against": "B-PER"}"#);
    assert_eq!(task.check_target(&same), Ok(1));
    assert_eq!(task.targets(&same, &input, &LOGITS).unwrap_err().path, "/against");
}
