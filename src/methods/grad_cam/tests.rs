//! The four variants against their formulas, over the fake job's known map.

use serde_json::{Value, json};

use super::*;
use crate::methods::erased::ErasedMethod;
use crate::methods::support::fake::{self, Fake, LAYERS};

/// An image of 9 places, whose second output has a gradient of `slope` on average.
fn model(slope: f32) -> Fake {
    Fake::image(6).white(|x| vec![0.5, x[0]], move |x, cotangent| vec![slope * cotangent[1]; x.len()])
}

fn run(fake: &Fake, settings: &Value) -> Attribution {
    let planned = GradCam.plan(settings.as_object().unwrap().clone(), &fake.subject()).unwrap();
    planned.explain(fake).unwrap().remove(0)
}

fn cells(found: &Attribution) -> Vec<f32> {
    found.scores.grid.as_ref().unwrap().concat()
}

#[test]
fn variants_are_their_formulas_by_hand() {
    // Two places, two channels.
    let (a, g) = ([1.0, 2.0, 3.0, -4.0], [0.5, -1.0, 1.5, 2.0]);
    let run = |variant| weighted(variant, &a, &g, 2);
    // Means of the gradients: 1 and 0.5.
    assert_eq!(run(Variant::GradCam), [2.0, 1.0]);
    assert_eq!(run(Variant::HiresCam), [-1.5, -3.5]);
    assert_eq!(run(Variant::LayerCam), [0.5, -3.5]);
    // Sums of the map: 4 and −2.
    let weight = |g: f64, sum: f64| g * g * g / (2.0 * g * g + sum * g * g * g + EPSILON);
    let (first, second) = (weight(0.5, 4.0) + weight(1.5, 4.0), weight(2.0, -2.0));
    let plus = run(Variant::GradCamPlusPlus);
    assert!((plus[0] - (first + 2.0 * second)).abs() < 1e-12 && (plus[1] - (3.0 * first - 4.0 * second)).abs() < 1e-12);
}

#[test]
fn negative_places_go_unless_they_are_asked_for() {
    let fake = model(0.7);
    for variant in ["grad_cam", "grad_cam++", "layer_cam", "hires_cam"] {
        let raw = cells(&run(&fake, &json!({"variant": variant, "relu": false})));
        let positive: Vec<f32> = raw.iter().map(|&cell| cell.max(0.0)).collect();
        assert_eq!(cells(&run(&fake, &json!({"variant": variant}))), positive, "{variant}");
        assert!(raw.iter().any(|&cell| cell != 0.0));
    }
}

#[test]
fn the_last_map_is_the_default() {
    let fake = model(0.7);
    let planned = GradCam.plan(serde_json::Map::new(), &fake.subject()).unwrap();
    assert_eq!(planned.settings()["layer"], LAYERS - 1);
    assert_eq!(
        (planned.settings()["variant"].clone(), planned.settings()["relu"].clone()),
        (json!("grad_cam"), json!(true))
    );
    let found = run(&fake, &json!({}));
    assert_eq!((found.grid, found.output_value), (Some(Grid { rows: 3, cols: 3 }), Some(fake.logits[1])));
    assert_ne!(cells(&found), cells(&run(&fake, &json!({"layer": 0}))));
    let scaled = cells(&run(&fake, &json!({"normalize": "max", "relu": false})));
    assert!((scaled.iter().fold(0.0_f32, |max, cell| max.max(cell.abs())) - 1.0).abs() < 1e-6);
}

#[test]
fn cells_are_the_maps_places_over_the_image() {
    let fake = model(0.7);
    let own = run(&fake, &json!({}));
    let found = run(&fake, &json!({"cells": 3}));
    assert_eq!((found.grid, cells(&found)), (own.grid, cells(&own)));
    let fine = run(&fake, &json!({"cells": 6}));
    assert_eq!(fine.grid, Some(Grid { rows: 6, cols: 6 }));
    let grid = fine.scores.grid.as_ref().unwrap();
    assert_eq!((grid[0][1], grid[5][4], grid.len()), (cells(&own)[0], cells(&own)[8], 6));
    let one = cells(&run(&fake, &json!({"cells": 1})));
    let mean = cells(&own).iter().map(|&cell| f64::from(cell)).sum::<f64>() / 9.0;
    assert!((f64::from(one[0]) - mean).abs() < 1e-6 * mean.abs());
    let planned = |settings: Value| GradCam.plan(settings.as_object().unwrap().clone(), &fake.subject()).unwrap();
    assert_eq!(planned(json!({"cells": 2})).settings()["cells"], 2);
    assert!(planned(json!({})).settings().get("cells").is_none());
}

#[test]
fn several_targets_share_a_forward() {
    let mut fake = model(0.7);
    fake.targets = vec![fake::target(0), fake::target(1)];
    let planned = GradCam.plan(serde_json::Map::new(), &fake.subject()).unwrap();
    let found = planned.explain(&fake).unwrap();
    assert!(cells(&found[0]).iter().all(|&cell| cell == 0.0), "an output without a gradient");
    assert_eq!((found.len(), fake.rows.get()), (2, 1));
}

#[test]
fn what_does_not_exist_is_refused_in_place() {
    for (settings, path) in [
        (json!({"cells": 0}), "/cells"),
        (json!({"cells": 7}), "/cells"),
        (json!({"layer": 3}), "/layer"),
        (json!({"layer": -4}), "/layer"),
        (json!({"variant": "score_cam"}), "/variant"),
        (json!({"relu": "no"}), "/relu"),
    ] {
        let planned = GradCam.plan(settings.as_object().unwrap().clone(), &model(1.0).subject());
        assert_eq!(planned.err().unwrap().path, path, "{settings}");
    }
    assert!(!GradCam.fits(&Fake::text(1).spec));
}
