//! The changed input, written for people.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::trials::{Means, mask};
use crate::input::Input;
use crate::input::image::png8;
use crate::input::text::TextInput;
use crate::input::units::{Fill, Mask, Units};
use crate::methods::support::edits;
use crate::methods::support::fewest::Fewest;
use crate::methods::{Change, Ctx, Edit, Error, Masking, Variant};
use crate::models::Content;
use crate::tasks::Target;

/// The changed input as the answer has it.
pub(super) fn changed(
    ctx: &dyn Ctx,
    masking: Masking<'_>,
    means: &Means,
    target: &Target,
    found: Fewest,
) -> Result<Change, Error> {
    let Fewest { changes, minimal } = found;
    let units = masking.units;
    let mask = mask(units.len(), &changes);
    let mut change =
        Change { found: true, minimal: Some(minimal), distance: changes.len() as f32, ..Change::default() };
    let logits = match (means, ctx.input()) {
        (Means::Words(_), Input::Text(text)) => {
            let words = changes.iter().filter_map(|&change| means.option(change));
            let words: Vec<(usize, String)> = words.map(|(place, new)| (place.word, new.text.clone())).collect();
            let edits = edits::replaced(text, units, &words);
            edits::written(ctx, text, &mut change, edits, &means.ids(text, &changes));
            ctx.variants(&[Variant::Spliced(means.splices(&changes))])?
        }
        (Means::Units, Input::Text(text)) => {
            let row = rows(ctx, masking, &mask)?;
            let Content::Tokens { ids, .. } = &row else { return Err(Error::Missing { what: "the changed tokens" }) };
            edits::written(ctx, text, &mut change, taken(ctx, text, masking, &means.units(&changes)), ids);
            ctx.outputs(masking, &[mask])?
        }
        (_, Input::Image(image)) => {
            let Content::Pixels(pixels) = rows(ctx, masking, &mask)? else {
                return Err(Error::Missing { what: "the changed picture" });
            };
            change.image = Some(STANDARD.encode(png8(image.rounded(&pixels), image.rows, image.cols)));
            ctx.outputs(masking, &[mask])?
        }
    };
    change.prediction = logits.first().and_then(|logits| ctx.task().said(logits, target));
    Ok(change)
}

/// What the model reads of the changed input, in the first of its rows.
fn rows(ctx: &dyn Ctx, masking: Masking<'_>, mask: &Mask) -> Result<Content, Error> {
    let perturber = ctx.task().perturber(ctx.spec(), ctx.input(), masking.units, masking.fill)?;
    let row = perturber.rows(mask).into_iter().next();
    row.map(|row| row.content).ok_or(Error::Missing { what: "the changed input" })
}

/// The edits of taking units away: nothing in their place, or the filling token for each of theirs.
fn taken(ctx: &dyn Ctx, text: &TextInput, masking: Masking<'_>, absent: &[usize]) -> Vec<Edit> {
    let id = match masking.fill {
        Fill::Mask => text.specials.mask,
        Fill::Pad => text.specials.pad,
        Fill::Unk => text.specials.unk,
        _ => return edits::removed(text, masking.units, absent),
    };
    let token = id.and_then(|id| ctx.lexicon()?.name(id)).unwrap_or_default();
    let tokens = |unit: usize| match masking.units {
        Units::Text { members, .. } => members.get(unit).map_or(0, Vec::len),
        Units::Image { .. } => 0,
    };
    let filled: Vec<(usize, String)> =
        absent.iter().map(|&unit| (unit, vec![token.as_str(); tokens(unit)].join(" "))).collect();
    edits::replaced(text, masking.units, &filled)
}
