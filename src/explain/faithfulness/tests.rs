//! Every number against the slow, obvious way to it, over jobs that are plain functions.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::input::units::{Mask, Units};
use crate::methods::support::fake::{self, Fake};
use crate::methods::{METHODS, Planned};

fn planned(fake: &Fake, method: &str, settings: &Value) -> Box<dyn Planned> {
    let method = METHODS.iter().find(|known| known.name() == method).unwrap();
    method.plan(settings.as_object().unwrap().clone(), &fake.subject()).unwrap()
}

fn measure(fake: &Fake, method: &str, settings: &Value) -> (Vec<f64>, Option<Faithfulness>) {
    let planned = planned(fake, method, settings);
    let attribution = planned.explain(fake).unwrap().remove(0).shown();
    let lists = &attribution.scores;
    let scores = lists.words.clone().or(lists.grid.as_ref().map(|grid| grid.concat())).unwrap_or_default();
    let target = fake::target(1);
    let measured = Measured {
        ctx: fake,
        planned: &*planned,
        place: 0,
        attribution: &attribution,
        target: &target,
        output: OutputSpace::Probability,
        effort: Effort { draws: 10, rows: 5000 },
        once: attribution.diagnostics.evaluations,
        again: &Again::default(),
    };
    (scores.into_iter().map(f64::from).collect(), measured.faithfulness().unwrap())
}

/// A logit with a weight for every unit and one for every two neighbours.
fn logit(weights: &[f64], mask: &Mask) -> f64 {
    let there = |unit: usize| f64::from(u8::from(unit < weights.len() && mask.contains(unit)));
    (0..weights.len()).map(|unit| weights[unit] * (there(unit) - 0.5 * there(unit) * there(unit + 1))).sum()
}

fn job(weights: &[f64]) -> Fake {
    let fake = Fake::text(weights.len());
    let (units, weights) = (fake.units(), weights.to_vec());
    fake.black(&units, move |_, mask| vec![0.0, logit(&weights, mask) as f32])
}

fn probability(weights: &[f64], kept: &[usize]) -> f64 {
    let mut mask = Mask::empty(weights.len());
    kept.iter().for_each(|&unit| mask.set(unit, true));
    1.0 / (1.0 + (-f64::from(logit(weights, &mask) as f32)).exp())
}

fn close(found: f32, expected: f64) -> bool {
    (f64::from(found) - expected).abs() < 1e-5
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn numbers_are_those_of_their_definitions(weights in prop::collection::vec(-2.0f64..2.0, 1..24)) {
        let fake = job(&weights);
        let (scores, found) = measure(&fake, "occlusion", &json!({}));
        let found = found.unwrap();
        let n = weights.len();
        // Foremost first: each time the largest that is left.
        let mut order: Vec<usize> = Vec::new();
        while order.len() < n {
            let left = (0..n).filter(|unit| !order.contains(unit));
            let best = left.fold(None, |best: Option<usize>, unit| match best {
                Some(best) if scores[best] >= scores[unit] => Some(best),
                _ => Some(unit),
            });
            order.extend(best);
        }
        let all: Vec<usize> = (0..n).collect();
        let whole = probability(&weights, &all);
        let without = |k: usize| probability(&weights, &order[k..]);
        let alone = |k: usize| probability(&weights, &order[..k]);
        let k = |fraction: f64| (fraction * n as f64 - 1e-9).ceil() as usize;
        for (bins, fractions) in [
            ((&found.comprehensiveness, &found.sufficiency), vec![0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]),
            ((&found.eraser.comprehensiveness, &found.eraser.sufficiency), vec![0.01, 0.05, 0.1, 0.2, 0.5]),
        ] {
            for (place, fraction) in fractions.iter().enumerate() {
                prop_assert!(close(bins.0[place], whole - without(k(*fraction))));
                prop_assert!(close(bins.1[place], whole - alone(k(*fraction))));
            }
        }
        let mean = |list: &[f32]| list.iter().map(|&x| f64::from(x)).sum::<f64>() / list.len() as f64;
        prop_assert!(close(found.aopc_comprehensiveness, mean(&found.comprehensiveness)));
        prop_assert!(close(found.eraser.aopc_sufficiency, mean(&found.eraser.sufficiency)));
        let trapezoids = |value: &dyn Fn(usize) -> f64| {
            (0..n).map(|k| (value(k) + value(k + 1)) / 2.0 / n as f64).sum::<f64>()
        };
        prop_assert!(close(found.deletion_auc, trapezoids(&without)));
        prop_assert!(close(found.insertion_auc, trapezoids(&alone)));
        prop_assert_eq!(&found.curves.taken, &(0..=n).collect::<Vec<usize>>());
        // Occlusion is what leaving out takes.
        prop_assert!(found.loo_correlation.is_none_or(|tau| close(tau, 1.0)));
        prop_assert!(found.infidelity_scaled.unwrap() <= found.infidelity.unwrap() + 1e-6);
        if n <= 6 {
            let masks = (0..(1_usize << n) - 1).map(|bits| (0..n).filter(|unit| bits >> unit & 1 == 1).collect::<Vec<_>>());
            let squares: Vec<f64> = masks.map(|kept| {
                let said: f64 = (0..n).filter(|unit| !kept.contains(unit)).map(|unit| scores[unit]).sum();
                (said - (whole - probability(&weights, &kept))).powi(2)
            }).collect();
            prop_assert!(close(found.infidelity.unwrap(), squares.iter().sum::<f64>() / squares.len() as f64));
        }
    }

    /// A text with one word fewer, explained as a text of its own.
    #[test]
    fn masks_methods_are_compared_without_a_word(weights in prop::collection::vec(0.1f64..2.0, 2..8)) {
        let fake = job(&weights);
        let (scores, found) = measure(&fake, "occlusion", &json!({}));
        let n = weights.len();
        let mut largest: f64 = 0.0;
        for gone in 0..n {
            let kept: Vec<usize> = (0..n).filter(|&unit| unit != gone).collect();
            let (mut moved, mut size) = (0.0, 0.0);
            for &unit in &kept {
                let others: Vec<usize> = kept.iter().copied().filter(|&other| other != unit).collect();
                let again = probability(&weights, &kept) - probability(&weights, &others);
                moved += (scores[unit] - again).powi(2);
                size += scores[unit].powi(2);
            }
            largest = largest.max((moved / size).sqrt());
        }
        prop_assert!((f64::from(found.unwrap().max_sensitivity.unwrap()) - largest).abs() < 1e-3 * largest.max(1.0));
    }
}

/// A linear model has one gradient everywhere, so that noise moves input × gradient by as much as itself.
fn linear(fake: Fake) -> Fake {
    fake.white(|x| vec![0.0, x.iter().sum()], |x, cotangent| vec![cotangent[1]; x.len()])
}

#[test]
fn noise_moves_methods_that_see_the_embedding() {
    for fake in [linear(Fake::text(3)), linear(Fake::image(4))] {
        let steady = measure(&fake, "gradient", &json!({})).1.unwrap();
        assert_eq!(steady.max_sensitivity, Some(0.0));
        let (scores, moved) = measure(&fake, "input_x_gradient", &json!({}));
        let size = scores.iter().map(|score| score * score).sum::<f64>().sqrt();
        // No number moves by more than 0.02, and some by more than half of it.
        let most = 0.02 * 12.0 * (scores.len() as f64).sqrt() / size;
        let moved = f64::from(moved.unwrap().max_sensitivity.unwrap());
        assert!(moved > most / 100.0 && moved <= most, "{moved} of {most}");
    }
}

#[test]
fn masks_of_images_see_the_noise_too() {
    let mut fake = linear(Fake::image(4));
    fake.black = Box::new(|_, mask| vec![0.0, mask.count() as f32 * 0.1]);
    let found = measure(&fake, "occlusion", &json!({"unit": "patch"})).1.unwrap();
    assert!(found.max_sensitivity.is_some_and(|moved| moved > 0.0));
    assert_eq!((found.units, found.curves.taken), (4, vec![0, 1, 2, 3, 4]));
}

#[test]
fn what_has_no_number_says_why() {
    let one = measure(&job(&[1.0]), "occlusion", &json!({})).1.unwrap();
    let names: Vec<&str> = one.unmeasured.iter().map(|gap| gap.measure.as_str()).collect();
    assert_eq!(names, ["loo_correlation", "max_sensitivity"]);
    assert!(one.unmeasured.iter().all(|gap| !gap.reason.is_empty()));
    let none = measure(&job(&[0.0, 0.0]), "occlusion", &json!({})).1.unwrap();
    assert!(none.sparsity.is_none() && none.loo_correlation.is_none());
    assert_eq!(none.infidelity, Some(0.0));
    let dear = measure(&job(&[0.3; 12]), "lime", &json!({})).1.unwrap();
    assert!(dear.max_sensitivity.is_none() && dear.unmeasured[0].reason.contains("10 more runs of 4096"));
    for (method, words) in [("occlusion", 0), ("logit_lens", 2), ("neurons", 2)] {
        assert_eq!(measure(&linear(Fake::text(words)), method, &json!({})).1, None, "{method}");
    }
}

/// Scores that are all 0 because nothing was found rank nothing.
#[test]
fn what_was_not_found_is_not_measured() {
    let fake = Fake::text(3);
    let units = fake.units();
    let never = fake.black(&units, |_, _| vec![0.0, 1.0]);
    let fake = Fake::text(3);
    let lexical = fake.white(|_| vec![0.0, 1.0], |x, _| vec![0.0; x.len()]);
    let asked = job(&[0.5, 0.25]);
    for (fake, method, settings, said) in [
        (&never, "counterfactual", json!({}), "counterfactual of \"YES\" found no changed input"),
        (&lexical, "adversarial", json!({}), "adversarial of \"YES\" found no changed input"),
        (&asked, "counterfactual", json!({"to": 1}), "counterfactual of \"YES\" needed no change"),
    ] {
        assert_eq!(measure(fake, method, &settings).1, None, "{method}");
        let warnings = fake.warnings.borrow();
        let warning = warnings.iter().find(|warning| warning.code == "not_measured").unwrap();
        assert!(warning.detail.starts_with(said) && warning.detail.contains("faithfulness is null"), "{warning:?}");
    }
    let found = job(&[9.0, -8.5, 0.1]);
    assert!(measure(&found, "counterfactual", &json!({})).1.is_some() && found.codes().is_empty());
}

/// A method without targets is measured by the request's first.
#[test]
fn attention_is_measured_by_the_target() {
    let found = measure(&linear(Fake::text(3)), "attention", &json!({})).1.unwrap();
    assert_eq!((found.target, found.units), (Some(fake::target(1)), 3));
    assert_eq!(measure(&linear(Fake::text(3)), "gradient", &json!({})).1.unwrap().target, None);
}

/// Long texts have curves of few points, and not every unit is left out.
#[test]
fn many_units_take_few_evaluations() {
    let mut fake = Fake::text(400);
    fake.black = Box::new(|_, mask| vec![0.0, mask.count() as f32 / 100.0]);
    fake.logits = vec![0.0, 4.0];
    let planned = planned(&fake, "gradient", &json!({}));
    let methods = [planned];
    let cost = plan(Evaluate::Whether(true), &methods, &fake.subject()).unwrap().costs[0];
    let found = measure(&fake, "gradient", &json!({})).1.unwrap();
    assert!(found.curves.taken.len() <= 48 && found.curves.taken.ends_with(&[400]));
    assert!(found.evaluations <= cost.rows as usize, "{} of {}", found.evaluations, cost.rows);
    let units = Units::words(fake.input.as_text().unwrap());
    assert_eq!(found.units, units.len());
    let mut subject = fake.subject();
    subject.max_evaluations = 100;
    let error = plan(Evaluate::Whether(true), &methods, &subject).err().unwrap();
    assert!(error.detail.contains("limits.max_evaluations is 100"));
}
