//! Damaged and absurd folders of the image families: errors that name the tensor or the key, at once.

use std::sync::Arc;

use super::tests::{edit, folder, replace};
use super::*;
use crate::hub::FileBytes;

/// Renames tensors inside the file: names of equal length, so that nothing else changes.
fn rename(folder: &mut ModelFolder, from: &str, to: &str) {
    assert_eq!(from.len(), to.len());
    let bytes = folder.file("model.safetensors").unwrap().to_vec();
    let place = bytes.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
    let mut changed = bytes;
    changed[place..place + to.len()].copy_from_slice(to.as_bytes());
    folder.files.insert("model.safetensors".into(), FileBytes::Owned(Arc::new(changed)));
}

#[test]
fn a_missing_head_is_an_error_that_names_it() {
    for (name, head) in [
        ("tiny-vit", "classifier.weight"),
        ("tiny-deit", "classifier.weight"),
        ("tiny-deit-distilled", "distillation_classifier.weight"),
        ("tiny-dinov2", "classifier.weight"),
        ("tiny-dinov2-registers", "classifier.weight"),
        ("tiny-beit", "classifier.weight"),
        ("tiny-swin", "classifier.weight"),
        ("tiny-resnet", "classifier.1.weight"),
        ("tiny-convnext", "classifier.weight"),
        ("tiny-vgg", "head.fc.weight"),
    ] {
        let other = head.replace("weight", "wei_ht");
        let error = edit(name, |folder| rename(folder, &format!("\"{head}\""), &format!("\"{other}\"")));
        assert!(error.contains(&format!("\"{head}\" is missing")), "{name}: {error}");
    }
}

#[test]
fn configurations_that_do_not_fit_the_weights_name_the_tensor() {
    for (name, from, to, tensor) in [
        ("tiny-deit", "\"hidden_size\": 24", "\"hidden_size\": 27", "deit.embeddings.position_embeddings"),
        (
            "tiny-deit",
            "\"intermediate_size\": 40",
            "\"intermediate_size\": 41",
            "deit.encoder.layer.0.intermediate.dense.weight",
        ),
        ("tiny-deit", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3", "deit.encoder.layer.2."),
        ("tiny-dinov2", "\"mlp_ratio\": 2", "\"mlp_ratio\": 3", "dinov2.encoder.layer.0.mlp.fc1.weight"),
        ("tiny-dinov2", "\"image_size\": 28", "\"image_size\": 35", "dinov2.embeddings.position_embeddings"),
        ("tiny-dinov2-registers", "\"num_register_tokens\": 2", "\"num_register_tokens\": 4", "register_tokens"),
        (
            "tiny-resnet",
            "\"embedding_size\": 8",
            "\"embedding_size\": 9",
            "resnet.embedder.embedder.convolution.weight",
        ),
        (
            "tiny-resnet",
            "\"layer_type\": \"bottleneck\"",
            "\"layer_type\": \"basic\"",
            "resnet.encoder.stages.0.layers.0.layer.0.convolution.weight",
        ),
        ("tiny-beit", "\"num_attention_heads\": 3", "\"num_attention_heads\": 4", "relative_position_bias_table"),
        ("tiny-beit-shared", "\"patch_size\": 4", "\"patch_size\": 2", "beit.embeddings.position_embeddings"),
        ("tiny-swin", "\"window_size\": 4", "\"window_size\": 5", "relative_position_bias_table"),
        ("tiny-swin", "\"mlp_ratio\": 2.0", "\"mlp_ratio\": 3.0", "blocks.0.intermediate.dense.weight"),
        ("tiny-convnext", "\"patch_size\": 4", "\"patch_size\": 2", "convnext.embeddings.patch_embeddings.weight"),
        ("tiny-vgg", "vgg16", "vgg19", "features.16.weight"),
        ("tiny-vgg", "vgg16", "vgg16_bn", "features.1.weight"),
    ] {
        let error = edit(name, |folder| replace(folder, from, to));
        assert!(error.contains(tensor), "{name} {to}: {error}");
    }
}

#[test]
fn absurd_configurations_name_the_key() {
    for (name, from, to, key) in [
        ("tiny-deit", "\"patch_size\": 4", "\"patch_size\": 5", "patch_size"),
        ("tiny-deit", "\"patch_size\": 4", "\"patch_size\": 0", "patch_size"),
        ("tiny-deit", "\"image_size\": 16", "\"image_size\": 16000000000", "image_size"),
        ("tiny-deit", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 2000000000", "num_hidden_layers"),
        ("tiny-deit", "\"num_channels\": 3", "\"num_channels\": 4", "num_channels"),
        ("tiny-dinov2", "\"mlp_ratio\": 2", "\"mlp_ratio\": 1e300", "mlp_ratio"),
        ("tiny-dinov2", "\"mlp_ratio\": 2", "\"mlp_ratio\": -1", "mlp_ratio"),
        (
            "tiny-dinov2-registers",
            "\"num_register_tokens\": 2",
            "\"num_register_tokens\": 2000000",
            "num_register_tokens",
        ),
        ("tiny-resnet", "\"embedding_size\": 8", "\"embedding_size\": 8000000000", "embedding_size"),
        ("tiny-resnet", "\"layer_type\": \"bottleneck\"", "\"layer_type\": \"wide\"", "layer_type"),
        ("tiny-resnet", "\"depths\": [\n    2,", "\"depths\": [\n    2000000,", "depths"),
        ("tiny-resnet", "\"depths\": [\n    2,", "\"depths\": [\n    2, 1,", "depths"),
        ("tiny-convnext", "\"patch_size\": 4", "\"patch_size\": 3", "patch_size"),
        ("tiny-beit", "\"image_size\": 16", "\"image_size\": [16, 20]", "image_size"),
        ("tiny-swin", "\"window_size\": 4", "\"window_size\": 11", "window_size"),
        ("tiny-swin", "\"window_size\": 4", "\"window_size\": 4000000000", "window_size"),
        ("tiny-swin", "\"embed_dim\": 12", "\"embed_dim\": 0", "embed_dim"),
        ("tiny-swin", "\"num_heads\": [\n    2,", "\"num_heads\": [\n    5,", "num_heads"),
        ("tiny-swin", "\"num_heads\": [\n    2,", "\"num_heads\": [\n    2, 2,", "num_heads"),
        ("tiny-vgg", "\"label_names\": [", "\"label_names\": 5, \"x\": [", "label_names"),
    ] {
        let error = edit(name, |folder| replace(folder, from, to));
        assert!(error.starts_with(&format!("config.json: {key}")), "{name} {to}: {error}");
    }
    for (from, to, part) in [
        ("32,\n   32", "16,\n   16", "image_size: maps of 1 × 1 are too small"),
        ("32,\n   32", "3000,\n   3000", "pretrained_cfg.input_size: 3000 × 3000 pixels"),
        ("32,\n   32", "32,\n   31", "pretrained_cfg.input_size"),
        ("\"bilinear\"", "\"trilinear\"", "pretrained_cfg.interpolation: \"trilinear\""),
        ("\"center\"", "\"border\"", "pretrained_cfg.crop_mode: \"border\""),
        ("0.875", "0", "pretrained_cfg.crop_pct"),
        ("vgg16", "vgg17", "architecture \"vgg17\""),
    ] {
        let error = edit("tiny-vgg", |folder| replace(folder, from, to));
        assert!(error.contains(part), "{to}: {error}");
    }
}

#[test]
fn a_model_says_what_it_takes_and_gives() {
    let spec = |name: &str| load(&folder(name)).unwrap().spec().clone();
    let named = |spec: &Spec| {
        let image = spec.image.clone().unwrap();
        let names = image.sequence.iter().filter_map(|item| match item {
            SequenceItem::Named(name) => Some(name.clone()),
            SequenceItem::Patch(_) => None,
        });
        names.collect::<Vec<_>>()
    };
    assert_eq!(named(&spec("tiny-deit")), ["cls", "distillation"]);
    let registers = spec("tiny-dinov2-registers");
    assert_eq!(named(&registers), ["cls", "register", "register"]);
    let image = registers.image.unwrap();
    assert_eq!((image.rows, image.cols, image.grid_rows, image.grid_cols), (28, 21, 4, 3));
    for (name, grid) in [
        ("tiny-swin", (5, 5)),
        ("tiny-resnet", (2, 2)),
        ("tiny-resnet-basic", (2, 2)),
        ("tiny-convnext", (3, 3)),
        ("tiny-vgg", (1, 1)),
    ] {
        let spec = spec(name);
        let image = spec.image.clone().unwrap();
        assert_eq!((image.grid_rows, image.grid_cols), grid, "{name}");
        assert!(image.sequence.is_empty() && !spec.capabilities.covers(&[Capability::Attention]), "{name}");
        assert_eq!(spec.row_tokens(1), (image.rows * image.cols).div_ceil(256), "{name}");
        assert_eq!(spec.labels, ["circle", "stripe", "blob", "corner", "nothing"], "{name}");
    }
    assert_eq!(spec("tiny-vgg-bn").architecture, "vgg16_bn");
}
