//! Settings into loaded models.

use std::io::IsTerminal as _;

use rayon::prelude::*;

use crate::config::{ModelSetting, Settings};
use crate::explain::replay::Recorded;
use crate::explain::{Catalog, LoadError, ServedModel};
use crate::hub::{self, HubOptions, HubOverrides, ModelFolder, Source};
use crate::input::Kind;
use crate::models::{Part, Randomised, Weights};

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
    let hub = hub_options(settings);
    // One download after the other, so that one bar moves at a time.
    let folders = models.iter().map(|model| open(model, &hub)).collect::<Result<Vec<_>, LoadError>>()?;
    let load = |(name, folder)| ServedModel::from_folder(name, folder);
    let catalog = Catalog::new(folders.into_par_iter().map(load).collect::<Result<Vec<_>, LoadError>>()?)?;
    catalog.computing_in(settings.compute.precision)
}

/// `model` alone, with random numbers in some of its weights.
pub(super) fn randomised(model: &ModelSetting, settings: &Settings, how: Randomised) -> Result<Catalog, LoadError> {
    let (name, folder) = open(model, &hub_options(settings))?;
    Catalog::new(vec![ServedModel::randomised(name, folder, how)?])?.computing_in(settings.compute.precision)
}

/// The parts that can become random, from the head down.
pub(super) fn parts(model: &ModelSetting, settings: &Settings) -> Result<Vec<Part>, LoadError> {
    let (_, folder) = open(model, &hub_options(settings))?;
    let weights = Weights::open(&folder);
    Ok(weights.map_err(|error| LoadError::Model { source_name: folder.source.clone(), error })?.parts())
}

/// A model's files, and the name it is served under.
fn open(model: &ModelSetting, hub: &HubOptions) -> Result<(String, ModelFolder), LoadError> {
    let source = Source::parse(&model.source)?;
    Ok((model.name.clone().unwrap_or_else(|| source.default_name()), hub::open(&source, hub)?))
}

/// The model that gave an answer, under its name: from `elsewhere`, else from where it came, a hub's at the same commit.
pub(super) fn recorded(
    recorded: &Recorded,
    elsewhere: Option<&str>,
    settings: &Settings,
) -> Result<ServedModel, LoadError> {
    match elsewhere {
        Some(source) => {
            let folder = hub::open(&Source::parse(source)?, &hub_options(settings))?;
            ServedModel::from_folder(recorded.model().to_owned(), folder)
        }
        None => again((recorded.model(), recorded.source(), recorded.revision()), settings),
    }
}

/// The other models that an answer's explanations asked, from where they came.
pub(super) fn helpers(recorded: &Recorded, settings: &Settings) -> Result<Vec<ServedModel>, LoadError> {
    recorded.helpers().into_iter().map(|helper| again(helper, settings)).collect()
}

/// A model by its name, from its source, a hub's at the same commit.
fn again((name, source, revision): (&str, &str, Option<&str>), settings: &Settings) -> Result<ServedModel, LoadError> {
    let parsed = match Source::parse(source)? {
        Source::Hub { id, file, .. } if revision.is_some() => {
            Source::Hub { id, file, revision: revision.map(str::to_owned) }
        }
        // A hub's model has a commit, so this was a folder, which is not where it was.
        Source::Hub { .. } => Source::Folder(source.into()),
        parsed => parsed,
    };
    let mut folder = hub::open(&parsed, &hub_options(settings))?;
    source.clone_into(&mut folder.source);
    ServedModel::from_folder(name.to_owned(), folder)
}

fn hub_options(settings: &Settings) -> HubOptions {
    let overrides = HubOverrides {
        cache: settings.hub.cache.clone(),
        offline: settings.hub.offline,
        deadline: settings.hub.deadline,
        progress: std::io::stderr().is_terminal(),
    };
    HubOptions::from_env(|name| std::env::var(name).ok(), overrides)
}
