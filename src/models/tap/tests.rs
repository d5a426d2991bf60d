//! Taps of every family that has a sequence: gradients against central differences, replacements against the forward.

use std::sync::Arc;

use super::*;
use crate::models::tests::{IMAGE, TEXT, folder};
use crate::models::{Batch, Capability, Content, Model, Row, load};
use crate::nn::{Device, Tape};

/// Every model with hidden states, and a row for it.
fn models() -> impl Iterator<Item = (&'static str, Box<dyn Model>, Row)> {
    TEXT.into_iter().chain(IMAGE).filter_map(|name| {
        let model = load(&folder(name)).unwrap();
        let content = match &model.spec().image {
            Some(image) => {
                let pixel = |index: usize| ((index * 37 % 101) as f32 / 50.0 - 1.0) * 0.8;
                Content::Pixels((0..3 * image.rows * image.cols).map(pixel).collect())
            }
            None => Content::Tokens { ids: vec![3, 40, 60, 70, 41, 7], type_ids: Vec::new() },
        };
        let read = match &content {
            Content::Tokens { ids, .. } => model.spec().reads.position(ids.iter().copied()),
            _ => 0,
        };
        let hidden = model.spec().capabilities.covers(&[Capability::Hidden]);
        hidden.then_some((name, model, Row { content, read: vec![read] }))
    })
}

fn seed(logits: usize) -> Vec<f32> {
    (0..logits).map(|label| if label + 1 == logits { 1.0 } else { 0.0 }).collect()
}

/// The recording of one row with the gradients of its last logit, and that logit.
fn differentiated(model: &dyn Model, device: &Device, row: &Row, plan: &TapPlan) -> Recording {
    let mut tape = Tape::new(&(), true).on(device);
    let outputs = model.forward(&mut tape, &Batch::new(vec![row.clone()]), plan).unwrap();
    let mut tapped = outputs.tapped;
    tapped.differentiate(&tape, &outputs.logits, &seed(outputs.logits.cols())).unwrap();
    tapped.record().unwrap()
}

fn logits(model: &dyn Model, device: &Device, row: &Row, plan: &TapPlan) -> Vec<f32> {
    let mut tape = Tape::new(&(), false).on(device);
    let outputs = model.forward(&mut tape, &Batch::new(vec![row.clone()]), plan).unwrap();
    outputs.logits.numbers().unwrap().to_vec()
}

/// d logit / d hidden state of every layer, along itself, equals central differences of the forward with that state
/// put in its place.
#[test]
fn gradients_at_hidden_states_are_central_differences() {
    for (device, (name, model, row)) in
        Device::every().into_iter().flat_map(|device| models().map(move |model| (device.clone(), model)))
    {
        let layers = model.spec().layers;
        let plan = TapPlan { hidden: (0..layers).collect(), gradients: true, ..TapPlan::default() };
        for state in differentiated(&*model, &device, &row, &plan).hidden {
            let gradient = &state.gradients[0];
            let square: f32 = gradient.iter().map(|g| g * g).sum();
            assert!(square > 0.0, "{name}: nothing flows to layer {}", state.layer);
            let at = |step: f32| {
                let moved = state.values.iter().zip(gradient).map(|(x, g)| x + step * g).collect();
                let mut states = vec![None; layers];
                states[state.layer] = Some(Arc::new(moved));
                let replace = Some(Replacement { silenced: vec![None], states });
                *logits(&*model, &device, &row, &TapPlan { replace, ..TapPlan::default() }).last().unwrap()
            };
            let h = 5e-4 / square.sqrt();
            let numeric = (at(h) - at(-h)) / (2.0 * h);
            let off = (numeric - square).abs() / square;
            assert!(off < 1e-2, "{name} on {device:?}, layer {}: {numeric} against {square}", state.layer);
        }
    }
}

/// Every list in the plan's order, of the sequence's length also in the last layer.
#[test]
fn recordings_have_the_shapes_of_their_plan() {
    for (name, model, row) in models() {
        let spec = model.spec();
        let layers = spec.layers;
        let all: Vec<usize> = (0..layers).rev().collect();
        let plan = TapPlan {
            hidden: vec![layers, 0],
            activations: all.clone(),
            maps: if spec.image.is_some() { all.clone() } else { Vec::new() },
            lens: vec![layers, 1],
            gradients: true,
            ..TapPlan::default()
        };
        let found = differentiated(&*model, &Device::default(), &row, &plan);
        let length = spec.row_tokens(row.len());
        assert_eq!(found.hidden.iter().map(|state| state.layer).collect::<Vec<_>>(), plan.hidden, "{name}");
        for state in found.hidden.iter().chain(&found.activations) {
            assert_eq!(state.lengths, [length], "{name}: the last layer too");
            assert_eq!((state.values.len(), state.gradients[0].len()), (length * state.width, length * state.width));
        }
        assert_eq!(found.activations.iter().map(|state| state.layer).collect::<Vec<_>>(), all, "{name}");
        assert!(found.activations.iter().all(|state| state.gradients[0].iter().any(|g| *g != 0.0)), "{name}");
        for map in &found.maps {
            let image = spec.image.as_ref().unwrap();
            assert_eq!(map.grid, Some((image.grid_rows, image.grid_cols)), "{name}");
            assert_eq!(map.lengths, [image.grid_rows * image.grid_cols]);
        }
        let own = logits(&*model, &Device::default(), &row, &TapPlan::default());
        assert_eq!(found.lens[0].values, own, "{name}: the last lens is the answer");
        assert_eq!(found.lens[1].values.len(), own.len());
    }
}

/// A row's own states in their own place change no bit, and taps change none either.
#[test]
fn what_replaces_itself_changes_nothing() {
    for (name, model, row) in models() {
        let device = Device::default();
        let own = logits(&*model, &device, &row, &TapPlan::default());
        let layers = model.spec().layers;
        let plan = TapPlan { hidden: (0..=layers).collect(), ..TapPlan::default() };
        assert_eq!(logits(&*model, &device, &row, &plan), own, "{name}");
        let mut tape = Tape::new(&(), false);
        let recorded =
            model.forward(&mut tape, &Batch::new(vec![row.clone()]), &plan).unwrap().tapped.record().unwrap();
        let states = recorded.hidden[..layers].iter().map(|state| Some(Arc::new(state.values.clone()))).collect();
        let replace = Some(Replacement { silenced: vec![None], states });
        // DeBERTa v2's convolution reads the first state past its layer: there too it is the same.
        assert_eq!(logits(&*model, &device, &row, &TapPlan { replace, ..TapPlan::default() }), own, "{name}");
    }
}

/// Rows of different lengths together have what each has alone: taps, relevance and silenced tokens.
#[test]
fn rows_are_tapped_as_if_they_were_alone() {
    for name in ["tiny-bert", "tiny-deberta-v2", "tiny-modernbert", "tiny-llama", "tiny-gemma3"] {
        let model = load(&folder(name)).unwrap();
        let layers: Vec<usize> = (0..model.spec().layers).collect();
        let row = |ids: Vec<u32>| {
            let read = model.spec().reads.position(ids.iter().copied());
            Row { content: Content::Tokens { ids, type_ids: Vec::new() }, read: vec![read] }
        };
        let rows = vec![row(vec![3, 40, 60, 70, 41, 7]), row(vec![9]), row(vec![5, 57, 12])];
        let plan = |silenced: Vec<Option<usize>>| TapPlan {
            fused: Some(Fused { layers: layers.clone(), by: Fusion::Relevance }),
            hidden: vec![1],
            gradients: true,
            replace: Some(Replacement { silenced, states: Vec::new() }),
            ..TapPlan::default()
        };
        let run = |rows: &[Row], silenced: Vec<Option<usize>>| {
            let mut tape = Tape::new(&(), true);
            let outputs = model.forward(&mut tape, &Batch::new(rows.to_vec()), &plan(silenced)).unwrap();
            let mut tapped = outputs.tapped;
            let seed = seed(outputs.logits.cols()).repeat(rows.len());
            tapped.differentiate(&tape, &outputs.logits, &seed).unwrap();
            tapped.record().unwrap()
        };
        let silenced = [Some(2), None, Some(1)];
        let together = run(&rows, silenced.to_vec());
        for (index, row) in rows.iter().enumerate() {
            let alone = run(std::slice::from_ref(row), vec![silenced[index]]);
            for (together, alone) in together.fused.iter().zip(&alone.fused) {
                assert_eq!(together.row(index), alone.row(0), "{name}");
                assert_eq!(together.importance_of(index), alone.importance_of(0), "{name}");
            }
            let (together, alone) = (&together.hidden[0], &alone.hidden[0]);
            assert_eq!(together.row(&together.values, index), alone.values, "{name}");
            assert_eq!(together.row(&together.gradients[0], index), alone.gradients[0], "{name}");
        }
        assert!(together.fused[0].row(0)[0].chunks(6).all(|row| row.iter().all(|share| *share >= 0.0)), "{name}");
    }
}

#[test]
fn fused_heads_are_those_of_the_whole_maps() {
    for (name, model, row) in models() {
        let layers: Vec<usize> = (0..model.spec().layers).collect();
        for by in [Fusion::Mean, Fusion::Max, Fusion::Min] {
            let fused = Some(Fused { layers: layers.clone(), by });
            let plan = TapPlan { fused, ..TapPlan::attention(layers.clone()) };
            let mut tape = Tape::new(&(), false);
            let outputs = model.forward(&mut tape, &Batch::new(vec![row.clone()]), &plan).unwrap();
            let found = outputs.tapped.record().unwrap();
            for (map, fused) in found.attention.iter().zip(&found.fused) {
                let size = map.lengths[0] * map.lengths[0];
                for (place, value) in fused.row(0)[0].iter().enumerate() {
                    let heads = map.values.iter().skip(place).step_by(size);
                    let expected = match by {
                        Fusion::Max => heads.fold(f32::NEG_INFINITY, |max, &p| max.max(p)),
                        Fusion::Min => heads.fold(f32::INFINITY, |min, &p| min.min(p)),
                        _ => heads.sum::<f32>() / map.heads as f32,
                    };
                    assert!((value - expected).abs() < 1e-6, "{name}: {value} against {expected}");
                }
            }
        }
    }
}

#[test]
fn what_a_model_has_not_is_an_error() {
    let run = |name: &str, plan: TapPlan| {
        let model = load(&folder(name)).unwrap();
        let content = match &model.spec().image {
            Some(image) => Content::Pixels(vec![0.1; 3 * image.rows * image.cols]),
            None => Content::Tokens { ids: vec![3, 4], type_ids: Vec::new() },
        };
        let batch = Batch::new(vec![Row { content, read: vec![0] }]);
        match model.forward(&mut Tape::new(&(), false), &batch, &plan) {
            Ok(_) => panic!("{name}: {plan:?} was recorded"),
            Err(error) => error.to_string(),
        }
    };
    assert!(run("tiny-bert", TapPlan::attention(vec![3])).contains("attention of layer 3"));
    assert!(run("tiny-bert", TapPlan { maps: vec![0], ..TapPlan::default() }).contains("a feature map of layer 0"));
    assert!(run("tiny-llama", TapPlan { hidden: vec![9], ..TapPlan::default() }).contains("hidden states of layer 9"));
    assert!(run("tiny-resnet", TapPlan::attention(vec![0])).contains("attention of layer 0"));
    assert!(run("tiny-swin", TapPlan { lens: vec![0], ..TapPlan::default() }).contains("an answer of layer 0"));
    let states = vec![Some(Arc::new(vec![0.0; 5]))];
    let replace = Some(Replacement { silenced: Vec::new(), states });
    assert!(run("tiny-bert", TapPlan { replace, ..TapPlan::default() }).contains("5 numbers to stand in for"));
}

#[test]
fn plans_join_and_part() {
    let mut plan = TapPlan { hidden: vec![0, 2], lens: vec![3], ..TapPlan::attention(vec![1]) };
    plan.join(&TapPlan {
        fused: Some(Fused { layers: vec![0], by: Fusion::Max }),
        hidden: vec![1],
        ..TapPlan::default()
    });
    plan.join(&TapPlan { fused: Some(Fused { layers: vec![1], by: Fusion::Min }), ..TapPlan::attention(vec![0]) });
    assert_eq!((plan.hidden.clone(), plan.attention.clone()), (vec![0, 1, 2], vec![0, 1]));
    assert_eq!(plan.fused, Some(Fused { layers: vec![0], by: Fusion::Max }), "the first stays");
    let state = |layer| StateMap { layer, ..StateMap::default() };
    let recording = Recording {
        hidden: vec![state(0), state(1), state(2)],
        lens: vec![state(3)],
        fused: vec![FusedMap::default()],
        ..Recording::default()
    };
    let part = |wanted: &TapPlan| recording.part(&plan, wanted);
    let found = part(&TapPlan { hidden: vec![2, 0], ..TapPlan::default() }).unwrap();
    assert_eq!(found.hidden.iter().map(|state| state.layer).collect::<Vec<_>>(), [2, 0]);
    assert!(part(&TapPlan { hidden: vec![4], ..TapPlan::default() }).is_none());
    assert!(part(&TapPlan { gradients: true, ..TapPlan::default() }).is_none());
    assert!(part(&TapPlan { replace: Some(Replacement::default()), ..TapPlan::default() }).is_none());
    let fused = |by| Some(Fused { layers: vec![0], by });
    assert!(part(&TapPlan { fused: fused(Fusion::Max), ..TapPlan::default() }).is_some());
    assert!(part(&TapPlan { fused: fused(Fusion::Min), ..TapPlan::default() }).is_none());
}

/// All heads' probabilities are there only where they are the answer.
#[test]
fn fused_maps_ask_for_no_heads() {
    let wanted = |plan: &TapPlan| Recorder::new(plan, 2, &[0, 3], &[0]).probabilities(0);
    for by in [Fusion::Mean, Fusion::Max, Fusion::Min, Fusion::Relevance] {
        assert!(!wanted(&TapPlan { fused: Some(Fused { layers: vec![0], by }), ..TapPlan::default() }));
    }
    assert!(wanted(&TapPlan::attention(vec![0])) && !wanted(&TapPlan::attention(vec![1])));
}
