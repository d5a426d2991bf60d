//! The white-box seam of a job: variants of the input's embedding through forwards with gradients and taps.
//!
//! Where the input is several rows (labels, windows), every variant is: values come from all of their logits, and the
//! gradients of a token add up over its rows.

use std::borrow::Cow;

use super::super::evaluate::{Evaluation, Question};
use super::super::sizing;
use super::JobCtx;
use super::course::Course;
use crate::methods::{Error, Inside, Objective, Pass, RowView};
use crate::models::{Batch, Content, Recording, Row, TapPlan};
use crate::nn::{self, Precision, Rule};
use crate::tasks::InputRow;

type Sink<'s> = &'s mut dyn FnMut(&RowView<'_>) -> Result<(), Error>;

impl JobCtx<'_> {
    /// As [`crate::methods::Ctx::pass`].
    pub(super) fn run_pass(&self, pass: &Pass<'_>, sink: Sink<'_>) -> Result<(), Error> {
        let course = self.course(pass)?;
        if let Some(taps) = self.known(pass) {
            let (attention, inside) = Inside::of_row(&taps, 0);
            let (logits, attention, inside) = (&self.focus.logits, &attention[..], &inside);
            return sink(&RowView { row: 0, logits, values: &[], gradients: &[], attention, inside });
        }
        let objectives = pass.objectives.len();
        let weight = |row: &&InputRow| {
            sizing::weight(self.spec(), self.spec().row_tokens(row.row.len()), objectives, &pass.taps)
        };
        let (weight, budget) = (course.rows.iter().map(weight).sum(), self.lead.means.tokens_per_turn);
        let together = course.rows.len() == 1 || weight <= budget;
        let variants_a_turn = match (pass.rule, together) {
            // A pair at a time: its rows are then the halves of the batch.
            (Rule::DeepLift, _) => 2,
            (_, true) => sizing::rows_a_turn(budget, weight),
            (_, false) => 1,
        };
        let mut first = 0;
        while first < pass.rows {
            let variants = variants_a_turn.min(pass.rows - first);
            let rows = (first..first + variants).flat_map(|index| self.variant(pass, &course, index)).collect();
            let evaluation = match together {
                true => self.evaluate_together(pass, &course, rows, first..first + variants)?,
                false => self.evaluate_apart(pass, &course, &rows)?,
            };
            self.deliver(pass, &course, first, &evaluation, sink)?;
            first += variants;
        }
        Ok(())
    }

    /// The rows that `pass` needs: the one that its taps look into, else those that its objectives depend on.
    fn course(&self, pass: &Pass<'_>) -> Result<Course<'_>, Error> {
        let rows = &self.focus.rows;
        let depends = |position: usize| {
            pass.objectives.is_empty()
                || pass
                    .objectives
                    .iter()
                    .any(|Objective { target, output }| self.focus.readout.depends(target, *output, position))
        };
        let mut wanted = rows.feeding(&depends);
        if pass.taps != TapPlan::default() {
            let looked: Vec<usize> = self.focus.looked.into_iter().collect();
            let answers = pass.objectives.is_empty() || wanted == looked;
            wanted = if answers { looked } else { Vec::new() };
        }
        if wanted.is_empty() {
            return Err(nn::Error::Shape { op: "pass", detail: "no single row answers it".to_owned() }.into());
        }
        let mut places = Vec::with_capacity(rows.rows.len());
        let mut positions = 0;
        for row in &rows.rows {
            places.push(positions);
            positions += row.row.read.len();
        }
        let chosen: Vec<&InputRow> = wanted.iter().filter_map(|&row| rows.rows.get(row)).collect();
        let tails = match pass.embedding {
            Some(_) => chosen.iter().map(|row| self.tail(row)).collect::<Result<_, _>>()?,
            None => vec![Vec::new(); chosen.len()],
        };
        let places = wanted.iter().filter_map(|&row| places.get(row).copied()).collect();
        Ok(Course { focus: &self.focus, rows: chosen, tails, places, positions })
    }

    /// All rows of some variants in one forward.
    fn evaluate_together(
        &self,
        pass: &Pass<'_>,
        course: &Course<'_>,
        rows: Vec<Row>,
        variants: std::ops::Range<usize>,
    ) -> Result<Evaluation, nn::Error> {
        let Pass { objectives, rule, .. } = pass;
        let (taps, variants) = (&pass.taps.of_rows(variants.clone()), variants.len());
        let (readout, labels) = (&*self.focus.readout, self.spec().outputs().max(1));
        let seed = |objective: usize, logits: &[f32]| {
            // Condensed ones are those of one position, of some variants.
            let condensed = readout.condense().map(|_| logits.len() / labels);
            course.seeds(*rule, &objectives[objective], logits, condensed.unwrap_or(variants))
        };
        let places: Vec<usize> =
            objectives.iter().map(|objective| readout.position(&objective.target).unwrap_or(0)).collect();
        let plain = Question::logits(Precision::F32);
        let question = Question { taps, objectives: objectives.len(), seed: &seed, rule: *rule, ..plain };
        self.lead.evaluate(&self.reading(&places), &Batch::new(rows), question)
    }

    /// The rows of one variant, or of a pair, that are too many for a forward: first the logits of all, from which the
    /// seeds follow, then forwards with gradients, one row after the other.
    fn evaluate_apart(&self, pass: &Pass<'_>, course: &Course<'_>, rows: &[Row]) -> Result<Evaluation, nn::Error> {
        let (objectives, rule, count) = (pass.objectives.len(), pass.rule, course.rows.len().max(1));
        let (logits, labels) = self.lead.logits(self.work.model, rows.to_vec(), Precision::F32)?;
        let (variants, per_variant) = (rows.len() / count, logits.len() * count / rows.len().max(1));
        let seeds = pass.objectives.iter().map(|objective| course.seeds(rule, objective, &logits, variants));
        let seeds: Vec<Vec<f32>> = seeds.collect::<Result<_, _>>()?;
        // Of every objective: variant after variant, row after row.
        let mut gradients = vec![vec![Vec::new(); rows.len()]; objectives];
        let mut from = 0;
        for place in 0..count {
            let batch: Vec<Row> = rows.iter().skip(place).step_by(count).cloned().collect();
            let own = batch.first().map_or(0, |row| row.read.len() * labels);
            let seed = |objective: usize, _: &[f32]| {
                let of_variants =
                    (0..variants).flat_map(|variant| &seeds[objective][variant * per_variant + from..][..own]);
                Ok(of_variants.copied().collect())
            };
            let question =
                Question { taps: &pass.taps, objectives, seed: &seed, rule, ..Question::logits(Precision::F32) };
            let evaluation = self.lead.evaluate(self.work.model, &Batch::new(batch), question)?;
            for (all, own) in gradients.iter_mut().zip(evaluation.gradients) {
                let size = (own.len() / variants.max(1)).max(1);
                for (variant, own) in own.chunks(size).enumerate() {
                    all[variant * count + place] = own.to_vec();
                }
            }
            from += own;
        }
        let gradients = gradients.into_iter().map(|rows| rows.concat()).collect();
        Ok(Evaluation { logits, labels, gradients, ..Evaluation::default() })
    }

    /// As [`crate::methods::Ctx::embedding`].
    pub(super) fn word_embedding(&self, ids: Option<&[u32]>) -> Result<Vec<f32>, Error> {
        let (content, own) = match (self.work.input.as_text(), self.focus.rows.rows.first()) {
            (Some(text), _) => {
                let ids: Vec<u32> = ids.map_or_else(|| text.ids().collect(), <[u32]>::to_vec);
                let types = text.type_ids.iter().copied().take(ids.len());
                let type_ids = types.filter(|_| self.spec().token_types > 0).collect();
                (Content::Tokens { ids, type_ids }, text.tokens.len() * self.spec().embedding)
            }
            (None, Some(InputRow { row: Row { content: Content::Pixels(pixels), .. }, .. })) => {
                return Ok(pixels.clone());
            }
            (None, _) => return Err(nn::Error::Shape { op: "embedding", detail: "no row of pixels".to_owned() }.into()),
        };
        let values = self.embed(Row { content, read: vec![0] })?;
        if values.len() == own {
            return Ok(values);
        }
        let detail = format!("{} numbers for an input of {own}", values.len());
        Err(nn::Error::Shape { op: "embedding", detail }.into())
    }

    /// Numbers in the embedding of all of `row`.
    fn row_len(&self, row: &Row) -> usize {
        match &row.content {
            Content::Pixels(pixels) => pixels.len(),
            _ => row.len() * self.spec().embedding,
        }
    }

    /// Numbers in the embedding of the input: what methods vary.
    fn embedding_len(&self, course: &Course<'_>) -> usize {
        match self.work.input.as_text() {
            Some(text) => text.tokens.len() * self.spec().embedding,
            None => course.rows.first().map_or(0, |row| self.row_len(&row.row)),
        }
    }

    /// The embedding of `row`, as the model makes it.
    pub(super) fn embed(&self, row: Row) -> Result<Vec<f32>, Error> {
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
    fn tail(&self, row: &InputRow) -> Result<Vec<f32>, Error> {
        match row.tokens.len() * self.spec().embedding {
            own if !row.tokens.is_empty() && own < self.row_len(&row.row) => {
                Ok(self.embed(row.row.clone())?.split_off(own))
            }
            _ => Ok(Vec::new()),
        }
    }

    /// The rows of variant `index` of the input.
    fn variant(&self, pass: &Pass<'_>, course: &Course<'_>, index: usize) -> Vec<Row> {
        let Some(embedding) = pass.embedding else { return course.rows.iter().map(|row| row.row.clone()).collect() };
        let mut values = vec![0.0; self.embedding_len(course)];
        embedding(index, &mut values);
        let width = self.spec().embedding;
        let mut row = |(InputRow { row, tokens }, tail): (&&InputRow, &Vec<f32>)| {
            let content = match &row.content {
                Content::Pixels(_) => Content::Pixels(std::mem::take(&mut values)),
                Content::Tokens { type_ids, .. } | Content::Embedded { type_ids, .. } => {
                    let own = tokens.iter().flat_map(|token| values.iter().skip(token * width).take(width));
                    let values = own.chain(tail).copied().collect();
                    Content::Embedded { values, tokens: row.len(), type_ids: type_ids.clone() }
                }
            };
            Row { content, read: row.read.clone() }
        };
        course.rows.iter().zip(&course.tails).map(&mut row).collect()
    }

    /// What the prediction's forward already knows of `pass`: tapped layers of the input itself.
    fn known(&self, pass: &Pass<'_>) -> Option<Recording> {
        if self.several() || pass.rows != 1 || pass.embedding.is_some() || !pass.objectives.is_empty() {
            return None;
        }
        self.recording.part(self.work.taps, &pass.taps).filter(|taps| taps.is_of(1))
    }

    /// Hands the variants of a chunk that begins at variant `first` to the sink.
    fn deliver(
        &self,
        pass: &Pass<'_>,
        course: &Course<'_>,
        first: usize,
        evaluation: &Evaluation,
        sink: Sink<'_>,
    ) -> Result<(), Error> {
        let sizes: Vec<usize> = course.rows.iter().map(|row| self.row_len(&row.row)).collect();
        let size: usize = sizes.iter().sum();
        let read: usize = course.rows.iter().map(|row| row.row.read.len()).sum();
        let per_variant = (read * evaluation.labels).max(1);
        let variants = evaluation.logits.len() / per_variant;
        if evaluation.gradients.iter().any(|gradient| gradient.len() != variants * size) {
            let detail = format!("a gradient is not {variants} rows of {size}");
            return Err(nn::Error::Shape { op: "backward", detail }.into());
        }
        if !evaluation.taps.is_of(variants) {
            let detail = format!("a tapped layer is not {variants} rows");
            return Err(nn::Error::Shape { op: "tap", detail }.into());
        }
        for (row, logits) in evaluation.logits.chunks(per_variant).enumerate() {
            let logits = course.composed(logits);
            let value = |objective: &Objective| self.focus.readout.value(&logits, &objective.target, objective.output);
            let values: Vec<f64> = pass.objectives.iter().map(value).collect();
            let own = |gradient: &Vec<f32>| self.gathered(course, &sizes, &gradient[row * size..][..size]);
            let gradients: Vec<Vec<f32>> = evaluation.gradients.iter().map(own).collect();
            let gradients: Vec<&[f32]> = gradients.iter().map(Vec::as_slice).collect();
            // What the head makes of a layer of some of the input's rows is laid out as the logits are.
            let lenses = evaluation.taps.lens.iter().map(|lens| course.composed(lens.row(&lens.values, row)));
            let lenses: Vec<Cow<'_, [f32]>> = lenses.collect();
            let (attention, mut inside) = Inside::of_row(&evaluation.taps, row);
            inside.lens.iter_mut().zip(&lenses).for_each(|(lens, values)| lens.values = values);
            let view = RowView {
                row: first + row,
                logits: &logits,
                values: &values,
                gradients: &gradients,
                attention: &attention,
                inside: &inside,
            };
            sink(&view)?;
        }
        Ok(())
    }

    /// The gradient of the input's embedding from that of a variant's rows, those of a token added up.
    fn gathered(&self, course: &Course<'_>, sizes: &[usize], gradient: &[f32]) -> Vec<f32> {
        if self.work.input.as_text().is_none() {
            return gradient.to_vec();
        }
        let width = self.spec().embedding;
        let mut sums = vec![0.0; self.embedding_len(course)];
        let mut rest = gradient;
        for (row, &size) in course.rows.iter().zip(sizes) {
            let (own, others) = rest.split_at(size.min(rest.len()));
            for (&token, own) in row.tokens.iter().zip(own.chunks_exact(width.max(1))) {
                if let Some(sum) = sums.get_mut(token * width..(token + 1) * width) {
                    sum.iter_mut().zip(own).for_each(|(sum, own)| *sum += own);
                }
            }
            rest = others;
        }
        sums
    }
}
