//! Constants added to attention's scores: relative positions in buckets (T5, MPNet), tables of relative positions on a
//! grid (BEiT, Swin), and masks that differ from window to window (Swin).

use std::collections::HashMap;
use std::sync::Arc;

use crate::nn::Error;

/// For every row a table of heads × length × length (query, key) numbers, which scores get added. −∞ hides a key; a
/// query must see at least one.
#[derive(Debug, Clone)]
pub struct Bias {
    tables: Arc<Vec<Vec<f32>>>,
    /// The table of each row; empty: every row has the first.
    rows: Arc<Vec<usize>>,
}

impl Bias {
    /// One table for every row: all have its length.
    pub fn shared(table: Vec<f32>) -> Self {
        Self { tables: Arc::new(vec![table]), rows: Arc::default() }
    }

    /// Row r has `tables[rows[r]]`.
    ///
    /// # Errors
    /// `Shape` where a row's table does not exist.
    pub fn by_row(tables: Vec<Vec<f32>>, rows: Vec<usize>) -> Result<Self, Error> {
        if let Some(missing) = rows.iter().find(|&&row| row >= tables.len()) {
            return Err(Error::shape("bias", format!("table {missing} of {}", tables.len())));
        }
        Ok(Self { tables: Arc::new(tables), rows: Arc::new(rows) })
    }

    /// A bias that is a function of head and distance (key − query) alone, for the rows between `offsets`: one table
    /// for every length there is.
    pub fn relative(heads: usize, offsets: &[usize], value: impl Fn(usize, isize) -> f32) -> Self {
        let mut tables = Vec::new();
        let mut known = HashMap::new();
        let rows = offsets.windows(2).map(|pair| {
            let len = pair[1].saturating_sub(pair[0]);
            *known.entry(len).or_insert_with(|| {
                tables.push(by_distance(heads, len, &value));
                tables.len() - 1
            })
        });
        let rows = rows.collect();
        Self { tables: Arc::new(tables), rows: Arc::new(rows) }
    }

    /// Whether `rows` rows of these lengths fit.
    pub(super) fn check(&self, heads: usize, lengths: impl ExactSizeIterator<Item = usize>) -> Result<(), Error> {
        if !self.rows.is_empty() && self.rows.len() != lengths.len() {
            return Err(Error::shape("bias", format!("tables of {} rows for {}", self.rows.len(), lengths.len())));
        }
        for (row, len) in lengths.enumerate() {
            let numbers = self.of_row(row).len();
            if len > 0 && numbers != heads * len * len {
                return Err(Error::shape("bias", format!("{numbers} numbers for {heads} × {len} × {len}")));
            }
        }
        Ok(())
    }

    /// The table of a row, heads × length × length; empty where there is none.
    pub(super) fn of_row(&self, row: usize) -> &[f32] {
        let table = if self.rows.is_empty() { Some(&0) } else { self.rows.get(row) };
        table.and_then(|&table| self.tables.get(table)).map_or(&[], Vec::as_slice)
    }
}

fn by_distance(heads: usize, len: usize, value: impl Fn(usize, isize) -> f32) -> Vec<f32> {
    let mut table = Vec::with_capacity(heads * len * len);
    for head in 0..heads {
        // Distances 1 − len … len − 1; a query's keys are `len` of them behind one another.
        let values: Vec<f32> =
            (0..(2 * len).saturating_sub(1)).map(|at| value(head, at as isize + 1 - len as isize)).collect();
        for query in 0..len {
            table.extend_from_slice(&values[len - 1 - query..][..len]);
        }
    }
    table
}

/// The bucket of a distance (key − query): half of the buckets for single distances, the others for ranges that grow
/// up to `max_distance`, as transformers' `T5Attention._relative_position_bucket` and `MPNetEncoder
/// .relative_position_bucket`. `both_ways`: keys behind the query have buckets of their own.
pub fn relative_bucket(distance: isize, buckets: usize, max_distance: usize, both_ways: bool) -> usize {
    let (buckets, first) = if both_ways { (buckets / 2, buckets / 2) } else { (buckets, 0) };
    let first = if both_ways && distance > 0 { first } else { 0 };
    let away = if both_ways || distance < 0 { distance.unsigned_abs() } else { 0 };
    let exact = buckets / 2;
    if away < exact {
        return first + away;
    }
    // In f32, in this order: which bucket a border's distance falls into hangs on the rounding.
    let growth = (away as f32 / exact.max(1) as f32).ln() / ((max_distance as f64 / exact.max(1) as f64).ln() as f32);
    let further = exact + (growth * buckets.saturating_sub(exact) as f32) as usize;
    first + further.min(buckets.saturating_sub(1))
}
