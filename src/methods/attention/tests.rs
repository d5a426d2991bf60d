//! What `attention` chooses, averages and reads, over the fake job's known maps.

use serde_json::{Value, json};

use super::*;
use crate::methods::Grid;
use crate::methods::erased::ErasedMethod;
use crate::methods::support::fake::{self, Fake, HEADS, LAYERS};

fn run(fake: &Fake, settings: &Value) -> (Value, Attribution) {
    let planned = Attention.plan(settings.as_object().unwrap().clone(), &fake.subject()).unwrap();
    (planned.settings().clone(), planned.explain(fake).unwrap().remove(0))
}

fn refused(fake: &Fake, settings: &Value) -> SettingError {
    let planned = Attention.plan(settings.as_object().unwrap().clone(), &fake.subject());
    planned.err().unwrap_or_else(|| panic!("{settings} was taken"))
}

#[test]
fn the_default_is_the_mean_head_of_the_last_layer() {
    let fake = Fake::text(3);
    let (settings, found) = run(&fake, &json!({}));
    assert_eq!(settings, json!({"layers": [LAYERS - 1], "heads": "mean"}));
    let layers = found.scores.layers.unwrap();
    assert_eq!((layers.len(), layers[0].len(), layers[0][0].len(), layers[0][0][0].len()), (1, 1, 5, 5));
    let map = fake::attention(LAYERS - 1, 5);
    for (key, &value) in layers[0][0][2].iter().enumerate() {
        assert!((value - (map[2 * 5 + key] + map[25 + 2 * 5 + key]) / 2.0).abs() < 1e-7);
    }
    let tokens = found.scores.tokens.unwrap();
    assert_eq!(tokens, layers[0][0][0], "the first token reads");
    assert_eq!(found.scores.words.unwrap(), tokens[1..4]);
    assert_eq!(found.diagnostics.evaluations, 1);
    assert_eq!((found.base_value, found.residual), (None, None));
}

#[test]
fn layers_and_heads_keep_the_order_asked_for() {
    let fake = Fake::text(2);
    let (settings, found) = run(&fake, &json!({"layers": [-1, 0], "heads": [1]}));
    assert_eq!(settings, json!({"layers": [2, 0], "heads": [1]}));
    let layers = found.scores.layers.unwrap();
    for (layer, index) in layers.iter().zip([2, 0]) {
        assert_eq!(layer.len(), 1);
        assert_eq!(layer[0].concat(), fake::attention(index, 4)[16..]);
    }
    // The deepest chosen layer and all of its heads.
    let map = fake::attention(2, 4);
    let tokens = found.scores.tokens.unwrap();
    assert!((tokens[1] - (map[1] + map[17]) / 2.0).abs() < 1e-7);
    let (settings, found) = run(&fake, &json!({"layers": "all", "heads": "all"}));
    assert_eq!(settings, json!({"layers": [0, 1, 2], "heads": [0, 1]}));
    let layers = found.scores.layers.unwrap();
    assert_eq!((layers.len(), layers[0].len()), (LAYERS, HEADS));
    for row in layers.iter().flatten().flatten() {
        assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-6);
    }
}

#[test]
fn an_image_shows_its_patches() {
    let fake = Fake::image(6);
    let (_, found) = run(&fake, &json!({}));
    assert_eq!(found.grid, Some(Grid { rows: 3, cols: 3 }));
    let layers = found.scores.layers.unwrap();
    assert_eq!(found.scores.grid.unwrap().concat(), layers[0][0][0][1..]);
    assert_eq!((found.scores.tokens, found.scores.words), (None, None));
}

#[test]
fn what_cannot_be_chosen_is_refused_in_place() {
    let fake = Fake::text(3);
    for (settings, path) in [
        (json!({"layers": [0, 3]}), "/layers/1"),
        (json!({"layers": [-4]}), "/layers/0"),
        (json!({"layers": [i64::MIN]}), "/layers/0"),
        (json!({"layers": [2, -1]}), "/layers/1"),
        (json!({"layers": []}), "/layers"),
        (json!({"layers": "some"}), "/layers"),
        (json!({"heads": [2]}), "/heads/0"),
        (json!({"heads": "last"}), "/heads"),
    ] {
        let error = refused(&fake, &settings);
        assert_eq!(error.path, path, "{settings}: {error}");
    }
    assert!(refused(&fake, &json!({"layers": "some"})).detail.contains("\"all\", \"last\" or a list"));
}

#[test]
fn too_many_numbers_are_refused() {
    let fake = Fake::text(3);
    let subject = Subject { response_values: 3 * 2 * 25 - 1, ..fake.subject() };
    let plan = |settings: Value| Attention.plan(settings.as_object().unwrap().clone(), &subject);
    let error = plan(json!({"layers": "all", "heads": "all"})).err().unwrap();
    assert_eq!(error.path, "/layers");
    assert!(error.detail.contains("150 numbers and limits.response_values leaves 149"));
    assert!(plan(json!({"layers": "all"})).is_ok());
}
