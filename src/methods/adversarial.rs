//! `adversarial`: settings and answer. Flips of words are `words`, steps over pixels `pixels`.

mod pixels;
mod words;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::support::decision::Decision;
use super::support::goal::{self, Goal};
use super::support::settings::{self, Normalize, Precision, Presentation};
use super::{Attribution, Change, Cost, Ctx, Error, Grid, Method, SettingError, Subject};
use crate::input::units::Fill;
use crate::input::{Input, Kind};
use crate::models::Capability;
use crate::tasks::{Class, ClassSpec, OutputSpace, Target, check_fill};

/// Bytes of a colour.
const LEVELS: f64 = 255.0;
const MOST_STEPS: usize = 1000;

pub struct Adversarial;

/// A changed input close to the one sent of which the model says something else: words flipped, or pixels shifted within
/// `epsilon`, along the gradient.
///
/// # What it computes
/// Text, as HotFlip: the gradient of the target's `output` at each word's embedding e says to first order what another
/// word e′ in its place gains, g·(e′ − e). Of all words of the vocabulary of the same kind (one token for one token,
/// letters or digits, begun by a capital or not, joined alike) the `candidates` with the largest gain are evaluated, the
/// `beam` best go on to the next flip, until the model says something else or `max_changes` words are flipped; flips
/// that turn out not to be needed are undone. Images: x ← x + `step_size` · sign(gradient), within `epsilon` of the image
/// and within black and white, colours counted from 0 to 1 before normalisation; `fgsm` is one step of `epsilon`, `pgd`
/// up to `steps`. The result is rounded to 8 bits inside `epsilon` and evaluated again as such: what is answered is what
/// a PNG holds. Something else is any answer but the target, or `to`; where the model does not answer the target, the
/// target itself.
///
/// # Settings
/// Scores are the size of the change: of a token the length of e′ − e, of a word the sum of its tokens', of a cell the
/// mean change of its pixels' colours, of 1. `change.distance` is the number of flipped words, or the largest change of
/// a colour, of 1.
///
/// # Same numbers as
/// Captum 0.9.0, `FGSM` and `PGD` (norm `Linf`, no random start) with bounds 0 and 1 and the output as their loss: the
/// same picture after rounding to 8 bits. A flip of most gain equals brute force over the vocabulary.
///
/// # Limits
/// `change.found` false: none was found, which does not say that there is none. Words of several tokens stay. A flipped
/// word need not mean the same, nor be grammatical. `change.text` may become other tokens where it is sent again: the
/// warning `retokenised` says so. Only images of the model's input size are the model's input pixel for pixel.
///
/// Ebrahimi, Rao, Lowd and Dou, HotFlip, ACL 2018; Goodfellow, Shlens and Szegedy, Explaining and Harnessing Adversarial
/// Examples, ICLR 2015; Madry et al., Towards Deep Learning Models Resistant to Adversarial Attacks, ICLR 2018.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AdversarialSettings)]
pub struct Settings {
    /// The class (a label or an index) that is to be answered. Default: any other than the target.
    pub to: Option<ClassSpec>,
    /// The output from which on the answer is another; needed where the target's output is a number that chooses
    /// nothing (a regression). Default: none, the model's own choice.
    pub threshold: Option<f64>,
    /// Text: most words flipped, 1 to 100. Default 5.
    #[schema(minimum = 1, maximum = 100)]
    pub max_changes: Option<usize>,
    /// Text: flips evaluated for each set that is extended, 1 to 1000. Default 32.
    #[schema(minimum = 1, maximum = 1000)]
    pub candidates: Option<usize>,
    /// Text: sets of flips that are extended, 1 to 100. Default 2.
    #[schema(minimum = 1, maximum = 100)]
    pub beam: Option<usize>,
    /// Images. Default `pgd`.
    pub attack: Option<Attack>,
    /// Images: the largest change of a colour, of 1; 1/255 to 1. Default 8/255.
    #[schema(exclusive_minimum = 0, maximum = 1)]
    pub epsilon: Option<f64>,
    /// Images, `pgd`: most steps, 1 to 1000. Default 10.
    #[schema(minimum = 1, maximum = 1000)]
    pub steps: Option<usize>,
    /// Images, `pgd`: the length of a step, of 1; more than 0, at most 1. Default: a quarter of `epsilon`.
    #[schema(exclusive_minimum = 0, maximum = 1)]
    pub step_size: Option<f64>,
    /// The space of the output that the gradient is of. Default `log_probability`; a regression has only `logit`.
    pub output: Option<OutputSpace>,
    /// Images: the grid of the scores is N × N cells, 1 to the model input's shorter side. Default: the model's own
    /// grid.
    #[schema(minimum = 1)]
    pub cells: Option<usize>,
    /// Divides each list by its largest (`max`) or summed (`sum`) absolute score. Default `none`.
    pub normalize: Option<Normalize>,
    /// Scores without their sign; they have none. Default false.
    pub absolute: Option<bool>,
    /// What the model's products are made of: `f32`. Default `f32`.
    pub precision: Option<Precision>,
}

/// How pixels are shifted: one step of all that is allowed, or several smaller ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Attack {
    Fgsm,
    Pgd,
}

#[derive(Debug, Serialize)]
pub struct Resolved {
    to: Option<ClassSpec>,
    #[serde(skip)]
    class: Option<Class>,
    threshold: Option<f64>,
    #[serde(flatten)]
    way: Way,
    output: OutputSpace,
    #[serde(skip_serializing_if = "Option::is_none")]
    cells: Option<usize>,
    #[serde(flatten)]
    presentation: Presentation,
    precision: Precision,
}

/// The settings of the input's kind.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(untagged)]
enum Way {
    Words(Words),
    Pixels(Pixels),
}

#[derive(Debug, Clone, Copy, Serialize)]
struct Words {
    max_changes: usize,
    candidates: usize,
    beam: usize,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct Pixels {
    attack: Attack,
    epsilon: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    steps: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    step_size: Option<f64>,
    #[serde(skip)]
    grid: Grid,
}

/// What one target's search needs.
struct Job<'a> {
    ctx: &'a dyn Ctx,
    goal: Goal,
    output: OutputSpace,
    presentation: Presentation,
}

/// What it found.
struct Found {
    attribution: Attribution,
    change: Change,
    evaluations: usize,
    partial: bool,
}

impl Method for Adversarial {
    const NAME: &'static str = "adversarial";
    const GROUP: &'static str = "change the input";
    const REQUIRES: &'static [Capability] = &[Capability::Gradient];
    const INPUTS: &'static [Kind] = &[Kind::Text, Kind::Image];
    const TARGETED: bool = true;
    const ADDS_UP: bool = false;
    type Settings = Settings;
    type Resolved = Resolved;

    fn resolve(settings: Settings, subject: &Subject<'_>) -> Result<Resolved, SettingError> {
        // Without a threshold the output is only what is differentiated.
        let output = settings::output(settings.output, OutputSpace::LogProbability, subject)?;
        Decision::resolve(settings.threshold, settings.output, subject)?;
        let class = goal::class(settings.to.as_ref(), settings.threshold, subject)?;
        if class.is_some() && subject.task.rows_a_mask(1) > 1 {
            let detail = "another label is another row, and this method differentiates one; name the label as the \
                          target";
            return Err(SettingError::new("to", detail));
        }
        let way = match subject.input {
            Input::Text(_) => {
                check_fill(subject.input, Fill::Remove).map_err(|error| SettingError::new("", error.to_string()))?;
                Way::Words(of_text(&settings)?)
            }
            Input::Image(_) => Way::Pixels(of_image(&settings, subject)?),
        };
        Ok(Resolved {
            to: settings.to,
            class,
            threshold: settings.threshold,
            way,
            output,
            cells: settings.cells,
            presentation: Presentation::new(settings.normalize, settings.absolute),
            precision: settings::gradient_precision(settings.precision)?,
        })
    }

    fn cost(resolved: &Resolved, subject: &Subject<'_>) -> Cost {
        // A row that is differentiated counts three.
        let rows = match resolved.way {
            Way::Words(Words { max_changes, candidates, beam }) => max_changes * beam * (3 + candidates) + max_changes,
            // Each step may be followed by a look at what its rounding says.
            Way::Pixels(Pixels { steps, .. }) => 4 * steps.unwrap_or(1) + 1,
        };
        let rows = (rows * subject.targets.max(1)) as u64;
        let length = subject.input.as_text().map_or(1, |text| text.tokens.len());
        Cost { rows, tokens: rows.saturating_mul(subject.spec.row_tokens(length) as u64) }
    }

    fn explain(resolved: &Resolved, ctx: &dyn Ctx) -> Result<Vec<Attribution>, Error> {
        ctx.targets().iter().map(|target| resolved.of(ctx, target)).collect()
    }
}

impl Resolved {
    fn of(&self, ctx: &dyn Ctx, target: &Target) -> Result<Attribution, Error> {
        let decision = Decision { threshold: self.threshold, output: self.output };
        let goal = Goal::new(decision, ctx, target, self.class.as_ref())?;
        let job = Job { ctx, goal, output: self.output, presentation: self.presentation };
        let found = match (&self.way, ctx.input()) {
            (Way::Words(words), Input::Text(text)) => words::attack(&job, *words, text)?,
            (Way::Pixels(pixels), Input::Image(image)) => pixels::attack(&job, *pixels, image)?,
            _ => return Err(Error::Missing { what: "an input of the kind that was planned" }),
        };
        let mut attribution = found.attribution;
        let output = ctx.task().value(ctx.logits(), target, self.output);
        attribution.output_value = Some(settings::float(output, "the output value")?);
        attribution.diagnostics.evaluations = found.evaluations;
        attribution.change = Some(found.change);
        attribution.partial = found.partial;
        Ok(attribution)
    }
}

fn of_text(settings: &Settings) -> Result<Words, SettingError> {
    settings::refuse("attack", &settings.attack, "images")?;
    settings::refuse("epsilon", &settings.epsilon, "images")?;
    settings::refuse("steps", &settings.steps, "images")?;
    settings::refuse("step_size", &settings.step_size, "images")?;
    settings::refuse("cells", &settings.cells, "images")?;
    Ok(Words {
        max_changes: settings::within("max_changes", settings.max_changes.unwrap_or(5), 1..=100, "")?,
        candidates: settings::within("candidates", settings.candidates.unwrap_or(32), 1..=1000, "")?,
        beam: settings::within("beam", settings.beam.unwrap_or(2), 1..=100, "")?,
    })
}

fn of_image(settings: &Settings, subject: &Subject<'_>) -> Result<Pixels, SettingError> {
    settings::refuse("max_changes", &settings.max_changes, "text")?;
    settings::refuse("candidates", &settings.candidates, "text")?;
    settings::refuse("beam", &settings.beam, "text")?;
    let attack = settings.attack.unwrap_or(Attack::Pgd);
    if attack == Attack::Fgsm {
        settings::refuse("steps", &settings.steps, "the attack \"pgd\"")?;
        settings::refuse("step_size", &settings.step_size, "the attack \"pgd\"")?;
    }
    let epsilon = settings.epsilon.unwrap_or(8.0 / LEVELS);
    if !(epsilon * LEVELS > 1.0 - 1e-6 && epsilon <= 1.0) {
        let detail = format!("{epsilon:?} is out of range; use 1/255 (0.00393) to 1: a PNG holds no smaller change");
        return Err(SettingError::new("epsilon", detail));
    }
    let step_size = settings.step_size.unwrap_or(0.25 * epsilon);
    if !(step_size > 0.0 && step_size <= 1.0) {
        let detail = format!("{step_size:?} is out of range; use more than 0 and at most 1");
        return Err(SettingError::new("step_size", detail));
    }
    let steps = settings::within("steps", settings.steps.unwrap_or(10), 1..=MOST_STEPS, "")?;
    Ok(Pixels {
        attack,
        epsilon,
        steps: (attack == Attack::Pgd).then_some(steps),
        step_size: (attack == Attack::Pgd).then_some(step_size),
        grid: settings::grid(settings.cells, settings::image_spec(subject)?)?,
    })
}

#[cfg(test)]
mod tests;
