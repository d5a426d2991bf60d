//! The lasso's minimum by its active columns, those whose coefficient is not 0: their equations are solved directly, and
//! columns leave where a coefficient would change its sign and enter where what is left pulls by more than the penalty.
//! Each step lowers the objective, and there are finitely many choices of columns and signs.
//!
//! Lee, Battle, Raina and Ng, Efficient sparse coding algorithms, NIPS 2007 (feature-sign search), with columns that
//! depend on one another added: along such a direction the fit stays as it is, and the penalty is lowered until one of
//! the columns leaves.

use super::Lasso;

/// A pivot below this share of its column counts as zero: the column is a sum of the others.
const DEPENDENT: f64 = 1e-11;
/// What is left may exceed the penalty by this share, and by this share of the strongest pull.
const SLACK: f64 = 1e-9;
const ROUNDING: f64 = 1e-13;
/// Steps a column at most. A handful is usual; this ends what rounding keeps from ending.
const STEPS: usize = 20;

/// The minimum from `coefficients`, whose columns may depend on one another; false where it is not all the way there.
pub fn minimum<E>(
    lasso: &Lasso<'_>,
    coefficients: Vec<f64>,
    more: &dyn Fn() -> Result<bool, E>,
) -> Result<(Vec<f64>, bool), E> {
    let mut active = Active::of(lasso);
    for (column, &value) in coefficients.iter().enumerate().filter(|(_, value)| **value != 0.0) {
        if !active.step(more)? {
            return Ok((coefficients, false));
        }
        active.enter(column, value.signum(), value);
    }
    active.minimum(more)
}

/// The active columns, in the order they entered.
struct Active<'a> {
    lasso: &'a Lasso<'a>,
    columns: Vec<usize>,
    /// 1 or −1: on which side of 0 a coefficient stays until its column leaves.
    signs: Vec<f64>,
    values: Vec<f64>,
    /// Cholesky's factor of the columns' products, a row a column.
    factor: Vec<Vec<f64>>,
    /// Columns that pull and cannot move: rounding is all that is left of them.
    stuck: Vec<bool>,
    /// What is left may pull as much.
    bound: f64,
    steps: usize,
}

/// What a column is beside those that are active.
enum Beside {
    Independent(Vec<f64>),
    /// Itself less these multiples of them is nothing.
    Sum(Vec<f64>),
}

impl<'a> Active<'a> {
    fn of(lasso: &'a Lasso<'a>) -> Self {
        let strongest = lasso.pulls.iter().fold(0.0_f64, |most, pull| most.max(pull.abs()));
        Self {
            lasso,
            columns: Vec::new(),
            signs: Vec::new(),
            values: Vec::new(),
            factor: Vec::new(),
            stuck: vec![false; lasso.columns()],
            bound: lasso.penalty * (1.0 + SLACK) + ROUNDING * strongest,
            steps: 0,
        }
    }

    fn minimum<E>(mut self, more: &dyn Fn() -> Result<bool, E>) -> Result<(Vec<f64>, bool), E> {
        while self.settle(more)? {
            let mut left = self.lasso.left(&self.coefficients());
            self.columns.iter().for_each(|&column| left[column] = 0.0);
            let pulls = |column: &usize| left[*column].abs();
            let free = (0..left.len()).filter(|&column| !self.stuck[column]);
            match free.max_by(|a, b| pulls(a).total_cmp(&pulls(b))).filter(|column| pulls(column) > self.bound) {
                Some(column) => self.enter(column, left[column].signum(), 0.0),
                None => {
                    let settled = (0..left.len()).all(|column| pulls(&column) <= self.bound);
                    return Ok((self.coefficients(), settled));
                }
            }
        }
        Ok((self.coefficients(), false))
    }

    fn coefficients(&self) -> Vec<f64> {
        let mut all = vec![0.0; self.lasso.columns()];
        self.columns.iter().zip(&self.values).for_each(|(&column, &value)| all[column] = value);
        all
    }

    /// Counts a step; false where there may be no more.
    fn step<E>(&mut self, more: &dyn Fn() -> Result<bool, E>) -> Result<bool, E> {
        self.steps += 1;
        Ok(self.steps <= STEPS * (self.lasso.columns() + 1) && more()?)
    }

    /// Moves the active columns to the minimum that their signs allow; those that reach 0 on the way leave. False where
    /// the steps ended before.
    fn settle<E>(&mut self, more: &dyn Fn() -> Result<bool, E>) -> Result<bool, E> {
        let newest = self.columns.last().copied();
        loop {
            if !self.step(more)? {
                return Ok(false);
            }
            let aim = self.aim();
            // The share of the way at which a coefficient reaches 0.
            let reached = |index: usize| self.values[index] / (self.values[index] - aim[index]);
            let crosses = |index: &usize| aim[*index] * self.signs[*index] <= 0.0;
            let first = (0..aim.len()).filter(crosses).map(|index| (index, reached(index)));
            let Some((first, share)) = first.min_by(|a, b| a.1.total_cmp(&b.1)) else {
                self.values = aim;
                return Ok(true);
            };
            // What has just entered and would leave at once.
            if share <= 0.0 && newest == Some(self.columns[first]) {
                self.stuck[self.columns[first]] = true;
            }
            let share = share.clamp(0.0, 1.0);
            self.values.iter_mut().zip(&aim).for_each(|(value, aim)| *value += share * (aim - *value));
            self.leave(first);
        }
    }

    /// Where the objective is least with the signs as they are: products · aim = pulls − penalty · signs.
    fn aim(&self) -> Vec<f64> {
        let side = |(&column, sign): (&usize, &f64)| self.lasso.pulls[column] - self.lasso.penalty * sign;
        let mut aim: Vec<f64> = self.columns.iter().zip(&self.signs).map(side).collect();
        self.forward(&mut aim);
        self.back(&mut aim);
        aim
    }

    /// factor⁻¹ · `side`, in place.
    fn forward(&self, side: &mut [f64]) {
        for (index, row) in self.factor.iter().enumerate() {
            let known: f64 = row[..index].iter().zip(&side[..index]).map(|(factor, known)| factor * known).sum();
            side[index] = (side[index] - known) / row[index];
        }
    }

    /// factor⁻ᵀ · `side`, in place.
    fn back(&self, side: &mut [f64]) {
        for (index, row) in self.factor.iter().enumerate().rev() {
            side[index] /= row[index];
            let known = side[index];
            side[..index].iter_mut().zip(&row[..index]).for_each(|(side, factor)| *side -= factor * known);
        }
    }

    /// The factor's row of `column` behind those there are, or of what it is the sum.
    fn beside(&self, column: usize) -> Beside {
        let own = self.lasso.products[(column, column)];
        let mut row: Vec<f64> = self.columns.iter().map(|&known| self.lasso.products[(known, column)]).collect();
        self.forward(&mut row);
        let pivot = own - row.iter().map(|number| number * number).sum::<f64>();
        if pivot > DEPENDENT * own {
            row.push(pivot.sqrt());
            return Beside::Independent(row);
        }
        self.back(&mut row);
        Beside::Sum(row)
    }

    /// `column` joins at `value`. Where it is a sum of the others, it and they move, the fit unchanged, until the first
    /// of them is 0, which then leaves.
    fn enter(&mut self, column: usize, sign: f64, mut value: f64) {
        loop {
            let parts = match self.beside(column) {
                Beside::Independent(row) => {
                    self.factor.push(row);
                    self.columns.push(column);
                    self.signs.push(sign);
                    self.values.push(value);
                    return;
                }
                Beside::Sum(parts) => parts,
            };
            // Where the column moves to its side by 1, the others move by −sign · part.
            let away: f64 = self.signs.iter().zip(&parts).map(|(other, part)| other * part).sum();
            let towards = if value == 0.0 || sign * away >= 1.0 { sign } else { -sign };
            let moves = |index: usize| -towards * parts[index];
            let shrinks = |index: &usize| moves(*index) * self.signs[*index] < 0.0;
            let reached = (0..parts.len()).filter(shrinks).map(|index| (index, -self.values[index] / moves(index)));
            let first = reached.min_by(|a, b| a.1.total_cmp(&b.1));
            // The column itself shrinks where it moves away from its side.
            let own = if towards == sign { f64::INFINITY } else { value.abs() };
            let length = first.map_or(own, |(_, length)| length.min(own)).max(0.0);
            if length.is_infinite() {
                self.stuck[column] = true;
                return;
            }
            self.values.iter_mut().zip(&parts).for_each(|(value, part)| *value -= length * towards * part);
            value += length * towards;
            match first.filter(|(_, length)| *length < own) {
                Some((first, _)) => self.leave(first),
                None => return,
            }
        }
    }

    /// The column at `place` is out; the factor is made again from there.
    fn leave(&mut self, place: usize) {
        self.columns.remove(place);
        self.signs.remove(place);
        self.values.remove(place);
        self.factor.truncate(place);
        let behind: Vec<usize> = self.columns.split_off(place);
        let (signs, values) = (self.signs.split_off(place), self.values.split_off(place));
        for ((column, sign), value) in behind.into_iter().zip(signs).zip(values) {
            match self.beside(column) {
                Beside::Independent(row) => {
                    self.factor.push(row);
                    self.columns.push(column);
                    self.signs.push(sign);
                    self.values.push(value);
                }
                // One fewer column cannot make another dependent; rounding can say so, and then it enters anew.
                Beside::Sum(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use faer::Mat;

    use super::*;

    /// From `from`, which need not be near.
    fn found(products: &Mat<f64>, pulls: &[f64], penalty: f64, from: Vec<f64>) -> Vec<f64> {
        let lasso = Lasso { products, pulls, penalty };
        let (found, settled) = minimum::<()>(&lasso, from, &|| Ok(true)).unwrap();
        assert!(settled);
        // The conditions of the minimum: what is left pulls by the penalty where a coefficient is, else by no more.
        for (column, (left, one)) in lasso.left(&found).iter().zip(&found).enumerate() {
            let holds =
                if *one == 0.0 { left.abs() <= penalty + 1e-12 } else { (left - penalty * one.signum()).abs() < 1e-12 };
            assert!(holds, "{column}: {left} at {one}");
        }
        found
    }

    #[test]
    fn columns_by_themselves_lose_the_penalty() {
        let products = Mat::<f64>::identity(3, 3);
        let found = found(&products, &[2.0, -0.5, 0.05], 0.1, vec![0.0, 1.0, 1.0]);
        assert!((found[0] - 1.9).abs() < 1e-12 && (found[1] + 0.4).abs() < 1e-12 && found[2] == 0.0, "{found:?}");
    }

    /// Two that are the same share one coefficient: the second leaves, whichever it had.
    #[test]
    fn columns_that_are_the_same_keep_one() {
        let products = Mat::from_fn(3, 3, |i, j| f64::from(u8::from(i == j || i + j == 1)));
        let found = found(&products, &[1.0, 1.0, 0.0], 0.25, vec![0.5, 0.5, 0.0]);
        assert_eq!(found.iter().filter(|one| **one != 0.0).count(), 1);
        assert!((found.iter().sum::<f64>() - 0.75).abs() < 1e-12, "{found:?}");
    }

    /// The third column is a share of the others' sum, so that all three depend on one another; the way there goes along
    /// that direction.
    #[test]
    fn columns_that_depend_on_one_another_lose_one() {
        let columns = [[1.0, 0.0], [0.0, 1.0], [0.4, 0.4]];
        let dot = |i: usize, j: usize| columns[i][0] * columns[j][0] + columns[i][1] * columns[j][1];
        let products = Mat::from_fn(3, 3, dot);
        let pulls: Vec<f64> = (0..3).map(|i| columns[i][0] + 0.8 * columns[i][1]).collect();
        for from in [vec![0.3, 0.3, 0.3], vec![0.0, 0.0, 1.0], vec![-1.0, -1.0, 3.0], vec![0.0; 3]] {
            let found = found(&products, &pulls, 0.05, from);
            // What the third says of both, the plain ones say at a lower price.
            assert!((found[0] - 0.95).abs() < 1e-12 && (found[1] - 0.75).abs() < 1e-12, "{found:?}");
        }
    }
}
