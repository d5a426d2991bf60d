//! From a method's attributions, one a target, to explanations: mostly one each. Of a language model all tokens of a
//! completion make one, with a matrix of completion tokens × what was scored; methods know nothing of it.

use crate::input::Input;
use crate::methods::{Amount, Attribution, Diagnostics, Scores};
use crate::tasks::{Explained, Target};

/// One explanation to be: its target (null for a method without targets), and the attributions that it is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    pub target: Option<Target>,
    pub of: Vec<usize>,
}

/// What stands behind a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// Tokens of the prompt.
    prompt: usize,
    /// For each attribution, its token of the completion.
    targets: Vec<Target>,
    /// Whether completion tokens have scores too.
    earlier: bool,
}

/// How attributions become explanations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assembly {
    pub groups: Vec<Group>,
    /// Of a language model.
    pub shape: Option<Shape>,
}

impl Assembly {
    /// For the attributions of `targets`, or for the one of a method without (`explained` is then `None`). `earlier`:
    /// the method scores every token that is read.
    pub fn new(explained: Option<&[Explained]>, targets: &[Target], input: &Input, earlier: bool) -> Self {
        let groups = match explained {
            Some(explained) => {
                explained.iter().map(|one| Group { target: Some(one.target.clone()), of: one.of.clone() }).collect()
            }
            None => vec![Group { target: None, of: vec![0] }],
        };
        let continuation = input.as_text().and_then(|text| text.continuation.as_ref());
        let shape =
            continuation.map(|continuation| Shape { prompt: continuation.prompt, targets: targets.to_vec(), earlier });
        Self { groups, shape }
    }

    /// The explanations' targets and attributions. What cannot be added up stays one explanation a token.
    pub fn assemble(&self, attributions: Vec<Attribution>) -> Vec<(Option<Target>, Attribution<Amount>)> {
        let Some(shape) = &self.shape else {
            let targets = self.groups.iter().map(|group| group.target.clone());
            return targets.zip(attributions.into_iter().map(Attribution::shown)).collect();
        };
        let mut all = Vec::with_capacity(self.groups.len());
        // A token that is asked for by itself and with the others is answered once, where each is by itself.
        let mut alone = vec![false; attributions.len()];
        let mut once = |index: usize| alone.get_mut(index).is_some_and(|known| !std::mem::replace(known, true));
        for Group { target, of } in &self.groups {
            let own: Vec<(usize, &Attribution)> =
                of.iter().filter_map(|&index| Some((index, attributions.get(index)?))).collect();
            let single = !matches!(target, Some(Target::Completion(_)));
            match own.as_slice() {
                [(index, one)] if single => {
                    if !once(*index) {
                        continue;
                    }
                    let mut one = shape.one(*index, one);
                    // Without a target there is no completion token to make a row for.
                    one.scores.matrix = one.scores.matrix.filter(|_| target.is_some());
                    all.push((target.clone(), one));
                }
                own if own.iter().all(|(_, one)| one.adds_up()) => all.push((target.clone(), shape.together(own))),
                own => {
                    let new = own.iter().filter(|(index, _)| once(*index));
                    all.extend(new.map(|(index, one)| (shape.named(*index), shape.one(*index, one))));
                }
            }
        }
        all
    }
}

impl Shape {
    fn place(&self, index: usize) -> usize {
        match self.targets.get(index) {
            Some(Target::Token(target)) => target.token,
            _ => 0,
        }
    }

    /// The target of an explanation that stands for its token alone.
    fn named(&self, index: usize) -> Option<Target> {
        self.targets.get(index).cloned()
    }

    /// The prompt's units, and where they are scored the completion tokens before the attribution's own.
    fn row(&self, index: usize, scores: &Scores) -> Option<Vec<f32>> {
        if self.earlier {
            let read = self.prompt + self.place(index);
            return scores.tokens.as_ref().map(|tokens| tokens.iter().take(read).copied().collect());
        }
        let lists = [&scores.words, &scores.sentences, &scores.spans];
        let tokens = scores.tokens.as_ref().map(|tokens| tokens.iter().take(self.prompt).copied().collect());
        tokens.or_else(|| lists.into_iter().flatten().next().cloned())
    }

    /// Of `list`, an entry a token, those of the prompt.
    fn cut(&self, list: &mut Option<Vec<f32>>) {
        if let Some(list) = list {
            list.truncate(self.prompt);
        }
    }

    /// One token's explanation.
    fn one(&self, index: usize, attribution: &Attribution) -> Attribution<Amount> {
        let mut own = attribution.clone();
        own.scores.matrix = self.row(index, &own.scores).map(|row| vec![row]).filter(|_| own.adds_up());
        if own.scores.tokens.is_some() {
            self.cut(&mut own.diagnostics.standard_error);
        }
        self.cut(&mut own.scores.tokens);
        own.shown()
    }

    /// A completion's: sums over its tokens, and a row of the matrix for each.
    fn together(&self, own: &[(usize, &Attribution)]) -> Attribution<Amount> {
        let sum = |of: &dyn Fn(&Scores) -> Option<&Vec<f32>>| total(own.iter().map(|(_, one)| of(&one.scores)));
        let each = |of: &dyn Fn(&Attribution) -> Option<f32>| {
            let values: Option<Vec<f32>> = own.iter().map(|(_, one)| of(one)).collect();
            values.filter(|_| !own.is_empty()).map(Amount::Each)
        };
        let mut scores = Scores {
            tokens: sum(&|scores| scores.tokens.as_ref()),
            words: sum(&|scores| scores.words.as_ref()),
            sentences: sum(&|scores| scores.sentences.as_ref()),
            spans: sum(&|scores| scores.spans.as_ref()),
            matrix: own.iter().map(|(index, one)| self.row(*index, &one.scores)).collect(),
            ..Scores::default()
        };
        self.cut(&mut scores.tokens);
        let first = own.first().map(|(_, one)| (*one).clone()).unwrap_or_default();
        Attribution {
            scores,
            units: first.units,
            interactions: tables(own.iter().map(|(_, one)| one.interactions.as_ref())),
            heads: tables(own.iter().map(|(_, one)| one.heads.as_ref())),
            base_value: each(&|one| one.base_value),
            output_value: each(&|one| one.output_value),
            residual: each(&|one| one.residual),
            diagnostics: Diagnostics::together(own.iter().map(|(_, one)| &one.diagnostics)),
            partial: own.iter().any(|(_, one)| one.partial),
            ..Attribution::default()
        }
    }
}

/// The sum of lists of one length, entry by entry; `None` where one is missing.
fn total<'a>(lists: impl Iterator<Item = Option<&'a Vec<f32>>>) -> Option<Vec<f32>> {
    let lists: Option<Vec<&Vec<f32>>> = lists.collect();
    let lists = lists?;
    let sum = |at: usize| lists.iter().map(|list| list.get(at).copied().map_or(0.0, f64::from)).sum::<f64>() as f32;
    lists.first().map(|first| (0..first.len()).map(sum).collect())
}

/// The sum of tables, row by row.
fn tables<'a>(tables: impl Iterator<Item = Option<&'a Vec<Vec<f32>>>>) -> Option<Vec<Vec<f32>>> {
    let tables: Option<Vec<&Vec<Vec<f32>>>> = tables.collect();
    let tables = tables?;
    let row = |at: usize| total(tables.iter().map(|table| table.get(at)));
    (0..tables.first()?.len()).map(row).collect()
}

#[cfg(test)]
#[path = "assemble_tests.rs"]
mod tests;
