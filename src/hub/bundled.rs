//! The two small models inside the binary (feature `bundled`).

use super::{HubError, ModelFolder};

/// What a bundled model consists of.
#[cfg(feature = "bundled")]
struct Bundle {
    name: &'static str,
    /// Of its weights: known beforehand, since hashing them anew at every start is a tenth of it. A test compares.
    sha256: &'static str,
    files: &'static [(&'static str, &'static [u8])],
}

/// Weights begin where numbers may: embedding tables are used where they are.
#[cfg(feature = "bundled")]
#[repr(C, align(64))]
struct Aligned<const N: usize>([u8; N]);

#[cfg(feature = "bundled")]
macro_rules! bundle {
    ($name:literal, $sha256:literal, $($file:literal),+) => {
        Bundle { name: $name, sha256: $sha256, files: &[$(
            ($file, &Aligned(*include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/models/", $name, "/", $file))).0)
        ),+] }
    };
}

#[cfg(feature = "bundled")]
static BUNDLES: [Bundle; 2] = [
    bundle!(
        "sentiment",
        "2b7c110460ebc775fdbf7710fd6ef9050e2c95990e3a7fb14f93a0ba0491d2c9",
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "model.safetensors"
    ),
    bundle!(
        "blood-cells",
        "d769d58bf4fd8d192dfc441b0081cd275d6ba99b4e8412b7a0bac8d78aeb66be",
        "config.json",
        "preprocessor_config.json",
        "model.safetensors"
    ),
];

/// The names that may follow `bundled:`, in the order in which they are served by default.
pub fn bundled_names() -> Vec<&'static str> {
    #[cfg(feature = "bundled")]
    return BUNDLES.iter().map(|bundle| bundle.name).collect();
    #[cfg(not(feature = "bundled"))]
    Vec::new()
}

#[cfg(feature = "bundled")]
pub(super) fn open(name: &str, source: String) -> Result<ModelFolder, HubError> {
    use super::{FileBytes, layout};
    let Some(bundle) = BUNDLES.iter().find(|bundle| bundle.name == name) else {
        let known = bundled_names().join(", ");
        return Err(HubError::UnknownBundled { name: name.to_owned(), known });
    };
    let files = bundle.files.iter().map(|(file, bytes)| ((*file).to_owned(), FileBytes::Static(bytes))).collect();
    let (weights, sha256) = (vec![layout::SINGLE.to_owned()], bundle.sha256.to_owned());
    Ok(ModelFolder { source, revision: None, files, weights, sha256 })
}

#[cfg(not(feature = "bundled"))]
pub(super) fn open(name: &str, _source: String) -> Result<ModelFolder, HubError> {
    Err(HubError::NotBundled { name: name.to_owned() })
}

#[cfg(all(test, feature = "bundled"))]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_the_weights() {
        for bundle in &BUNDLES {
            let folder = open(bundle.name, String::new()).unwrap();
            let weights = folder.bytes(&folder.weights[0]).unwrap();
            assert_eq!(super::super::folder::hex(&weights.sha256().unwrap()), bundle.sha256, "{}", bundle.name);
        }
    }
}
