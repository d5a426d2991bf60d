//! Targets, kept logits and rows of the mask filler.

use serde_json::json;

use super::super::test_input;
use super::*;
use crate::input::text::Word;
use crate::input::units::Mask;
use crate::models::{About, Content};

const MASK: u32 = 3;

fn spec() -> Spec {
    Spec { vocab: 6, token_types: 0, ..test_input::spec(About::Masked, &[]) }
}

fn task() -> FillMask {
    let words = ["[PAD]", "good", " bad", "[MASK]", "7", "fine"];
    FillMask::new(&spec(), words.map(str::to_owned).to_vec().into())
}

/// `[CLS] a b c [SEP]` with masks at some of its tokens.
fn input(masks: &[usize]) -> Input {
    let Input::Text(mut text) = test_input::texts(3, None) else { unreachable!() };
    masks.iter().for_each(|&place| text.tokens[place].id = MASK);
    Input::Text(text)
}

fn target(json: serde_json::Value) -> TargetSpec {
    serde_json::from_value(json).unwrap()
}

const LOGITS: [f32; 6] = [0.0, 2.0, 1.0, -1.0, 0.5, 3.0];

#[test]
fn one_mask_is_asked_for() {
    for (masks, part) in [(&[][..], "holds no [MASK]"), (&[1, 3], "holds 2 times [MASK]")] {
        let detail = task().check_text(&input(masks)).unwrap_err();
        assert!(detail.contains(part), "{detail}");
    }
    assert_eq!(task().check_text(&input(&[2])), Ok(()));
    let Input::Text(mut text) = input(&[2]) else { unreachable!() };
    text.specials.mask = None;
    assert!(task().check_text(&Input::Text(text)).unwrap_err().contains("no mask token"));
}

#[test]
fn targets_are_tokens_of_the_vocabulary() {
    let input = input(&[2]);
    let named = |json| {
        let targets = task().targets(&target(json), &input, &LOGITS).unwrap();
        targets.into_iter().map(|target| target.index()).collect::<Vec<usize>>()
    };
    assert_eq!(named(json!("predicted")), [5]);
    assert_eq!(named(json!("good")), [1]);
    // Where the vocabulary has the word "predicted" itself, it is named as a class.
    let words = ["[PAD]", "predicted", " bad", "[MASK]", "7", "fine"];
    let own = FillMask::new(&spec(), words.map(str::to_owned).to_vec().into());
    let index = |json| own.targets(&target(json), &input, &LOGITS).unwrap()[0].index();
    assert_eq!((index(json!("predicted")), index(json!({"index": "predicted"}))), (5, 1));
    // Also where the vocabulary has it behind a space.
    assert_eq!(named(json!(["bad", " bad", 2, {"index": "good", "against": 5}])), [2, 1]);
    let answered = json!({"token": 2, "label": "good", "index": 1});
    assert_eq!(named(answered.clone()), [1]);
    assert!(task().check_input(&target(answered), &input).is_ok());
    let error = task().check_input(&target(json!({"token": 1, "label": "good"})), &input).unwrap_err();
    assert_eq!((error.path.as_str(), error.detail.contains("token 2")), ("/token", true));
    for (json, path) in [
        (json!("nothing"), ""),
        (json!(6), ""),
        (json!("all"), ""),
        (json!({"index": 9}), "/index"),
        (json!({"index": 1, "against": "good"}), "/against"),
        (json!([0, {"start": 1}]), "/1"),
        (json!([]), ""),
        (json!({"token": 2, "label": "none"}), "/label"),
    ] {
        let error = task().check_target(&target(json.clone())).unwrap_err();
        assert_eq!(error.path, path, "{json}: {error}");
    }
    assert_eq!(task().check_target(&target(json!(["good", 1, "predicted"]))), Ok(2));
    assert_eq!(task().check_target(&TargetSpec::Text("7".into())), Ok(1));
}

#[test]
fn a_readout_says_what_the_softmax_does() {
    let (task, input) = (task(), input(&[2]));
    let rows = task.whole(&spec(), &input);
    assert_eq!(rows.rows[0].row.read, [2]);
    let targets = task.targets(&target(json!(["good", {"index": 5, "against": 1}])), &input, &LOGITS).unwrap();
    let focus = task.focus(&spec(), &input, &rows, &LOGITS, &targets);
    let sum: f64 = LOGITS.iter().map(|&logit| f64::from(logit).exp()).sum();
    let value = |target, output| focus.readout.value(&focus.logits, target, output);
    assert!((value(&targets[0], OutputSpace::LogProbability) - (2.0 - sum.ln())).abs() < 1e-6);
    assert!((value(&targets[0], OutputSpace::Probability) - 2.0_f64.exp() / sum).abs() < 1e-6);
    assert_eq!((value(&targets[0], OutputSpace::Logit), value(&targets[1], OutputSpace::Logit)), (2.0, 1.0));
    let verdict = |target| focus.readout.verdict(&focus.logits, target).unwrap().answers;
    assert_eq!((verdict(&targets[0]), verdict(&targets[1])), (false, true));
    let Prediction::Class(said) = task.prediction(&input, &task.condensed(&input, LOGITS.to_vec())) else { panic!() };
    assert_eq!((said.label.as_str(), said.index, said.scores.len()), ("fine", 5, 5));
    let order: Vec<usize> = said.scores.iter().map(|score| score.index).collect();
    assert_eq!(order, [5, 1, 2, 4, 0]);
    assert!((f64::from(said.scores[1].probability.unwrap()) - 2.0_f64.exp() / sum).abs() < 1e-6);
}

#[test]
fn the_mask_stays_where_words_are_deleted() {
    let (task, input) = (task(), input(&[2]));
    let rows = task.whole(&spec(), &input);
    let targets = task.targets(&TargetSpec::Predicted, &input, &LOGITS).unwrap();
    let focus = task.focus(&spec(), &input, &rows, &LOGITS, &targets);
    let units = Units::words(input.as_text().unwrap());
    let perturber = focus.readout.perturber(&spec(), &input, &units, Fill::Remove).unwrap();
    let rows = perturber.rows(&Mask::empty(units.len()));
    assert_eq!(rows[0].content, Content::Tokens { ids: vec![100, MASK, 104], type_ids: vec![] });
    assert_eq!(rows[0].read, [1]);
    // As masks are evaluated: condensed as soon as the head has read the position.
    let by = focus.readout.condense().unwrap();
    let mut kept = vec![0.0; by.width()];
    by.condense(0, &LOGITS, &mut kept);
    assert_eq!(perturber.outputs(&Mask::empty(units.len()), &kept, kept.len()), focus.logits);
    assert_eq!(focus.readout.position(&targets[0]), Some(0));
}

#[test]
fn the_mask_is_no_word_and_stays_whatever_is_taken_away() {
    let task = task();
    let Input::Text(mut text) = input(&[2]) else { unreachable!() };
    let words = [(0, 1), (2, 3), (4, 5)].map(|(start, end)| Word { text: "x".into(), start, end, sequence: None });
    text.words = words.to_vec();
    let input = task.marked(Input::Text(text));
    let text = input.as_text().unwrap();
    assert_eq!(text.tokens.iter().map(|token| token.word).collect::<Vec<_>>(), [None, Some(0), None, Some(1), None]);
    assert!(text.tokens[2].special && text.words.len() == 2 && text.words[1].start == 4);
    assert_eq!((Units::words(text).len(), Units::tokens(text).len()), (2, 2));
    let rows = task.whole(&spec(), &input);
    let targets = task.targets(&TargetSpec::Predicted, &input, &LOGITS).unwrap();
    let focus = task.focus(&spec(), &input, &rows, &LOGITS, &targets);
    // Whatever stands for what is away, the mask is read.
    for (fill, ids) in [(Fill::Remove, vec![100, MASK, 104]), (Fill::Pad, vec![100, 0, MASK, 0, 104])] {
        let units = Units::tokens(text);
        let perturber = focus.readout.perturber(&spec(), &input, &units, fill).unwrap();
        let rows = perturber.rows(&Mask::empty(units.len()));
        assert_eq!(rows[0].content, Content::Tokens { ids, type_ids: vec![] });
    }
    // At the end of a text white space goes to the word before.
    let Input::Text(mut text) = self::input(&[3]) else { unreachable!() };
    text.words = words.to_vec();
    text.tokens[2].word = Some(2);
    let Input::Text(text) = task.marked(Input::Text(text)) else { unreachable!() };
    assert_eq!(text.tokens.iter().map(|token| token.word).collect::<Vec<_>>(), [None, Some(0), Some(1), None, None]);
}
