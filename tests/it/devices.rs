//! Whole explanations on every device that this build can use, against the host's, which `parity` compares with Captum
//! and transformers. candle's own CPU device stands for those that are not here.

use std::path::Path;

use explaind::config::Settings;
use explaind::engine::{self, Device, DeviceKind};
use explaind::explain::{Answer, Catalog, ExplainRequest, Plan, Wanted, plan};
use serde_json::{Value, json};

use crate::app::bundled;

/// The device and those of this build's features, which must be there.
fn devices() -> Vec<Device> {
    let built = [DeviceKind::Cuda, DeviceKind::Metal].into_iter().filter(|kind| kind.is_built());
    std::iter::once(Device::composed()).chain(built.map(|kind| Device::open(kind).unwrap())).collect()
}

fn planned(catalog: &Catalog, request: Value, image: Option<Vec<u8>>) -> Plan {
    let request: ExplainRequest = serde_json::from_value(request).unwrap();
    plan(catalog, &Settings::default().limits, "devices".into(), request, image, Wanted::Explanations).unwrap()
}

fn numbers(value: &Value, into: &mut Vec<f64>) {
    match value {
        Value::Number(number) => into.extend(number.as_f64()),
        Value::Array(items) => items.iter().for_each(|item| numbers(item, into)),
        Value::Object(items) => items.values().for_each(|item| numbers(item, into)),
        _ => {}
    }
}

/// The numbers of one part of an explanation.
fn part(answer: &Answer, explanation: usize, name: &str) -> Vec<f64> {
    let value = serde_json::to_value(answer).unwrap();
    let mut found = Vec::new();
    numbers(&value["explanations"][explanation][name], &mut found);
    found
}

#[track_caller]
fn close(what: &str, ours: &[f64], host: &[f64]) {
    assert_eq!(ours.len(), host.len(), "{what}");
    let scale = host.iter().fold(1e-6, |max: f64, x| max.max(x.abs()));
    let worst = ours.iter().zip(host).fold(0.0, |max: f64, (a, b)| max.max((a - b).abs()));
    assert!(worst <= 1e-4 * scale, "{what}: off by {} of scale", worst / scale);
}

/// Every explanation's scores, within 1e-4 of the largest, and what it explains.
#[track_caller]
fn same_on_every_device(plan: &Plan) {
    let host = engine::run_blocking(plan, 2, 512, &Device::default()).unwrap();
    for device in devices() {
        let own = engine::run_blocking(plan, 2, 512, &device).unwrap();
        assert_eq!(own.provenance.device, device.kind().name());
        for (index, explanation) in host.explanations.iter().flatten().enumerate() {
            for name in ["scores", "base_value", "output_value"] {
                let what = format!("{} {name} on {device:?}", explanation.method);
                close(&what, &part(&own, index, name), &part(&host, index, name));
            }
        }
    }
}

#[test]
fn texts_are_explained_as_on_the_host() {
    let catalog = Catalog::new(vec![bundled("sentiment").unwrap()]).unwrap();
    let methods = json!([
        {"method": "integrated_gradients", "steps": 16},
        {"method": "lime", "samples": 64},
        {"method": "attention", "layers": "all", "heads": "all"},
    ]);
    let text = "a gripping, funny film that nobody should miss";
    same_on_every_device(&planned(&catalog, json!({"text": text, "explain": methods}), None));
}

#[test]
fn images_are_explained_as_on_the_host() {
    let catalog = Catalog::new(vec![bundled("blood-cells").unwrap()]).unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/images");
    let png = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let png = png.filter(|path| path.extension().is_some_and(|ending| ending == "png")).min().unwrap();
    let methods = json!([{"method": "integrated_gradients", "steps": 16}, {"method": "lime", "samples": 32}]);
    same_on_every_device(&planned(&catalog, json!({"explain": methods}), Some(std::fs::read(png).unwrap())));
}
