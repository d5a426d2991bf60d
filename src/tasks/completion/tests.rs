//! A language model of three words over a prompt of three tokens.

use super::*;
use crate::input::text::Token;
use crate::input::units::{Fill, Mask, Units};
use crate::models::{About, Content};
use crate::tasks::test_input;
use crate::tasks::{OutputSpace, PerturbError};

const VOCAB: usize = 4;

fn spec() -> Spec {
    Spec { vocab: VOCAB, token_types: 0, ..test_input::spec(About::Next, &[]) }
}

fn token(id: u32) -> Token {
    Token { id, text: format!("t{id}"), start: 0, end: 1, special: false, word: None, sequence: None }
}

/// `[CLS] a b`, and a completion of these ids.
fn input(ids: &[u32]) -> Input {
    let Input::Text(mut text) = test_input::texts(2, None) else { unreachable!() };
    text.tokens.pop();
    let continuation = Continuation {
        text: "x".repeat(ids.len()),
        tokens: ids.iter().map(|&id| token(id)).collect(),
        written: ids.iter().map(|id| format!(" {id}")).collect(),
        prompt: 3,
        ..Continuation::default()
    };
    Input::Text(text.followed_by(continuation))
}

/// Three places' logits.
const LOGITS: [f32; 12] = [1.0, 2.0, 0.5, -1.0, 0.0, 3.0, 1.0, 1.0, -2.0, 0.0, 2.0, 4.0];

fn spec_of(json: &str) -> TargetSpec {
    serde_json::from_str(json).unwrap()
}

/// What is kept of the logits of several positions.
fn kept(by: &dyn Condense, logits: &[f32]) -> Vec<f32> {
    let mut kept = vec![0.0; logits.len() / VOCAB * by.width()];
    let positions = logits.chunks(VOCAB).zip(kept.chunks_mut(by.width())).enumerate();
    positions.for_each(|(position, (logits, kept))| by.condense(position, logits, kept));
    kept
}

fn focus(target: &TargetSpec) -> (Focus, Vec<Target>) {
    let (task, input) = (Completion, input(&[1, 3, 0]));
    let targets = task.targets(target, &input, &[]).unwrap();
    let rows = task.whole(&spec(), &input);
    let whole = kept(&*task.condense(target, &input).unwrap(), &LOGITS);
    (task.focus(&spec(), &input, &rows, &whole, &targets), targets)
}

fn log_softmax(logits: &[f32], index: usize) -> f64 {
    let sum: f64 = logits.iter().map(|&logit| f64::from(logit).exp()).sum();
    f64::from(logits[index]) - sum.ln()
}

#[test]
fn the_row_is_read_in_front_of_every_token() {
    let task = Completion;
    let rows = task.whole(&spec(), &input(&[1, 3, 0]));
    assert_eq!(rows.rows.len(), 1);
    assert_eq!(rows.rows[0].row.read, [2, 3, 4]);
    assert_eq!(rows.rows[0].row.content, Content::Tokens { ids: vec![100, 101, 102, 1, 3], type_ids: vec![] });
    // Nothing is written yet: what follows the prompt.
    assert_eq!(task.whole(&spec(), &input(&[])).rows[0].row.read, [2]);
}

#[test]
fn all_tokens_are_one_explanation() {
    let (task, input) = (Completion, input(&[1, 3, 0]));
    for written in [r#""completion""#, r#""all""#] {
        let target = spec_of(written);
        let targets = task.targets(&target, &input, &LOGITS).unwrap();
        assert_eq!(targets.len(), 3);
        assert_eq!(targets[1].to_string(), " 3 at token 1");
        let explained = task.explained(&target, &input, &targets);
        assert_eq!(explained.len(), 1);
        assert_eq!(explained[0].of, [0, 1, 2]);
        assert_eq!(serde_json::to_string(&explained[0].target).unwrap(), "\"completion\"");
        assert_eq!((task.check_target(&target).unwrap(), task.objectives(&target, &input, 1)), (1, 3));
    }
    let both = spec_of(r#"[{"token": 1}, "completion", {"token": 1}]"#);
    let targets = task.targets(&both, &input, &LOGITS).unwrap();
    let explained = task.explained(&both, &input, &targets);
    assert_eq!(explained.iter().map(|one| one.of.clone()).collect::<Vec<_>>(), [vec![0], vec![1, 0, 2]]);
}

#[test]
fn outputs_are_those_of_the_softmax_before_the_token() {
    let target = spec_of(r#"[{"token": 2}, {"token": 0, "against": {"label": "x", "index": 2}}]"#);
    let (focus, targets) = focus(&target);
    assert_eq!(focus.rows.rows[0].row.read, [4, 2]);
    let value = |target: usize, output| focus.readout.value(&focus.logits, &targets[target], output);
    let (last, first) = (&LOGITS[8..], &LOGITS[..4]);
    assert_eq!(value(0, OutputSpace::Logit), -2.0);
    assert!((value(0, OutputSpace::LogProbability) - log_softmax(last, 0)).abs() < 1e-6);
    assert!((value(0, OutputSpace::Probability) - log_softmax(last, 0).exp()).abs() < 1e-6);
    let odds = log_softmax(last, 0) - (-log_softmax(last, 0).exp()).ln_1p();
    assert!((value(0, OutputSpace::LogOdds) - odds).abs() < 1e-6);
    let entropy: f64 = (0..4).map(|index| -log_softmax(last, index).exp() * log_softmax(last, index)).sum();
    assert!((value(0, OutputSpace::Entropy) - entropy).abs() < 1e-6);
    assert_eq!(value(1, OutputSpace::Logit), 1.5);
    let difference = log_softmax(first, 1).exp() - log_softmax(first, 2).exp();
    assert!((value(1, OutputSpace::Probability) - difference).abs() < 1e-6);
    let verdicts = targets.iter().map(|target| focus.readout.verdict(&focus.logits, target).unwrap());
    assert_eq!(
        verdicts.map(|verdict| (verdict.answers, verdict.margin)).collect::<Vec<_>>(),
        [(false, -6.0), (true, 1.5)]
    );
    assert_eq!(targets.iter().map(|target| focus.readout.reading(target)).collect::<Vec<_>>(), [Some(4), Some(2)]);
}

#[test]
fn cotangents_are_central_differences() {
    let target = spec_of(r#"[{"token": 2}, {"token": 0, "against": {"label": "x", "index": 2}}]"#);
    let (focus, targets) = focus(&target);
    let places = [&LOGITS[8..], &LOGITS[..4]];
    let condense = focus.readout.condense().unwrap();
    for (place, target) in targets.iter().enumerate() {
        assert_eq!(focus.readout.position(target), Some(place));
        let logits = places[place].to_vec();
        for output in [
            OutputSpace::Logit,
            OutputSpace::Probability,
            OutputSpace::LogProbability,
            OutputSpace::LogOdds,
            OutputSpace::Entropy,
        ] {
            let slopes = focus.readout.cotangent(&logits, target, output);
            for at in 0..logits.len() {
                let moved = |step: f32| {
                    let mut all = places.map(<[f32]>::to_vec);
                    all[place][at] += step;
                    focus.readout.value(&kept(condense, &all.concat()), target, output)
                };
                let slope = (moved(1e-2) - moved(-1e-2)) / 2e-2;
                assert!((slope - f64::from(slopes[at])).abs() < 1e-3, "{target} {output:?} {at}: {slope}");
            }
        }
    }
    assert!(focus.readout.depends(&targets[0], OutputSpace::Logit, 0));
    assert!(!focus.readout.depends(&targets[0], OutputSpace::Logit, 1));
}

/// A probability that f32, and a difference of f64s, would call 1.
#[test]
fn what_is_certain_keeps_its_odds() {
    let continuation = Continuation { tokens: vec![token(1)], prompt: 3, ..Continuation::default() };
    let target = Target::Token(TokenTarget { token: 0, label: String::new(), index: 1, against: None });
    let readout = AtNext::behind(&continuation, std::slice::from_ref(&target));
    let digest = kept(&readout, &[0.0, 60.0, 0.0, -5.0]);
    let odds = readout.value(&digest, &target, OutputSpace::LogOdds);
    assert!((odds - (60.0 - (2.0 + (-5.0f64).exp()).ln())).abs() < 1e-5, "{odds}");
    let log_probability = readout.value(&digest, &target, OutputSpace::LogProbability);
    assert!((log_probability / -(-odds).exp() - 1.0).abs() < 1e-5, "{log_probability}");
}

#[test]
fn what_stands_behind_the_last_token_asked_for_is_not_read() {
    let (focus, _) = focus(&spec_of(r#"{"token": 1}"#));
    let input = input(&[1, 3, 0]);
    let units = Units::words(input.as_text().unwrap());
    let rows = focus.readout.perturber(&spec(), &input, &units, Fill::Remove).unwrap().rows(&Mask::empty(2));
    assert_eq!(rows[0].content, Content::Tokens { ids: vec![100, 1], type_ids: vec![] });
    assert_eq!(rows[0].read, [1]);
}

/// What masks and passes keep of the target's places is what the whole input's forward kept there.
#[test]
fn a_part_is_what_is_kept_of_its_places() {
    let target = spec_of(r#"[{"token": 2}, {"token": 0, "against": {"label": "x", "index": 2}}]"#);
    let (focus, _) = focus(&target);
    let own = kept(focus.readout.condense().unwrap(), &[&LOGITS[8..], &LOGITS[..4]].concat());
    assert_eq!(focus.logits, own);
    // Two numbers could stand at the second place, one at the first.
    assert_eq!((own.len(), own[5..10].to_vec()), (20, vec![0.0; 5]));
}

#[test]
fn units_of_the_prompt_go_and_the_completion_stays() {
    let (focus, _) = focus(&spec_of(r#"[{"token": 0}, {"token": 2}]"#));
    let input = input(&[1, 3, 0]);
    let units = Units::words(input.as_text().unwrap());
    assert_eq!(units.len(), 2);
    let rows = |fill, mask: &Mask| focus.readout.perturber(&spec(), &input, &units, fill).unwrap().rows(mask);
    let mut second = Mask::empty(2);
    second.set(1, true);
    let row = &rows(Fill::Remove, &second)[0];
    assert_eq!(row.content, Content::Tokens { ids: vec![100, 102, 1, 3], type_ids: vec![] });
    assert_eq!(row.read, [1, 3]);
    let row = &rows(Fill::Mask, &second)[0];
    assert_eq!(row.content, Content::Tokens { ids: vec![100, 3, 102, 1, 3], type_ids: vec![] });
    assert_eq!(row.read, [2, 4]);
    assert_eq!(rows(Fill::Remove, &Mask::empty(2))[0].read, [0, 2]);
}

/// Without a template something stands for the empty prompt, or removal is refused.
#[test]
fn nothing_of_a_prompt_is_the_stand_in() {
    let Input::Text(mut text) = input(&[1, 3]) else { unreachable!() };
    text.tokens[0].special = false;
    text.tokens[0].word = Some(0);
    let units = Units::words(&text);
    let last = Target::Token(TokenTarget { token: 1, label: String::new(), index: 3, against: None });
    let readout = AtNext::behind(text.continuation.as_ref().unwrap(), &[last]);
    let mut input = Input::Text(text);
    let refused = readout.perturber(&spec(), &input, &units, Fill::Remove).err();
    assert!(matches!(refused, Some(PerturbError::MissingToken { .. })));
    let Input::Text(text) = &mut input else { unreachable!() };
    text.specials.bos = Some(9);
    let perturber = readout.perturber(&spec(), &input, &units, Fill::Remove).unwrap();
    let rows = perturber.rows(&Mask::empty(2));
    assert_eq!(rows[0].content, Content::Tokens { ids: vec![9, 1], type_ids: vec![] });
}

#[test]
fn what_is_no_token_is_refused() {
    let (task, input) = (Completion, input(&[1, 3]));
    for (written, path, part) in [
        (r#"{"token": 2}"#, "/token", "there is no token 2: the completion has 2"),
        (r#"[{"token": 0}, {"token": 7}]"#, "/1/token", "there is no token 7"),
        (r#"{"token": 0, "against": {"label": " 1", "index": 1}}"#, "/against", "itself"),
        ("[]", "", "the list is empty"),
        (r#""POSITIVE""#, "", "tokens of its completion"),
        (r#"{"index": 1}"#, "", "tokens of its completion"),
    ] {
        let error = task.check_input(&spec_of(written), &input).unwrap_err();
        assert_eq!(error.path, path, "{written}");
        assert!(error.detail.contains(part), "{written}: {}", error.detail);
    }
    assert_eq!(task.outputs(&spec_of(r#"{"token": 0}"#)), Outputs::Entropy);
    assert_eq!(task.outputs(&spec_of(r#"{"token": 0, "against": 1}"#)), Outputs::Odds);
}

#[test]
fn the_prediction_says_each_tokens_probability() {
    let (task, input) = (Completion, input(&[1, 3, 0]));
    let whole = kept(
        &*task.condense(&spec_of(r#"{"token": 1, "against": {"label": "x", "index": 2}}"#), &input).unwrap(),
        &LOGITS,
    );
    let Prediction::Completion(said) = task.prediction(&input, &task.condensed(&input, whole)) else {
        panic!("a completion")
    };
    assert_eq!((said.completion.as_str(), said.finish), ("xxx", Finish::Length));
    let first = &said.tokens[0];
    assert_eq!((first.id, first.text.as_str()), (1, "t1"));
    assert!((f64::from(first.log_probability) - log_softmax(&LOGITS[..4], 1)).abs() < 1e-6);
    assert!((first.probability.ln() - first.log_probability).abs() < 1e-6);
}

/// Before it is written, a place that no completion can have is refused, however it is named.
#[test]
fn a_completion_to_be_written_has_so_many_places() {
    let Input::Text(mut text) = input(&[]) else { unreachable!() };
    text.continuation = Some(Continuation { pending: 3, ..text.continuation.unwrap_or_default() });
    let input = Input::Text(text);
    for (named, fits) in [
        (TargetSpec::Text("2".into()), true),
        (TargetSpec::Text("3".into()), false),
        (spec_of(r#"{"token": 2}"#), true),
        (spec_of(r#"{"token": 3}"#), false),
    ] {
        let found = Completion.check_input(&named, &input);
        assert_eq!(found.is_ok(), fits, "{named:?}");
        if let Err(error) = found {
            assert!(error.path == "/token" && error.detail.contains("at most 3"), "{error:?}");
        }
    }
}
