//! Other inputs of the same shape: ids or pixels in place of the input's own, and embeddings of any ids.

use super::JobCtx;
use crate::input::segment;
use crate::input::units::{Fill, Mask, UnitKind, Units};
use crate::input::{ImageInput, Input, TextInput};
use crate::methods::{Error, Variant};
use crate::models::{Content, Row};
use crate::nn::{self, Precision};

/// Variants whose rows are made at once: those of images would not all fit into memory.
const TOGETHER: usize = 16;

impl JobCtx<'_> {
    /// As [`crate::methods::Ctx::variants`].
    pub(super) fn others(&self, variants: &[Variant]) -> Result<Vec<Vec<f32>>, Error> {
        let mut all = Vec::with_capacity(variants.len());
        for chunk in variants.chunks(TOGETHER) {
            let inputs = chunk.iter().map(|variant| self.input_of(variant)).collect::<Result<Vec<_>, _>>()?;
            all.extend(self.whole_of(&inputs)?);
        }
        Ok(all)
    }

    /// The input that a variant is, and what a perturber that takes nothing away needs.
    fn input_of(&self, variant: &Variant) -> Result<(Input, Units, Fill), Error> {
        match (self.work.input, variant) {
            (Input::Text(text), Variant::Ids(ids)) if ids.len() == text.tokens.len() => {
                let mut tokens = text.tokens.clone();
                tokens.iter_mut().zip(ids).for_each(|(token, id)| token.id = *id);
                let input = Input::Text(TextInput { tokens, ..text.clone() });
                Ok((input, Units::Text { kind: UnitKind::Token, members: Vec::new() }, Fill::Remove))
            }
            (Input::Image(image), Variant::Pixels(pixels)) if pixels.len() == image.pixels.len() => {
                let input = Input::Image(ImageInput { pixels: pixels.clone(), ..image.clone() });
                let segmentation = segment::patches(image.rows, image.cols, 1, 1);
                Ok((input, Units::Image { kind: UnitKind::Patch, segmentation }, Fill::Zero))
            }
            _ => {
                let detail = "it is not as long as the input".to_owned();
                Err(nn::Error::Shape { op: "variant", detail }.into())
            }
        }
    }

    /// The logits of whole inputs, each some rows.
    fn whole_of(&self, inputs: &[(Input, Units, Fill)]) -> Result<Vec<Vec<f32>>, Error> {
        let mut perturbers = Vec::with_capacity(inputs.len());
        let (mut rows, mut positions) = (Vec::new(), Vec::new());
        for (input, units, fill) in inputs {
            let perturber = self.focus.readout.perturber(self.spec(), input, units, *fill)?;
            let own = perturber.rows(&Mask::full(units.len()));
            positions.push(own.iter().map(|row| row.read.len()).sum::<usize>());
            rows.extend(own);
            perturbers.push(perturber);
        }
        let (logits, labels) = self.lead.logits(&self.reading(&[]), rows, Precision::F32)?;
        let mut rest = logits.as_slice();
        let mut all = Vec::with_capacity(inputs.len());
        for ((perturber, (_, units, _)), positions) in perturbers.iter().zip(inputs).zip(positions) {
            let (own, others) = rest.split_at((positions * labels).min(rest.len()));
            all.push(perturber.outputs(&Mask::full(units.len()), own, labels).into_owned());
            rest = others;
        }
        Ok(all)
    }

    /// As [`crate::methods::Ctx::vectors`].
    pub(super) fn look_up(&self, ids: &[u32]) -> Result<Vec<f32>, Error> {
        self.embed(Row { content: Content::Tokens { ids: ids.to_vec(), type_ids: Vec::new() }, read: Vec::new() })
    }
}
