//! Other inputs in the place of the input: ids or pixels in place of its own, other tokens for some of them, and what
//! stands beside the model: embeddings of any ids, words that a masked language model proposes.

use super::JobCtx;
use super::spliced::{Opened, Spliced};
use crate::engine::evaluate::Placed;
use crate::explain::blanks;
use crate::input::segment;
use crate::input::text::Word;
use crate::input::units::{Fill, Mask, UnitKind, Units};
use crate::input::{ImageInput, Input, TextInput};
use crate::methods::{Ctx, Error, Proposal, Variant};
use crate::models::{Content, Row};
use crate::nn::{self, Precision};

/// Variants whose rows are made at once: those of images would not all fit into memory.
const TOGETHER: usize = 16;

/// An input in the place of the job's, and what makes it rows.
struct Other {
    input: Input,
    units: Units,
    fill: Fill,
    mask: Mask,
    opened: Opened,
}

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

    /// The input that a variant is, and what a perturber that takes nothing more away needs.
    fn input_of(&self, variant: &Variant) -> Result<Other, Error> {
        let whole = |input: Input, units: Units, fill: Fill| Other {
            mask: Mask::full(units.len()),
            opened: Opened::default(),
            input,
            units,
            fill,
        };
        let other = match (self.work.input, variant) {
            (Input::Text(text), Variant::Ids(ids)) if ids.len() == text.tokens.len() => {
                let mut tokens = text.tokens.clone();
                tokens.iter_mut().zip(ids).for_each(|(token, id)| token.id = *id);
                let input = Input::Text(TextInput { tokens, ..text.clone() });
                Some(whole(input, Units::Text { kind: UnitKind::Token, members: Vec::new() }, Fill::Remove))
            }
            (Input::Text(text), Variant::Spliced(splices)) => {
                Spliced::new(self.spec(), text, splices).map(|spliced| Other {
                    mask: spliced.mask(),
                    input: Input::Text(spliced.text),
                    units: spliced.units,
                    fill: Fill::Remove,
                    opened: spliced.opened,
                })
            }
            (Input::Image(image), Variant::Pixels(pixels)) if pixels.len() == image.pixels.len() => {
                let input = Input::Image(ImageInput { pixels: pixels.clone(), ..image.clone() });
                let segmentation = segment::patches(image.rows, image.cols, 1, 1);
                Some(whole(input, Units::Image { kind: UnitKind::Patch, segmentation }, Fill::Zero))
            }
            _ => None,
        };
        other.ok_or_else(|| {
            let detail = "it does not fit the input".to_owned();
            nn::Error::Shape { op: "variant", detail }.into()
        })
    }

    /// The logits of whole inputs, each some rows.
    fn whole_of(&self, inputs: &[Other]) -> Result<Vec<Vec<f32>>, Error> {
        let mut perturbers = Vec::with_capacity(inputs.len());
        let (mut rows, mut positions) = (Vec::new(), Vec::new());
        for Other { input, units, fill, mask, opened } in inputs {
            let perturber = self.focus.readout.perturber(self.spec(), input, units, *fill)?;
            let mut own = perturber.rows(mask);
            own.iter_mut().for_each(|row| opened.open(row));
            positions.push(own.iter().map(|row| row.read.len()).sum::<usize>());
            rows.extend(own);
            perturbers.push(perturber);
        }
        let (logits, labels) = self.lead.logits(&self.reading(&[]), rows, Precision::F32)?;
        let mut rest = logits.as_slice();
        let mut all = Vec::with_capacity(inputs.len());
        for ((perturber, Other { mask, .. }), positions) in perturbers.iter().zip(inputs).zip(positions) {
            let (own, others) = rest.split_at((positions * labels).min(rest.len()));
            all.push(perturber.outputs(mask, own, labels).into_owned());
            rest = others;
        }
        Ok(all)
    }

    /// As [`crate::methods::Ctx::vectors`].
    pub(super) fn look_up(&self, ids: &[u32]) -> Result<Vec<f32>, Error> {
        self.embed(Row { content: Content::Tokens { ids: ids.to_vec(), type_ids: Vec::new() }, read: Vec::new() })
    }

    /// As [`crate::methods::Ctx::proposals`].
    pub(super) fn proposed(
        &self,
        model: &str,
        text: &TextInput,
        words: &[usize],
        count: usize,
    ) -> Result<Vec<Vec<Proposal>>, Error> {
        let helper = self.work.helpers.iter().find(|helper| helper.name == model);
        let helper = helper.ok_or(Error::Missing { what: "a masked language model" })?;
        let placed = Placed { model: &*helper.model, device: self.lead.means.device };
        let read = blanks::Read::of(helper, text)?;
        let blanks = read.blanks(helper)?;
        let mut all = Vec::with_capacity(words.len());
        for chunk in words.chunks(TOGETHER) {
            self.checkpoint().map_err(nn::Error::from)?;
            let chunk: Vec<Option<&Word>> = chunk.iter().map(|&word| text.words.get(word)).collect();
            let row = |word: &Option<&Word>| word.and_then(|word| blanks.row(&read.tokens_of(word)));
            let rows: Vec<Option<Row>> = chunk.iter().map(row).collect();
            let asked: Vec<Row> = rows.iter().flatten().cloned().collect();
            let (logits, vocabulary) = match asked.is_empty() {
                true => (Vec::new(), 0),
                false => self.lead.logits(&placed, asked, Precision::F32)?,
            };
            let mut said = logits.chunks_exact(vocabulary.max(1));
            all.extend(chunk.iter().zip(rows).map(|(word, row)| {
                let own = row.and_then(|_| said.next()).unwrap_or_default();
                blanks::ranked(helper, own, word.map_or("", |word| &word.text), count)
            }));
        }
        Ok(all)
    }
}
