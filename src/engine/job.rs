//! One running job: the methods' [`Ctx`] over a model, its turn at the compute, its deadline and its caller.
//!
//! Masks are evaluated once a request; rows go into forwards by a token budget. Everything the model is asked goes
//! through [`Evaluate`], so that tests run this over plain functions. A job lives on one thread.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::time::Duration;

use super::deadline::{Cancel, Deadline, Watch};
use super::evaluate::{Evaluate, Evaluation, Placed, Question};
use super::executor::{Seat, Turns};
use super::memo::{Memo, Shelf, planned_tokens};
use super::sizing;
use crate::explain::{self, Answer, Plan, RunError};
use crate::input::Input;
use crate::input::units::Mask;
use crate::methods::{Ctx, Error, Inside, Masking, Objective, Pass, RowView, Warning};
use crate::models::{Batch, Content, Recording, Row, Spec, TapPlan};
use crate::nn::{self, Device, Pace, Precision, Stopped};
use crate::tasks::{Focus, Perturber, Readout, Target, TargetSpec, Task};

/// What a job works on: the parts of a [`Plan`] that it needs.
#[derive(Clone, Copy)]
pub struct Work<'a> {
    pub model: &'a dyn Evaluate,
    pub task: &'a dyn Task,
    pub input: &'a Input,
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
    /// The whole input's, for the prediction.
    logits: Vec<f32>,
    /// What `work.taps` names; nothing where the input is several rows.
    recording: Recording,
    targets: Vec<Target>,
    /// What masks and passes read.
    focus: Focus,
    memo: RefCell<Memo>,
    warnings: RefCell<Vec<Warning>>,
}

/// The way to the model: takes the turn, keeps the pace and counts.
struct Lead<'a> {
    means: Means<'a>,
    seat: Seat<'a>,
    spent: &'a Cell<Spent>,
}

/// What a forward looks at between two layers. Shared with the threads that compute.
struct Between<'a> {
    watch: Watch<'a>,
    seat: &'a Seat<'a>,
}

impl Pace for Between<'_> {
    fn step(&self) -> Result<(), Stopped> {
        self.watch.check()?;
        self.seat.offer(self.watch)
    }
}

impl Lead<'_> {
    fn pace(&self) -> Between<'_> {
        Between { watch: self.means.watch, seat: &self.seat }
    }

    /// Evaluates `batch` while holding the turn. The logits are as many as the rows' positions read.
    fn evaluate(&self, model: &dyn Evaluate, batch: &Batch, question: Question<'_>) -> Result<Evaluation, nn::Error> {
        let evaluation = {
            let _turn = self.seat.take(self.means.watch)?;
            model.evaluate(&self.pace(), batch, question)?
        };
        let positions: usize = batch.rows.iter().map(|row| row.read.len()).sum();
        if evaluation.logits.len() != positions * evaluation.labels {
            let detail =
                format!("{} logits for {positions} positions of {} labels", evaluation.logits.len(), evaluation.labels);
            return Err(nn::Error::Shape { op: "forward", detail });
        }
        let tokens = batch.rows.iter().map(|row| model.spec().row_tokens(row.len())).sum();
        let spent = self.spent.get();
        self.spent.set(Spent { rows: spent.rows + batch.rows.len() as u64, tokens: spent.tokens + tokens as u64 });
        self.seat.spend(sizing::spent(tokens, question.objectives));
        Ok(evaluation)
    }

    /// The logits of the whole input's rows, and of a single one what the job taps.
    fn whole(&self, work: Work<'_>, rows: &[Row]) -> Result<(Vec<f32>, Recording), nn::Error> {
        if let [row] = rows {
            let question = Question { taps: work.taps, ..Question::logits(Precision::F32) };
            let evaluation = self.evaluate(work.model, &Batch::new(vec![row.clone()]), question)?;
            return Ok((evaluation.logits, evaluation.taps));
        }
        let mut logits = Vec::new();
        let mut rest = rows;
        while !rest.is_empty() {
            let mut tokens = 0;
            let fits = |row: &&Row| {
                tokens += work.model.spec().row_tokens(row.len());
                tokens <= self.means.tokens_per_turn
            };
            let (chunk, later) = rest.split_at(rest.iter().take_while(fits).count().max(1));
            let batch = Batch::new(chunk.to_vec());
            logits.extend(self.evaluate(work.model, &batch, Question::logits(Precision::F32))?.logits);
            rest = later;
        }
        Ok((logits, Recording::default()))
    }
}

impl<'a> JobCtx<'a> {
    /// Evaluates the whole input and resolves the targets from it. `spent` counts from here on.
    ///
    /// # Errors
    /// The model failed, the job had to stop, or the target is wrong in a way that only the prediction could show.
    pub fn begin(work: Work<'a>, means: Means<'a>, spent: &'a Cell<Spent>) -> Result<Self, RunError> {
        let lead = Lead { means, seat: means.turns.seat(work.cost), spent };
        let rows = work.task.whole(work.model.spec(), work.input);
        let (logits, recording) = lead.whole(work, &rows).map_err(|error| match error {
            nn::Error::Stopped(why) => RunError::Stopped(why),
            error => RunError::Model(error),
        })?;
        let targets = work
            .task
            .targets(work.target, work.input, &logits)
            .map_err(|error| RunError::Invalid { pointer: format!("/target{}", error.path), detail: error.detail })?;
        let focus = work.task.focus(work.input, &rows, &logits, &targets);
        Ok(Self {
            work,
            lead,
            began: means.watch.deadline.elapsed(),
            rows: rows.len(),
            logits,
            recording,
            targets,
            focus,
            memo: RefCell::default(),
            warnings: RefCell::default(),
        })
    }

    fn spec(&self) -> &'a Spec {
        self.work.model.spec()
    }

    /// Whether the input is several rows, of whose forwards nothing was tapped.
    fn several(&self) -> bool {
        self.rows > 1
    }

    /// Evaluates `masks` (none of them known, none twice) and keeps their logits; returns those that there was no room
    /// to keep. Rows are made chunk by chunk: those of 1,000 masked images would not fit into memory.
    fn evaluate_masks(&self, masking: Masking<'_>, mut masks: Vec<&Mask>) -> Result<Shelf, Error> {
        let Masking { units, fill, .. } = masking;
        let perturber = self.focus.readout.perturber(self.spec(), self.work.input, units, fill)?;
        // Rows of like length share a forward, so that the last chunk of long ones is the only thin one. The sort
        // is stable and its key depends on the mask alone.
        masks.sort_by_cached_key(|mask| planned_tokens(self.work.input, units, fill, mask));
        let budget = self.lead.means.tokens_per_turn;
        let (mut chunk, mut beyond) = (Chunk::default(), Shelf::new());
        for mask in masks {
            let rows = perturber.rows(mask);
            let tokens = rows.iter().map(|row| self.spec().row_tokens(row.len())).sum::<usize>();
            if !chunk.masks.is_empty() && chunk.tokens + tokens > budget {
                self.evaluate_chunk(masking, &*perturber, std::mem::take(&mut chunk), &mut beyond)?;
            }
            chunk.masks.push((mask, rows.len()));
            chunk.rows.extend(rows);
            chunk.tokens += tokens;
        }
        if !chunk.masks.is_empty() {
            self.evaluate_chunk(masking, &*perturber, chunk, &mut beyond)?;
        }
        Ok(beyond)
    }

    fn evaluate_chunk(
        &self,
        masking: Masking<'_>,
        perturber: &dyn Perturber,
        chunk: Chunk<'_>,
        beyond: &mut Shelf,
    ) -> Result<(), Error> {
        let batch = Batch::new(chunk.rows);
        let evaluation = self.lead.evaluate(self.work.model, &batch, Question::logits(masking.precision))?;
        let mut rows = batch.rows.iter();
        let mut rest = evaluation.logits.as_slice();
        let mut memo = self.memo.borrow_mut();
        for (mask, count) in chunk.masks {
            // A mask of several rows has their logits behind one another.
            let positions: usize = rows.by_ref().take(count).map(|row| row.read.len()).sum();
            let (own, others) = rest.split_at((positions * evaluation.labels).min(rest.len()));
            memo.keep(masking, mask, &perturber.outputs(mask, own, evaluation.labels), beyond);
            rest = others;
        }
        Ok(())
    }

    /// The row that variants are made of. An input of several rows may have no single embedding to vary.
    fn single_row(&self) -> Result<&Row, nn::Error> {
        let none = || nn::Error::Shape { op: "pass", detail: "no single row answers it".to_owned() };
        self.focus.row.as_ref().ok_or_else(none)
    }

    /// Numbers in the embedding of all of `row`.
    fn row_len(&self, row: &Row) -> usize {
        match &row.content {
            Content::Pixels(pixels) => pixels.len(),
            _ => row.len() * self.spec().embedding,
        }
    }

    /// Numbers in the embedding of the input's own part of `row`: what methods vary.
    fn embedding_len(&self, row: &Row) -> usize {
        match self.work.input.as_text() {
            Some(text) => text.tokens.len().min(row.len()) * self.spec().embedding,
            None => self.row_len(row),
        }
    }

    /// The embedding of `row`, as the model makes it.
    fn embed(&self, row: Row) -> Result<Vec<f32>, Error> {
        let len = self.row_len(&row);
        let _turn = self.lead.seat.take(self.lead.means.watch).map_err(nn::Error::from)?;
        let values = self.work.model.embed(&self.lead.pace(), &Batch::new(vec![row]))?;
        if values.len() == len {
            return Ok(values);
        }
        let detail = format!("{} numbers for a row of {len}", values.len());
        Err(nn::Error::Shape { op: "embedding", detail }.into())
    }

    /// What no variant changes: the embedding of the tokens behind the input's own.
    fn tail(&self, row: &Row) -> Result<Vec<f32>, Error> {
        match self.embedding_len(row) {
            own if own < self.row_len(row) => Ok(self.embed(row.clone())?.split_off(own)),
            _ => Ok(Vec::new()),
        }
    }

    /// Variant `index` of the input's row.
    fn variant(&self, pass: &Pass<'_>, row: &Row, tail: &[f32], index: usize) -> Row {
        let Some(embedding) = pass.embedding else { return row.clone() };
        let mut values = vec![0.0; self.embedding_len(row)];
        embedding(index, &mut values);
        values.extend_from_slice(tail);
        let content = match &row.content {
            Content::Pixels(_) => Content::Pixels(values),
            Content::Tokens { type_ids, .. } | Content::Embedded { type_ids, .. } => {
                Content::Embedded { values, tokens: row.len(), type_ids: type_ids.clone() }
            }
        };
        Row { content, read: row.read.clone() }
    }

    /// What the prediction's forward already knows of `pass`: logits and tapped layers of the input itself.
    fn known(&self, pass: &Pass<'_>) -> Option<Evaluation> {
        if self.several() || pass.rows != 1 || pass.embedding.is_some() || !pass.objectives.is_empty() {
            return None;
        }
        let taps = self.recording.part(self.work.taps, &pass.taps)?;
        let logits = self.focus.logits.clone();
        Some(Evaluation { labels: logits.len(), logits, gradients: Vec::new(), taps })
    }

    /// Hands the rows of a chunk that begins at variant `first` to the sink.
    fn deliver(
        &self,
        pass: &Pass<'_>,
        first: usize,
        rows: usize,
        evaluation: &Evaluation,
        sink: &mut dyn FnMut(&RowView<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let row = self.single_row()?;
        let (size, own) = (self.row_len(row), self.embedding_len(row));
        let per_row = evaluation.logits.len() / rows.max(1);
        if evaluation.gradients.iter().any(|gradient| gradient.len() != rows * size) {
            let detail = format!("a gradient is not {rows} rows of {size}");
            return Err(nn::Error::Shape { op: "backward", detail }.into());
        }
        if !evaluation.taps.is_of(rows) {
            let detail = format!("a tapped layer is not {rows} rows");
            return Err(nn::Error::Shape { op: "tap", detail }.into());
        }
        for row in 0..rows {
            let logits = &evaluation.logits[row * per_row..][..per_row];
            let value = |objective: &Objective| self.focus.readout.value(logits, &objective.target, objective.output);
            let values: Vec<f64> = pass.objectives.iter().map(value).collect();
            let gradients: Vec<&[f32]> =
                evaluation.gradients.iter().map(|gradient| &gradient[row * size..][..own]).collect();
            let (attention, inside) = Inside::of_row(&evaluation.taps, row);
            sink(&RowView {
                row: first + row,
                logits,
                values: &values,
                gradients: &gradients,
                attention: &attention,
                inside: &inside,
            })?;
        }
        Ok(())
    }
}

/// d objective / d logits for every row of a chunk at once.
fn seed(readout: &dyn Readout, objective: &Objective, per_row: usize, logits: &[f32]) -> Result<Vec<f32>, nn::Error> {
    let mut seed = Vec::with_capacity(logits.len());
    for row in logits.chunks_exact(per_row) {
        seed.extend(readout.cotangent(row, &objective.target, objective.output));
    }
    if seed.len() == logits.len() {
        return Ok(seed);
    }
    let detail = format!("a seed of {} for {} logits", seed.len(), logits.len());
    Err(nn::Error::Shape { op: "cotangent", detail })
}

/// Masks whose rows go into one forward, each with its number of rows.
#[derive(Default)]
struct Chunk<'m> {
    masks: Vec<(&'m Mask, usize)>,
    rows: Vec<Row>,
    tokens: usize,
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
        let mut seen = HashSet::new();
        let missing: Vec<&Mask> = {
            let mut memo = self.memo.borrow_mut();
            let shelf = memo.shelf(masking);
            // With every unit present the input is whole: its logits are the prediction's.
            shelf.entry(Mask::full(masking.units.len())).or_insert_with(|| self.focus.logits.as_slice().into());
            masks.iter().filter(|mask| !shelf.contains_key(mask) && seen.insert(*mask)).collect()
        };
        let beyond = if missing.is_empty() { Shelf::new() } else { self.evaluate_masks(masking, missing)? };
        let mut memo = self.memo.borrow_mut();
        let shelf = memo.shelf(masking);
        let known = |mask| shelf.get(mask).or_else(|| beyond.get(mask)).map_or_else(Vec::new, |logits| logits.to_vec());
        Ok(masks.iter().map(known).collect())
    }

    fn pass(&self, pass: &Pass<'_>, sink: &mut dyn FnMut(&RowView<'_>) -> Result<(), Error>) -> Result<(), Error> {
        let row = self.single_row()?;
        if let Some(evaluation) = self.known(pass) {
            return self.deliver(pass, 0, 1, &evaluation, sink);
        }
        let objectives = pass.objectives.len();
        let tokens = self.spec().row_tokens(row.len());
        let weight = sizing::weight(self.spec(), tokens, objectives, &pass.taps);
        let rows_a_turn = sizing::rows_a_turn(self.lead.means.tokens_per_turn, weight);
        let (readout, objectives_of) = (&*self.focus.readout, pass.objectives);
        let tail = if pass.embedding.is_some() { self.tail(row)? } else { Vec::new() };
        let mut first = 0;
        while first < pass.rows {
            let rows = rows_a_turn.min(pass.rows - first);
            let seed = |index: usize, logits: &[f32]| {
                seed(readout, &objectives_of[index], (logits.len() / rows).max(1), logits)
            };
            let taps = pass.taps.of_rows(first..first + rows);
            let question = Question { taps: &taps, objectives, seed: &seed, precision: Precision::F32 };
            let variants = (first..first + rows).map(|index| self.variant(pass, row, &tail, index));
            let batch = Batch::new(variants.collect());
            let evaluation = self.lead.evaluate(self.work.model, &batch, question)?;
            self.deliver(pass, first, rows, &evaluation, sink)?;
            first += rows;
        }
        Ok(())
    }

    fn embedding(&self, ids: Option<&[u32]>) -> Result<Vec<f32>, Error> {
        let row = self.single_row()?;
        let content = match (&row.content, ids) {
            (Content::Pixels(pixels), _) => return Ok(pixels.clone()),
            (Content::Tokens { type_ids, .. }, Some(ids)) => {
                Content::Tokens { ids: ids.to_vec(), type_ids: type_ids.iter().take(ids.len()).copied().collect() }
            }
            (content, _) => content.clone(),
        };
        let own = self.embedding_len(row);
        let mut values = self.embed(Row { content, read: row.read.clone() })?;
        if ids.is_none() {
            values.truncate(own);
        }
        if values.len() == own {
            return Ok(values);
        }
        let detail = format!("{} numbers for an input of {own}", values.len());
        Err(nn::Error::Shape { op: "embedding", detail }.into())
    }

    fn checkpoint(&self) -> Result<(), Stopped> {
        self.lead.means.watch.check()
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
}

/// Runs a plan on this thread. `spent` tells what it computed, also where it fails.
pub fn run_with(plan: &Plan, means: Means<'_>, spent: &Cell<Spent>) -> Result<Answer, RunError> {
    let model = Placed { model: &*plan.model.model, device: means.device };
    let mut taps = TapPlan::default();
    plan.methods.iter().for_each(|method| taps.join(&method.taps()));
    let work = Work {
        taps: &taps,
        model: &model,
        task: &*plan.task,
        input: &plan.input,
        target: &plan.target,
        seed: plan.seed,
        partial: plan.partial,
        cost: plan.cost.tokens,
    };
    let job = JobCtx::begin(work, means, spent)?;
    explain::run(plan, &job)
}

/// Runs a plan on this thread, with the compute to itself: the command line and tests. The deadline counts from here.
pub fn run_blocking(plan: &Plan, threads: usize, tokens_per_turn: usize, device: &Device) -> Result<Answer, RunError> {
    let (turns, cancel) = (Turns::new(), Cancel::new());
    let deadline = Deadline::after(Duration::from_millis(plan.deadline_ms));
    let watch = Watch { deadline: &deadline, cancel: &cancel };
    run_with(plan, Means { turns: &turns, watch, threads, tokens_per_turn, device }, &Cell::default())
}

#[cfg(test)]
mod tests;
