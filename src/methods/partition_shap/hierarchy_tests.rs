//! Tests of `hierarchy`: which groups the rules make, and which lists are refused.

use serde_json::json;

use super::*;
use crate::input::segment;
use crate::input::units::UnitKind;
use crate::methods::support::fake::Fake;

/// The tree as nested lists.
fn shown(tree: &Tree, node: usize) -> Value {
    match tree.nodes[node].parts.as_slice() {
        [] => json!(tree.nodes[node].units[0]),
        parts => parts.iter().map(|&part| shown(tree, part)).collect(),
    }
}

fn whole(tree: &Tree) -> Value {
    shown(tree, tree.root())
}

/// A text whose words are the given ones, one token each.
fn text(words: &[&str]) -> (Input, Units) {
    let mut fake = Fake::text(words.len());
    let Input::Text(text) = &mut fake.input else { unreachable!() };
    text.text = words.join(" ");
    let mut start = 0;
    for (index, word) in words.iter().enumerate() {
        let end = start + word.chars().count();
        (text.tokens[index + 1].start, text.tokens[index + 1].end) = (start, end);
        start = end + 1;
    }
    let units = Units::words(text);
    (fake.input, units)
}

#[test]
fn clauses_split_at_the_strongest_border() {
    let of = |words: &[&str]| {
        let (input, units) = text(words);
        whole(&Tree::by_rule(Rule::Clauses, &input, &units))
    };
    assert_eq!(of(&["a", "b", "c", "d"]), json!([[0, 1], [2, 3]]));
    assert_eq!(of(&["a", "b", "c"]), json!([0, [1, 2]]));
    assert_eq!(of(&["It", "was,", "I", "say.", "Well", "done"]), json!([[[0, 1], [2, 3]], [4, 5]]));
    assert_eq!(of(&["a", "b", "c", "d,", "e"]), json!([[[0, 1], [2, 3]], 4]));
    assert_eq!(of(&["a", "(b", "c)", "d", "e"]), json!([[0, [1, 2]], [3, 4]]));
    assert_eq!(of(&["a"]), json!(0));
}

#[test]
fn words_keep_their_tokens_and_pairs_their_texts() {
    let (mut input, _) = text(&["a", "b", "c", "d", "e"]);
    let Input::Text(text) = &mut input else { unreachable!() };
    for (token, word) in [(2, 0), (3, 0), (4, 0)] {
        text.tokens[token].word = Some(word);
    }
    let units = Units::tokens(text);
    assert_eq!(whole(&Tree::by_rule(Rule::Clauses, &input, &units)), json!([[[0, 1], [2, 3]], 4]));
    let Input::Text(text) = &mut input else { unreachable!() };
    text.pair = Some("a b c d e".into());
    for (index, token) in text.tokens.iter_mut().enumerate() {
        token.sequence = Some((!token.special).then_some(usize::from(index > 1)));
    }
    assert_eq!(whole(&Tree::by_rule(Rule::Clauses, &input, &units)), json!([0, [[1, [2, 3]], 4]]));
}

#[test]
fn images_halve_across_the_longer_side() {
    let fake = Fake::image(8);
    let segmentation = segment::patches(8, 8, 1, 4);
    let units = Units::Image { kind: UnitKind::Patch, segmentation };
    assert_eq!(whole(&Tree::by_rule(Rule::Balanced, &fake.input, &units)), json!([[0, 1], [2, 3]]));
    let units = Units::Image { kind: UnitKind::Patch, segmentation: segment::patches(8, 8, 4, 2) };
    assert_eq!(whole(&Tree::by_rule(Rule::Balanced, &fake.input, &units)), json!([[[0, 2], [1, 3]], [[4, 6], [5, 7]]]));
}

#[test]
fn flat_has_no_groups() {
    let (input, units) = text(&["a", "b", "c"]);
    assert_eq!(whole(&Tree::by_rule(Rule::Flat, &input, &units)), json!([0, 1, 2]));
    let (input, units) = text(&["a"]);
    assert_eq!(whole(&Tree::by_rule(Rule::Flat, &input, &units)), json!(0));
}

#[test]
fn lists_name_every_unit_once() {
    let named =
        |groups: Value, units| Tree::named(groups.as_array().unwrap(), units).map(|tree| (whole(&tree), tree.widest()));
    assert_eq!(named(json!([[1, 0], [[2]], 3]), 4).unwrap(), (json!([[1, 0], 2, 3]), 3));
    assert_eq!(named(json!([0]), 1).unwrap(), (json!(0), 0));
    for (groups, units, says) in [
        (json!([0, 1]), 3, "unit 2 stands in no group"),
        (json!([0, [1, 0]]), 2, "two groups"),
        (json!([0, 2]), 2, "numbers below 2"),
        (json!([0, -1]), 2, "-1 is no unit"),
        (json!([0, "a"]), 2, "no unit"),
        (json!([0, []]), 1, "empty"),
        (json!([]), 0, "empty"),
    ] {
        let error = named(groups.clone(), units).unwrap_err();
        assert!(error.contains(says), "{groups}: {error}");
    }
}

#[test]
fn the_setting_reads_as_it_writes() {
    for value in [json!("clauses"), json!("balanced"), json!("flat"), json!([[0, 1], 2])] {
        let read: Hierarchy = serde_json::from_value(value.clone()).unwrap();
        assert_eq!(serde_json::to_value(read).unwrap(), value);
    }
    let error = serde_json::from_value::<Hierarchy>(json!("tree")).unwrap_err().to_string();
    assert!(error.contains("\"clauses\"") && error.contains("nested lists"), "{error}");
}
