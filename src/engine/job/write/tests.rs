//! What is written behind what was read before, behind everything read anew, and by transformers' `generate`
//! (tests/golden/values/lm.json).

use std::sync::Mutex;

use serde_json::{Value, json};

use super::*;
use crate::config::Settings;
use crate::engine::deadline::{Cancel, Deadline, Watch};
use crate::engine::evaluate::Placed;
use crate::engine::executor::Turns;
use crate::engine::fake::Rereading;
use crate::explain::{Audience, Catalog, Explanation, ServedModel, Stage, Wanted, plan};
use crate::methods::Attribution;
use crate::models::lm_tests::{changed, values};
use crate::nn::Device;

/// Hears every token.
#[derive(Default)]
struct Heard(Mutex<Vec<WrittenToken>>);

impl Audience for Heard {
    fn listens(&self) -> bool {
        true
    }
    fn writes(&self, index: usize, token: WrittenToken) {
        let mut heard = self.0.lock().unwrap();
        assert_eq!(index, heard.len());
        heard.push(token);
    }
    fn begins(&self, _stage: Stage) {}
    fn evaluated(&self, _rows: usize) {}
    fn refines(&self, _attributions: Vec<Attribution>, _now: f32) {}
    fn explained(&self, _index: usize, _explanation: &Explanation) {}
}

/// What a plan writes, and how many tokens were read for it.
fn written(plan: &Plan, rereads: bool) -> (Vec<WrittenToken>, u64) {
    let (device, turns, deadline, cancel) = (Device::default(), Turns::new(), Deadline::none(), Cancel::new());
    let (heard, spent) = (Heard::default(), Cell::default());
    let watch = Watch { deadline: &deadline, cancel: &cancel };
    let means = Means { turns: &turns, watch, threads: 2, tokens_per_turn: 512, device: &device, audience: &heard };
    let placed = Placed { model: &*plan.model.model, device: &device };
    let rereading = Rereading(Placed { model: &*plan.model.model, device: &device });
    let model: &dyn Evaluate = if rereads { &rereading } else { &placed };
    let input = completed(plan, model, means, &spent).unwrap().unwrap();
    let continuation = input.as_text().unwrap().continuation.as_ref().unwrap();
    let heard = heard.0.into_inner().unwrap();
    let ids: Vec<u32> = continuation.tokens.iter().map(|token| token.id).collect();
    assert_eq!(heard.iter().map(|token| token.id).collect::<Vec<_>>(), ids);
    let texts: String = heard.iter().map(|token| token.text.as_str()).collect();
    assert_eq!(texts, continuation.text, "{heard:?}");
    (heard, spent.get().tokens)
}

fn planned(catalog: &Catalog, request: Value) -> Plan {
    let request = serde_json::from_value(request).unwrap();
    plan(catalog, &Settings::default().limits, "id".to_owned(), request, None, Wanted::Prediction).unwrap()
}

/// Eight families: with sliding windows, with every third layer's, with scaled ropes, with one that turns rows beyond 16
/// tokens otherwise.
#[test]
fn what_was_read_before_changes_nothing() {
    for (name, family) in values()["families"].as_object().unwrap() {
        let model = ServedModel::from_folder(name.clone(), changed(name, &family["config"])).unwrap();
        let catalog = Catalog::new(vec![model]).unwrap();
        let golden = &family["written"];
        let ask = |generate: Value, seed: u64| {
            planned(&catalog, json!({"text": family["cases"][0]["prompt"], "generate": generate, "seed": seed}))
        };
        let greedy = ask(json!({"max_new_tokens": 24}), 0);
        let (tokens, read) = written(&greedy, false);
        let (again, reread) = written(&greedy, true);
        assert_eq!(tokens, again, "{name}");
        assert!(2 * read < reread || name == "tiny-phi3" && read < reread, "{name}: {read} of {reread} tokens");
        assert_eq!(json!(tokens.iter().map(|token| token.id).collect::<Vec<_>>()), golden["ids"], "{name}");
        for (token, oracle) in tokens.iter().zip(golden["log_probabilities"].as_array().unwrap()) {
            let difference = f64::from(token.log_probability) - oracle.as_f64().unwrap();
            assert!(difference.abs() < 1e-5, "{name}: {token:?} for {oracle}");
        }
        let settings = json!({"max_new_tokens": 24, "temperature": 1.2, "top_p": 0.95, "top_k": 60});
        let drawn: Vec<_> = (0..3).map(|seed| ask(settings.clone(), seed)).collect();
        let drawn: Vec<_> = drawn.iter().map(|plan| (written(plan, false).0, written(plan, true).0)).collect();
        assert!(drawn.iter().all(|(behind, whole)| behind == whole), "{name}");
        assert_ne!(drawn[0].0, drawn[1].0, "{name}");
    }
}
