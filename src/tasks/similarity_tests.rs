//! Tests of `similarity`: logits, probabilities and their derivative.

use super::*;
use crate::tasks::test_input::{spec, texts};

fn asked(labels: &[&str]) -> Hypotheses {
    Hypotheses { labels: labels.iter().map(|&label| label.to_owned()).collect(), ..Hypotheses::default() }
}

fn task() -> Similarity {
    let spec = spec(About::Similarity { scale: 10.0 }, &[]);
    let task = Similarity::new(&spec, &asked(&["a", "b"])).unwrap().unwrap();
    assert_eq!(task.sentences(), ["This is a photo of a.", "This is a photo of b."]);
    task.with_sentences(vec![Tail { ids: vec![1, 7, 9], type_ids: Vec::new() }; 2])
}

/// The image's embedding, then the labels'.
const LOGITS: [f32; 9] = [3.0, 0.0, 4.0, 2.0, 0.0, 0.0, 0.0, 5.0, 5.0];

#[test]
fn a_logit_is_a_scaled_cosine() {
    let task = task();
    let Prediction::Class(class) = task.prediction(&texts(1, None), &LOGITS) else { panic!() };
    let logits: Vec<f32> = class.scores.iter().map(|score| score.logit).collect();
    assert!((logits[0] - 6.0).abs() < 1e-6 && (logits[1] - 8.0 / 2.0_f32.sqrt()).abs() < 1e-6, "{logits:?}");
    assert_eq!((class.label.as_str(), class.index), ("a", 0));
}

#[test]
fn cotangents_are_the_derivative() {
    let task = task();
    let compared = task.compared(&LOGITS);
    let spec: TargetSpec = serde_json::from_str(r#"["a", {"index": "b", "against": "a"}]"#).unwrap();
    for target in task.targets(&spec, &texts(1, None), &LOGITS).unwrap() {
        for output in [OutputSpace::Logit, OutputSpace::Probability, OutputSpace::LogProbability] {
            let exact = compared.cotangent(&LOGITS[..3], &target, output);
            for index in 0..3 {
                let at = |offset: f32| {
                    let mut moved = [LOGITS[0], LOGITS[1], LOGITS[2]];
                    moved[index] += offset;
                    compared.value(&moved, &target, output)
                };
                let difference = (at(1.0 / 64.0) - at(-1.0 / 64.0)) * 32.0;
                assert!((difference - f64::from(exact[index])).abs() < 1e-4, "{target} {output:?} {index}");
            }
        }
    }
}

#[test]
fn labels_are_checked() {
    let spec = spec(About::Similarity { scale: 10.0 }, &[]);
    let field = |asked: Hypotheses| Similarity::new(&spec, &asked).unwrap().unwrap_err().field;
    assert_eq!(field(asked(&[])), "labels");
    assert_eq!(field(asked(&["a", "a"])), "labels/1");
    assert_eq!(field(Hypotheses { multi_label: true, ..asked(&["a"]) }), "multi_label");
    assert_eq!(field(Hypotheses { template: Some("no".into()), ..asked(&["a"]) }), "hypothesis_template");
    assert!(Similarity::new(&super::super::test_input::spec(About::Sequence, &["x"]), &asked(&["a"])).is_none());
    assert!(Similarity::unasked(1.0).needs_labels() && !task().needs_labels());
}
