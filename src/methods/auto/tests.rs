//! `auto` chooses what a brute-force comparison chooses, within its budget and deadline.

use serde_json::{Value, json};

use crate::input::Input;
use crate::input::text::Window;
use crate::methods::support::fake::{self, Fake};
use crate::methods::{Attribution, METHODS, Planned, SettingError};

fn plan(fake: &Fake, settings: &Value) -> Result<Box<dyn Planned>, SettingError> {
    let auto = METHODS.iter().find(|method| method.name() == "auto").unwrap();
    auto.plan(settings.as_object().unwrap().clone(), &fake.subject())
}

fn explain(fake: &Fake, settings: &Value) -> Attribution {
    plan(fake, settings).unwrap().explain(fake).unwrap().remove(0)
}

/// Words count by their place, the gradient says the opposite.
fn job(words: usize) -> Fake {
    let fake = Fake::text(words).white(
        |x| vec![0.0, x.iter().sum::<f32>() * 0.1],
        |x, cotangent| (0..x.len()).map(|place| -cotangent[1] * place as f32 * x[place].signum()).collect(),
    );
    let units = fake.units();
    fake.black(&units, move |units, mask| {
        let there = (0..units.len()).filter(|unit| mask.contains(*unit));
        vec![0.0, there.map(|unit| unit as f32 - 1.0).sum::<f32>() * 0.3]
    })
}

#[test]
fn the_most_faithful_is_given() {
    let fake = job(5);
    let found = explain(&fake, &json!({}));
    let auto = found.auto.as_ref().unwrap();
    let ran: Vec<&str> = auto.candidates.iter().map(|candidate| candidate.method.as_str()).collect();
    assert_eq!(ran, super::CANDIDATES);
    let score = |method: &str| auto.candidates.iter().find(|one| one.method == method).unwrap().faithfulness.unwrap();
    let best = auto.candidates.iter().filter_map(|one| one.faithfulness).fold(f32::MIN, f32::max);
    assert_eq!(score(&auto.chosen), best);
    assert!(score("occlusion") > score("input_x_gradient"));
    // The first of equal ones, and the cheapest that ranks words as they are.
    assert_eq!(auto.chosen, "occlusion");
    let alone = METHODS.iter().find(|method| method.name() == "occlusion").unwrap();
    let alone = alone.plan(serde_json::Map::new(), &fake.subject()).unwrap();
    assert_eq!(&auto.settings, alone.settings());
    assert_eq!(found.scores, alone.explain(&fake).unwrap()[0].scores);
    let by_hand = |kept: &dyn Fn(usize) -> bool| {
        let logit: f32 = (0..5).filter(|unit| kept(*unit)).map(|unit| unit as f32 - 1.0).sum::<f32>() * 0.3;
        1.0 / (1.0 + f64::from(-logit).exp())
    };
    // The last words weigh most: of five, each tenth takes ⌈v · 5⌉.
    let taken = (1..=10).map(|tenth: usize| tenth.div_ceil(2));
    let expected: f64 =
        taken.map(|k| by_hand(&|unit| unit >= 5 - k) - by_hand(&|unit| unit < 5 - k)).sum::<f64>() / 10.0;
    assert!((f64::from(best) - expected).abs() < 1e-5, "{best} {expected}");
    assert_eq!(auto.agreement.methods.len(), 5);
    assert_eq!((auto.agreement.k, auto.agreement.overlap[0][0]), (5, Some(1.0)));
    assert_eq!(auto.agreement.rank_correlation[3][4], Some(1.0));
}

#[test]
fn the_budget_skips_what_it_has_no_room_for() {
    let found = explain(&job(20), &json!({"max_evaluations": 70}));
    let auto = found.auto.unwrap();
    let skipped: Vec<_> = auto.candidates.iter().filter(|one| one.skipped.is_some()).collect();
    assert!(!skipped.is_empty() && skipped.iter().all(|one| one.faithfulness.is_none() && one.evaluations == 0));
    let rows: usize = auto.candidates.iter().map(|one| one.evaluations).sum();
    assert!(rows <= 70 && found.diagnostics.evaluations == rows, "{rows}");
}

/// A mask of a text in three windows is three rows, of the measuring's as of the candidates'.
#[test]
fn the_budget_is_counted_in_rows() {
    let mut fake = job(20);
    let Input::Text(text) = &mut fake.input else { unreachable!() };
    let window = Window { tokens: (0..22).collect(), type_ids: vec![0; 22], stretch: 1..21 };
    text.windows = vec![window; 3];
    for most in [1000, 3000, 7000] {
        let settings = json!({"max_evaluations": most});
        let rows = plan(&fake, &settings).unwrap().cost().rows;
        assert!(rows <= most && 4 * rows >= 3 * most, "{rows} of {most}");
        let candidates = explain(&fake, &settings).auto.unwrap().candidates;
        let skipped: Vec<&str> =
            candidates.iter().filter(|one| one.skipped.is_some()).map(|one| one.method.as_str()).collect();
        assert_eq!(skipped, ["attention_relevance"], "it looks into one row");
    }
}

#[test]
fn the_best_so_far_is_given_past_the_deadline() {
    let mut fake = job(8);
    fake.partial = true;
    fake.left.set(Some(30));
    let found = explain(&fake, &json!({}));
    assert!(found.partial);
    let auto = found.auto.unwrap();
    assert!(auto.candidates.iter().any(|one| one.skipped.as_deref() == Some("the deadline passed")));
    fake.left.set(Some(0));
    assert!(plan(&fake, &json!({})).unwrap().explain(&fake).unwrap_err().stopped().is_some());
}

#[test]
fn targets_choose_for_themselves_and_edges_hold() {
    let mut fake = job(3);
    fake.targets = vec![fake::target(1), fake::target(0)];
    let found =
        plan(&fake, &json!({"candidates": ["attention_rollout", "occlusion"]})).unwrap().explain(&fake).unwrap();
    assert_eq!(found.len(), 2);
    let empty = explain(&Fake::text(0), &json!({})).auto.unwrap();
    assert!(empty.candidates.iter().all(|one| one.faithfulness.is_none()));
    for words in [1, 2] {
        assert!(explain(&job(words), &json!({})).auto.unwrap().candidates[3].faithfulness.is_some());
    }
    let mut image = Fake::image(4);
    image.black = Box::new(|_, mask| vec![0.0, mask.count() as f32 * 0.1]);
    assert!(explain(&image, &json!({"candidates": ["input_x_gradient", "occlusion"]})).grid.is_some());
}

#[test]
fn wrong_candidates_have_their_place() {
    let fake = job(3);
    for (settings, path) in [
        (json!({"candidates": []}), "/candidates"),
        (json!({"candidates": ["occlusion", "auto"]}), "/candidates/1"),
        (json!({"candidates": ["neurons"]}), "/candidates/0"),
        (json!({"candidates": ["lime", "lime"]}), "/candidates/1"),
        (json!({"fill": "blur"}), "/fill"),
        (json!({"max_evaluations": 3}), "/max_evaluations"),
    ] {
        assert_eq!(plan(&fake, &settings).err().unwrap().path, path, "{settings}");
    }
}
