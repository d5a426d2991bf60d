//! Every family under rules beside the gradient: DeepLIFT's scores add up, guided backpropagation knows its ReLUs.

use super::tests::{Golden, IMAGE, TEXT, close, folder};
use super::*;
use crate::nn::Rule;

/// `row` with its embedding written out, and the same row with another embedding.
fn pair(model: &dyn Model, row: &Row, other: impl Fn(&[f32]) -> Vec<f32>) -> [Row; 2] {
    let embedded = model.embed(&mut Tape::new(&(), false), &Batch::new(vec![row.clone()])).unwrap();
    let values = embedded.value().to_vec();
    let with = |values: Vec<f32>| {
        let content = match &row.content {
            Content::Pixels(_) => Content::Pixels(values),
            Content::Tokens { type_ids, .. } | Content::Embedded { type_ids, .. } => {
                Content::Embedded { values, tokens: row.len(), type_ids: type_ids.clone() }
            }
        };
        Row { content, read: row.read.clone() }
    };
    let baseline = other(&values);
    [with(values), with(baseline)]
}

/// Scores of logit `target` and how far they are from the change of the output.
fn residual(model: &dyn Model, pair: [Row; 2], target: usize) -> (f64, f64) {
    let mut tape = Tape::new(&(), true).under(Rule::DeepLift);
    let outputs = model.forward(&mut tape, &Batch::new(pair.to_vec()), &TapPlan::default()).unwrap();
    let labels = outputs.logits.cols();
    let mut seed = vec![0.0; 2 * labels];
    (seed[target], seed[labels + target]) = (1.0, 1.0);
    let multipliers = tape.backward(&outputs.logits, &seed, &outputs.input).unwrap();
    let (x, baseline) = outputs.input.value().split_at(multipliers.len() / 2);
    let steps = x.iter().zip(baseline).map(|(x, from)| f64::from(*x) - f64::from(*from));
    let sum: f64 = multipliers.iter().zip(steps).map(|(m, step)| f64::from(*m) * step).sum();
    let logits = outputs.logits.value();
    let change = f64::from(logits[target]) - f64::from(logits[labels + target]);
    (change - sum, change)
}

/// |residual| is within 1e-3 of max(|Δ output|, 0.01) for every family, case and target, from a baseline of one token
/// everywhere and from zeros. `--nocapture` shows the worst.
#[test]
fn deep_lift_adds_up_in_every_family() {
    for name in TEXT.into_iter().chain(IMAGE) {
        let (model, golden) = (load(&folder(name)).unwrap(), Golden::of(name));
        let width = model.spec().embedding;
        let one = |x: &[f32]| match model.spec().image {
            Some(_) => x.iter().map(|x| 0.5 * x - 0.1).collect(),
            None => x[..width].repeat(x.len() / width),
        };
        let mut worst = 0.0f64;
        for case in 0..golden.cases() {
            let row = golden.row(case);
            let pairs = [pair(&*model, &row, one), pair(&*model, &row, |x| vec![0.0; x.len()])];
            for pair in pairs {
                for target in 0..model.spec().labels.len().min(2) {
                    let (residual, change) = residual(&*model, pair.clone(), target);
                    let off = residual.abs() / change.abs().max(0.01);
                    assert!(off <= 1e-3, "{name} {case}: {residual} of {change}");
                    worst = worst.max(off);
                }
            }
        }
        println!("{name}: residual {worst:.1e} of the change");
    }
}

/// What guided backpropagation makes of the first logit.
fn guided(model: &dyn Model, row: Row) -> Result<Vec<f32>, nn::Error> {
    let mut tape = Tape::new(&(), true).under(Rule::Guided);
    let outputs = model.forward(&mut tape, &Batch::new(vec![row]), &TapPlan::default()).unwrap();
    let mut seed = vec![0.0; outputs.logits.cols()];
    seed[0] = 1.0;
    tape.backward(&outputs.logits, &seed, &outputs.input)
}

/// The folder with ReLUs wherever its config.json names an activation.
fn with_relus(name: &str) -> ModelFolder {
    let mut folder = folder(name);
    let mut config: serde_json::Value = serde_json::from_slice(folder.file("config.json").unwrap()).unwrap();
    let towers = ["vision_config", "text_config"];
    for place in towers.map(Some).into_iter().chain([None]) {
        let keys = match place {
            Some(tower) => config.get_mut(tower),
            None => Some(&mut config),
        };
        let Some(keys) = keys else { continue };
        for key in [
            "activation",
            "activation_function",
            "classifier_activation",
            "conv_act",
            "hidden_act",
            "hidden_activation",
            "pooler_hidden_act",
        ] {
            if keys.get(key).is_some_and(|named| named.is_string()) {
                keys[key] = "relu".into();
            }
        }
    }
    let bytes = serde_json::to_vec(&config).unwrap();
    folder.files.insert("config.json".into(), crate::hub::FileBytes::Owned(std::sync::Arc::new(bytes)));
    folder
}

/// Every family says whether it has them, whatever its config.json asks for: `/models` lists what works.
#[test]
fn what_has_relus_can_be_guided() {
    let mut found = [0, 0];
    for name in TEXT.into_iter().chain(IMAGE).chain(["tiny-clip"]) {
        for folder in [folder(name), with_relus(name)] {
            let model = load(&folder).unwrap_or_else(|error| panic!("{name}: {error}"));
            let spec = model.spec();
            let row = match (name, &spec.image) {
                ("tiny-clip", Some(image)) => {
                    let pixels = (0..3 * image.rows * image.cols).map(|at| (at as f32 * 0.7).sin());
                    Row { content: Content::Pixels(pixels.collect()), read: vec![0] }
                }
                _ => Golden::of(name).row(0),
            };
            let works = guided(&*model, row).is_ok();
            assert_eq!(spec.capabilities.covers(&[Capability::Relu]), works, "{name}");
            found[usize::from(works)] += 1;
        }
    }
    assert!(found[0] > 20 && found[1] > 20, "{found:?}");
}

/// A model with ReLUs is guided, one without is refused by its activations' names.
#[test]
fn guided_backpropagation_needs_relus() {
    let mut with = Vec::new();
    for name in TEXT.into_iter().chain(IMAGE) {
        let model = load(&folder(name)).unwrap();
        match guided(&*model, Golden::of(name).row(0)) {
            Ok(gradient) => {
                assert!(gradient.iter().any(|g| *g != 0.0), "{name}");
                with.push(name);
            }
            Err(error) => {
                let text = error.to_string();
                assert!(matches!(error, nn::Error::NoRule { .. }), "{name}: {text}");
                assert!(["gelu", "silu", "tanh"].iter().any(|known| text.contains(known)), "{name}: {text}");
            }
        }
    }
    let known = ["tiny-resnet", "tiny-resnet-basic", "tiny-vgg", "tiny-vgg-bn", "tiny-bert-multilabel"];
    assert!(known.iter().all(|name| with.contains(name)), "{with:?}");
}

/// Captum's DeepLift from zeros (VGG) and GuidedBackprop (VGG, ResNet) of target 1, within 1e-4 of the largest number.
/// Captum's max pools lose what overlapping windows share, so ResNet's DeepLIFT has no oracle there.
#[test]
fn convolutional_networks_have_captums_numbers() {
    let oracle = Golden::of("rules");
    for name in ["tiny-vgg", "tiny-vgg-bn", "tiny-resnet"] {
        let (model, golden) = (load(&folder(name)).unwrap(), Golden::of(name));
        for case in 0..golden.cases() {
            let row = golden.row(case);
            let run = |rule: Rule, rows: Vec<Row>| {
                let count = rows.len();
                let mut tape = Tape::new(&(), true).under(rule);
                let outputs = model.forward(&mut tape, &Batch::new(rows), &TapPlan::default()).unwrap();
                let mut seed = vec![0.0; outputs.logits.cols()];
                seed[1] = 1.0;
                let mut found = tape.backward(&outputs.logits, &seed.repeat(count), &outputs.input).unwrap();
                found.truncate(outputs.input.cols());
                found
            };
            let guided = run(Rule::Guided, vec![row.clone()]);
            let key = format!("{case}.guided_backprop.1");
            let off = close(&format!("{name} {key}"), &guided, &oracle.get(&format!("{name}.{key}")), 1e-4);
            println!("{name} {key}: {off:.1e} of the largest");
            if name == "tiny-resnet" {
                continue;
            }
            let [input, zeros] = pair(&*model, &row, |x| vec![0.0; x.len()]);
            let Content::Pixels(pixels) = input.content.clone() else { panic!("{name} reads images") };
            let multipliers = run(Rule::DeepLift, vec![input, zeros]);
            let size = pixels.len() / 3;
            let score =
                |pixel: usize| (0..3).map(|at| multipliers[at * size + pixel] * pixels[at * size + pixel]).sum();
            let scores: Vec<f32> = (0..size).map(score).collect();
            let key = format!("{case}.deep_lift.1");
            let off = close(&format!("{name} {key}"), &scores, &oracle.get(&format!("{name}.{key}")), 1e-4);
            println!("{name} {key}: {off:.1e} of the largest");
        }
    }
}
