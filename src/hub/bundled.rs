//! The two small models inside the binary (feature `bundled`).

use super::{HubError, ModelFolder};

/// What a bundled model consists of: name, then its files.
#[cfg(feature = "bundled")]
type Bundle = (&'static str, &'static [(&'static str, &'static [u8])]);

/// Weights begin where numbers may: embedding tables are used where they are.
#[cfg(feature = "bundled")]
#[repr(C, align(64))]
struct Aligned<const N: usize>([u8; N]);

#[cfg(feature = "bundled")]
macro_rules! bundle {
    ($name:literal: $($file:literal),+) => {
        ($name, &[$(
            ($file, &Aligned(*include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/models/", $name, "/", $file))).0)
        ),+])
    };
}

#[cfg(feature = "bundled")]
static BUNDLES: [Bundle; 2] = [
    bundle!("sentiment": "config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"),
    bundle!("blood-cells": "config.json", "preprocessor_config.json", "model.safetensors"),
];

/// The names that may follow `bundled:`, in the order in which they are served by default.
pub fn bundled_names() -> Vec<&'static str> {
    #[cfg(feature = "bundled")]
    return BUNDLES.iter().map(|(name, _)| *name).collect();
    #[cfg(not(feature = "bundled"))]
    Vec::new()
}

#[cfg(feature = "bundled")]
pub(super) fn open(name: &str, source: String) -> Result<ModelFolder, HubError> {
    use super::{FileBytes, layout};
    let Some((_, files)) = BUNDLES.iter().find(|(known, _)| *known == name) else {
        let known = bundled_names().join(", ");
        return Err(HubError::UnknownBundled { name: name.to_owned(), known });
    };
    let files = files.iter().map(|(file, bytes)| ((*file).to_owned(), FileBytes::Static(bytes))).collect();
    ModelFolder::new(source, None, files, vec![layout::SINGLE.to_owned()])
        .map_err(|(file, error)| HubError::Folder { path: file.into(), detail: error.to_string() })
}

#[cfg(not(feature = "bundled"))]
pub(super) fn open(name: &str, _source: String) -> Result<ModelFolder, HubError> {
    Err(HubError::NotBundled { name: name.to_owned() })
}
