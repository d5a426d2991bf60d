//! Tests of `assemble`: a completion's attributions in one matrix, and what stays apart.

use super::*;
use crate::explain::fakes;
use crate::tasks::{CompletionTarget, TokenTarget};

fn token(token: usize) -> Target {
    Target::Token(TokenTarget { token, label: "x".into(), index: 7, against: None })
}

fn shape(earlier: bool) -> Option<Shape> {
    Some(Shape { prompt: 2, targets: vec![token(0), token(1)], earlier })
}

fn scored(tokens: [f32; 3], base: f32) -> Attribution {
    let scores =
        Scores { tokens: Some(tokens.to_vec()), words: Some(vec![tokens[0] + tokens[1]]), ..Scores::default() };
    let diagnostics = Diagnostics { evaluations: 3, converged: Some(base < 1.0), ..Diagnostics::default() };
    Attribution { scores, base_value: Some(base), diagnostics, ..Attribution::default() }
}

fn all() -> Group {
    Group { target: Some(Target::Completion(CompletionTarget::Completion)), of: vec![0, 1] }
}

#[test]
fn a_completion_is_a_matrix_and_its_sums() {
    let attributions = vec![scored([1.0, 2.0, 0.0], 0.5), scored([0.5, -1.0, 4.0], 1.5)];
    let assembly = Assembly { groups: vec![all()], shape: shape(true) };
    let (target, one) = assembly.assemble(attributions.clone()).remove(0);
    assert_eq!(target, all().target);
    assert_eq!(one.scores.matrix, Some(vec![vec![1.0, 2.0], vec![0.5, -1.0, 4.0]]));
    assert_eq!((one.scores.tokens, one.scores.words), (Some(vec![1.5, 1.0]), Some(vec![2.5])));
    assert_eq!((one.base_value, one.output_value), (Some(Amount::Each(vec![0.5, 1.5])), None));
    assert_eq!((one.diagnostics.evaluations, one.diagnostics.converged), (3, Some(false)));
    // Units that are taken away are the prompt's alone.
    let assembly = Assembly { groups: vec![all()], shape: shape(false) };
    let (_, one) = assembly.assemble(attributions).remove(0);
    assert_eq!(one.scores.matrix, Some(vec![vec![1.0, 2.0], vec![0.5, -1.0]]));
}

#[test]
fn a_token_is_a_row_and_its_own_numbers() {
    let groups = vec![Group { target: Some(token(1)), of: vec![1] }];
    let attributions = vec![scored([1.0, 2.0, 0.0], 0.5), scored([0.5, -1.0, 4.0], 1.5)];
    let (target, one) = Assembly { groups, shape: shape(true) }.assemble(attributions).remove(0);
    assert_eq!(target, Some(token(1)));
    assert_eq!(one.scores.matrix, Some(vec![vec![0.5, -1.0, 4.0]]));
    assert_eq!((one.scores.tokens, one.base_value), (Some(vec![0.5, -1.0]), Some(Amount::One(1.5))));
}

#[test]
fn what_does_not_add_up_stays_apart() {
    let tree = crate::methods::Tree::Leaf { value: 1.0 };
    let own = |tokens| Attribution { tree: Some(tree.clone()), ..scored(tokens, 0.5) };
    let attributions = vec![own([1.0, 2.0, 0.0]), own([0.5, -1.0, 4.0])];
    let found = Assembly { groups: vec![all()], shape: shape(false) }.assemble(attributions);
    let targets: Vec<Option<Target>> = found.iter().map(|(target, _)| target.clone()).collect();
    assert_eq!(targets, [Some(token(0)), Some(token(1))]);
    assert!(found.iter().all(|(_, one)| one.scores.matrix.is_none()));
    // A token that is asked for beside all of them is answered once, wherever it is written.
    let alone = || Group { target: Some(token(1)), of: vec![1] };
    for (groups, order) in [(vec![all(), alone()], [0, 1]), (vec![alone(), all()], [1, 0])] {
        let attributions = vec![own([1.0, 2.0, 0.0]), own([0.5, -1.0, 4.0])];
        let found = Assembly { groups, shape: shape(false) }.assemble(attributions);
        let targets: Vec<Option<Target>> = found.into_iter().map(|(target, _)| target).collect();
        assert_eq!(targets, order.map(|at| Some(token(at))));
    }
    // What adds up is an explanation of all and one of the token.
    let attributions = vec![scored([1.0, 2.0, 0.0], 0.5), scored([0.5, -1.0, 4.0], 1.5)];
    let found = Assembly { groups: vec![all(), alone()], shape: shape(false) }.assemble(attributions);
    assert_eq!(found.len(), 2);
}

#[test]
fn other_tasks_have_one_explanation_a_target() {
    let input = Input::Text(fakes::text_input());
    let explained = [Explained { target: token(0), of: vec![0] }];
    let assembly = Assembly::new(Some(&explained), &[token(0)], &input, true);
    let found = assembly.assemble(vec![scored([1.0, 2.0, 3.0], 0.5)]);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].1.scores.tokens, Some(vec![1.0, 2.0, 3.0]));
    assert_eq!(found[0].1.scores.matrix, None);
    assert_eq!(Assembly::new(None, &[token(0)], &input, true).groups, [Group { target: None, of: vec![0] }]);
}
