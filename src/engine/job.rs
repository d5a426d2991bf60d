//! One running job: the methods' [`Ctx`] over a model, its turn at the compute, its deadline and its caller.
//!
//! `lead` is its way to the model, `masks` the black-box seam, `stem` what its rows share, `passes` with `course` the
//! white-box one, `variants` with `spliced` other inputs. Everything the model is asked goes through [`Evaluate`], so that
//! tests run this over plain functions. A job lives on one thread.

mod course;
mod lead;
mod masks;
mod passes;
mod spliced;
mod stem;
mod variants;
mod write;

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use self::lead::Lead;
use self::stem::Stem;
use super::condensed::{Condensed, Reading};
use super::deadline::{Cancel, Deadline, Watch};
use super::evaluate::{Evaluate, Placed};
use super::executor::Turns;
use super::memo::Memo;
use crate::explain::{self, Answer, Audience, Plan, RunError, ServedModel};
use crate::input::text::Lexicon;
use crate::input::units::Mask;
use crate::input::{Input, TextInput};
use crate::methods::{Attribution, Ctx, Error, Masking, Pass, Proposal, RowView, Variant, Warning};
use crate::models::{Recording, Spec, TapPlan};
use crate::nn::{self, Device, Stopped};
use crate::tasks::{Focus, Readout, Target, TargetSpec, Task};

/// What a job works on: the parts of a [`Plan`] that it needs.
#[derive(Clone, Copy)]
pub struct Work<'a> {
    pub model: &'a dyn Evaluate,
    pub task: &'a dyn Task,
    pub input: &'a Input,
    pub lexicon: Option<&'a dyn Lexicon>,
    /// Other loaded models that methods ask.
    pub helpers: &'a [Arc<ServedModel>],
    pub target: &'a TargetSpec,
    /// What methods will ask of the whole input's forward.
    pub taps: &'a TapPlan,
    pub seed: u64,
    pub partial: bool,
    /// Planned tokens.
    pub cost: u64,
}

/// How a job may use the machine.
#[derive(Clone, Copy)]
pub struct Means<'a> {
    pub turns: &'a Turns,
    pub watch: Watch<'a>,
    pub threads: usize,
    pub tokens_per_turn: usize,
    pub device: &'a Device,
    /// Who follows the job.
    pub audience: &'a dyn Audience,
}

/// What a job has computed so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spent {
    /// Model rows.
    pub rows: u64,
    /// Tokens of these rows, without the share of gradients.
    pub tokens: u64,
}

/// A job, its input evaluated and its targets known.
pub struct JobCtx<'a> {
    work: Work<'a>,
    lead: Lead<'a>,
    began: Duration,
    /// How many the whole input is.
    rows: usize,
    /// What the prediction needs of the whole input's.
    logits: Vec<f32>,
    /// What `work.taps` names; nothing where the input is several rows.
    recording: Recording,
    targets: Vec<Target>,
    /// What masks and passes read.
    focus: Focus,
    /// What the rows of masks share with it.
    stem: Option<Stem>,
    memo: RefCell<Memo>,
    /// What jobs over the same input and target know between them, where there are such.
    shared: Option<&'a Shared>,
    warnings: RefCell<Vec<Warning>>,
}

impl<'a> JobCtx<'a> {
    /// Evaluates the whole input and resolves the targets from it. `spent` counts from here on.
    ///
    /// # Errors
    /// The model failed, the job had to stop, or the target is wrong in a way that only the prediction could show.
    pub fn begin(work: Work<'a>, means: Means<'a>, spent: &'a Cell<Spent>) -> Result<Self, RunError> {
        let lead = Lead { means, seat: means.turns.seat(work.cost), spent };
        let rows = work.task.whole(work.model.spec(), work.input);
        let kept = work.task.condense(work.target, work.input);
        let condensed = kept.as_deref().map(|by| Condensed { by, places: &[] });
        let reading = Reading { model: work.model, condensed };
        let (logits, mut recording) =
            lead.whole(Work { model: &reading, ..work }, &rows.rows).map_err(|error| match error {
                nn::Error::Stopped(why) => RunError::Stopped(why),
                error => RunError::Model(error),
            })?;
        let logits = rows.composition.apply(&logits).into_owned();
        let targets = work
            .task
            .targets(work.target, work.input, &logits)
            .map_err(|error| RunError::Invalid { pointer: format!("/target{}", error.path), detail: error.detail })?;
        let focus = work.task.focus(work.model.spec(), work.input, &rows, &logits, &targets);
        narrow(&mut recording, &*focus.readout);
        let logits = work.task.condensed(work.input, logits);
        let stem = Stem::of(work.model, &focus.rows.rows);
        Ok(Self {
            work,
            lead,
            began: means.watch.deadline.elapsed(),
            rows: rows.rows.len(),
            logits,
            recording,
            targets,
            focus,
            stem,
            memo: RefCell::default(),
            shared: None,
            warnings: RefCell::default(),
        })
    }

    fn spec(&self) -> &'a Spec {
        self.work.model.spec()
    }

    /// The model, of whose logits what the targets need is kept. `places` are those of a question's objectives.
    fn reading<'p>(&'p self, places: &'p [usize]) -> Reading<'p> {
        let condensed = self.focus.readout.condense().map(|by| Condensed { by, places });
        Reading { model: self.work.model, condensed }
    }

    /// Whether the input is several rows, of whose forwards nothing was tapped.
    fn several(&self) -> bool {
        self.rows > 1
    }
}

impl Ctx for JobCtx<'_> {
    fn spec(&self) -> &Spec {
        self.work.model.spec()
    }
    fn task(&self) -> &dyn Readout {
        &*self.focus.readout
    }
    fn input(&self) -> &Input {
        self.work.input
    }
    fn targets(&self) -> &[Target] {
        &self.targets
    }
    fn seed(&self) -> u64 {
        self.work.seed
    }
    fn logits(&self) -> &[f32] {
        &self.focus.logits
    }
    fn partial(&self) -> bool {
        self.work.partial
    }

    fn outputs(&self, masking: Masking<'_>, masks: &[Mask]) -> Result<Vec<Vec<f32>>, Error> {
        self.masked(masking, masks)
    }

    fn pass(&self, pass: &Pass<'_>, sink: &mut dyn FnMut(&RowView<'_>) -> Result<(), Error>) -> Result<(), Error> {
        self.run_pass(pass, sink)
    }

    fn embedding(&self, ids: Option<&[u32]>) -> Result<Vec<f32>, Error> {
        self.word_embedding(ids)
    }

    fn variants(&self, variants: &[Variant]) -> Result<Vec<Vec<f32>>, Error> {
        self.others(variants)
    }

    fn proposals(
        &self,
        model: &str,
        text: &TextInput,
        words: &[usize],
        count: usize,
    ) -> Result<Vec<Vec<Proposal>>, Error> {
        self.proposed(model, text, words, count)
    }

    fn vectors(&self, ids: &[u32]) -> Result<Vec<f32>, Error> {
        self.look_up(ids)
    }

    fn lexicon(&self) -> Option<&dyn Lexicon> {
        self.work.lexicon
    }

    fn checkpoint(&self) -> Result<(), Stopped> {
        self.lead.means.watch.check()
    }

    fn rows(&self) -> usize {
        self.lead.spent.get().rows as usize
    }

    fn followed(&self) -> bool {
        self.lead.means.audience.listens()
    }

    fn refine(&self, attributions: Vec<Attribution>) {
        self.lead.means.audience.refines(attributions, explain::Job::elapsed_ms(self));
    }

    fn warn(&self, code: &'static str, detail: String) {
        let warning = Warning { code: code.to_owned(), detail };
        let mut warnings = self.warnings.borrow_mut();
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }
}

impl explain::Job for JobCtx<'_> {
    fn elapsed_ms(&self) -> f32 {
        self.lead.means.watch.deadline.elapsed().saturating_sub(self.began).as_secs_f32() * 1000.0
    }
    fn threads(&self) -> usize {
        self.lead.means.threads
    }
    fn device(&self) -> &'static str {
        self.lead.means.device.kind().name()
    }
    fn whole_logits(&self) -> &[f32] {
        &self.logits
    }
    /// The job's own; the plan's are the plan's.
    fn warnings(&self) -> Vec<Warning> {
        self.warnings.borrow().clone()
    }
    fn measures(&self) {
        if let Some(shared) = self.shared {
            self.memo.borrow_mut().join(shared.0.take());
        }
    }
    fn audience(&self) -> &dyn Audience {
        self.lead.means.audience
    }
}

/// Makes what the head made of the whole input's layers what it makes of the positions that the targets are read at.
fn narrow(recording: &mut Recording, readout: &dyn Readout) {
    let condensed = readout.condense().is_some();
    if condensed {
        recording.lens.iter_mut().for_each(|lens| lens.narrow(|whole| readout.part(whole)));
    }
    let Some(positions) = readout.positions() else { return };
    let Recording { lens, likeliest, .. } = recording;
    lens.iter_mut().filter(|_| !condensed).chain(likeliest).for_each(|map| map.pick(&positions));
}

/// What jobs over one input and one target may know of each other: masks that one of them evaluated need not be
/// evaluated again to measure another's explanations. A method's own evaluations stay its own, as if it were alone.
#[derive(Debug, Default)]
pub struct Shared(RefCell<Memo>);

/// Runs a plan on this thread. `spent` tells what it computed, also where it fails.
pub fn run_with(plan: &Plan, means: Means<'_>, spent: &Cell<Spent>) -> Result<Answer, RunError> {
    run_sharing(plan, means, spent, None)
}

fn run_sharing(
    plan: &Plan,
    means: Means<'_>,
    spent: &Cell<Spent>,
    shared: Option<&Shared>,
) -> Result<Answer, RunError> {
    let model = Placed { model: &*plan.model.model, device: means.device };
    let mut taps = TapPlan::default();
    plan.methods.iter().for_each(|method| taps.join(&method.taps()));
    let written = write::completed(plan, &model, means, spent)?;
    let work = Work {
        taps: &taps,
        model: &model,
        task: &*plan.task,
        input: written.as_ref().unwrap_or(&plan.input),
        lexicon: plan.model.lexicon(),
        helpers: &plan.helpers,
        target: &plan.target,
        seed: plan.seed,
        partial: plan.partial,
        cost: plan.cost.tokens,
    };
    let job = JobCtx { shared, ..JobCtx::begin(work, means, spent)? };
    let answer = explain::run(plan, &job);
    if let Some(shared) = shared {
        shared.0.borrow_mut().join(job.memo.into_inner());
    }
    answer
}

/// Runs a plan on this thread, with the compute to itself: the command line and tests. The deadline counts from here.
pub fn run_blocking(plan: &Plan, threads: usize, tokens_per_turn: usize, device: &Device) -> Result<Answer, RunError> {
    let deadline = Deadline::after(Duration::from_millis(plan.deadline_ms));
    run_within(deadline, plan, threads, tokens_per_turn, device, None)
}

/// [`run_blocking`] as one of several over the same input and target, which measure with what all of them know.
pub fn run_beside(
    shared: &Shared,
    plan: &Plan,
    threads: usize,
    tokens_per_turn: usize,
    device: &Device,
) -> Result<Answer, RunError> {
    let deadline = Deadline::after(Duration::from_millis(plan.deadline_ms));
    run_within(deadline, plan, threads, tokens_per_turn, device, Some(shared))
}

/// [`run_blocking`] however long it takes: what a faster machine answered in time is answered the same here.
pub fn run_to_the_end(
    plan: &Plan,
    threads: usize,
    tokens_per_turn: usize,
    device: &Device,
) -> Result<Answer, RunError> {
    run_within(Deadline::none(), plan, threads, tokens_per_turn, device, None)
}

fn run_within(
    deadline: Deadline,
    plan: &Plan,
    threads: usize,
    tokens_per_turn: usize,
    device: &Device,
    shared: Option<&Shared>,
) -> Result<Answer, RunError> {
    let (turns, cancel) = (Turns::new(), Cancel::new());
    let watch = Watch { deadline: &deadline, cancel: &cancel };
    let means = Means { turns: &turns, watch, threads, tokens_per_turn, device, audience: &() };
    run_sharing(plan, means, &Cell::default(), shared)
}

#[cfg(test)]
mod tests;
