//! Tests of `classification`: cotangents against differences, targets.

use proptest::prelude::*;

use super::super::Contrast;
use super::super::test_input::input;
use super::*;

const PROBLEMS: [Problem; 3] = [Problem::SingleLabel, Problem::MultiLabel, Problem::Regression];
const OUTPUTS: [OutputSpace; 4] =
    [OutputSpace::Logit, OutputSpace::Probability, OutputSpace::LogProbability, OutputSpace::LogOdds];

fn task(labels: &[&str], problem: Problem) -> Classification {
    let labels = labels.iter().map(|&label| label.to_owned()).collect();
    Classification { kind: Kind::Text, labels, problem }
}

fn name(text: &str) -> TargetSpec {
    TargetSpec::Name(text.to_owned())
}

fn contrast(index: u64, against: u64) -> TargetSpec {
    TargetSpec::Contrast(Contrast { index: ClassSpec::Index(index), against: Some(ClassSpec::Index(against)) })
}

fn indices(task: &Classification, spec: &TargetSpec) -> Vec<usize> {
    task.targets(spec, &input(), &[0.0, 2.0, 1.0]).unwrap().iter().map(Target::index).collect()
}

#[test]
fn a_string_is_first_a_label() {
    let plain = task(&["a", "b", "c"], Problem::SingleLabel);
    assert_eq!(indices(&plain, &name("c")), [2]);
    assert_eq!(indices(&plain, &name("predicted")), [1]);
    assert_eq!(indices(&plain, &name("all")), [0, 1, 2]);
    let odd = task(&["all", "b", "predicted"], Problem::SingleLabel);
    assert_eq!(indices(&odd, &name("all")), [0]);
    assert_eq!(indices(&odd, &name("predicted")), [2]);
    assert_eq!(indices(&odd, &TargetSpec::Predicted), [1]);
}

#[test]
fn digits_are_an_index_in_text_alone() {
    let plain = task(&["a", "b", "c"], Problem::SingleLabel);
    assert_eq!(indices(&plain, &TargetSpec::from_text("2")), [2]);
    assert!(plain.check_target(&name("2")).is_err());
    assert!(plain.check_target(&TargetSpec::from_text("3")).unwrap_err().detail.contains("no class 3"));
    assert!(plain.check_target(&TargetSpec::from_text("99999999999999999999")).is_err());
    let stars = task(&["2", "1", "0"], Problem::SingleLabel);
    assert_eq!(indices(&stars, &TargetSpec::from_text("2")), [0]);
    assert_eq!(indices(&plain, &TargetSpec::from_text("predicted")), [1]);
}

#[test]
fn repeated_targets_count_once_in_the_order_written() {
    let task = task(&["a", "b", "c"], Problem::SingleLabel);
    let list = TargetSpec::List(vec![
        TargetSpec::Index(2),
        name("predicted"),
        name("c"),
        TargetSpec::Contrast(Contrast { index: ClassSpec::Label("c".into()), against: None }),
        contrast(2, 0),
        contrast(2, 0),
    ]);
    assert_eq!(task.check_target(&list), Ok(3));
    let targets = task.targets(&list, &input(), &[0.0, 2.0, 1.0]).unwrap();
    assert_eq!(targets.iter().map(Target::index).collect::<Vec<_>>(), [2, 1, 2]);
    let against = Some(Class { label: "a".into(), index: 0 });
    assert_eq!(targets[2], Target::Class(ClassTarget { label: "c".into(), index: 2, against }));
    let all = TargetSpec::List(vec![name("predicted"), name("all")]);
    assert_eq!(task.check_target(&all), Ok(3));
    assert_eq!(indices(&task, &all), [1, 0, 2]);
}

#[test]
fn wrong_targets_say_where_and_what_there_is() {
    let task = task(&["a", "b"], Problem::SingleLabel);
    let list = |spec| TargetSpec::List(vec![TargetSpec::Index(0), spec]);
    for (spec, path) in [
        (TargetSpec::Index(2), ""),
        (name("x"), ""),
        (contrast(2, 0), "/index"),
        (contrast(1, 2), "/against"),
        (contrast(1, 1), "/against"),
        (list(contrast(0, 7)), "/1/against"),
        (list(name("x")), "/1"),
        (TargetSpec::List(Vec::new()), ""),
    ] {
        assert_eq!(task.check_target(&spec).unwrap_err().path, path, "{spec:?}");
    }
    assert!(task.check_target(&name("x")).unwrap_err().detail.contains("0 \"a\", 1 \"b\""));
    let many: Vec<String> = (0..1000).map(|index| format!("label-{index}")).collect();
    let many = Classification { kind: Kind::Image, labels: many, problem: Problem::SingleLabel };
    let detail = many.check_target(&name("x")).unwrap_err().detail;
    assert!(detail.contains("label-19") && !detail.contains("label-20") && detail.contains("980 more"), "{detail}");
}

#[test]
fn regression_is_about_its_first_output() {
    let task = task(&["LABEL_0"], Problem::Regression);
    let prediction = task.of(&[-3.5]);
    assert_eq!((prediction.index, prediction.probability, prediction.scores[0].probability), (0, None, None));
    assert_eq!(task.outputs(&TargetSpec::Predicted), Outputs::Number);
}

#[test]
fn extreme_logits_stay_finite() {
    let logits = [f32::MAX, -f32::MAX, 0.0];
    for problem in PROBLEMS {
        let task = task(&["a", "b", "c"], problem);
        let prediction = task.of(&logits);
        assert!(prediction.scores.iter().all(|score| score.probability.is_none_or(f32::is_finite)));
        for index in 0..3 {
            for output in OUTPUTS {
                assert!(task.value(&logits, &Target::Class(task.class(index)), output).is_finite());
                assert!(
                    task.cotangent(&logits, &Target::Class(task.class(index)), output)
                        .iter()
                        .all(|value| value.is_finite())
                );
            }
        }
    }
}

#[test]
fn missing_logits_give_nan_rather_than_a_panic() {
    let task = task(&["a", "b"], Problem::SingleLabel);
    assert!(task.value(&[], &Target::Class(task.class(1)), OutputSpace::Probability).is_nan());
    assert!(task.cotangent(&[], &Target::Class(task.class(1)), OutputSpace::Probability).is_empty());
    assert!(task.of(&[]).scores.is_empty());
}

proptest! {
    #[test]
    fn cotangents_are_the_derivatives(
        // Multiples of 1/8, to which a step of 1/512 is added without rounding.
        logits in prop::collection::vec((-60i32..60).prop_map(|n| n as f32 / 8.0), 2..6),
        problem in prop::sample::select(PROBLEMS.to_vec()),
        output in prop::sample::select(OUTPUTS.to_vec()),
        target in 0usize..6,
        against in prop::option::of(0usize..6),
    ) {
        let task = task(&["a", "b", "c", "d", "e", "f"][..logits.len()], problem);
        let mut class = task.class(target % logits.len());
        class.against = against.map(|index| Class { label: String::new(), index: index % logits.len() });
        let class = Target::Class(class);
        let exact = task.cotangent(&logits, &class, output);
        let step = 1.0 / 512.0;
        for index in 0..logits.len() {
            let at = |offset: f32| {
                let mut moved = logits.clone();
                moved[index] += offset;
                task.value(&moved, &class, output)
            };
            let difference = (at(step) - at(-step)) / f64::from(2.0 * step);
            prop_assert!((difference - f64::from(exact[index])).abs() < 1e-5, "{difference} {}", exact[index]);
        }
    }

    #[test]
    fn probabilities_add_up(logits in prop::collection::vec(-1e30f32..1e30, 1..6)) {
        let task = task(&["a", "b", "c", "d", "e", "f"][..logits.len()], Problem::SingleLabel);
        let prediction = task.of(&logits);
        let sum: f32 = prediction.scores.iter().filter_map(|score| score.probability).sum();
        prop_assert!((sum - 1.0).abs() < 1e-5);
        prop_assert_eq!(prediction.probability, prediction.scores[prediction.index].probability);
    }
}

#[test]
fn an_answers_targets_can_be_asked_for_again() {
    let labels: Vec<String> = ["a", "b", "c"].map(str::to_owned).into();
    let task = Classification::softmax(labels);
    let read = |json: &str| serde_json::from_str::<TargetSpec>(json).unwrap();
    let input = crate::tasks::test_input::input();
    let logits = [0.0, 2.0, 1.0];
    let targets = task.targets(&read(r#"["predicted", {"index": "c", "against": 0}]"#), &input, &logits).unwrap();
    let again = read(&serde_json::to_string(&targets).unwrap());
    assert_eq!(task.targets(&again, &input, &logits).unwrap(), targets);
    let error = task.check_target(&read(r#"{"index": 1, "label": "a"}"#)).unwrap_err();
    assert_eq!(error.path, "/index");
    assert!(error.detail.contains("class 1 is not \"a\""), "{error}");
    assert_eq!(task.check_target(&read(r#"{"label": "b"}"#)), Ok(1));
}
