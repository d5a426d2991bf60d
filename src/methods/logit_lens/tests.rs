//! What a layer's answer looks like, over the fake job's known logits.

use serde_json::{Value, json};

use super::*;
use crate::methods::erased::ErasedMethod;
use crate::methods::support::fake::{self, Fake, LAYERS};

fn model() -> Fake {
    Fake::text(2).white(|_| vec![1.0, 3.0], |x, _| vec![0.0; x.len()])
}

fn run(fake: &Fake, settings: &Value) -> Vec<Attribution> {
    let planned = LogitLens.plan(settings.as_object().unwrap().clone(), &fake.subject()).unwrap();
    planned.explain(fake).unwrap()
}

#[test]
fn every_layer_answers_with_all_labels() {
    let found = run(&model(), &json!({}));
    let layers = found[0].layers.as_ref().unwrap();
    assert_eq!(layers.iter().map(|layer| layer.layer).collect::<Vec<_>>(), [0, 1, 2]);
    for (index, layer) in layers.iter().enumerate() {
        let share = (index + 1) as f32 / LAYERS as f32;
        let scores = &layer.scores;
        assert_eq!((scores[0].label.as_str(), scores[1].label.as_str(), scores[1].index), ("NO", "YES", 1));
        assert!((scores[0].logit - share).abs() < 1e-6 && (scores[1].logit - 3.0 * share).abs() < 1e-6);
        let probability = 1.0 / (1.0 + (-2.0 * share).exp());
        assert!((scores[1].probability.unwrap() - probability).abs() < 1e-6);
    }
    assert_eq!(layers[LAYERS - 1].scores[1].logit, 3.0, "the model's own answer");
}

#[test]
fn layers_keep_their_order_and_a_regression_has_no_probability() {
    let mut fake = model();
    fake.task.probability = false;
    let found = run(&fake, &json!({"layers": [-1, 0]}));
    let layers = found[0].layers.as_ref().unwrap();
    assert_eq!((layers[0].layer, layers[1].layer), (2, 0));
    assert!(layers.iter().flat_map(|layer| &layer.scores).all(|score| score.probability.is_none()));
}

#[test]
fn a_target_that_is_no_label_of_the_model_stands_alone() {
    let mut fake = model();
    fake.targets = vec![Target::class("sports", 1), fake::target(0)];
    let found = run(&fake, &json!({"layers": "last"}));
    let scores = |at: usize| &found[at].layers.as_ref().unwrap()[0].scores;
    assert_eq!((scores(0).len(), scores(0)[0].label.as_str(), scores(0)[0].logit), (1, "sports", 3.0));
    assert_eq!(scores(1).len(), 2);
    // Of a question a label's name says nothing.
    fake.spec.about = About::Span;
    fake.targets = vec![fake::target(1)];
    assert_eq!(run(&fake, &json!({"layers": "last"}))[0].layers.as_ref().unwrap()[0].scores.len(), 1);
}

/// Every label of every layer and target is a number of the answer.
#[test]
fn scores_count_against_the_answers_numbers() {
    let mut fake = model();
    fake.targets = vec![fake::target(0), fake::target(1)];
    let plan = |settings: Value, response_values: usize| {
        let subject = Subject { targets: 2, response_values, ..fake.subject() };
        LogitLens.plan(settings.as_object().unwrap().clone(), &subject).map(|planned| planned.values())
    };
    assert_eq!(plan(json!({}), 12).unwrap(), 2 * LAYERS * 2);
    let refused = plan(json!({}), 11).unwrap_err();
    assert_eq!((refused.path.as_str(), refused.detail.contains("12 scores")), ("/layers", true));
    assert_eq!(plan(json!({"layers": "last"}), 11).unwrap(), 4);
}

/// One softmax over a vocabulary of labels a layer; a softmax a label would be 4 · 10⁸ exponentials.
#[test]
fn many_labels_are_answered_at_once() {
    let mut fake = Fake::text(2).white(|_| vec![0.5; 20_000], |x, _| vec![0.0; x.len()]);
    fake.spec.labels = (0..20_000).map(|label| format!("label {label}")).collect();
    fake.targets = vec![Target::class("label 7", 7)];
    let found = run(&fake, &json!({"layers": "last"}));
    assert_eq!(found[0].layers.as_ref().unwrap()[0].scores.len(), 20_000);
}

#[test]
fn top_is_for_models_over_a_vocabulary() {
    let planned = |fake: &Fake, top: usize| {
        LogitLens.plan(json!({"top": top}).as_object().unwrap().clone(), &fake.subject()).err().map(|error| error.path)
    };
    let mut fake = model();
    assert_eq!(planned(&fake, 3).as_deref(), Some("/top"));
    fake.spec.about = About::Next;
    assert_eq!((planned(&fake, 3), planned(&fake, 101).as_deref()), (None, Some("/top")));
}

#[test]
fn layers_that_do_not_exist_are_refused() {
    let planned = LogitLens.plan(json!({"layers": [3]}).as_object().unwrap().clone(), &model().subject());
    assert_eq!(planned.err().unwrap().path, "/layers/0");
}
