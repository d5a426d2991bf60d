//! Tests of `rows`: windows into rows, and their outputs together.

use super::super::perturb::text_rows;
use super::super::test_input::{spec, texts};
use super::*;
use crate::input::text::Window;
use crate::input::units::{Fill, Mask, Units};
use crate::models::About;

/// `[CLS] a … [SEP]` of ten words in two windows of seven and five of them.
fn input() -> Input {
    let Input::Text(mut text) = texts(10, None) else { unreachable!() };
    let window = |stretch: std::ops::Range<usize>| Window {
        tokens: std::iter::once(0).chain(stretch.clone()).chain([11]).collect(),
        type_ids: vec![0; stretch.len() + 2],
        stretch,
    };
    text.windows = vec![window(1..8), window(6..11)];
    Input::Text(text)
}

fn ids(row: &Row) -> Vec<u32> {
    let Content::Tokens { ids, .. } = &row.content else { panic!() };
    ids.clone()
}

#[test]
fn a_token_is_read_where_it_has_most_context() {
    let input = input();
    let text = input.as_text().unwrap();
    // Of the overlap 6, 7: distances to the nearer end are 1 and 0 in the first, 0 and 1 in the second.
    assert_eq!(text.readers(), [0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 0]);
    assert_eq!(text.shares(), [0.6, 0.4]);
    assert_eq!(text.reread(), (2, 4));
    assert_eq!(texts(3, None).as_text().unwrap().reread(), (1, 0));
}

#[test]
fn a_classifier_reads_every_window_by_its_share() {
    let rows = Rows::whole(&spec(About::Sequence, &["a", "b"]), &input());
    let found: Vec<_> = rows.rows.iter().map(|row| ids(&row.row)).collect();
    assert_eq!(found, [vec![100, 101, 102, 103, 104, 105, 106, 107, 111], vec![100, 106, 107, 108, 109, 110, 111]]);
    assert_eq!(rows.rows[1].tokens, [0, 6, 7, 8, 9, 10, 11]);
    let composed = rows.composition.apply(&[1.0, 10.0, 2.0, 30.0]);
    assert!((composed[0] - 1.4).abs() < 1e-6 && (composed[1] - 18.0).abs() < 1e-6);
    let back = rows.composition.back(&[1.0, 5.0]);
    assert_eq!(*back, [0.6, 3.0, 0.4, 2.0]);
}

#[test]
fn tokens_are_read_once_each_in_their_order() {
    let spec = spec(About::Tokens, &["a"]);
    let reading = Reading { read: Read::Tokens(vec![9, 2, 7]), ..Reading::default() };
    let input = input();
    let rows = Rows::of_text(&spec, input.as_text().unwrap(), &[reading]);
    assert_eq!(rows.rows.iter().map(|row| row.row.read.clone()).collect::<Vec<_>>(), [vec![2], vec![4, 2]]);
    // 2 of the first window, then 9 and 7 of the second.
    assert_eq!(*rows.composition.apply(&[2.0, 9.0, 7.0]), [9.0, 2.0, 7.0]);
    assert_eq!(*rows.composition.back(&[9.0, 2.0, 7.0]), [2.0, 9.0, 7.0]);
    assert_eq!(rows.feeding(&|position| position == 1), [0]);
    assert_eq!(rows.feeding(&|_| true), [0, 1]);
    let reading = Reading { read: Read::Tokens(vec![9]), ..Reading::default() };
    let rows = Rows::of_text(&spec, input.as_text().unwrap(), &[reading]);
    assert_eq!(rows.rows.len(), 1, "a window that nothing is read in is no row");
}

#[test]
fn a_mask_takes_a_token_out_of_all_its_windows() {
    let (input, spec) = (input(), spec(About::Sequence, &["a", "b"]));
    let units = Units::words(input.as_text().unwrap());
    let perturber = text_rows(&spec, &input, &units, Fill::Remove, vec![Reading::default()]).unwrap();
    let mut mask = Mask::full(10);
    mask.set(5, false);
    let rows = perturber.rows(&mask);
    assert_eq!(ids(&rows[0]), [100, 101, 102, 103, 104, 105, 107, 111]);
    assert_eq!(ids(&rows[1]), [100, 107, 108, 109, 110, 111]);
    let whole = Rows::whole(&spec, &input);
    let logits = [1.0, 10.0, 2.0, 30.0];
    assert_eq!(perturber.outputs(&Mask::full(10), &logits, 2), whole.composition.apply(&logits));
    let full: Vec<Row> = whole.rows.into_iter().map(|row| row.row).collect();
    assert_eq!(perturber.rows(&Mask::full(10)), full);
}

#[test]
fn deleted_tokens_are_read_nowhere_and_the_held_one_where_it_goes() {
    let (input, spec) = (input(), spec(About::Tokens, &["a"]));
    let units = Units::words(input.as_text().unwrap());
    let reading = Reading { read: Read::Tokens(vec![2, 7, 9]), held: vec![7], ..Reading::default() };
    let perturber = text_rows(&spec, &input, &units, Fill::Remove, vec![reading]).unwrap();
    let rows = perturber.rows(&Mask::empty(10));
    assert_eq!(rows.iter().map(ids).collect::<Vec<_>>(), [[100, 107, 111]]);
    assert_eq!(rows[0].read, [1]);
    assert_eq!(*perturber.outputs(&Mask::empty(10), &[7.0], 1), [f32::NEG_INFINITY, 7.0, f32::NEG_INFINITY]);
    let all = perturber.outputs(&Mask::full(10), &[2.0, 7.0, 9.0], 1);
    assert_eq!(*all, [2.0, 7.0, 9.0]);
}
