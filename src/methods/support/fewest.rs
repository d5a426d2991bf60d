//! The fewest changes that reach a goal: sizes in full while the budget lasts, which proves that there are no fewer, then
//! a beam, whose find loses what it does not need.
//!
//! A change is one of a place's options. Nothing here knows what it does to the input.

use std::collections::HashSet;

use super::goal::Reached;
use crate::methods::Error;

/// Changes at different places: (place, option), ascending.
pub type Changes = Vec<(usize, usize)>;

/// Tries sets of changes.
pub trait Attempt {
    /// What each set reaches, in order; `None` where the deadline passed before.
    fn attempt(&mut self, sets: &[Changes]) -> Result<Option<Vec<Reached>>, Error>;
    /// How many sets may still be tried.
    fn left(&self) -> usize;
    /// What a set costs beside its size: the least is preferred.
    fn cost(&self, changes: &Changes) -> f64;
}

/// What a search found.
#[derive(Debug, Clone, PartialEq)]
pub struct Fewest {
    pub changes: Changes,
    /// All smaller sets were tried.
    pub minimal: bool,
}

/// Searches sets of 1 to `most` changes; place p has `options[p]`. `None`: nothing found.
pub fn search(
    options: &[usize],
    most: usize,
    beam: usize,
    attempts: &mut dyn Attempt,
) -> Result<Option<Fewest>, Error> {
    let sizes = counts(options);
    let (mut complete, mut exhausted) = (true, 0);
    let mut best: Vec<Changes> = vec![Changes::new()];
    for size in 1..=most.min(options.len()) {
        complete = complete && sizes.get(size).is_some_and(|&count| count <= attempts.left());
        let mut sets = if complete { all(options, size) } else { extended(&best, options, attempts.left()) };
        sets.truncate(attempts.left());
        if sets.is_empty() {
            return Ok(None);
        }
        let Some(reached) = attempts.attempt(&sets)? else { return Ok(None) };
        let mut tried: Vec<(Changes, Reached)> = sets.into_iter().zip(reached).collect();
        tried.sort_by(|(a, of_a), (b, of_b)| {
            let cost = |set: &Changes| if of_a.reached && of_b.reached { attempts.cost(set) } else { 0.0 };
            let by_cost = cost(a).total_cmp(&cost(b));
            of_b.reached.cmp(&of_a.reached).then(by_cost).then(of_b.nearness.total_cmp(&of_a.nearness))
        });
        if let Some((changes, _)) = tried.first().filter(|(_, reached)| reached.reached) {
            let changes = if complete { changes.clone() } else { pruned(changes.clone(), attempts)? };
            return Ok(Some(Fewest { minimal: changes.len() <= exhausted + 1, changes }));
        }
        exhausted = if complete { size } else { exhausted };
        best = tried.into_iter().take(beam).map(|(changes, _)| changes).collect();
    }
    Ok(None)
}

/// How many sets of each size there are.
fn counts(options: &[usize]) -> Vec<usize> {
    let mut counts = vec![0_usize; options.len() + 1];
    counts[0] = 1;
    for (place, &options) in options.iter().enumerate() {
        for size in (0..=place).rev() {
            counts[size + 1] = counts[size + 1].saturating_add(counts[size].saturating_mul(options));
        }
    }
    counts
}

/// All sets of `size` changes.
fn all(options: &[usize], size: usize) -> Vec<Changes> {
    let mut sets = vec![Changes::new()];
    for taken in 0..size {
        let mut longer = Vec::new();
        for set in &sets {
            let next = set.last().map_or(0, |(place, _)| place + 1);
            // Places enough must be left for what is still to come.
            let last = options.len() - (size - taken);
            for (place, &options) in options.iter().enumerate().take(last + 1).skip(next) {
                for option in 0..options {
                    let mut set = set.clone();
                    set.push((place, option));
                    longer.push(set);
                }
            }
        }
        sets = longer;
    }
    sets
}

/// Each set with one change more, none twice: at most `limit`, those of the first sets first.
fn extended(sets: &[Changes], options: &[usize], limit: usize) -> Vec<Changes> {
    let (mut longer, mut known) = (Vec::new(), HashSet::new());
    for set in sets {
        let free = (0..options.len()).filter(|place| set.iter().all(|(taken, _)| taken != place));
        for change in free.flat_map(|place| (0..options[place]).map(move |option| (place, option))) {
            if longer.len() == limit {
                return longer;
            }
            let mut set = set.clone();
            set.push(change);
            set.sort_unstable();
            if known.insert(set.clone()) {
                longer.push(set);
            }
        }
    }
    longer
}

/// Without the changes that the goal does not need, as far as they can still be tried.
pub fn pruned(mut changes: Changes, attempts: &mut dyn Attempt) -> Result<Changes, Error> {
    let mut index = 0;
    while changes.len() > 1 && index < changes.len() && attempts.left() > 0 {
        let mut fewer = changes.clone();
        fewer.remove(index);
        match attempts.attempt(std::slice::from_ref(&fewer))?.as_deref() {
            Some([Reached { reached: true, .. }]) => changes = fewer,
            Some(_) => index += 1,
            None => break,
        }
    }
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A goal that sums of options' weights reach at 1.
    struct Weights {
        weights: Vec<Vec<f64>>,
        left: usize,
    }

    impl Attempt for Weights {
        fn attempt(&mut self, sets: &[Changes]) -> Result<Option<Vec<Reached>>, Error> {
            self.left -= sets.len();
            let sum = |set: &Changes| set.iter().map(|&(place, option)| self.weights[place][option]).sum::<f64>();
            Ok(Some(sets.iter().map(sum).map(|sum| Reached { reached: sum >= 1.0, nearness: sum }).collect()))
        }
        fn left(&self) -> usize {
            self.left
        }
        fn cost(&self, changes: &Changes) -> f64 {
            changes.iter().map(|&(_, option)| option as f64).sum()
        }
    }

    fn found(weights: &[&[f64]], budget: usize, beam: usize) -> Option<Fewest> {
        let weights: Vec<Vec<f64>> = weights.iter().map(|options| options.to_vec()).collect();
        let options: Vec<usize> = weights.iter().map(Vec::len).collect();
        search(&options, usize::MAX, beam, &mut Weights { weights, left: budget }).unwrap()
    }

    #[test]
    fn the_fewest_are_found_and_known_to_be() {
        let weights: &[&[f64]] = &[&[0.4], &[0.5], &[0.3], &[0.6], &[-2.0]];
        assert_eq!(found(weights, 1000, 2), Some(Fewest { changes: vec![(1, 0), (3, 0)], minimal: true }));
        assert_eq!(found(&[&[0.2], &[0.3]], 1000, 2), None);
        assert_eq!(found(&[], 1000, 2), None);
    }

    #[test]
    fn of_equal_size_the_cheapest() {
        let weights: &[&[f64]] = &[&[0.4, 1.5], &[1.2, 3.0]];
        assert_eq!(found(weights, 1000, 2), Some(Fewest { changes: vec![(1, 0)], minimal: true }));
    }

    #[test]
    fn a_beam_goes_on_where_the_budget_ends_and_prunes() {
        let weights: &[&[f64]] = &[&[0.3], &[0.3], &[0.3], &[0.3], &[0.1], &[0.0]];
        // Six sets of one, of fifteen pairs there is no room for all.
        let found = found(weights, 20, 1).unwrap();
        assert_eq!((found.changes.len(), found.minimal), (4, false));
        // All of one were tried, so two are the fewest, though not all pairs were.
        let found = self::found(&[&[0.6], &[0.5], &[0.1], &[0.1], &[0.1], &[0.1]], 12, 1).unwrap();
        assert_eq!(found, Fewest { changes: vec![(0, 0), (1, 0)], minimal: true });
    }

    #[test]
    fn sets_are_counted_as_they_are_made() {
        let options = [2, 1, 3, 2];
        let counts = counts(&options);
        for (size, &count) in counts.iter().enumerate() {
            assert_eq!(all(&options, size).len(), count, "{size}");
        }
        assert_eq!(extended(&all(&options, 1), &options, 99).len(), counts[2]);
        assert_eq!(extended(&all(&options, 1), &options, 3).len(), 3);
    }
}
