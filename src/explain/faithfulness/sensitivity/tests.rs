//! Changed inputs are what they say, and all that a method asks of them is asked of the changed input.

use serde_json::json;

use super::*;
use crate::input::text::TextInput;
use crate::input::units::{Fill, Mask};
use crate::methods::support::fake::{self, Fake, word_embedding};
use crate::methods::{Attribution, Pass, Splice, Variant};
use crate::numerics::sampling::uniform;

fn planned(fake: &Fake, method: &str, settings: &serde_json::Value) -> Box<dyn Planned> {
    let method = METHODS.iter().find(|known| known.name() == method).unwrap();
    method.plan(settings.as_object().unwrap().clone(), &fake.subject()).unwrap()
}

/// The sum of the first numbers of the embeddings that are there decides, whoever asks.
fn summing(mut fake: Fake, bias: f32) -> Fake {
    fn sum(x: &[f32]) -> f32 {
        x.chunks(fake::HIDDEN).map(|token| token[0]).sum()
    }
    let text = fake.input.as_text().unwrap().clone();
    let units = Units::words(&text);
    fake = fake.white(
        move |x| vec![0.0, bias + sum(x)],
        |x, cotangent| {
            let slope = |place: usize| if place.is_multiple_of(fake::HIDDEN) { cotangent[1] } else { 0.0 };
            (0..x.len()).map(slope).collect()
        },
    );
    fake.black(&units, move |units, mask| {
        let Units::Text { members, .. } = units else { unreachable!() };
        let gone: Vec<usize> =
            (0..units.len()).filter(|unit| !mask.contains(*unit)).flat_map(|unit| members[unit].clone()).collect();
        let there = text.ids().enumerate().filter(|(token, _)| !gone.contains(token));
        vec![0.0, bias + there.map(|(_, id)| word_embedding(id)[0]).sum::<f32>()]
    })
}

/// Words `w0 w1 …` without that of number `gone`, as a text of its own.
fn shorter(words: usize, gone: usize) -> Fake {
    let mut fake = Fake::text(words);
    let Input::Text(text) = &mut fake.input else { unreachable!() };
    text.words.remove(gone);
    text.tokens.remove(gone + 1);
    text.type_ids.pop();
    text.text = text.words.iter().map(|word| word.text.clone()).collect::<Vec<_>>().join(" ");
    for (place, word) in text.words.iter_mut().enumerate() {
        (word.start, word.end) = (3 * place, 3 * place + 2);
    }
    for (place, token) in text.tokens.iter_mut().filter(|token| !token.special).enumerate() {
        (token.word, token.start, token.end) = (Some(place), 3 * place, 3 * place + 2);
    }
    fake
}

fn measured<'a>(
    fake: &'a Fake,
    planned: &'a dyn Planned,
    attribution: &'a Attribution<crate::methods::Amount>,
    again: &'a Again,
) -> Measured<'a> {
    Measured {
        ctx: fake,
        planned,
        place: 0,
        attribution,
        target: &fake.targets[0],
        output: crate::tasks::OutputSpace::Probability,
        effort: Effort { draws: 10, rows: 100_000 },
        once: 1,
        again,
    }
}

/// A counterfactual of other words, run again: what it says of each shorter text is what it says of that text by itself.
#[test]
fn words_are_replaced_in_the_text_without_the_word() {
    let settings = json!({"edit": "replace", "neighbours": 30});
    let bias =
        0.4 - (10..14).map(|id| word_embedding(id)[0]).sum::<f32>() - word_embedding(1)[0] - word_embedding(2)[0];
    let fake = summing(Fake::text(4), bias);
    let counterfactual = planned(&fake, "counterfactual", &settings);
    let own = counterfactual.explain(&fake).unwrap().remove(0).shown();
    let parts = Parts::of(&own, counterfactual.settings(), &fake.input).unwrap();
    let mut largest: f64 = 0.0;
    for gone in 0..4 {
        let without = Without::new(&fake, &parts, gone).unwrap();
        let again = counterfactual.explain(&without).unwrap().remove(0);
        let short = summing(shorter(4, gone), bias);
        let alone = planned(&short, "counterfactual", &settings).explain(&short).unwrap().remove(0);
        let mut scores = again.scores.words.clone().unwrap();
        assert_eq!(scores.remove(gone), 0.0, "a word that is not there is not changed");
        assert_eq!(scores, alone.scores.words.clone().unwrap(), "without {gone}");
        let (change, expected) = (again.change.unwrap(), alone.change.unwrap());
        assert_eq!((change.found, change.distance, change.text), (expected.found, expected.distance, expected.text));
        let mut before = parts.scores.clone();
        before.remove(gone);
        let after: Vec<f64> = scores.iter().map(|score| f64::from(*score)).collect();
        largest = largest.max(sensitivity(&before, &after));
    }
    let again = Again::default();
    let found = super::largest(measured(&fake, &*counterfactual, &own, &again), &parts).unwrap().unwrap();
    assert_eq!(found, largest);
}

#[test]
fn a_text_without_a_word_is_read_as_such() {
    let fake = summing(Fake::text(3), 0.0);
    let parts = |fill| Parts { units: fake.units(), fill, scores: vec![0.0; 3] };
    let without = Without::new(&fake, &parts(Fill::Remove), 1).unwrap();
    let text: &TextInput = without.input().as_text().unwrap();
    assert_eq!(text.text, "w0 w2");
    let words: Vec<(&str, usize, usize)> =
        text.words.iter().map(|word| (word.text.as_str(), word.start, word.end)).collect();
    assert_eq!(words, [("w0", 0, 2), ("", 2, 2), ("w2", 3, 5)]);
    assert_eq!(text.tokens.iter().map(|token| token.word).collect::<Vec<_>>(), [None, Some(0), None, Some(2), None]);
    // Other words stand in what is left, however they are asked for.
    let new = Splice { tokens: 3..4, ids: vec![40] };
    let ids = vec![1, 10, 11, 40, 2];
    let expected: f32 = [1, 10, 40, 2].iter().map(|&id| word_embedding(id)[0]).sum();
    let into = Splice { tokens: 2..3, ids: vec![50] };
    let found = without.variants(&[Variant::Spliced(vec![into, new]), Variant::Ids(ids)]).unwrap();
    assert!(found.iter().all(|logits| (logits[1] - expected).abs() < 1e-6), "{found:?} {expected}");
    assert_eq!(without.outputs(masking(&parts(Fill::Remove)), &[Mask::full(3)]).unwrap()[0], without.logits());
    // Filled, the text keeps its length.
    let masked = Without::new(&fake, &parts(Fill::Mask), 1).unwrap();
    let found = masked.variants(&[Variant::Spliced(Vec::new())]).unwrap();
    let expected: f32 = [1, 10, 3, 12, 2].iter().map(|&id| word_embedding(id)[0]).sum();
    assert!((found[0][1] - expected).abs() < 1e-6);
    assert_eq!(masked.input().as_text().unwrap().text, "w0 w1 w2");
}

fn masking(parts: &Parts) -> crate::methods::Masking<'_> {
    crate::methods::Masking { units: &parts.units, fill: parts.fill, precision: crate::nn::Precision::F32 }
}

/// Words that a method puts in stand among noisy ones.
#[test]
fn other_words_stand_among_the_noise() {
    let fake = summing(Fake::text(3), 0.0);
    let noisy = Noisy::new(&fake, CHANGES + 1).unwrap();
    let own: Vec<u32> = fake.input.as_text().unwrap().ids().collect();
    let mut other = own.clone();
    other[2] = 40;
    let found = noisy.variants(&[Variant::Ids(own), Variant::Ids(other)]).unwrap();
    assert_eq!(found[0], noisy.logits());
    let noise = noisy.embedding(None).unwrap()[2 * fake::HIDDEN];
    let expected = noisy.logits()[1] - noise + word_embedding(40)[0];
    assert!((found[1][1] - expected).abs() < 1e-5 && found[0] != fake.logits, "{found:?} {expected}");
    // A gradient is taken where the noise is: adversarial flips begin with the noisy text.
    let mut seen = Vec::new();
    let pass = |ctx: &dyn Ctx, seen: &mut Vec<Vec<f32>>| {
        let pass =
            Pass { rows: 1, embedding: None, objectives: &[], rule: Default::default(), taps: Default::default() };
        ctx.pass(&pass, &mut |view| {
            seen.push(view.logits.to_vec());
            Ok(())
        })
        .unwrap();
    };
    pass(&noisy, &mut seen);
    assert_eq!(seen[0], noisy.logits());
}

/// A method's own noise, of which each sample is a draw of its own, is none of the changes'.
#[test]
fn changes_are_drawn_from_streams_of_their_own() {
    let fake = linear();
    let own = fake.embedding(None).unwrap();
    for draw in 0..10 {
        let noisy = Noisy::new(&fake, CHANGES + 1 + draw).unwrap().embedding(None).unwrap();
        let noise = f64::from(noisy[0] - own[0]) / 0.02;
        for sample in 0..100 {
            let drawn = 2.0 * uniform(&mut generator_of(fake.seed, sample)) - 1.0;
            assert!((noise - drawn).abs() > 1e-5, "change {draw} is sample {sample}");
        }
    }
}

fn linear() -> Fake {
    Fake::text(3).white(|x| vec![0.0, x.iter().sum()], |x, cotangent| vec![cotangent[1]; x.len()])
}

/// Each run explains every target, so the second explanation is compared with the runs of the first.
#[test]
fn targets_share_the_runs() {
    let mut fake = linear();
    fake.targets = vec![fake::target(1), fake::target(0)];
    let method = planned(&fake, "input_x_gradient", &json!({}));
    let found: Vec<_> = method.explain(&fake).unwrap().into_iter().map(Attribution::shown).collect();
    let again = Again::default();
    let largest = |place: usize| {
        let before = fake.rows.get();
        let parts = Parts::of(&found[place], method.settings(), &fake.input).unwrap();
        let measured =
            Measured { place, target: &fake.targets[place], ..measured(&fake, &*method, &found[place], &again) };
        (super::largest(measured, &parts).unwrap().unwrap(), fake.rows.get() - before)
    };
    let (first, rows) = largest(0);
    // A pass for what the model says of the noisy text, and the method's own.
    assert_eq!(rows, 10 * 2);
    assert!(first > 0.0);
    assert_eq!(largest(1).1, 0);
}
