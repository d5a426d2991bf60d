//! Rows of every image in another order, with rows of zeros between them: the windows of Swin and the patches that it
//! merges.

use std::sync::Arc;

use super::kernel::for_rows;
use super::tape::{Backward, Inputs};
use super::{Array, Error, Node, Tape};

/// Stands for a row that comes from nowhere.
const NONE: u32 = u32::MAX;

/// Where the rows of a sequence go; every row goes to at most one place.
#[derive(Debug, Clone)]
pub struct Arrangement {
    /// The row that comes to each place.
    from: Arc<Vec<u32>>,
    /// The place that each row goes to.
    to: Arc<Vec<u32>>,
}

impl Arrangement {
    /// Sequences of `rows` rows become sequences of as many as `from` names: place p gets row `from[p]`, or zeros.
    ///
    /// # Errors
    /// `Shape` where a row does not exist or is named twice.
    pub fn new(rows: usize, from: impl IntoIterator<Item = Option<usize>>) -> Result<Self, Error> {
        let mut to = vec![NONE; rows];
        let mut places = Vec::new();
        for row in from {
            let place = u32::try_from(places.len()).unwrap_or(NONE);
            if let Some(row) = row {
                match to.get_mut(row) {
                    Some(to) if *to == NONE && place < NONE => *to = place,
                    _ => return Err(Error::shape("arrange", format!("row {row} of {rows} is missing or named twice"))),
                }
            }
            places.push(row.map_or(NONE, |row| row as u32));
        }
        Ok(Self { from: Arc::new(places), to: Arc::new(to) })
    }

    /// The way back: what stood at a place comes to its row; rows that went nowhere get zeros.
    pub fn back(&self) -> Self {
        Self { from: self.to.clone(), to: self.from.clone() }
    }

    /// Sequence after sequence, `together` places side by side in one row.
    ///
    /// # Errors
    /// `Shape` where `x` holds no such sequences or the places cannot be put together so.
    pub fn forward(&self, tape: &mut Tape<'_>, x: &Node, together: usize) -> Result<Node, Error> {
        let (rows, places, cols) = (self.to.len(), self.from.len(), x.cols());
        let fits = rows > 0 && x.rows().is_multiple_of(rows) && together > 0 && places.is_multiple_of(together);
        if !fits {
            let detail = format!("{} rows in sequences of {rows}, {places} places by {together}", x.rows());
            return Err(Error::shape("arrange", detail));
        }
        let y = gathered(x.value(), cols, &self.from, rows);
        let y = Array::new(y, x.rows() / rows * places / together, cols * together);
        let op = || ArrangeBackward { to: self.to.clone(), places, cols };
        Ok(tape.record(y, [Some(x), None], op))
    }
}

/// Row `from[p]` of every sequence of `rows` at its place p.
fn gathered(x: &[f32], cols: usize, from: &[u32], rows: usize) -> Vec<f32> {
    let sequences = x.len() / (rows * cols).max(1);
    let mut y = vec![0.0; sequences * from.len() * cols];
    for_rows(&mut y, cols, |place, y| {
        let (sequence, place) = (place / from.len(), place % from.len());
        if from[place] != NONE {
            y.copy_from_slice(&x[(sequence * rows + from[place] as usize) * cols..][..cols]);
        }
    });
    y
}

struct ArrangeBackward {
    to: Arc<Vec<u32>>,
    places: usize,
    cols: usize,
}

impl Backward for ArrangeBackward {
    fn backward(&self, grad: Vec<f32>, inputs: &mut Inputs<'_>) {
        inputs.add(0, gathered(&grad, self.cols, &self.to, self.places));
    }

    fn lift(&self, multiplier: Vec<f32>, inputs: &mut Inputs<'_>) {
        // Linear.
        self.backward(multiplier, inputs);
    }
}
