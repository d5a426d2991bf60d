//! Other inputs of the same shape: ids or pixels in place of the input's own, and embeddings of any ids.

use super::super::evaluate::Question;
use super::JobCtx;
use crate::input::segment;
use crate::input::units::{Fill, Mask, UnitKind, Units};
use crate::input::{ImageInput, Input, TextInput};
use crate::methods::{Error, Variant};
use crate::models::{Batch, Content, Row};
use crate::nn::{self, Precision};

/// Variants whose rows are made at once: those of images would not all fit into memory.
const TOGETHER: usize = 16;

impl JobCtx<'_> {
    /// As [`crate::methods::Ctx::variants`].
    pub(super) fn others(&self, variants: &[Variant]) -> Result<Vec<Vec<f32>>, Error> {
        let mut all = Vec::with_capacity(variants.len());
        for chunk in variants.chunks(TOGETHER) {
            let rows = chunk.iter().map(|variant| self.rows_of(variant)).collect::<Result<Vec<_>, _>>()?;
            all.extend(self.evaluate_rows(rows)?);
        }
        Ok(all)
    }

    /// The whole of a variant as the rows that the targets read.
    fn rows_of(&self, variant: &Variant) -> Result<Vec<Row>, Error> {
        let wrong = |detail: String| nn::Error::Shape { op: "variant", detail };
        let (input, units, fill) = match (self.work.input, variant) {
            (Input::Text(text), Variant::Ids(ids)) if ids.len() == text.tokens.len() => {
                let mut tokens = text.tokens.clone();
                tokens.iter_mut().zip(ids).for_each(|(token, id)| token.id = *id);
                let input = Input::Text(TextInput { tokens, ..text.clone() });
                (input, Units::Text { kind: UnitKind::Token, members: Vec::new() }, Fill::Remove)
            }
            (Input::Image(image), Variant::Pixels(pixels)) if pixels.len() == image.pixels.len() => {
                let input = Input::Image(ImageInput { pixels: pixels.clone(), ..image.clone() });
                let segmentation = segment::patches(image.rows, image.cols, 1, 1);
                (input, Units::Image { kind: UnitKind::Patch, segmentation }, Fill::Zero)
            }
            _ => return Err(wrong("it is not as long as the input".to_owned()).into()),
        };
        let perturber = self.focus.readout.perturber(self.work.model.spec(), &input, &units, fill)?;
        Ok(perturber.rows(&Mask::full(units.len())))
    }

    /// The logits of variants, each some rows; forwards within the token budget.
    fn evaluate_rows(&self, variants: Vec<Vec<Row>>) -> Result<Vec<Vec<f32>>, Error> {
        let spec = self.work.model.spec();
        let tokens = |rows: &[Row]| rows.iter().map(|row| spec.row_tokens(row.len())).sum::<usize>();
        let mut all = Vec::with_capacity(variants.len());
        let mut rest = variants.as_slice();
        while !rest.is_empty() {
            let mut total = 0;
            let fits = |rows: &&Vec<Row>| {
                total += tokens(rows);
                total <= self.lead.means.tokens_per_turn
            };
            let (chunk, later) = rest.split_at(rest.iter().take_while(fits).count().max(1));
            let batch = Batch::new(chunk.concat());
            let evaluation = self.lead.evaluate(self.work.model, &batch, Question::logits(Precision::F32))?;
            let mut logits = evaluation.logits.as_slice();
            for rows in chunk {
                let positions: usize = rows.iter().map(|row| row.read.len()).sum();
                let (own, others) = logits.split_at((positions * evaluation.labels).min(logits.len()));
                all.push(own.to_vec());
                logits = others;
            }
            rest = later;
        }
        Ok(all)
    }

    /// As [`crate::methods::Ctx::vectors`].
    pub(super) fn look_up(&self, ids: &[u32]) -> Result<Vec<f32>, Error> {
        let row = Row { content: Content::Tokens { ids: ids.to_vec(), type_ids: Vec::new() }, read: Vec::new() };
        let _turn = self.lead.seat.take(self.lead.means.watch).map_err(nn::Error::from)?;
        let values = self.work.model.embed(&self.lead.pace(), &Batch::new(vec![row]))?;
        if values.len() == ids.len() * self.work.model.spec().embedding {
            return Ok(values);
        }
        let detail = format!("{} numbers for {} ids", values.len(), ids.len());
        Err(nn::Error::Shape { op: "embedding", detail }.into())
    }
}
