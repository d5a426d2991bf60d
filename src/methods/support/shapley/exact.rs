//! Values of all coalitions: Shapley values and pairwise interactions by their definitions.

use super::super::game::Game;
use crate::input::units::Mask;
use crate::methods::Error;

/// More players than these are never laid out as a table.
const MOST: usize = 20;

/// The coalition that a pattern of bits names.
pub fn coalition(pattern: usize, players: usize) -> Mask {
    let mut mask = Mask::empty(players);
    (0..players).filter(|player| pattern >> player & 1 == 1).for_each(|player| mask.set(player, true));
    mask
}

/// The worth of every coalition by its pattern; `None` where one was not evaluated.
///
/// # Errors
/// None: what is missing is no error.
pub fn table(game: &Game<'_>, target: usize) -> Result<Option<Vec<f64>>, Error> {
    let players = game.players();
    if players > MOST || game.evaluations() < 1 << players {
        return Ok(None);
    }
    let values = (0..1_usize << players).map(|pattern| game.value(target, &coalition(pattern, players)));
    values.collect::<Result<Vec<f64>, Error>>().map(Some)
}

/// φ_i = Σ_{S ∌ i} |S|! (n − |S| − 1)! / n! · (v(S ∪ i) − v(S)), for a table over 2^n patterns.
pub fn values(table: &[f64], players: usize) -> Vec<f64> {
    // |S|! (n − |S| − 1)! / n! = 1 / (n · C(n − 1, |S|))
    let weights: Vec<f64> = (0..players).map(|size| 1.0 / (players as f64 * choose(players - 1, size))).collect();
    let value = |player: usize| {
        let bit = 1 << player;
        let without = (0..table.len()).filter(|pattern| pattern & bit == 0);
        without.map(|s| weights[s.count_ones() as usize] * (table[s | bit] - table[s])).sum()
    };
    (0..players).map(value).collect()
}

/// The Shapley interaction index of every pair, players × players:
/// I_ij = Σ_{S ∌ i,j} |S|! (n − |S| − 2)! / (n − 1)! · (v(S ∪ ij) − v(S ∪ i) − v(S ∪ j) + v(S)). The diagonal holds
/// what is left of each player's value: φ_i − ½ Σ_j I_ij.
pub fn interactions(table: &[f64], players: usize, values: &[f64]) -> Vec<f64> {
    let weights: Vec<f64> =
        (0..players.saturating_sub(1)).map(|size| 1.0 / ((players - 1) as f64 * choose(players - 2, size))).collect();
    let mut matrix = vec![0.0; players * players];
    for i in 0..players {
        for j in i + 1..players {
            let (a, b) = (1 << i, 1 << j);
            let without = (0..table.len()).filter(|pattern| pattern & (a | b) == 0);
            let gain = |s: usize| table[s | a | b] - table[s | a] - table[s | b] + table[s];
            let index: f64 = without.map(|s| weights[s.count_ones() as usize] * gain(s)).sum();
            matrix[i * players + j] = index;
            matrix[j * players + i] = index;
        }
    }
    for (player, value) in values.iter().enumerate() {
        let row = player * players..(player + 1) * players;
        matrix[player * players + player] = value - 0.5 * matrix[row].iter().sum::<f64>();
    }
    matrix
}

/// n over k.
pub fn choose(n: usize, k: usize) -> f64 {
    let k = k.min(n - k.min(n));
    (0..k).fold(1.0, |product, i| product * (n - i) as f64 / (i + 1) as f64)
}

#[cfg(test)]
mod tests {
    use super::super::oracle;
    use super::*;

    #[test]
    fn values_are_the_mean_over_all_orders() {
        for players in 1..=6 {
            let table = oracle::irregular(players);
            let (found, expected) = (values(&table, players), oracle::shapley(&table, players));
            for (found, expected) in found.iter().zip(&expected) {
                assert!((found - expected).abs() < 1e-12);
            }
        }
    }

    /// v = 2·z₀ + 3·z₀z₁ − z₀z₁z₂: I₀₁ = 3 − ½, I₀₂ = I₁₂ = −½.
    #[test]
    fn interactions_of_a_polynomial() {
        let worth = |pattern: usize| {
            let z = |player: usize| (pattern >> player & 1) as f64;
            2.0 * z(0) + 3.0 * z(0) * z(1) - z(0) * z(1) * z(2)
        };
        let table: Vec<f64> = (0..8).map(worth).collect();
        let values = values(&table, 3);
        let matrix = interactions(&table, 3, &values);
        for (pair, expected) in [((0, 1), 2.5), ((0, 2), -0.5), ((1, 2), -0.5)] {
            assert!((matrix[pair.0 * 3 + pair.1] - expected).abs() < 1e-12);
            assert_eq!(matrix[pair.0 * 3 + pair.1], matrix[pair.1 * 3 + pair.0]);
        }
        for player in 0..3 {
            let others: f64 = (0..3).filter(|&other| other != player).map(|other| matrix[player * 3 + other]).sum();
            assert!((matrix[player * 4] + 0.5 * others - values[player]).abs() < 1e-12);
        }
    }

    #[test]
    fn one_player_interacts_with_nobody() {
        assert_eq!(interactions(&[1.0, 3.5], 1, &[2.5]), [2.5]);
    }

    #[test]
    fn binomials() {
        assert_eq!((choose(5, 2), choose(5, 5), choose(0, 0), choose(12, 6)), (10.0, 1.0, 1.0, 924.0));
        assert!(choose(500, 250).is_finite());
    }
}
