//! What `counterfactual` resolves, refuses and returns; the search's own tests are in `support::fewest`.

use serde_json::{Value, json};

use super::*;
use crate::input::segment;
use crate::input::units::Mask;
use crate::methods::erased::ErasedMethod;
use crate::methods::support::fake::{self, Fake, FakeTask, word_embedding};
use crate::methods::support::lexical::{dot, unit};

fn explain(fake: &Fake, settings: &Value) -> Vec<Attribution> {
    let planned = Counterfactual.plan(settings.as_object().unwrap().clone(), &fake.subject());
    planned.unwrap_or_else(|error| panic!("{settings}: {} {error}", error.path)).explain(fake).unwrap()
}

fn refused(fake: &Fake, settings: &Value, path: &str) {
    let error = Counterfactual.plan(settings.as_object().unwrap().clone(), &fake.subject()).err();
    assert_eq!(error.unwrap_or_else(|| panic!("{settings} was taken")).path, path, "{settings}");
}

/// Units have weights; YES while those there are more than 1.
fn weighed(weights: &'static [f32]) -> impl Fn(&Units, &Mask) -> Vec<f32> + 'static {
    |units, mask| {
        let there = (0..units.len()).filter(|&unit| mask.contains(unit));
        vec![1.0, there.map(|unit| weights[unit % weights.len()]).sum()]
    }
}

fn text(words: usize, weights: &'static [f32]) -> Fake {
    let fake = Fake::text(words);
    let units = fake.units();
    fake.black(&units, weighed(weights))
}

#[test]
fn the_fewest_words_that_flip_it() {
    let fake = text(5, &[0.75, 0.5, 0.25, 0.5, -0.5]);
    let found = explain(&fake, &json!({})).remove(0);
    let change = found.change.unwrap();
    assert_eq!((change.found, change.minimal, change.distance), (true, Some(true), 1.0));
    assert_eq!(change.text.as_deref(), Some("w1 w2 w3 w4"));
    let edit = &change.edits[0];
    assert_eq!((edit.start, edit.end, edit.from.as_str(), edit.to.as_str()), (0, 3, "w0 ", ""));
    assert_eq!(found.scores.words, Some(vec![1.0, 0.0, 0.0, 0.0, 0.0]));
    assert_eq!((found.base_value, found.diagnostics.evaluations), (None, 6));
}

#[test]
fn fills_put_their_token_in_place() {
    let change = explain(&text(3, &[0.75, 0.5, 0.25]), &json!({"fill": "mask"})).remove(0).change.unwrap();
    assert_eq!((change.text.as_deref(), change.edits[0].to.as_str()), (Some("[3] w1 w2"), "[3]"));
}

#[test]
fn another_class_can_be_asked_for() {
    let fake = text(3, &[0.75, 0.5, 0.25]);
    let change = explain(&fake, &json!({"to": 0})).remove(0).change.unwrap();
    assert_eq!((change.found, change.edits.len()), (true, 1));
    let already = explain(&fake, &json!({"to": 1})).remove(0).change.unwrap();
    assert_eq!((already.found, already.distance, already.text.as_deref()), (true, 0.0, Some("w0 w1 w2")));
    refused(&fake, &json!({"to": 7}), "/to");
    refused(&fake, &json!({"to": 0, "threshold": 0.5}), "/to");
}

#[test]
fn a_class_that_is_not_answered_is_made_to_be() {
    let mut fake = text(3, &[0.75, 0.5, 0.25]);
    fake.targets = vec![fake::target(1), fake::target(0)];
    let found = explain(&fake, &json!({}));
    assert_eq!(found[0].change, found[1].change);
}

#[test]
fn what_cannot_be_changed_is_said() {
    for words in [0, 1, 2, 4] {
        let fake = text(words, &[9.0]);
        let units = fake.units();
        let fake = fake.black(&units, |_, _| vec![0.0, 1.0]);
        let found = explain(&fake, &json!({})).remove(0);
        assert_eq!(found.change, Some(Change::default()), "{words}");
        assert_eq!(found.scores.words, Some(vec![0.0; words]));
    }
}

#[test]
fn a_small_budget_is_not_proof() {
    let fake = text(20, &[0.5, 0.25, 0.125, 0.5]);
    let all = explain(&fake, &json!({"max_evaluations": 20_000})).remove(0).change.unwrap();
    let some = explain(&fake, &json!({"max_evaluations": 400, "beam": 1})).remove(0);
    let change = some.change.unwrap();
    assert!(change.found && change.minimal == Some(false) && change.distance >= all.distance, "{change:?}");
    assert!(some.diagnostics.evaluations <= 401);
    assert_eq!(explain(&fake, &json!({"max_changes": 1})).remove(0).change, Some(Change::default()));
}

#[test]
fn segments_are_hidden() {
    let units = Units::Image { kind: UnitKind::Patch, segmentation: segment::patches(4, 4, 2, 2) };
    let fake = Fake::image(4).black(&units, weighed(&[0.5, 0.75, 0.125, 0.125]));
    let change = explain(&fake, &json!({"unit": "patch"})).remove(0);
    assert_eq!(change.scores.segments, Some(vec![0.0, 1.0, 0.0, 0.0]));
    refused(&fake, &json!({"edit": "replace"}), "/edit");
}

#[test]
fn numbers_are_on_a_side_of_a_threshold() {
    let mut fake = text(3, &[0.75, 0.5, 0.25]);
    fake.task = FakeTask { probability: false };
    refused(&fake, &json!({}), "/threshold");
    let change = explain(&fake, &json!({"threshold": 0.5})).remove(0).change.unwrap();
    assert_eq!(change.distance, 2.0);
}

/// The logit is one half, and what the sum of the embeddings' first numbers changes by.
fn lexical(words: usize) -> Fake {
    let sum = |x: &[f32]| x.chunks(fake::HIDDEN).map(|token| token[0]).sum::<f32>();
    let fake = Fake::text(words);
    let whole: Vec<f32> = fake.input.as_text().unwrap().ids().flat_map(word_embedding).collect();
    let bias = 0.5 - sum(&whole);
    fake.white(move |x| vec![0.0, bias + sum(x)], |x, _| vec![0.0; x.len()])
}

#[test]
fn replaced_words_are_the_nearest_that_do_it() {
    let mut fake = lexical(3);
    let found = explain(&fake, &json!({"edit": "replace", "neighbours": 12})).remove(0);
    let change = found.change.unwrap();
    assert!(change.found && change.minimal == Some(true));
    // Brute force over single flips by any of the nearest twelve.
    let ids: Vec<u32> = fake.input.as_text().unwrap().ids().collect();
    let first = |id: u32| word_embedding(id)[0];
    let mut best: Option<(f32, usize, u32)> = None;
    for (token, &old) in ids.iter().enumerate().take(4).skip(1) {
        let own = unit(&word_embedding(old));
        let mut near: Vec<(f32, u32)> =
            (0..100).filter(|&id| id != old).map(|id| (1.0 - dot(&own, &unit(&word_embedding(id))), id)).collect();
        near.sort_by(|a, b| a.0.total_cmp(&b.0));
        for &(distance, id) in &near[..12] {
            let flips = 0.5 - first(old) + first(id) < 0.0;
            if flips && best.is_none_or(|(least, ..)| distance < least) {
                best = Some((distance, token, id));
            }
        }
    }
    if let Some((_, token, _)) = best {
        assert_eq!(change.distance, 1.0);
        assert_eq!(found.scores.words.unwrap()[token - 1], 1.0);
    } else {
        assert!(change.distance > 1.0);
    }
    for edit in &change.edits {
        assert!(!edit.to.is_empty() && edit.from.starts_with('w'));
    }
    fake.left.set(Some(2));
    fake.partial = true;
    let part = explain(&fake, &json!({"edit": "replace"})).remove(0);
    assert!(part.partial && !part.change.unwrap().found);
}

/// Words of letters, the first of two tokens.
fn joined(mut fake: Fake) -> Fake {
    let Input::Text(text) = &mut fake.input else { unreachable!() };
    for token in &mut text.tokens[2..] {
        token.word = token.word.map(|word| word - 1);
    }
    text.words.remove(0);
    text.words[0].start = 0;
    for (word, letters) in text.words.iter_mut().zip(["one", "two", "six"]) {
        word.text = letters.into();
    }
    fake
}

#[test]
fn a_word_of_several_tokens_makes_way_for_one() {
    let fake = joined(lexical(3));
    let found = explain(&fake, &json!({"edit": "replace", "neighbours": 100, "max_changes": 1})).remove(0);
    let change = found.change.unwrap();
    let (first, ids) = (|id: u32| word_embedding(id)[0], [10, 11]);
    let mean: Vec<f32> = word_embedding(ids[0]).iter().zip(word_embedding(ids[1])).map(|(a, b)| a + b).collect();
    // Brute force: of the first word's two tokens one is left, of the second's one.
    let flips = |old: f32, id: u32| 0.5 - old + first(id) < 0.0;
    let own = first(ids[0]) + first(ids[1]);
    let distance = |to: &[f32], id: u32| 1.0 - dot(&unit(to), &unit(&word_embedding(id)));
    let of_two = (0..100).filter(|&id| flips(own, id)).map(|id| distance(&mean, id));
    let of_one = (0..100).filter(|&id| id != 12 && flips(first(12), id)).map(|id| distance(&word_embedding(12), id));
    let (two, one) = (of_two.fold(9.0, f32::min), of_one.fold(9.0, f32::min));
    assert!(two < 9.0 || one < 9.0);
    let expected = if two <= one { vec![1.0, 0.0] } else { vec![0.0, 1.0] };
    assert_eq!((change.distance, found.scores.words), (1.0, Some(expected)));
    let (start, end) = if two <= one { (0, 5) } else { (6, 8) };
    assert_eq!((change.edits[0].start, change.edits[0].end), (start, end));
}

#[test]
fn a_language_model_proposes_the_words() {
    let mut fake = joined(lexical(3));
    // Of one token, of two and of three; what it holds likeliest comes first.
    let (a, b, c) = ("aax", "abx-acx", "adx-aex-afx");
    fake.proposals = vec![(a, -0.5), (b, -1.0), (c, -2.0)];
    let settings = json!({"edit": "replace", "language_model": "words"});
    let first = |ids: &[u32]| ids.iter().map(|&id| word_embedding(id)[0]).sum::<f32>();
    let options: [(&str, &[u32]); 3] = [(a, &[0]), (b, &[1, 2]), (c, &[3, 4, 5])];
    let flips = |old: &[u32], new: &[u32]| 0.5 - first(old) + first(new) < 0.0;
    let places: [&[u32]; 2] = [&[10, 11], &[12]];
    let found = explain(&fake, &settings).remove(0);
    // Beside what was tried the language model was asked once and the change read again; the input itself counts.
    let (asked, again, whole) = (1, 1, 1);
    assert_eq!(found.diagnostics.evaluations, fake.rows.get() - asked - again + whole);
    let change = found.change.unwrap();
    let singles = options.iter().find_map(|(text, ids)| places.iter().any(|own| flips(own, ids)).then_some(*text));
    match singles {
        Some(text) => assert_eq!((change.distance, change.edits[0].to.as_str()), (1.0, text)),
        None => assert!(!change.found || change.distance == 2.0),
    }
    // A text that may not grow keeps to what fits.
    fake.spec.max_positions = 5;
    fake.proposals = vec![(c, -2.0)];
    let change = explain(&fake, &settings).remove(0).change.unwrap();
    assert!(!change.found);
    refused(&fake, &json!({"edit": "replace", "language_model": "other"}), "/language_model");
    refused(&fake, &json!({"language_model": "words"}), "/language_model");
    fake.left.set(Some(0));
    fake.partial = true;
    let part = explain(&fake, &settings).remove(0);
    assert!(part.partial && !part.change.unwrap().found);
}

#[test]
fn settings_that_cannot_be_are_refused_in_place() {
    for (settings, path) in [
        (json!({"neighbours": 3}), "/neighbours"),
        (json!({"edit": "replace", "neighbours": 0}), "/neighbours"),
        (json!({"edit": "replace", "unit": "token"}), "/unit"),
        (json!({"edit": "replace", "fill": "mask"}), "/fill"),
        (json!({"edit": "swap"}), "/edit"),
        (json!({"beam": 0}), "/beam"),
        (json!({"max_changes": 0}), "/max_changes"),
        (json!({"max_evaluations": 3}), "/max_evaluations"),
        (json!({"to": "MAYBE"}), "/to"),
    ] {
        refused(&text(2, &[1.0]), &settings, path);
    }
}
