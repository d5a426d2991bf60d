//! `counterfactual`: settings and answer. `words` are what can stand in a word's place, `trials` is what a change does,
//! `changed` how it is written; the search is `support::fewest`.

mod changed;
mod trials;
mod words;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use self::changed::changed;
use self::trials::{Means, Trials};
use super::support::decision::Decision;
use super::support::fewest::{self, Changes, Fewest};
use super::support::goal::{self, Goal};
use super::support::precision;
use super::support::settings::{self, Precision, Presentation};
use super::support::time::in_time;
use super::support::units::{self, Choice, Scored, perturbation_settings};
use super::{Attribution, Change, Cost, Ctx, Diagnostics, Error, Masking, Method, SettingError, Subject};
use crate::input::units::{Fill, UnitKind, Units};
use crate::input::{Input, Kind};
use crate::models::Capability;
use crate::tasks::{Class, ClassSpec, OutputSpace, Target};

const LEAST_EVALUATIONS: usize = 4;

pub struct Counterfactual;

perturbation_settings! {
    /// The fewest words removed or replaced, or image regions hidden, that change what the model says.
    ///
    /// # What it computes
    /// The smallest set of units that, filled (`edit: remove`) or each replaced by one of some other words (`replace`),
    /// makes the model answer something else than the target, or `to`. Where the model does not answer the target, it is
    /// what makes it answer. All sets of one unit are tried, then all of two, and so on while they fit into
    /// `max_evaluations`; where such a size holds a change, none is smaller and `change.minimal` is true. Beyond, the
    /// `beam` best sets of a size are extended by one, and what is found loses every unit that it does not need
    /// (`minimal`: false, unless all smaller sets were tried). Of equally many removed units those are given that change
    /// the answer most clearly, of replaced words those nearest to their own, or likeliest in their place.
    ///
    /// # Settings
    /// `replace` is for words of letters or of digits alone. Without `language_model` a word's neighbours are the tokens
    /// of the model's own embedding table with the largest cosine (to the mean of a word's tokens), of the same kind
    /// (letters or digits, begun by a capital or not, joined alike). With it they are the words that the loaded masked
    /// language model of that name holds likeliest at a mask in the word's place, the others as they are. A replaced
    /// word's tokens make way for the other's, and nothing else is tokenised again. `change.edits` makes `change.text`
    /// of the text as sent; where that text becomes other tokens than those evaluated, the warning `retokenised` says
    /// so. Scores are 1 at the changed units. With `threshold` the answer is on which side of it the output lies.
    ///
    /// # Same numbers as
    /// Brute force over all sets: the same size, and the same set, wherever `change.minimal` is true. The words that a
    /// language model proposes and their log-probabilities are those of transformers' `fill-mask`, within 1e-4.
    ///
    /// # Limits
    /// `change.found` is false where no set within the budget, or none at all, changes the answer: a model may keep its
    /// answer with everything taken away. `minimal` is about changes of this kind alone: other fills and other words are
    /// not tried. A word of several tokens stays where the model is asked at one of them (token classification, ends of
    /// answers). `diagnostics.evaluations` counts the explained model's rows alone. `change.image` is rounded to 8 bits; of
    /// the fills `blur` and `zero` what was evaluated is not.
    ///
    /// Wachter, Mittelstadt and Russell, Counterfactual Explanations without Opening the Black Box, 2018; Martens and
    /// Provost, Explaining Data-Driven Document Classifications, MIS Quarterly 38, 2014.
    CounterfactualSettings {
        /// What is done to a unit. Default `remove`.
        pub edit: Option<EditKind>,
        /// The class (a label or an index) that is to be answered. Default: any other than the target.
        pub to: Option<ClassSpec>,
        /// `replace`: how many words are tried in the place of each, 1 to 100. Default 8.
        #[schema(minimum = 1, maximum = 100)]
        pub neighbours: Option<usize>,
        /// `replace`: the name of a loaded masked language model (an architecture `…ForMaskedLM`) that proposes the words.
        /// Default: none, the nearest of the model's own embedding table.
        pub language_model: Option<String>,
        /// Most units changed, from 1. Default: none, all.
        #[schema(minimum = 1)]
        pub max_changes: Option<usize>,
        /// Sets of a size that are extended where not all fit, 1 to 100. Default 4.
        #[schema(minimum = 1, maximum = 100)]
        pub beam: Option<usize>,
        /// The output from which on the answer is another; needed where the target's output is a number that chooses
        /// nothing (a regression). Default: none, the model's own choice.
        pub threshold: Option<f64>,
        /// Changed inputs evaluated at most for a target, 4 to `limits.max_evaluations`. Default: text 2000, image 1000.
        #[schema(minimum = 4)]
        pub max_evaluations: Option<usize>,
    }
}

/// How a counterfactual changes a unit: away and filled, or another word in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum EditKind {
    Remove,
    Replace,
}

#[derive(Debug, Serialize)]
pub struct Resolved {
    #[serde(flatten)]
    units: Choice,
    edit: EditKind,
    to: Option<ClassSpec>,
    #[serde(skip)]
    class: Option<Class>,
    #[serde(skip_serializing_if = "Option::is_none")]
    neighbours: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    language_model: Option<String>,
    /// Tokens that a changed text may have more.
    #[serde(skip)]
    room: usize,
    max_changes: Option<usize>,
    beam: usize,
    threshold: Option<f64>,
    max_evaluations: usize,
    output: OutputSpace,
    #[serde(flatten)]
    presentation: Presentation,
    precision: Precision,
}

impl Method for Counterfactual {
    const NAME: &'static str = "counterfactual";
    const GROUP: &'static str = "change the input";
    const REQUIRES: &'static [Capability] = &[Capability::Forward];
    const INPUTS: &'static [Kind] = &[Kind::Text, Kind::Image];
    const TARGETED: bool = true;
    const ADDS_UP: bool = false;
    type Settings = Settings;
    type Resolved = Resolved;

    fn resolve(mut settings: Settings, subject: &Subject<'_>) -> Result<Resolved, SettingError> {
        let edit = settings.edit.unwrap_or(EditKind::Remove);
        match edit {
            EditKind::Remove => {
                settings::refuse("neighbours", &settings.neighbours, "the edit \"replace\"")?;
                settings::refuse("language_model", &settings.language_model, "the edit \"replace\"")?;
            }
            EditKind::Replace => check_replace(&settings, subject)?,
        }
        let default = if subject.input.kind() == Kind::Text { 2000 } else { 1000 };
        let decision = Decision::resolve(settings.threshold, settings.output, subject)?;
        let class = goal::class(settings.to.as_ref(), settings.threshold, subject)?;
        let most = settings.max_changes.map(|most| settings::within("max_changes", most, 1..=usize::MAX, ""));
        let neighbours = settings::within("neighbours", settings.neighbours.unwrap_or(8), 1..=100, "")?;
        Ok(Resolved {
            units: Choice::resolve(settings.units(), subject)?,
            edit,
            to: settings.to,
            class,
            neighbours: (edit == EditKind::Replace).then_some(neighbours),
            language_model: settings.language_model,
            room: room(subject),
            max_changes: most.transpose()?,
            beam: settings::within("beam", settings.beam.unwrap_or(4), 1..=100, "")?,
            threshold: decision.threshold,
            max_evaluations: settings::evaluations(settings.max_evaluations, default, LEAST_EVALUATIONS, subject)?,
            output: decision.output,
            presentation: Presentation::new(settings.normalize, settings.absolute),
            precision: settings::precision(settings.precision, subject)?,
        })
    }

    fn cost(resolved: &Resolved, subject: &Subject<'_>) -> Cost {
        let few = resolved.units.count().and_then(|units| 1_usize.checked_shl(u32::try_from(units).ok()?));
        let few = few.filter(|_| resolved.edit == EditKind::Remove);
        let rows = few.unwrap_or(usize::MAX).min(resolved.max_evaluations.saturating_mul(subject.targets.max(1)));
        // A language model reads the text once a word.
        let words = subject.input.as_text().filter(|_| resolved.language_model.is_some());
        units::cost(rows + words.map_or(0, |text| text.words.len()) + precision::cost(resolved.precision), subject)
    }

    fn asks(resolved: &Resolved) -> Option<&str> {
        resolved.language_model.as_deref()
    }

    fn explain(resolved: &Resolved, ctx: &dyn Ctx) -> Result<Vec<Attribution>, Error> {
        let units = resolved.units.units(ctx.input(), ctx.seed())?;
        let found = in_time(ctx, resolved.means(ctx, &units))?;
        // Not even the words were found in time.
        let cut = found.is_none();
        let means = found.unwrap_or(Means::Words(Vec::new()));
        let of = |(place, target)| -> Result<Attribution, Error> {
            let mut attribution = resolved.of(ctx, &units, &means, target, place)?;
            attribution.partial |= cut;
            Ok(attribution)
        };
        ctx.targets().iter().enumerate().map(of).collect()
    }
}

/// Only words of a text are replaced, by words.
fn check_replace(settings: &Settings, subject: &Subject<'_>) -> Result<(), SettingError> {
    if subject.input.kind() != Kind::Text {
        return Err(SettingError::new("edit", "images have no words to replace; use \"remove\""));
    }
    if settings.unit.is_some_and(|unit| unit != UnitKind::Word) {
        return Err(SettingError::new("unit", "only words are replaced; use \"word\" or the edit \"remove\""));
    }
    if settings.fill.is_some_and(|fill| fill != Fill::Remove) {
        return Err(SettingError::new("fill", "replaced words are not filled; leave it out"));
    }
    if settings.precision == Some(Precision::Bf16) {
        return Err(SettingError::new("precision", "replaced words are evaluated in f32; use \"f32\""));
    }
    match &settings.language_model {
        Some(name) => subject.helpers.fills_masks(name).map_err(|detail| SettingError::new("language_model", detail)),
        None => Ok(()),
    }
}

/// Tokens by which a text may grow: none where it is cut into windows, which are full.
fn room(subject: &Subject<'_>) -> usize {
    let Some(text) = subject.input.as_text().filter(|text| text.windows.is_empty()) else { return 0 };
    subject.spec.max_positions.saturating_sub(text.length() + subject.task.tail())
}

impl Resolved {
    fn means(&self, ctx: &dyn Ctx, units: &Units) -> Result<Means, Error> {
        let (Some(count), Input::Text(text), Some(lexicon)) = (self.neighbours, ctx.input(), ctx.lexicon()) else {
            return Ok(Means::Units);
        };
        let mut places = match &self.language_model {
            Some(model) => words::proposals(ctx, text, lexicon, (model, count), self.room)?,
            None => words::neighbours(ctx, text, lexicon, count)?,
        };
        places.retain(|place| place.word < units.len());
        Ok(Means::Words(places))
    }

    fn of(
        &self,
        ctx: &dyn Ctx,
        units: &Units,
        means: &Means,
        target: &Target,
        place: usize,
    ) -> Result<Attribution, Error> {
        let decision = Decision { threshold: self.threshold, output: self.output };
        let goal = Goal::new(decision, ctx, target, self.class.as_ref())?;
        let masking = Masking { units, fill: self.units.fill, precision: self.precision };
        let budget = self.max_evaluations;
        let mut trials =
            Trials { ctx, goal: &goal, masking, means, budget, masks: Vec::new(), tried: 0, partial: false };
        let options: Vec<usize> = match means {
            Means::Units => vec![1; units.len()],
            Means::Words(places) => places.iter().map(|place| place.options.len()).collect(),
        };
        let found = if goal.of(ctx, ctx.logits())?.reached {
            // `to` is what the model says already.
            Some(Fewest { changes: Changes::new(), minimal: true })
        } else {
            fewest::search(&options, self.max_changes.unwrap_or(usize::MAX), self.beam, &mut trials)?
        };
        let (masks, tried, partial) = (trials.masks, trials.tried, trials.partial);
        let mut attribution = self.scored(ctx, units, means, target, found.as_ref())?;
        let check = if masks.is_empty() { None } else { precision::recheck(ctx, masking, self.output, &masks)? };
        let error = check.as_ref().and_then(|check| check.errors.get(place)).copied();
        attribution.diagnostics = Diagnostics {
            // The input itself is one.
            evaluations: 1 + tried + check.map_or(0, |check| check.evaluations),
            precision_error: error.map(|error| settings::float(error, "the precision's error")).transpose()?,
            ..Diagnostics::default()
        };
        attribution.partial = partial;
        attribution.change = Some(match found {
            Some(found) => changed(ctx, masking, means, target, found)?,
            None => Change::default(),
        });
        Ok(attribution)
    }

    fn scored(
        &self,
        ctx: &dyn Ctx,
        units: &Units,
        means: &Means,
        target: &Target,
        found: Option<&Fewest>,
    ) -> Result<Attribution, Error> {
        let mut scores = vec![0.0; units.len()];
        for unit in found.into_iter().flat_map(|found| means.units(&found.changes)) {
            scores[unit] = 1.0;
        }
        let output = ctx.task().value(ctx.logits(), target, self.output);
        let scored = Scored { scores: &scores, errors: None, base: output, output, complete: false };
        let mut attribution = match units.is_empty() {
            true => units::nothing(&self.units, ctx, target, self.output, false)?,
            false => units::answer(&self.units, self.presentation, ctx.input(), units, &scored)?,
        };
        // There is no baseline here.
        attribution.base_value = None;
        Ok(attribution)
    }
}

#[cfg(test)]
mod tests;
