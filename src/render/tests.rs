//! Pictures of fixed answers: snapshots of what people read, and that nothing in an input can act on a page or a
//! terminal.

use std::io::Cursor;

use serde_json::{Value, json};

use super::{RenderError, TextOptions, html, png, svg, text};
use crate::explain::Answer;
use crate::tasks::Prediction;

fn answer(input: Value, explanations: Value) -> Answer {
    let answer = json!({
        "id": "test", "input": input, "explanations": explanations,
        "model": {"name": "sentiment", "source": "bundled:sentiment", "revision": null, "sha256": "00",
            "architecture": "bert", "task": "text-classification"},
        "request": {"model": "sentiment", "target": [], "evaluate": false, "deadline_ms": 60000, "partial": false,
            "seed": 0, "echo": false},
        "prediction": {"label": "POSITIVE", "index": 1, "probability": 0.998, "scores": [
            {"label": "NEGATIVE", "index": 0, "logit": -2.1, "probability": 0.002},
            {"label": "POSITIVE", "index": 1, "logit": 4.1, "probability": 0.998}]},
        "warnings": [{"code": "truncated", "detail": "the text has 600 tokens and the model takes 512"}],
        "provenance": {"version": "0.1.0", "device": "cpu", "dtype": "f32", "cpu": "test", "threads": 1}
    });
    serde_json::from_value(answer).unwrap()
}

fn word(text: &str, start: usize) -> Value {
    json!({"text": text, "start": start, "end": start + text.chars().count()})
}

fn of_words(words: &[Value], scores: &[f32]) -> Answer {
    answer(
        json!({"kind": "text", "sha256": "00", "tokens": [], "words": words}),
        json!([{"method": "integrated_gradients", "target": {"label": "POSITIVE", "index": 1},
            "settings": {"baseline": "pad", "output": "logit"}, "scores": {"words": scores},
            "base_value": -0.31, "output_value": 4.1, "residual": 0.0004,
            "diagnostics": {"evaluations": 24, "converged": true}, "elapsed_ms": 12.5}]),
    )
}

fn film() -> Answer {
    let words = [word("a", 0), word("gripping", 2), word(",", 10), word("funny", 12), word("film", 18)];
    of_words(&words, &[0.1, 2.5, -0.2, 1.75, 0.0])
}

fn image(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image::RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8 * 8, y as u8 * 8, 128]))
        .write_to(&mut bytes, image::ImageFormat::Png)
        .unwrap();
    bytes.into_inner()
}

fn of_image(extra: Value) -> Answer {
    let mut explanation = json!({"method": "lime", "target": {"label": "POSITIVE", "index": 1}, "settings": {},
        "grid": {"rows": 2, "cols": 3}, "scores": {"grid": [[0.0, 0.5, -1.0], [2.0, 0.04, -0.3]]},
        "diagnostics": {"evaluations": 1, "r2": 0.91}, "elapsed_ms": 1.0});
    for (key, value) in extra.as_object().into_iter().flatten() {
        explanation[key.as_str()] = value.clone();
    }
    answer(
        json!({"kind": "image", "sha256": "00", "width": 30, "height": 20, "grid": {"rows": 2, "cols": 3},
            "region": {"x": 0.0, "y": 0.0, "width": 30.0, "height": 20.0}, "sequence": ["cls"]}),
        json!([explanation]),
    )
}

const PLAIN: TextOptions = TextOptions { width: 60, colour: false };

#[test]
fn text_of_a_text() {
    insta::assert_snapshot!(text(&film(), PLAIN));
}

#[test]
fn text_in_colour() {
    let coloured = text(&film(), TextOptions { width: 60, colour: true });
    insta::assert_snapshot!(coloured.replace('\u{1b}', "ESC"));
}

#[test]
fn text_of_an_image() {
    insta::assert_snapshot!(text(&of_image(json!({})), PLAIN));
}

#[test]
fn html_of_a_text() {
    insta::assert_snapshot!(html(&film(), None).unwrap());
}

#[test]
fn svg_of_a_text() {
    insta::assert_snapshot!(svg(&film(), None).unwrap());
}

#[test]
fn long_texts_wrap_at_the_width() {
    let words: Vec<Value> = (0..40).map(|index| word("word", index * 5)).collect();
    let shown = text(&of_words(&words, &[0.5; 40]), PLAIN);
    let longest = shown.lines().filter(|line| line.starts_with("  word word")).map(str::len).max();
    assert!(longest.is_some_and(|longest| (50..=60).contains(&longest)), "{shown}");
    assert!(shown.contains("… and 20 weaker"), "{shown}");
}

#[test]
fn a_pair_begins_its_second_text_on_a_new_line() {
    let words = json!([{"text": "one", "start": 0, "end": 3, "sequence": 0}, {"text": "two", "start": 0, "end": 3, "sequence": 1}]);
    let shown = text(&of_words(words.as_array().unwrap(), &[1.0, 0.5]), PLAIN);
    assert!(shown.contains("  one\n  two\n"), "{shown}");
}

#[test]
fn nothing_in_a_text_acts_on_a_page() {
    let hostile = ["<script>alert(1)</script>", "\"onload=x", "a&b", "\u{1b}[2J", "\u{0}\u{fffe}"];
    let words: Vec<Value> = hostile.iter().enumerate().map(|(index, text)| word(text, index * 40)).collect();
    let answer = of_words(&words, &[1.0, 0.5, 0.2, 0.1, 0.1]);
    for page in [html(&answer, None).unwrap(), svg(&answer, None).unwrap()] {
        assert!(!page.contains("<script") && !page.contains("\"onload"), "{page}");
        assert!(page.contains("&lt;script&gt;alert(1)") && page.contains("a&amp;b"), "{page}");
        assert!(!page.contains(['\u{1b}', '\u{0}', '\u{fffe}']), "{page}");
    }
    let shown = text(&answer, PLAIN);
    assert!(!shown.contains(['\u{1b}', '\u{0}']), "{shown:?}");
}

#[test]
fn hostile_names_are_escaped() {
    let mut answer = film();
    answer.model.name = "<img src=x>".into();
    let Prediction::Class(class) = &mut answer.prediction else { panic!("{:?}", answer.prediction) };
    class.scores[1].label = "<b>".into();
    answer.id = "'><i>".into();
    for page in [html(&answer, None).unwrap(), svg(&answer, None).unwrap()] {
        assert!(!page.contains("<img") && !page.contains("<b>") && !page.contains("<i>"), "{page}");
    }
}

#[test]
fn an_image_is_drawn_with_a_panel_an_explanation() {
    let bytes = png(&of_image(json!({})), Some(&image(30, 20))).unwrap();
    let sheet = image::load_from_memory(&bytes).unwrap().to_rgb8();
    assert_eq!(sheet.width(), 2 * 320 + 3 * 12);
    // The strongest cell (row 1, column 0) is red, the most negative (row 0, column 2) blue.
    let panel = (12 + 320 + 12, 12 + 32 + 6);
    let red = sheet.get_pixel(panel.0 + 40, panel.1 + 160).0;
    let blue = sheet.get_pixel(panel.0 + 280, panel.1 + 40).0;
    assert!(red[0] > red[2] + 50, "{red:?}");
    assert!(blue[2] > blue[0] + 30, "{blue:?}");
    assert!(svg(&of_image(json!({})), Some(&image(30, 20))).unwrap().contains("href=\"data:image/png;base64,"));
    assert!(html(&of_image(json!({})), Some(&image(30, 20))).unwrap().contains("heat map"));
}

#[test]
fn segments_are_drawn_by_their_pixels() {
    let mut labels = Cursor::new(Vec::new());
    image::ImageBuffer::<image::Luma<u16>, _>::from_fn(4, 2, |x, _| image::Luma([u16::from(x == 3)]))
        .write_to(&mut labels, image::ImageFormat::Png)
        .unwrap();
    use base64::Engine as _;
    let segments = base64::engine::general_purpose::STANDARD.encode(labels.into_inner());
    let scores = json!({"segments": segments, "scores": {"segments": [0.0, 1.0], "grid": [[0.0, 0.5]]}});
    let answer = of_image(scores);
    let map = super::scored::ScoreMap::of(&answer.explanations.as_ref().unwrap()[0]).unwrap().unwrap();
    assert_eq!((map.rows, map.cols, map.at(0.7, 0.5), map.at(0.8, 0.5), map.at(1.0, 1.0)), (2, 4, 0.0, 1.0, 1.0));

    let broken = of_image(json!({"segments": "no base64!", "scores": {"segments": [0.0]}}));
    assert!(matches!(png(&broken, Some(&image(30, 20))), Err(RenderError::Segments { .. })));
}

#[test]
fn what_cannot_be_drawn_is_refused_with_a_reason() {
    assert!(matches!(png(&film(), None), Err(RenderError::PngOfText)));
    assert!(matches!(png(&of_image(json!({})), None), Err(RenderError::MissingImage)));
    assert!(matches!(png(&of_image(json!({})), Some(b"no image")), Err(RenderError::Decode(_))));
    let nothing = of_image(json!({"scores": {}}));
    assert!(matches!(png(&nothing, Some(&image(30, 20))), Err(RenderError::NothingToDraw)));
}

/// What lies inside a model, in the place of scores.
fn inside(answer: &mut Answer) {
    let parts = json!({
        "neurons": (0..45).map(|unit| json!({"layer": unit % 3, "unit": unit, "activation": 0.5,
            "influence": 0.9 - 0.04 * unit as f64})).collect::<Vec<_>>(),
        "scores": {}, "diagnostics": {"evaluations": 1}
    });
    let neurons: crate::methods::Attribution = serde_json::from_value(parts).unwrap();
    let score = |label: &str, index: usize, probability: f64| json!({"label": label, "index": index, "logit": 1.0, "probability": probability});
    let layers = json!([
        {"layer": 0, "scores": [score("POSITIVE", 1, 0.3), score("<b>NEGATIVE</b>", 0, 0.7)]},
        {"layer": 1, "scores": [score("POSITIVE", 1, 0.98), score("<b>NEGATIVE</b>", 0, 0.02)]}]);
    let all = answer.explanations.as_mut().unwrap();
    all.push(all[0].clone());
    for one in all.iter_mut() {
        one.attribution.scores = Default::default();
    }
    all[0].attribution.neurons = neurons.neurons;
    all[1].attribution.layers = Some(serde_json::from_value(layers).unwrap());
}

#[test]
fn units_are_bars_and_layers_a_grid() {
    let mut words = film();
    inside(&mut words);
    let picture = svg(&words, None).unwrap();
    let page = html(&words, None).unwrap();
    for drawn in [&picture, &page] {
        for part in
            ["influence of units", "layer 0 unit 0 ", "… and 5 more units", "likeliest first", "0.98", "layer 1"]
        {
            assert!(drawn.contains(part), "{part}: {drawn}");
        }
        assert!(!drawn.contains("<b>"), "{drawn}");
    }
    insta::assert_snapshot!(picture);
    let lines = text(&words, PLAIN);
    for part in ["layer 0 unit 0", "layer 1: POSITIVE 0.980 · <b>NEGATIVE</b> 0.020", "… and 25 weaker"] {
        assert!(lines.contains(part), "{part}: {lines}");
    }
    let mut pixels = of_image(json!({}));
    inside(&mut pixels);
    let bytes = png(&pixels, Some(&image(30, 20))).unwrap();
    let sheet = image::load_from_memory(&bytes).unwrap().to_rgb8();
    assert_eq!(sheet.width(), 3 * 320 + 4 * 12);
    // The first unit's bar is red, the last ones' blue; both lie right of their numbers.
    let column = |x: u32| sheet.rows().map(|mut row| row.nth(x as usize).unwrap().0).collect::<Vec<_>>();
    let bars = (12 + 332 + 220..12 + 332 + 320).flat_map(column).collect::<Vec<[u8; 3]>>();
    assert!(bars.iter().any(|[r, _, b]| r > b && r - b > 60) && bars.iter().any(|[r, _, b]| b > r && b - r > 60));
    assert!(svg(&pixels, Some(&image(30, 20))).unwrap().contains("what each layer answers"));
    assert!(html(&pixels, Some(&image(30, 20))).unwrap().contains("influence of units"));
}

#[test]
fn rules_trees_and_changes_are_lines() {
    let words = [word("a", 0), word("<b>film</b>", 2)];
    let mut answer = of_words(&words, &[0.0, 1.0]);
    let explanation = &mut answer.explanations.as_mut().unwrap()[0];
    let parts = json!({
        "rule": {"units": [1], "text": "where \"<b>film</b>\" stays, the model answers POSITIVE in 97.5 % of cases",
            "precision": 0.975, "precision_bounds": [0.94, 0.99], "coverage": 0.5},
        "tree": {"unit": 1, "absent": {"value": 0.25}, "present": {"value": 0.75}},
        "rules": ["\"<b>film</b>\" stays: 0.750", "\"<b>film</b>\" goes: 0.250"],
        "change": {"found": true, "minimal": true, "distance": 1.0, "text": "a bore", "image": "aGk=",
            "edits": [{"start": 2, "end": 13, "from": "<b>film</b>", "to": "bore"}]},
        "scores": {}, "diagnostics": {"evaluations": 1}
    });
    let attribution: crate::methods::Attribution = serde_json::from_value(parts).unwrap();
    explanation.attribution.rule = attribution.rule;
    explanation.attribution.tree = attribution.tree;
    explanation.attribution.rules = attribution.rules;
    explanation.attribution.change = attribution.change;
    let lines = text(&answer, PLAIN);
    for part in [
        "POSITIVE in 97.5 % of cases (precision 0.940 to 0.990, coverage 50.00 %)",
        "goes: 0.250",
        "“<b>film</b>” → “bore” (characters 2 to 13)",
        "changed text: a bore",
        "distance 1.000, the smallest",
    ] {
        assert!(lines.contains(part), "{part}: {lines}");
    }
    let page = html(&answer, None).unwrap();
    assert!(page.contains("src=\"data:image/png;base64,aGk=\"") && !page.contains("<b>film"));
    let explanation = &mut answer.explanations.as_mut().unwrap()[0];
    explanation.attribution.change = Some(crate::methods::Change::default());
    assert!(text(&answer, PLAIN).contains("no change found"));
}
