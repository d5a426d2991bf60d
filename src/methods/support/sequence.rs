//! A model's sequence as scores: which position the head reads, and a row over positions as tokens, words or cells.

use super::reduce;
use super::settings::Presentation;
use crate::input::{Input, TextInput};
use crate::methods::{Attribution, Ctx, Error, Grid, Scores, SettingError, Subject};
use crate::models::{ImageSpec, Reads, SequenceItem};
use crate::tasks::Target;

/// Length of what queries and keys count over.
pub fn length(subject: &Subject<'_>) -> usize {
    subject.spec.row_tokens(subject.input.as_text().map_or(1, |text| text.length() + subject.task.tail()))
}

/// Numbers (256 MiB) that the maps of a request's layers may be: they stay until all layers have been seen.
const MOST_MAPPED: usize = 64 << 20;

/// Refuses `maps` maps of the subject's length that would not fit into memory.
pub fn check_maps(field: &str, maps: usize, subject: &Subject<'_>) -> Result<(), SettingError> {
    let length = length(subject);
    if maps.saturating_mul(length).saturating_mul(length) <= MOST_MAPPED {
        return Ok(());
    }
    let detail = format!(
        "{maps} maps of {length} × {length} are more than {MOST_MAPPED} numbers; let {field} be a later layer, ask for \
         fewer targets, or shorten the input"
    );
    Err(SettingError::new(field, detail))
}

/// Where a model's head looks for a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    At(usize),
    /// At all positions alike.
    Mean,
}

/// Where the head reads `target`; where it reads any position, the target says which.
pub fn reading(ctx: &dyn Ctx, target: Option<&Target>) -> Reading {
    let reads = ctx.spec().reads;
    match reads {
        Reads::First | Reads::Last { .. } => {
            Reading::At(reads.position(ctx.input().as_text().into_iter().flat_map(TextInput::ids)))
        }
        Reads::Each => Reading::At(target.and_then(|target| ctx.task().reading(target)).unwrap_or(0)),
        Reads::Mean => Reading::Mean,
    }
}

impl Reading {
    /// What is read, as weights of `length` positions.
    pub fn weights(self, length: usize) -> Vec<f64> {
        match self {
            Self::At(position) => (0..length).map(|at| f64::from(u8::from(at == position))).collect(),
            Self::Mean => vec![1.0 / length.max(1) as f64; length],
        }
    }

    /// The row of `matrix` (length × length) that is read: the mean of all where all are.
    pub fn row(self, matrix: &[f64], length: usize) -> Vec<f64> {
        let mut rows = matrix.chunks(length.max(1));
        match self {
            Self::At(position) => rows.nth(position).unwrap_or_default().to_vec(),
            Self::Mean => {
                let mut sum = vec![0.0; length];
                rows.for_each(|row| sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += value));
                sum.into_iter().map(|value| value / length as f64).collect()
            }
        }
    }
}

/// A score per position as tokens and words, or as the patch grid.
pub fn attribution(ctx: &dyn Ctx, row: Vec<f64>, show: Presentation) -> Result<Attribution, Error> {
    let mut scores = Scores::default();
    let mut grid = None;
    match ctx.input() {
        Input::Text(text) => {
            // Of a hypothesis behind the text nothing is scored.
            let row = row.get(..text.tokens.len()).ok_or(Error::Missing { what: "the text's attention" })?;
            scores.tokens = Some(show.list(row.to_vec(), "attention")?);
            scores.words = Some(show.list(reduce::words(text, row), "attention")?);
        }
        Input::Image(_) => {
            if let Some(image) = &ctx.spec().image {
                let over = Grid { rows: image.grid_rows, cols: image.grid_cols };
                let cells = show.list(patches(image, &row), "attention")?;
                scores.grid = Some(reduce::rows(&cells, over));
                grid = Some(over);
            }
        }
    }
    Ok(Attribution { scores, grid, ..Attribution::default() })
}

/// The entries at patches, cell by cell; the other positions of the sequence are left out.
fn patches(image: &ImageSpec, row: &[f64]) -> Vec<f64> {
    let mut cells = vec![0.0; image.grid_rows * image.grid_cols];
    for (item, &value) in image.sequence.iter().zip(row) {
        if let SequenceItem::Patch([r, c]) = item
            && let Some(cell) = cells.get_mut(r * image.grid_cols + c)
        {
            *cell = value;
        }
    }
    cells
}
