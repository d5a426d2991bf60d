//! What users of other tools complain about and what must be impossible here, a test a complaint where no other file has
//! it: each is named by what cannot happen. The threads are in the comments, repository#number.
//!
//! | complaint | where it is tested |
//! |---|---|
//! | memory that grows with steps, samples and calls; batch sizes to set (captum#245, #632, #1055, #1350) | `memory.rs`, and `engine::job` for the size of a forward |
//! | NaN in answers (captum#835, captum#1199) | `methods::tests`, `explain::run` |
//! | models that give other numbers than their authors' (captum#1366, serve#934, lit#27) | `parity.rs`, `tasks.rs`, `language_models.rs`, `models::tests` |
//! | long explanations behind gateways (kserve#490, MLServer#354), many inputs (serve#910) | `deadline.rs`, `events.rs`, `batch.rs` |
//! | examples that do not run (MLServer#359, serve#1695) | `pages.rs` |
//! | pickles (kserve#2965, kserve#1088) | `hub::tests` |
//! | chats that abort (inseq#278, #271, #296, #286) | below, templates themselves in `chats.rs` |
//! | results that take longer to put together than to compute (inseq#243) | nowhere: no test asserts a time; `elapsed_ms` in every answer says it |
//! | a licence that forces removal (kserve#3380) | below for what is allowed; `.ci/run` holds every dependency to it |
//! | "an interpretability module in transformers" (transformers#15168) | nowhere: it asks for a tool, and nothing can be shown not to happen |

use std::collections::BTreeSet;

use explaind::engine::{self, Device};
use explaind::explain::{Answer, ExplainRequest, Wanted, plan};
use serde_json::{Value, json};

use crate::app::{TEXT, TestApp, png, pointers, problem};
use crate::parity::{ask, bundled, tiny};

const TOKENIZERS: [&str; 6] =
    ["tiny-bert", "tiny-roberta", "tiny-xlm-roberta", "tiny-albert", "tiny-deberta-v3", "tiny-llama"];
const TRANSFORMERS: [&str; 14] = [
    "tiny-bert",
    "tiny-distilbert",
    "tiny-roberta",
    "tiny-electra",
    "tiny-albert",
    "tiny-deberta",
    "tiny-deberta-v3",
    "tiny-mpnet",
    "tiny-modernbert",
    "tiny-gpt2",
    "tiny-llama",
    "tiny-qwen3",
    "tiny-gemma3",
    "tiny-phi3",
];
const PICTURES: [&str; 12] = [
    "tiny-vit",
    "tiny-vit-plain",
    "tiny-deit",
    "tiny-deit-distilled",
    "tiny-dinov2-registers",
    "tiny-beit",
    "tiny-swin",
    "tiny-resnet",
    "tiny-resnet-basic",
    "tiny-convnext",
    "tiny-vgg",
    "tiny-vgg-bn",
];

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn json_of(answer: &Answer) -> Value {
    serde_json::to_value(answer).unwrap()
}

/// captum#1334, captum#1413, captum#1178: completeness errors that grow with the steps, or that nobody sees; scores
/// that go to the special tokens unseen.
#[test]
fn a_path_that_does_not_converge_cannot_go_unsaid() {
    let app = TestApp::start();
    for tolerance in [0.2, 0.01, 0.001] {
        let item = json!({"method": "integrated_gradients", "tolerance": tolerance});
        let answer = app.ask("/explain", &json!({"text": TEXT, "explain": [item]}));
        let one = &answer["explanations"][0];
        let change = number(&one["output_value"]) - number(&one["base_value"]);
        let warned = answer["warnings"].as_array().unwrap().iter().any(|warning| warning["code"] == "not_converged");
        let within = number(&one["residual"]).abs() <= tolerance * change.abs().max(0.01) + 1e-6;
        let converged = one["diagnostics"]["converged"] == true;
        assert!(within || !converged, "{one}");
        assert_ne!(warned, converged, "{answer}");
        assert!((number(&one["diagnostics"]["convergence_delta"]) + number(&one["residual"])).abs() < 1e-9);
        let tokens = numbers(&one["scores"]["tokens"]);
        let specials = answer["input"]["tokens"].as_array().unwrap().iter().map(|token| token["special"] == true);
        let of_words: f64 = specials.zip(&tokens).filter(|(special, _)| !special).map(|(_, score)| score).sum();
        assert!((of_words - numbers(&one["scores"]["words"]).iter().sum::<f64>()).abs() < 1e-5);
    }
}

/// captum#519, captum#1085, captum#1104, captum#351: DeepLIFT's delta of −12,386,754 on BERT; modules used twice.
#[test]
fn deep_lift_cannot_be_off_by_millions() {
    for name in TRANSFORMERS {
        let found =
            json_of(&ask(&tiny(name), json!({"text": "not a bad film", "method": "deep_lift", "target": 0}), None));
        let one = &found["explanations"][0];
        let size = number(&one["output_value"]).abs() + number(&one["base_value"]).abs();
        assert!(number(&one["residual"]).abs() <= 1e-3 * size.max(0.1), "{name}: {one}");
    }
}

/// captum#1322: a target of one token crashes the attribution of a language model without a beginning token.
#[test]
fn a_completion_of_one_token_cannot_crash() {
    let catalog = tiny("tiny-gpt2-lm");
    for prompt in ["The teacher", ""] {
        for method in ["integrated_gradients", "kernel_shap", "attention", "lime"] {
            let request = json!({"text": prompt, "completion": " a", "explain": [method]});
            let found = json_of(&ask(&catalog, request, None));
            assert_eq!(found["input"]["completion"].as_array().unwrap().len(), 1, "{method}");
            assert_eq!(found["explanations"].as_array().unwrap().len(), 1, "{method}: {prompt:?}");
        }
    }
}

/// inseq#291, inseq#246: subwords that are merged wrongly, the last word above all. transformers-interpret#72,
/// OmniXAI#26: pieces of words where people want the text.
#[test]
fn a_words_score_cannot_be_another_sum_than_its_tokens() {
    let text = "Un café costs 42 € — unhappiness,  she's   walked slowly";
    for name in TOKENIZERS {
        let whole = json_of(&ask(&tiny(name), json!({"text": text, "method": "input_x_gradient", "target": 0}), None));
        let (tokens, words) = (&whole["input"]["tokens"], whole["input"]["words"].as_array().unwrap());
        let scores = &whole["explanations"][0]["scores"];
        let mut sums = vec![0.0; words.len()];
        for (token, score) in tokens.as_array().unwrap().iter().zip(numbers(&scores["tokens"])) {
            if let Some(word) = token["word"].as_u64() {
                sums[word as usize] += score;
            }
        }
        let found = numbers(&scores["words"]);
        let scale = found.iter().fold(1e-6_f64, |max, score| max.max(score.abs()));
        assert!(sums.iter().zip(&found).all(|(a, b)| (a - b).abs() < 1e-5 * scale), "{name}: {sums:?} {found:?}");
        let characters: Vec<char> = text.chars().collect();
        for word in words {
            let range = number(&word["start"]) as usize..number(&word["end"]) as usize;
            let own: String = characters[range].iter().collect();
            assert_eq!(word["text"], own, "{name}");
            assert!(!own.contains(char::is_whitespace), "{name}: {own:?}");
        }
        // All of it, unless the model takes less.
        let cut = !whole["warnings"].as_array().unwrap().is_empty();
        let end = number(&words.last().unwrap()["end"]) as usize;
        assert!(end == characters.len() || cut, "{name}: {end}");
    }
}

/// inseq#279, bertviz#82, bertviz#74: attention maps of long texts that take all memory, and browsers that die of them.
#[test]
fn an_answer_cannot_hold_more_numbers_than_allowed() {
    let app = TestApp::with(|settings| settings.limits.response_values = 2_000);
    let item = json!({"method": "attention", "layers": "all", "heads": "all"});
    let refused = problem(app.send("/explain", &json!({"text": TEXT, "explain": [item]})), 422, "invalid-request");
    assert!(refused["errors"][0]["detail"].as_str().unwrap().contains("response_values"), "{refused}");
    let one = json!({"text": TEXT, "explain": [{"method": "attention", "layers": "last", "heads": "mean"}]});
    assert_eq!(app.ask("/explain", &one)["explanations"][0]["scores"]["layers"].as_array().unwrap().len(), 1);
}

/// transformers#30978, transformers#31990, transformers#33660, inseq#267: attentions that are `None` or fall back
/// silently. Transformer-Explainability#58, #54, #34, #28: methods that are not portable to other models.
#[test]
fn attention_cannot_be_missing_where_a_model_has_it() {
    for name in TRANSFORMERS {
        let request = json!({"text": "not a bad film", "target": 0, "explain": [
            {"method": "attention", "layers": "all", "heads": "all"}, "attention_relevance", "attention_rollout"]});
        let found = json_of(&ask(&tiny(name), request, None));
        let layers = found["explanations"][0]["scores"]["layers"].as_array().unwrap();
        assert!(layers.len() > 1, "{name}");
        for row in layers.iter().flat_map(|layer| layer.as_array().unwrap()).flat_map(|head| head.as_array().unwrap()) {
            assert!((numbers(row).iter().sum::<f64>() - 1.0).abs() < 1e-4, "{name}: {row}");
        }
        for one in &found["explanations"].as_array().unwrap()[1..] {
            assert!(numbers(&one["scores"]["tokens"]).iter().any(|score| *score != 0.0), "{name}: {one}");
        }
    }
}

/// lime#632, lime#361, lime#255, lime#471: thousands of evaluations for a short text, one by one.
#[test]
fn a_short_text_cannot_cost_more_rows_than_it_has_masks() {
    let app = TestApp::start();
    let request = json!({"text": "a funny film", "explain": [{"method": "lime", "samples": 5000}, "kernel_shap"]});
    for one in app.ask("/explain", &request)["explanations"].as_array().unwrap() {
        assert!(number(&one["diagnostics"]["evaluations"]) <= 8.0, "{one}");
    }
}

/// lime#119, #67, #199, #231, #309, #392, #486, #683, #767 and lime#477: results that differ from run to run.
#[test]
fn equal_requests_cannot_have_different_scores() {
    let app = TestApp::start();
    let text = "this long and winding film has no idea of what it wants to tell us in the end of it all";
    let sampled =
        ["lime", "kernel_shap", "shapley_sampling", "partition_shap", "anchors", "smooth_grad", "gradient_shap"];
    let items: Vec<Value> = sampled.iter().map(|method| json!({"method": method, "max_evaluations": 200})).collect();
    let scores = |request: &Value| {
        let answer = app.ask("/explain", request);
        answer["explanations"].as_array().unwrap().iter().map(|one| one["scores"].clone()).collect::<Vec<Value>>()
    };
    let request = json!({"text": text, "explain": items, "seed": 5});
    assert_eq!(scores(&request), scores(&request));
    let image = base64(&png());
    let request =
        json!({"image": image, "explain": [{"method": "lime", "max_evaluations": 60, "segmenter": "quickshift"}]});
    assert_eq!(scores(&request), scores(&request));
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::prelude::BASE64_STANDARD.encode(bytes)
}

/// lime#373, eli5#330: signs that flip with the number of samples, without a word.
#[test]
fn a_surrogate_cannot_hide_how_good_it_is() {
    let app = TestApp::start();
    let text = "this long and winding film has no idea of what it wants to tell us in the end of it all";
    let item = json!({"method": "lime", "max_evaluations": 60});
    let answer = app.ask("/explain", &json!({"text": text, "explain": [item]}));
    let one = &answer["explanations"][0];
    let words = one["scores"]["words"].as_array().unwrap().len();
    assert_eq!(one["diagnostics"]["standard_error"].as_array().unwrap().len(), words);
    assert!(number(&one["diagnostics"]["r2"]) <= 1.0 && number(&one["diagnostics"]["samples"]) > 0.0);
    assert_eq!(one["diagnostics"]["converged"], false);
    assert!(!answer["warnings"].as_array().unwrap().is_empty(), "{answer}");
}

/// lime#109, lime#214: segmenters that fail on tiny images. shap#1773, shap#2755: blocks where segments are wanted.
#[test]
fn an_image_cannot_be_too_small_for_segments() {
    let app = TestApp::start();
    for (width, height) in [(1, 1), (2, 3), (1, 40), (7, 5)] {
        let mut bytes = std::io::Cursor::new(Vec::new());
        let pixel = |x: u32, y: u32| image::Rgb([(x * 40) as u8, (y * 20) as u8, 90]);
        image::RgbImage::from_fn(width, height, pixel).write_to(&mut bytes, image::ImageFormat::Png).unwrap();
        for segmenter in ["slic", "quickshift"] {
            let item =
                |method: &str| json!({"method": method, "segmenter": segmenter, "segments": 8, "max_evaluations": 40});
            let mut items = vec![item("lime"), item("kernel_shap"), item("partition_shap")];
            if segmenter == "quickshift" {
                items.iter_mut().for_each(|item| drop(item.as_object_mut().unwrap().remove("segments")));
            }
            let request = json!({"image": base64(bytes.get_ref()), "explain": items});
            for one in app.ask("/explain", &request)["explanations"].as_array().unwrap() {
                let segments = one["scores"]["segments"].as_array().unwrap();
                assert!(!segments.is_empty(), "{width} × {height} {segmenter}: {one}");
            }
        }
    }
}

/// lime#128, lit#361: languages that are not written with spaces.
#[test]
fn a_language_without_spaces_cannot_be_one_unit() {
    let catalog = tiny("tiny-gpt2");
    for (text, spans) in [
        ("この映画はとても面白い。俳優も良かった。", json!([[0, 4], [5, 11]])),
        ("หนังเรื่องนี้สนุกมาก", json!([[0, 4], [13, 20]])),
    ] {
        let request = json!({"text": text, "target": 0, "explain": [
            {"method": "occlusion", "unit": "sentence"}, {"method": "lime", "unit": "span", "spans": spans},
            {"method": "occlusion", "unit": "token"}]});
        let found = json_of(&ask(&catalog, request, None));
        let lists = found["explanations"].as_array().unwrap();
        assert_eq!(lists[1]["scores"]["spans"].as_array().unwrap().len(), 2);
        assert!(lists[2]["scores"]["tokens"].as_array().unwrap().len() > 10, "{found}");
        let sentences = lists[0]["units"].as_array().unwrap();
        assert_eq!(sentences.len(), if text.contains('。') { 2 } else { 1 }, "{found}");
    }
}

/// shap#2849: two tokens for one character, whose text is doubled where masks are made of strings.
#[test]
fn a_character_of_several_tokens_cannot_be_doubled() {
    let catalog = tiny("tiny-gpt2");
    let text = "good 🙂 film";
    let answer = ask(
        &catalog,
        json!({"text": text, "target": 0, "explain": [
        {"method": "kernel_shap", "unit": "word"}, {"method": "occlusion", "unit": "token"}]}),
        None,
    );
    let found = json_of(&answer);
    let face = text.chars().position(|c| c == '🙂').unwrap() as u64;
    let tokens = found["input"]["tokens"].as_array().unwrap();
    let pieces =
        tokens.iter().filter(|token| token["start"].as_u64() <= Some(face) && token["end"].as_u64() > Some(face));
    assert!(pieces.count() > 1, "{found}");
    assert_eq!(found["input"]["words"].as_array().unwrap().len(), 3);
    let one = &found["explanations"][0];
    let gap = number(&one["output_value"]) - number(&one["base_value"]);
    assert!((numbers(&one["scores"]["words"]).iter().sum::<f64>() - gap).abs() < 1e-5);
}

/// shap#3515, shap#3820, shap#4051, shap#3674: inputs of no or one token that fail, and types that do not fit.
/// shap#963, shap#2204, shap#29, shap#2285: values that do not add up to the output, in a space that nobody names.
#[test]
fn no_text_can_be_too_short_and_no_sum_can_be_off() {
    let catalog = bundled("sentiment");
    let methods = methods_of_sentiment();
    for text in ["", "a", "a b", "🙂", "  ", "[PAD]", "\u{0301}", "a\u{0}b"] {
        let items: Vec<Value> = methods.iter().map(|method| json!({"method": method})).collect();
        let found = json_of(&ask_within(&catalog, json!({"text": text, "explain": items})));
        for one in found["explanations"].as_array().unwrap() {
            assert!(!one.to_string().contains("NaN"));
            let (Some(residual), Some(base)) = (one["residual"].as_f64(), one["base_value"].as_f64()) else { continue };
            let scores = &one["scores"];
            let list = if scores["tokens"].is_array() { &scores["tokens"] } else { &scores["words"] };
            let sum: f64 = numbers(list).iter().sum();
            let gap = number(&one["output_value"]) - base - sum - residual;
            assert!(gap.abs() < 1e-4, "{text:?} {gap} {one}");
            assert!(one["settings"]["output"].is_string() || one["method"] == "auto", "{one}");
        }
    }
}

/// The methods of the bundled text model.
fn methods_of_sentiment() -> Vec<String> {
    explaind::explain::models_view(&bundled("sentiment")).models[0].methods.clone()
}

/// With room for all methods at once.
fn ask_within(catalog: &explaind::explain::Catalog, request: Value) -> Answer {
    let request: ExplainRequest = serde_json::from_value(request).unwrap();
    let mut limits = explaind::config::Settings::default().limits;
    limits.explanations = limits.explanations.max(64);
    let plan = plan(catalog, &limits, "short".into(), request, None, Wanted::Explanations);
    let plan = plan.unwrap_or_else(|error| panic!("{error:?}"));
    engine::run_blocking(&plan, 2, 1024, &Device::default()).unwrap()
}

/// pytorch-grad-cam#76, #257, #355, #273, #503, #511, torch-cam#133: hand-written reshapes and layers for each model.
#[test]
fn grad_cam_cannot_need_to_be_told_the_layer() {
    let image = png();
    for name in PICTURES {
        let request =
            json!({"target": 0, "explain": ["grad_cam", {"method": "grad_cam", "cells": 4, "variant": "layer_cam"}]});
        let found = json_of(&ask(&tiny(name), request, Some(image.clone())));
        let [own, cells] = [0, 1].map(|index| &found["explanations"][index]);
        let grid = own["scores"]["grid"].as_array().unwrap();
        assert_eq!(grid.len() as u64, own["grid"]["rows"].as_u64().unwrap(), "{name}");
        assert_eq!(cells["grid"], json!({"rows": 4, "cols": 4}), "{name}");
    }
}

/// inseq#278, inseq#271, inseq#296, inseq#286: chats whose template, beginning or padding token does not match what is
/// read, and which abort.
#[test]
fn a_chat_cannot_be_read_otherwise_than_it_is_shown() {
    let catalog = tiny("tiny-llama-lm");
    for content in
        ["", " ", "good film", "a\n\nb  c ", "🙂 é", "<s></s>", "<pad> [PAD] <unk>", "{{ bos_token }}", "<assistant>"]
    {
        let request = json!({"messages": [{"role": "user", "content": content}], "completion": " waited",
            "explain": ["input_x_gradient", "attention", {"method": "occlusion", "unit": "token"}]});
        let found = json_of(&ask(&catalog, request, None));
        let characters: Vec<char> = found["input"]["text"].as_str().unwrap().chars().collect();
        let tokens = found["input"]["tokens"].as_array().unwrap();
        // Tokens of bytes share their character.
        let own: BTreeSet<usize> = tokens
            .iter()
            .filter(|token| token["special"] == false)
            .flat_map(|token| number(&token["start"]) as usize..number(&token["end"]) as usize)
            .collect();
        let own: String = own.into_iter().map(|place| characters[place]).collect();
        // The template trims what is sent.
        assert_eq!(own.trim(), content.trim(), "{content:?}: {found}");
        let [gradient, attention, occlusion] = [0, 1, 2].map(|index| &found["explanations"][index]["scores"]);
        let completion = found["input"]["completion"].as_array().unwrap().len();
        assert_eq!(gradient["tokens"].as_array().unwrap().len(), tokens.len(), "{content:?}");
        // Everything that is read: the last token of the completion is not.
        let rows = attention["layers"][0][0].as_array().unwrap();
        assert_eq!(rows.len(), tokens.len() + completion - 1, "{content:?}");
        // Nothing of the caller's: no unit, and the list is empty.
        let listed = if own.is_empty() { 0 } else { tokens.len() };
        assert_eq!(occlusion["tokens"].as_array().unwrap().len(), listed, "{content:?}");
    }
}

/// serve#924, serve#1077, serve#631: models that do not load because a package is not installed.
#[test]
fn nothing_can_be_missing_beside_the_program() {
    let empty = tempfile::tempdir().unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_explaind"))
        .args(["explain", "--text", TEXT, "--method", "integrated_gradients", "--format", "json"])
        .env_clear()
        .current_dir(empty.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["explanations"][0]["method"], "integrated_gradients");
    assert_eq!(std::fs::read_dir(empty.path()).unwrap().count(), 0, "it leaves nothing behind");
}

/// kserve#3380, kserve#3443, kserve#3381: an explainer that had to be removed because its licence changed. Here the licences
/// that may come in are listed, all of them permissive, and CI holds the whole dependency tree to the list.
#[test]
fn a_licence_cannot_come_in_that_takes_the_freedom_away() {
    let file =
        |name: &str| std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap();
    let deny: toml::Value = toml::from_str(&file("deny.toml")).unwrap();
    let allowed: Vec<&str> =
        deny["licenses"]["allow"].as_array().unwrap().iter().map(|licence| licence.as_str().unwrap()).collect();
    let permissive =
        ["Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "ISC", "Zlib", "Unicode-3.0", "CDLA-Permissive-2.0"];
    for licence in &allowed {
        let (own, exception) = licence.split_once(" WITH ").unwrap_or((licence, "LLVM-exception"));
        assert!(permissive.contains(&own) && exception == "LLVM-exception", "{licence}");
    }
    assert!(deny["licenses"].get("exceptions").is_none(), "no dependency is excepted");
    assert!(file(".ci/run").contains("cargo deny --locked --offline check licenses"));
    let own: toml::Value = toml::from_str(&file("Cargo.toml")).unwrap();
    assert!(allowed.contains(&own["package"]["license"].as_str().unwrap()));
}

/// transformers-interpret#95: a size mismatch where a text is longer than the model's input.
#[test]
fn a_long_text_cannot_crash_or_be_cut_unsaid() {
    let app = TestApp::start();
    let text = "a gripping film ".repeat(400);
    let ask = |truncation: &str| json!({"text": text, "truncation": truncation, "explain": ["gradient"]});
    let cut = app.ask("/explain", &ask("truncate"));
    let tokens = cut["input"]["tokens"].as_array().unwrap().len();
    assert_eq!(cut["warnings"][0]["code"], "truncated");
    assert!(cut["warnings"][0]["detail"].as_str().unwrap().contains(&tokens.to_string()), "{}", cut["warnings"]);
    let windows = app.ask("/explain", &ask("window"));
    assert!(windows["input"]["tokens"].as_array().unwrap().len() > tokens);
    assert_eq!(windows["warnings"][0]["code"], "windows");
    let refused = problem(app.send("/explain", &ask("error")), 422, "invalid-request");
    assert_eq!(pointers(&refused), ["/text"]);
}
