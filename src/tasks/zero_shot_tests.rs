//! Tests of `zero_shot`: what it takes, outputs, rows.

use super::super::test_input::{spec, texts};
use super::*;
use crate::input::units::Mask;
use crate::models::Content;

fn nli() -> Spec {
    spec(About::Sequence, &["CONTRADICTION", "neutral", "Entailment"])
}

fn asked(labels: &[&str], multi_label: bool) -> Hypotheses {
    Hypotheses { labels: labels.iter().map(|&label| label.to_owned()).collect(), template: None, multi_label }
}

fn task(labels: &[&str], multi_label: bool) -> ZeroShot {
    let task = ZeroShot::new(&nli(), asked(labels, multi_label)).unwrap();
    let tails = (0..labels.len()).map(|label| Tail { ids: vec![50 + label as u32, 9], type_ids: vec![1, 1] });
    task.with_tails(tails.collect())
}

/// Of labels a and b: contradiction, neutral, entailment.
const LOGITS: [f32; 6] = [-3.0, 0.0, 1.0, 2.0, 0.0, 3.0];

#[test]
fn labels_and_template_make_hypotheses() {
    let odd = Hypotheses { template: Some("{} or not {}".into()), ..asked(&["x", "y"], false) };
    let task = ZeroShot::new(&nli(), odd).unwrap();
    assert_eq!(task.hypotheses().collect::<Vec<_>>(), ["x or not x", "y or not y"]);
    let plain = ZeroShot::new(&nli(), asked(&["x"], false)).unwrap();
    assert_eq!(plain.hypotheses().collect::<Vec<_>>(), ["This example is x."]);
    let numbered = |count: usize| -> Vec<String> { (0..count).map(|label| label.to_string()).collect() };
    let most = Hypotheses { labels: numbered(MOST_LABELS), ..asked(&[], false) };
    assert_eq!(ZeroShot::new(&nli(), most).unwrap().hypotheses().count(), MOST_LABELS);
    for (spec, asked, field, part) in [
        (spec(About::Sequence, &["a", "not_entailment"]), asked(&["x"], false), "labels", "natural language inference"),
        (nli(), asked(&[], false), "labels", "empty"),
        (nli(), asked(&["x", " "], false), "labels/1", "give the label a name"),
        (nli(), asked(&["x", "y", "x"], false), "labels/2", "\"x\" is named twice"),
        (
            nli(),
            Hypotheses { labels: numbered(MOST_LABELS + 1), ..asked(&[], false) },
            "labels",
            "1001 labels are more",
        ),
        (nli(), Hypotheses { template: Some("no".into()), ..asked(&["x"], false) }, "hypothesis_template", "{}"),
    ] {
        let error = ZeroShot::new(&spec, asked).unwrap_err();
        assert!(error.field == field && error.detail.contains(part), "{error:?}");
    }
}

#[test]
fn verdicts_are_found_by_their_names() {
    let found = |labels: &[&str]| Verdicts::of(&spec(About::Sequence, labels)).map(|v| (v.entailment, v.contradiction));
    assert_eq!(found(&["contradiction", "neutral", "entailment"]), Some((2, 0)));
    assert_eq!(found(&["entailment", "contradiction", "neutral"]), Some((0, 1)));
    assert_eq!(found(&["entailment", "not_entailment"]), Some((0, 1)));
    assert_eq!(found(&["not_entailment", "entailment"]), Some((1, 0)));
    assert_eq!(found(&["NEGATIVE", "POSITIVE"]), None);
}

#[test]
fn a_softmax_over_labels_or_each_against_its_contradiction() {
    let input = texts(2, None);
    let Prediction::Class(over) = task(&["a", "b"], false).prediction(&input, &LOGITS) else { panic!() };
    assert_eq!((over.label.as_str(), over.index), ("b", 1));
    let probabilities =
        |class: &ClassPrediction| -> Vec<f32> { class.scores.iter().map(|score| score.probability.unwrap()).collect() };
    let b = 1.0 / (1.0 + (-2f32).exp());
    assert!((probabilities(&over)[1] - b).abs() < 1e-6 && (probabilities(&over)[0] - (1.0 - b)).abs() < 1e-6);
    let Prediction::Class(alone) = task(&["a", "b"], true).prediction(&input, &LOGITS) else { panic!() };
    assert_eq!((alone.label.as_str(), alone.scores[0].logit, alone.scores[1].logit), ("a", 1.0, 3.0));
    let expected = [4f32, 1.0].map(|odds| 1.0 / (1.0 + (-odds).exp()));
    assert!(probabilities(&alone).iter().zip(expected).all(|(own, expected)| (own - expected).abs() < 1e-6));
    let Prediction::Class(one) = task(&["a"], false).prediction(&input, &LOGITS[..3]) else { panic!() };
    assert!((one.probability.unwrap() - expected[0]).abs() < 1e-6);
}

#[test]
fn cotangents_are_the_derivatives() {
    let against = Some(super::super::Class { label: "a".into(), index: 0 });
    let targets = [Target::class("b", 1), Target::Class(ClassTarget { label: "b".into(), index: 1, against })];
    for (multi, target) in [false, true].into_iter().flat_map(|multi| targets.iter().map(move |one| (multi, one))) {
        let task = task(&["a", "b"], multi);
        for output in [OutputSpace::Logit, OutputSpace::Probability, OutputSpace::LogProbability, OutputSpace::LogOdds]
        {
            let exact = task.cotangent(&LOGITS, target, output);
            for index in 0..LOGITS.len() {
                let at = |offset: f32| {
                    let mut moved = LOGITS;
                    moved[index] += offset;
                    task.value(&moved, target, output)
                };
                let difference = (at(1.0 / 512.0) - at(-1.0 / 512.0)) * 256.0;
                assert!((difference - f64::from(exact[index])).abs() < 1e-5, "{multi} {target} {output:?} {index}");
            }
        }
    }
}

#[test]
fn every_mask_is_a_row_a_label_with_its_hypothesis() {
    let (task, input) = (task(&["a", "b"], false), texts(2, None));
    let units = Units::words(input.as_text().unwrap());
    let rows = task.perturber(&nli(), &input, &units, Fill::Remove).unwrap().rows(&Mask::empty(2));
    let content = |id| Content::Tokens { ids: vec![100, 103, id, 9], type_ids: vec![0, 0, 1, 1] };
    assert_eq!(rows.iter().map(|row| row.content.clone()).collect::<Vec<_>>(), [content(50), content(51)]);
    let targets = task.targets(&TargetSpec::Predicted, &input, &LOGITS).unwrap();
    let focus = task.focus(&nli(), &input, &task.whole(&nli(), &input), &LOGITS, &targets);
    let Content::Tokens { ids, .. } = &focus.rows.rows[focus.looked.unwrap()].row.content else { panic!() };
    assert_eq!(*ids, [100, 101, 102, 103, 51, 9]);
    assert_eq!((task.tail(), task.rows_a_mask(1)), (2, 2));
}

#[test]
fn a_value_depends_on_its_labels_or_on_all() {
    let (softmax, alone) = (task(&["a", "b", "c"], false), task(&["a", "b", "c"], true));
    let target = Target::class("b", 1);
    let rows = |task: &ZeroShot, output| (0..3).filter(|&row| task.depends(&target, output, row)).collect::<Vec<_>>();
    assert_eq!(rows(&softmax, OutputSpace::Logit), [1]);
    assert_eq!(rows(&softmax, OutputSpace::Probability), [0, 1, 2]);
    assert_eq!(rows(&alone, OutputSpace::Probability), [1]);
}

#[test]
fn one_row_is_one_label_and_its_logit() {
    let (softmax, alone) = (task(&["a", "b"], false), task(&["a", "b"], true));
    let name = |name: &str| TargetSpec::Name(name.to_owned());
    let logit = Some(OutputSpace::Logit);
    assert_eq!(softmax.one_row(&TargetSpec::Predicted, logit), Ok(()));
    assert_eq!(softmax.one_row(&name("a"), None), Ok(()));
    assert_eq!(alone.one_row(&name("b"), Some(OutputSpace::Probability)), Ok(()));
    assert!(softmax.one_row(&name("b"), Some(OutputSpace::Probability)).is_err());
    assert!(alone.one_row(&name("all"), logit).is_err());
    let contrast: TargetSpec = serde_json::from_str(r#"{"index": "a", "against": "b"}"#).unwrap();
    assert!(alone.one_row(&contrast, logit).is_err());
}
