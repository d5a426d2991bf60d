//! Tables of relative positions on a grid, as BEiT and Swin have them, laid out as attention's score bias.

/// heads × length × length (query, key) from `table` (an entry of `heads` numbers for every difference of rows and
/// columns, the first being −(rows − 1), −(cols − 1)). With `class` a token stands before the grid, and three entries
/// behind the others say what it adds to a patch's score, a patch to its, and it to its own.
pub fn spread(table: &[f32], heads: usize, (rows, cols): (usize, usize), class: bool) -> Vec<f32> {
    let before = usize::from(class);
    let length = rows * cols + before;
    let differences = (2 * rows - 1) * (2 * cols - 1);
    let entry = |query: usize, key: usize| match (query.checked_sub(before), key.checked_sub(before)) {
        (Some(query), Some(key)) => {
            let down = query / cols + rows - 1 - key / cols;
            let across = query % cols + cols - 1 - key % cols;
            down * (2 * cols - 1) + across
        }
        (None, Some(_)) => differences,
        (Some(_), None) => differences + 1,
        (None, None) => differences + 2,
    };
    let mut out = Vec::with_capacity(heads * length * length);
    for head in 0..heads {
        for query in 0..length {
            out.extend((0..length).map(|key| table[entry(query, key) * heads + head]));
        }
    }
    out
}

/// Entries of a table for such a grid.
pub fn entries((rows, cols): (usize, usize), class: bool) -> usize {
    (2 * rows - 1) * (2 * cols - 1) + if class { 3 } else { 0 }
}
