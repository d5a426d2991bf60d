//! Owen values: the output's change shared out from group to part, each split by exact Shapley values of its parts in
//! every context that the groups above leave.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashSet};

use super::hierarchy::Tree;
use crate::input::units::Mask;
use crate::methods::Error;
use crate::methods::support::game::Game;
use crate::methods::support::shapley::exact::choose;

/// Groups split at once, so that forwards are full.
const AT_ONCE: usize = 16;

/// One target's values.
#[derive(Debug, Clone)]
pub struct Owen {
    /// One a unit; they add up to the output's change.
    pub scores: Vec<f64>,
    /// Distinct masks, the two ends included.
    pub evaluations: usize,
    /// Contexts of groups that the budget left unsplit: their share is spread evenly over their units.
    pub unsplit: usize,
    pub partial: bool,
}

/// A group in one context: what its units, present together, add to it.
#[derive(Clone)]
struct Open {
    node: usize,
    context: Mask,
    /// Worth of the context alone and with the whole group.
    without: f64,
    with: f64,
    weight: f64,
    /// Of equal ones the first is split first.
    number: usize,
}

impl Open {
    fn size(&self) -> f64 {
        (self.with - self.without).abs() * self.weight
    }
}

impl Ord for Open {
    fn cmp(&self, other: &Self) -> Ordering {
        self.size().total_cmp(&other.size()).then(other.number.cmp(&self.number))
    }
}
impl PartialOrd for Open {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for Open {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Open {}

/// Is shown what there is after groups were split, where more are to be.
pub type Refined<'a> = &'a dyn Fn(&Game<'_>, Owen) -> Result<(), Error>;

/// What is known of a target before any group is split: each unit has the same share.
///
/// # Errors
/// None, after [`Game::new`].
pub fn unsplit(game: &Game<'_>, tree: &Tree, target: usize) -> Result<Owen, Error> {
    Ok(Split::new(game, tree, target)?.end(false))
}

/// The values of one target within `evaluations` masks of its own: groups with the largest share are split first.
///
/// # Errors
/// The model failed or had to stop.
pub fn owen(
    game: &mut Game<'_>,
    tree: &Tree,
    target: usize,
    evaluations: usize,
    refined: Option<Refined<'_>>,
) -> Result<Owen, Error> {
    let mut split = Split::new(game, tree, target)?;
    let mut partial = false;
    while !split.open.is_empty() {
        let (chosen, masks) = split.choose(evaluations);
        if chosen.is_empty() {
            break;
        }
        partial = !game.evaluate_in_time(masks)? || !game.in_time()?;
        if partial {
            split.open.extend(chosen);
            break;
        }
        for group in chosen {
            split.part(game, group)?;
        }
        if let (Some(refined), false) = (refined, split.open.is_empty()) {
            refined(game, split.clone().end(false))?;
        }
    }
    Ok(split.end(partial))
}

#[derive(Clone)]
struct Split<'a> {
    tree: &'a Tree,
    target: usize,
    /// The output's change.
    change: f64,
    scores: Vec<f64>,
    open: BinaryHeap<Open>,
    /// Masks that this target needed, shared with others or not.
    used: HashSet<Mask>,
    numbers: usize,
}

impl<'a> Split<'a> {
    fn new(game: &Game<'_>, tree: &'a Tree, target: usize) -> Result<Self, Error> {
        let (without, with) = game.ends(target)?;
        let root = Open { node: tree.root(), context: game.empty(), without, with, weight: 1.0, number: 0 };
        let mut split = Self {
            tree,
            target,
            change: with - without,
            scores: vec![0.0; game.players()],
            open: BinaryHeap::new(),
            used: [game.empty(), game.full()].into_iter().collect(),
            numbers: 1,
        };
        split.take(root);
        Ok(split)
    }

    /// The values, where nothing more is split.
    fn end(mut self, partial: bool) -> Owen {
        let unsplit = self.open.len();
        self.spread();
        let drift = (self.change - self.scores.iter().sum::<f64>()) / self.scores.len() as f64;
        self.scores.iter_mut().for_each(|score| *score += drift);
        Owen { scores: self.scores, evaluations: self.used.len(), unsplit, partial }
    }

    /// A unit has its share; a group waits to be split.
    fn take(&mut self, group: Open) {
        match self.tree.nodes[group.node].units.as_slice() {
            &[unit] => self.scores[unit] += group.weight * (group.with - group.without),
            _ => self.open.push(group),
        }
    }

    /// The next groups, and the masks they need, that the budget allows.
    fn choose(&mut self, evaluations: usize) -> (Vec<Open>, Vec<Mask>) {
        let (mut chosen, mut masks) = (Vec::new(), Vec::new());
        while chosen.len() < AT_ONCE {
            let Some(group) = self.open.pop() else { break };
            let own = self.coalitions(&group);
            let new: HashSet<&Mask> = own.iter().filter(|mask| !self.used.contains(*mask)).collect();
            if self.used.len() + new.len() > evaluations {
                self.open.push(group);
                break;
            }
            self.used.extend(own.iter().cloned());
            masks.extend(own);
            chosen.push(group);
        }
        (chosen, masks)
    }

    /// The context with every choice of the group's parts, by the pattern of its bits.
    fn coalitions(&self, group: &Open) -> Vec<Mask> {
        let parts = &self.tree.nodes[group.node].parts;
        let mask = |pattern: usize| {
            let mut mask = group.context.clone();
            let present = parts.iter().enumerate().filter(|(index, _)| pattern >> index & 1 == 1);
            for &unit in present.flat_map(|(_, &part)| &self.tree.nodes[part].units) {
                mask.set(unit, true);
            }
            mask
        };
        (0..1_usize << parts.len()).map(mask).collect()
    }

    /// Shares a group out: each part's gain in every context that the other parts leave, with Shapley's weight.
    fn part(&mut self, game: &Game<'_>, group: Open) -> Result<(), Error> {
        let coalitions = self.coalitions(&group);
        let values: Vec<f64> =
            coalitions.iter().map(|mask| game.value(self.target, mask)).collect::<Result<_, Error>>()?;
        let parts = self.tree.nodes[group.node].parts.clone();
        let weights: Vec<f64> =
            (0..parts.len()).map(|size| 1.0 / (parts.len() as f64 * choose(parts.len() - 1, size))).collect();
        for (index, &node) in parts.iter().enumerate() {
            for (pattern, context) in coalitions.iter().enumerate().filter(|(pattern, _)| pattern >> index & 1 == 0) {
                let weight = group.weight * weights[pattern.count_ones() as usize];
                let (without, with) = (values[pattern], values[pattern | 1 << index]);
                self.numbers += 1;
                self.take(Open { node, context: context.clone(), without, with, weight, number: self.numbers });
            }
        }
        Ok(())
    }

    /// What is left unsplit goes to its units in equal parts.
    fn spread(&mut self) {
        let mut left = std::mem::take(&mut self.open).into_vec();
        left.sort_by_key(|group| group.number);
        for group in left {
            let units = &self.tree.nodes[group.node].units;
            let each = group.weight * (group.with - group.without) / units.len() as f64;
            units.iter().for_each(|&unit| self.scores[unit] += each);
        }
    }
}

#[cfg(test)]
#[path = "owen_tests.rs"]
mod tests;
