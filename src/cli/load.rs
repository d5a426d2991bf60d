//! Settings into loaded models.

use std::io::IsTerminal as _;

use rayon::prelude::*;

use crate::config::{ModelSetting, Settings};
use crate::explain::{Catalog, LoadError, ServedModel};
use crate::hub::{self, HubOptions, HubOverrides, Source};
use crate::input::Kind;

/// What is served without `--model`, with the kind of input each reads.
const BUNDLED: [(Kind, &str); 2] = [(Kind::Text, "bundled:sentiment"), (Kind::Image, "bundled:blood-cells")];

/// The models that the settings name; none: the bundled ones.
pub(super) fn wanted(settings: &Settings) -> Vec<ModelSetting> {
    if settings.models.is_empty() {
        BUNDLED.map(|(_, source)| ModelSetting { name: None, source: source.to_owned() }).into()
    } else {
        settings.models.clone()
    }
}

/// The bundled model that reads `kind`.
pub(super) fn bundled(kind: Kind) -> Option<ModelSetting> {
    let (_, source) = BUNDLED.iter().find(|(reads, _)| *reads == kind)?;
    Some(ModelSetting { name: None, source: (*source).to_owned() })
}

/// Downloads (if need be) and loads `models`, in their order. Blocks.
pub(super) fn catalog(models: &[ModelSetting], settings: &Settings) -> Result<Catalog, LoadError> {
    let overrides = HubOverrides {
        cache: settings.hub.cache.clone(),
        offline: settings.hub.offline,
        deadline: settings.hub.deadline,
        progress: std::io::stderr().is_terminal(),
    };
    let hub = HubOptions::from_env(|name| std::env::var(name).ok(), overrides);
    let open = |model: &ModelSetting| {
        let source = Source::parse(&model.source)?;
        Ok((model.name.clone().unwrap_or_else(|| source.default_name()), hub::open(&source, &hub)?))
    };
    // One download after the other, so that one bar moves at a time.
    let folders = models.iter().map(open).collect::<Result<Vec<_>, LoadError>>()?;
    let load = |(name, folder)| ServedModel::from_folder(name, folder);
    let catalog = Catalog::new(folders.into_par_iter().map(load).collect::<Result<Vec<_>, LoadError>>()?)?;
    catalog.computing_in(settings.compute.precision)
}
