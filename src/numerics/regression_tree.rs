//! A small regression tree over zeros and ones with weights: CART with squared error, as scikit-learn's
//! `DecisionTreeRegressor` with `max_depth` and `min_weight_fraction_leaf` grows it.
//!
//! Of equal splits the lowest column is taken, so equal arguments give equal trees; scikit-learn draws one. No crate
//! grows regression trees with weights over rows: smartcore takes none, linfa-trees classifies only.

/// What share of the root's variance a split must explain: less is rounding.
const LEAST_GAIN: f64 = 1e-12;

/// Gains that differ by less than this share are equal: their sums ran in another order.
const EQUAL: f64 = 1e-10;

/// Rows of zeros and ones, each with a weight and a value.
pub struct Samples<'a> {
    pub rows: usize,
    pub columns: usize,
    /// Whether column c of row r is one.
    pub one: &'a dyn Fn(usize, usize) -> bool,
    pub weights: &'a [f64],
    pub values: &'a [f64],
}

/// A node of a tree.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    Split {
        column: usize,
        /// What the split takes off Σ weight · (value − mean)².
        gain: f64,
        zero: Box<Node>,
        one: Box<Node>,
    },
    Leaf {
        mean: f64,
        /// Σ weight.
        mass: f64,
    },
}

/// A grown tree.
#[derive(Debug, Clone, PartialEq)]
pub struct Tree {
    pub root: Node,
    /// Σ weight · (value − mean)² over all rows.
    pub spread: f64,
}

impl Node {
    /// Σ weight and the mean of what is below.
    pub fn mean(&self) -> (f64, f64) {
        match self {
            Self::Leaf { mean, mass } => (*mass, *mean),
            Self::Split { zero, one, .. } => {
                let ((left, zero), (right, one)) = (zero.mean(), one.mean());
                (left + right, (left * zero + right * one) / (left + right))
            }
        }
    }
}

/// Grows a tree of at most `depth` splits one below another; every leaf has at least `least` of all weight (of 1).
/// Rows of no weight do not count. `None` where no row has any. `go_on` is asked before each column of each split.
///
/// # Errors
/// Those of `go_on`.
pub fn grow<E>(
    samples: &Samples<'_>,
    depth: usize,
    least: f64,
    go_on: &dyn Fn() -> Result<(), E>,
) -> Result<Option<Tree>, E> {
    let rows: Vec<usize> = (0..samples.rows).filter(|&row| samples.weights[row] > 0.0).collect();
    let total: f64 = rows.iter().map(|&row| samples.weights[row]).sum();
    if rows.is_empty() || !total.is_finite() {
        return Ok(None);
    }
    let (_, spread) = moments(samples, &rows);
    let grower = Grower { samples, least: least * total, gain: LEAST_GAIN * spread, go_on };
    Ok(Some(Tree { root: grower.node(&rows, depth)?, spread }))
}

/// Σ weight · (value − mean)² with the mean.
fn moments(samples: &Samples<'_>, rows: &[usize]) -> (f64, f64) {
    let mass: f64 = rows.iter().map(|&row| samples.weights[row]).sum();
    let mean = rows.iter().map(|&row| samples.weights[row] * samples.values[row]).sum::<f64>() / mass;
    let spread = rows.iter().map(|&row| samples.weights[row] * (samples.values[row] - mean).powi(2)).sum();
    (mean, spread)
}

struct Grower<'a, E> {
    samples: &'a Samples<'a>,
    go_on: &'a dyn Fn() -> Result<(), E>,
    /// Least weight of a leaf.
    least: f64,
    /// Least gain of a split.
    gain: f64,
}

impl<E> Grower<'_, E> {
    fn node(&self, rows: &[usize], depth: usize) -> Result<Node, E> {
        let (mean, spread) = moments(self.samples, rows);
        let leaf = || Node::Leaf { mean, mass: rows.iter().map(|&row| self.samples.weights[row]).sum() };
        if depth == 0 || spread <= self.gain {
            return Ok(leaf());
        }
        let mut best: Option<(f64, usize)> = None;
        for column in 0..self.samples.columns {
            (self.go_on)()?;
            let gain = self.gain_of(rows, column, mean);
            if gain > best.map_or(self.gain, |(gain, _)| gain * (1.0 + EQUAL)) {
                best = Some((gain, column));
            }
        }
        let Some((gain, column)) = best else { return Ok(leaf()) };
        let (ones, zeros): (Vec<usize>, Vec<usize>) = rows.iter().partition(|&&row| (self.samples.one)(row, column));
        let (zero, one) = (self.node(&zeros, depth - 1)?, self.node(&ones, depth - 1)?);
        Ok(Node::Split { column, gain, zero: Box::new(zero), one: Box::new(one) })
    }

    /// What splitting `rows` at `column` explains; 0 where a side has too little weight. Values are taken from `mean`,
    /// so that large ones lose nothing: gain = Σ side's (Σ w·(y − mean))² / Σ w.
    fn gain_of(&self, rows: &[usize], column: usize, mean: f64) -> f64 {
        let (mut mass, mut sum) = ([0.0; 2], [0.0; 2]);
        for &row in rows {
            let side = usize::from((self.samples.one)(row, column));
            mass[side] += self.samples.weights[row];
            sum[side] += self.samples.weights[row] * (self.samples.values[row] - mean);
        }
        if mass.iter().any(|&mass| mass <= 0.0 || mass < self.least) {
            return 0.0;
        }
        (0..2).map(|side| sum[side] * sum[side] / mass[side]).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::convert::Infallible;

    use super::*;

    /// All masks of `columns` columns, row r being its binary digits.
    fn all(
        columns: usize,
        value: impl Fn(usize) -> f64,
        weight: impl Fn(usize) -> f64,
        depth: usize,
        least: f64,
    ) -> Tree {
        let rows = 1 << columns;
        let values: Vec<f64> = (0..rows).map(value).collect();
        let weights: Vec<f64> = (0..rows).map(weight).collect();
        let one = |row: usize, column: usize| row >> column & 1 == 1;
        let samples = Samples { rows, columns, one: &one, weights: &weights, values: &values };
        grow(&samples, depth, least, &|| Ok::<(), Infallible>(())).unwrap().unwrap()
    }

    fn gains(node: &Node) -> f64 {
        match node {
            Node::Leaf { .. } => 0.0,
            Node::Split { gain, zero, one, .. } => gain + gains(zero) + gains(one),
        }
    }

    #[test]
    fn an_and_is_found_whole() {
        let tree = all(4, |row| f64::from(u8::from(row & 0b101 == 0b101)), |_| 1.0, 3, 0.0);
        assert!((gains(&tree.root) - tree.spread).abs() < 1e-12);
        let Node::Split { column: 0, zero, one, .. } = &tree.root else { panic!("{tree:?}") };
        assert_eq!(**zero, Node::Leaf { mean: 0.0, mass: 8.0 });
        let Node::Split { column: 2, zero, one, .. } = &**one else { panic!("{one:?}") };
        assert_eq!((zero.mean(), one.mean()), ((4.0, 0.0), (4.0, 1.0)));
    }

    #[test]
    fn leaves_have_their_least_weight() {
        // The AND's second split would leave a quarter of the weight on each side.
        let value = |row: usize| f64::from(u8::from(row & 0b101 == 0b101));
        let tree = all(4, value, |_| 1.0, 3, 0.3);
        let Node::Split { zero, one, .. } = &tree.root else { panic!("{tree:?}") };
        assert!(matches!((&**zero, &**one), (Node::Leaf { .. }, Node::Leaf { .. })));
        assert!(matches!(all(4, value, |_| 1.0, 3, 0.6).root, Node::Leaf { .. }));
    }

    #[test]
    fn nothing_to_explain_is_a_leaf() {
        assert_eq!(all(3, |_| 2.5, |_| 1.0, 3, 0.0).root, Node::Leaf { mean: 2.5, mass: 8.0 });
        assert!(matches!(all(3, |row| row as f64, |_| 1.0, 0, 0.0).root, Node::Leaf { .. }));
        let one = |_: usize, _: usize| true;
        let samples = Samples { rows: 1, columns: 1, one: &one, weights: &[0.0], values: &[1.0] };
        assert_eq!(grow(&samples, 3, 0.0, &|| Ok::<(), Infallible>(())), Ok(None));
    }

    #[test]
    fn who_may_not_go_on_stops_at_the_next_column() {
        let asked = Cell::new(0);
        let one = |row: usize, column: usize| row >> column & 1 == 1;
        let values: Vec<f64> = (0..16).map(f64::from).collect();
        let samples = Samples { rows: 16, columns: 4, one: &one, weights: &[1.0; 16], values: &values };
        let until = |most: usize| {
            asked.set(0);
            grow(&samples, 2, 0.0, &|| {
                asked.set(asked.get() + 1);
                if asked.get() > most { Err("the deadline") } else { Ok(()) }
            })
        };
        assert!(until(12).unwrap().is_some(), "three splits look at four columns each");
        assert_eq!((until(5), asked.get()), (Err("the deadline"), 6));
    }

    proptest::proptest! {
        /// What the splits take off the spread is what the leaves leave of it.
        #[test]
        fn gains_add_up(values in proptest::collection::vec(-5.0_f64..5.0, 16), weights in proptest::collection::vec(0.0_f64..2.0, 16)) {
            proptest::prop_assume!(weights.iter().sum::<f64>() > 0.1);
            let tree = all(4, |row| values[row], |row| weights[row], 3, 0.0);
            let mut left = 0.0;
            for row in 0..16 {
                let mut node = &tree.root;
                while let Node::Split { column, zero, one, .. } = node {
                    node = if row >> column & 1 == 1 { one } else { zero };
                }
                left += weights[row] * (values[row] - node.mean().1).powi(2);
            }
            proptest::prop_assert!((tree.spread - gains(&tree.root) - left).abs() < 1e-9);
        }
    }
}
