//! What a run checks beside its items: other groups' terms, random weights, other classes.

use std::path::Path;

use super::service::Service;
use super::{EvaluateArguments, source, watched};
use crate::cli::{Failure, load};
use crate::config::Settings;
use crate::evaluation::data::Item;
use crate::evaluation::drift::Earlier;
use crate::evaluation::journal::Journal;
use crate::evaluation::outcome::{Predicted, Record};
use crate::evaluation::run::{Questions, run as ask};
use crate::evaluation::sanity::Sanity;
use crate::evaluation::swaps::{self, Groups, Swaps, swaps};
use crate::evaluation::templates::{self, Filled, Templates};
use crate::models::Randomised;
use crate::tasks::TargetSpec;

/// Reads `--groups`.
pub(super) fn groups(path: &Path) -> Result<Groups, Failure> {
    let json = std::fs::read(path).map_err(|error| Failure::io(path.display().to_string(), error))?;
    swaps::groups(&json).map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))
}

/// Fills the gaps of `--template`.
pub(super) fn fill(arguments: &EvaluateArguments, groups: &Groups) -> Result<Vec<Filled>, Failure> {
    templates::fill(&arguments.templates, groups).map_err(|error| Failure::Usage(format!("--template {error}")))
}

/// Reads `--against`.
pub(super) fn earlier(path: &Path) -> Result<Earlier, Failure> {
    let json = std::fs::read(path).map_err(|error| Failure::io(path.display().to_string(), error))?;
    serde_json::from_slice(&json)
        .map_err(|error| Failure::Usage(format!("{} is no report.json of explaind evaluate: {error}", path.display())))
}

/// A run whose items are explained.
pub(super) struct Run<'a> {
    pub arguments: &'a EvaluateArguments,
    pub names: &'a [String],
    pub questions: &'a Questions<'a>,
    pub journal: &'a Journal,
    /// In the order of their items.
    pub records: &'a [Record],
}

impl Run<'_> {
    fn record(&self, item: usize) -> Option<&Record> {
        let place = self.records.binary_search_by_key(&item, |record| record.item).ok()?;
        self.records.get(place)
    }

    fn predicted(&self, item: usize) -> Option<&Predicted> {
        self.record(item)?.seen.as_ref()?.predicted.as_ref()
    }

    /// The class that was explained, whatever another model or text would predict.
    fn class(&self, item: usize) -> Option<usize> {
        let outcomes = &self.record(item)?.outcomes;
        outcomes.iter().find_map(|outcome| outcome.class).or_else(|| Some(self.predicted(item)?.index))
    }

    fn target(&self, item: usize) -> TargetSpec {
        match self.class(item) {
            Some(class) => TargetSpec::Index(class as u64),
            None => self.questions.targets.get(item).cloned().unwrap_or(TargetSpec::Predicted),
        }
    }

    /// Explains `items` for `targets` as the stage `stage`, without faithfulness.
    fn ask(
        &self,
        service: &Service,
        what: &str,
        stage: usize,
        items: &[Item],
        targets: &[TargetSpec],
    ) -> Result<Vec<Record>, Failure> {
        let request = crate::explain::ExplainRequest { evaluate: None, ..self.questions.request.clone() };
        let questions = Questions { items, targets, request, stage, ..*self.questions };
        watched(what, items.len(), self.journal.finished(stage).len(), |finished| {
            ask(service, &questions, self.journal, finished)
        })?;
        Ok(self.journal.records(stage).into_iter().filter(|record| record.item < items.len()).collect())
    }

    /// Swaps the terms of `groups` in the run's items; `stage` is where the swapped ones' records are kept.
    pub fn groups(&self, service: &Service, groups: &Groups, stage: usize) -> Result<Swaps, Failure> {
        let swaps = swaps(self.questions.items, groups);
        let items: Vec<Item> = swaps.iter().map(|swap| swap.item.clone()).collect();
        let targets: Vec<TargetSpec> = swaps.iter().map(|swap| self.target(swap.of)).collect();
        let changed = self.ask(service, "groups", stage, &items, &targets)?;
        let labels = &service.model.model.spec().labels;
        Ok(Swaps::of(&swaps, self.names, labels, self.records, &changed, self.arguments.seed))
    }

    /// Fills `--template`'s gaps with the terms of `groups`, and swaps them there.
    pub fn templates(&self, service: &Service, groups: &Groups, filled: &[Filled]) -> Result<Templates, Failure> {
        let templates = &self.arguments.templates;
        let [_, own, swapped] = swaps::stages(groups, templates);
        let items: Vec<Item> = filled.iter().map(|filled| filled.item.clone()).collect();
        let targets = vec![TargetSpec::Predicted; items.len()];
        let records = self.ask(service, "templates", own, &items, &targets)?;
        let questions =
            Questions { items: &items, targets: &targets, request: self.questions.request.clone(), ..*self.questions };
        let run = Run { questions: &questions, records: &records, ..*self };
        let swaps = run.groups(service, groups, swapped)?;
        let labels = &service.model.model.spec().labels;
        Ok(Templates::of(templates, filled, labels, &records, swaps, self.arguments.seed))
    }

    pub fn sanity(&self, service: &Service, settings: &Settings) -> Result<Sanity, Failure> {
        let count = usize::from(self.arguments.sanity_items).min(self.questions.items.len());
        let items = &self.questions.items[..count];
        let seed = self.arguments.seed;
        let targets: Vec<TargetSpec> = (0..count).map(|item| self.target(item)).collect();
        let model = source(self.arguments, settings, self.questions.items)?;
        let mut steps = Vec::new();
        let parts = load::parts(&model, settings)?;
        for (index, part) in parts.iter().enumerate() {
            let random = Service::randomised(&model, settings, Randomised { seed, parts: index + 1 })?;
            let records = self.ask(&random, &part.to_string(), index + 1, items, &targets)?;
            steps.push((part.to_string(), records));
        }
        // The class after the explained one, in a circle; classifiers of one output have no other.
        let classes = service.model.model.spec().labels.len();
        let other: Option<Vec<TargetSpec>> = (0..count)
            .map(|item| {
                let class = self.class(item).filter(|_| classes > 1 && self.predicted(item).is_some())?;
                Some(TargetSpec::Index(((class + 1) % classes) as u64))
            })
            .collect();
        let other = match other {
            Some(targets) => self.ask(service, "other class", parts.len() + 1, items, &targets)?,
            None => Vec::new(),
        };
        Ok(Sanity::of(self.names, self.records, steps, &other, seed))
    }
}
