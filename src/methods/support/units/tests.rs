//! Which units a choice makes, what it refuses and where; `lime` stands in for every perturbation method.

use serde_json::{Value, json};

use super::*;
use crate::methods::support::fake::Fake;
use crate::methods::{Attribution, METHODS, Planned};

fn resolve(fake: &Fake, asked: Asked) -> Choice {
    Choice::resolve(asked, &fake.subject()).unwrap()
}

fn plan(fake: &Fake, settings: &Value) -> Result<Box<dyn Planned>, SettingError> {
    let lime = METHODS.iter().find(|method| method.name() == "lime").unwrap();
    lime.plan(settings.as_object().unwrap().clone(), &fake.subject())
}

fn refused(fake: &Fake, settings: &Value) -> (String, String) {
    let error = plan(fake, settings).err().unwrap_or_else(|| panic!("{settings} was taken"));
    (error.path, error.detail)
}

fn explain(fake: &Fake, settings: &Value) -> Attribution {
    let planned = plan(fake, settings).unwrap_or_else(|error| panic!("{settings}: {} {error}", error.path));
    // What is echoed can be sent again and means the same.
    assert_eq!(plan(fake, planned.settings()).unwrap().settings(), planned.settings());
    planned.explain(fake).unwrap().remove(0)
}

/// Six words in two sentences: `w0 w1 w2. w3 w4 w5`; the logit counts units present.
fn text() -> Fake {
    let mut fake = Fake::text(6);
    if let Input::Text(text) = &mut fake.input {
        text.text = "w0 w1 w. W3 w4 w5".into();
    }
    fake.black = Box::new(|_, mask| vec![0.0, mask.count() as f32]);
    fake.logits = vec![0.0, 2.0];
    fake
}

#[test]
fn the_count_is_known_where_nothing_is_cut() {
    let of = |unit| Asked { unit: Some(unit), ..Asked::default() };
    let text = text();
    for (unit, count) in [(UnitKind::Word, 6), (UnitKind::Token, 6), (UnitKind::Sentence, 2)] {
        let choice = resolve(&text, of(unit));
        assert_eq!(choice.count(), Some(count));
        assert_eq!(choice.units(&text.input, 0).unwrap().len(), count);
    }
    let image = Fake::image(8);
    let patches = resolve(&image, of(UnitKind::Patch));
    assert_eq!(patches.count(), Some(16));
    assert_eq!(patches.units(&image.input, 0).unwrap().len(), 16);
    let segments = resolve(&image, of(UnitKind::Segment));
    assert_eq!(segments.count(), None);
    assert!(!segments.units(&image.input, 0).unwrap().is_empty());
}

#[test]
fn a_cost_is_rows_of_the_whole_input() {
    assert_eq!(cost(16, &Fake::text(4).subject()), Cost { rows: 16, tokens: 96 });
}

#[test]
fn sentences_have_their_list_and_their_places() {
    let found = explain(&text(), &json!({"unit": "sentence", "output": "logit"}));
    assert_eq!(found.scores.sentences.unwrap().len(), 2);
    assert!(found.scores.words.is_none() && found.scores.tokens.is_none() && found.scores.spans.is_none());
    let units = found.units.unwrap();
    assert_eq!(units.iter().map(|unit| unit.text.as_str()).collect::<Vec<_>>(), ["w0 w1 w.", "W3 w4 w5"]);
    assert_eq!(units.iter().map(|unit| (unit.start, unit.end)).collect::<Vec<_>>(), [(0, 8), (9, 17)]);
    assert_eq!(found.diagnostics.standard_error, Some(vec![0.0; 2]));
    let nothing = explain(&Fake::text(0), &json!({"unit": "sentence"}));
    assert_eq!((nothing.scores.sentences, nothing.units), (Some(Vec::new()), Some(Vec::new())));
}

#[test]
fn spans_have_their_list_in_the_order_given() {
    let found = explain(&text(), &json!({"unit": "span", "spans": [[9, 17], [3, 5]], "output": "logit"}));
    assert_eq!(found.scores.spans.unwrap().len(), 2);
    let units = found.units.unwrap();
    assert_eq!(units.iter().map(|unit| unit.text.as_str()).collect::<Vec<_>>(), ["W3 w4 w5", "w1"]);
}

#[test]
fn spans_that_cannot_be_are_refused_in_place() {
    let text = text();
    for (settings, path, says) in [
        (json!({"unit": "span"}), "/spans", "needs them"),
        (json!({"unit": "span", "spans": []}), "/spans", "at least one"),
        (json!({"spans": [[0, 2]]}), "/spans", "only"),
        (json!({"unit": "span", "spans": [[0, 2], [1, 5]]}), "/spans/1", "overlaps"),
        (json!({"unit": "span", "spans": [[0, 2], [4, 4]]}), "/spans/1", "empty"),
        (json!({"unit": "span", "spans": [[0, 18]]}), "/spans/0", "17 characters"),
        (json!({"unit": "span", "spans": [[0, 2, 1]]}), "/spans/0", "without a pair"),
        (json!({"unit": "span", "spans": [[0, 2], [3]]}), "/spans/1", "[start, end]"),
        (json!({"unit": "segment"}), "/unit", "for images"),
        (json!({"mask": "AAAA"}), "/mask", "for images"),
    ] {
        let (found, detail) = refused(&text, &settings);
        assert_eq!(found, path, "{settings}");
        assert!(detail.contains(says), "{settings}: {detail}");
    }
    let (path, detail) = refused(&Fake::image(4), &json!({"unit": "sentence"}));
    assert!(path == "/unit" && detail.contains("for text"));
    assert_eq!(refused(&Fake::image(4), &json!({"spans": [[0, 2]]})).0, "/spans");
}

#[test]
fn a_mask_is_the_callers_segments() {
    let mut image = Fake::image(4);
    image.black = Box::new(|_, mask| vec![0.0, mask.count() as f32]);
    image.logits = vec![0.0, 3.0];
    let labels = [9, 9, 4, 4, 9, 9, 4, 4, 9, 9, 7, 7, 9, 9, 7, 7];
    let mask = STANDARD.encode(segment::png16(&labels, 4, 4));
    let settings = json!({"segmenter": "mask", "mask": mask, "output": "logit"});
    assert_eq!(plan(&image, &settings).unwrap().cost().rows, 8);
    let found = explain(&image, &settings);
    assert_eq!(found.scores.segments.unwrap().len(), 3);
    assert_eq!(found.scores.grid.unwrap().len(), 2);
    for (settings, says) in [
        (json!({"segmenter": "mask"}), "needs it"),
        (json!({"segmenter": "mask", "mask": "?"}), "no base64"),
        (json!({"segmenter": "mask", "mask": "AAAA"}), "send a PNG"),
        (json!({"mask": "AAAA"}), "only"),
        (json!({"unit": "patch", "mask": "AAAA"}), "only"),
    ] {
        let (path, detail) = refused(&image, &settings);
        assert_eq!(path, "/mask", "{settings}");
        assert!(detail.contains(says), "{settings}: {detail}");
    }
    assert_eq!(refused(&image, &json!({"segmenter": "mask", "segments": 3, "mask": "AAAA"})).0, "/segments");
}
