//! Tests of `perturb`: what each fill makes of an absent unit.

use super::*;
use crate::input::Kind;
use crate::input::image::{Normalisation, Region};
use crate::input::segment::Segmentation;
use crate::input::text::{SpecialIds, Token, Word};
use crate::input::units::UnitKind;
use crate::models::{Capabilities, Problem, Reads};

fn whole_row(spec: &Spec, input: &Input) -> Row {
    crate::tasks::Rows::whole(spec, input).rows.remove(0).row
}

fn spec(token_types: usize) -> Spec {
    Spec {
        architecture: "fake".into(),
        kind: Kind::Text,
        labels: vec!["a".into(), "b".into()],
        about: crate::models::About::Sequence,
        problem: Problem::SingleLabel,
        hidden: 1,
        embedding: 1,
        layers: 1,
        heads: 1,
        max_positions: 16,
        vocab: 200,
        token_types,
        image: None,
        reads: Reads::First,
        capabilities: Capabilities::default(),
    }
}

/// `[CLS] ab ##c d [SEP] e [SEP]` with words abc, d, e; the last segment is a pair's.
fn text() -> TextInput {
    let words = [None, Some(0), Some(0), Some(1), None, Some(2), None];
    let token = |(index, word): (usize, Option<usize>)| Token {
        id: 100 + index as u32,
        text: String::new(),
        start: 0,
        end: 0,
        special: word.is_none(),
        word,
        sequence: None,
    };
    TextInput {
        text: "abc d".into(),
        pair: Some("e".into()),
        tokens: words.into_iter().enumerate().map(token).collect(),
        type_ids: vec![0, 0, 0, 0, 0, 1, 1],
        words: vec![Word { text: String::new(), start: 0, end: 0, sequence: None }; 3],
        original_tokens: 7,
        windows: Vec::new(),
        continuation: None,
        specials: SpecialIds { pad: Some(0), mask: Some(3), ..SpecialIds::default() },
        sha256: String::new(),
    }
}

/// Of `units`, those with a 1 are present.
fn mask(units: &[u8]) -> Mask {
    let mut mask = Mask::empty(units.len());
    units.iter().enumerate().for_each(|(unit, &present)| mask.set(unit, present == 1));
    mask
}

fn tokens(token_types: usize, fill: Fill, units: &[u8]) -> (Vec<u32>, Vec<u32>) {
    let (input, unit_set) = (Input::Text(text()), Units::words(&text()));
    let rows = single_row(&spec(token_types), &input, &unit_set, fill).unwrap().rows(&mask(units));
    assert_eq!((rows.len(), rows[0].read.as_slice()), (1, [0].as_slice()));
    match rows.into_iter().next().unwrap().content {
        Content::Tokens { ids, type_ids } => (ids, type_ids),
        other => panic!("{other:?}"),
    }
}

#[test]
fn removal_deletes_ids_with_their_types() {
    assert_eq!(tokens(2, Fill::Remove, &[0, 1, 1]), (vec![100, 103, 104, 105, 106], vec![0, 0, 0, 1, 1]));
    assert_eq!(tokens(0, Fill::Remove, &[1, 1, 0]), (vec![100, 101, 102, 103, 104, 106], vec![]));
    assert_eq!(tokens(2, Fill::Remove, &[0, 0, 0]), (vec![100, 104, 106], vec![0, 0, 1]));
}

/// A row's ids and the positions it reads.
type Made = (Vec<u32>, Vec<usize>);

fn read_at(fill: Fill, readings: &[(&[usize], &[usize])], units: &[u8]) -> (Vec<Made>, Vec<f32>) {
    let input = Input::Text(text());
    let units_of = Units::words(&text());
    let reading = |(held, read): &(&[usize], &[usize])| Reading {
        read: Read::Tokens(read.to_vec()),
        held: held.to_vec(),
        tail: Tail::default(),
    };
    let readings = readings.iter().map(reading).collect();
    let perturber = text_rows(&spec(2), &input, &units_of, fill, readings).unwrap();
    let rows = perturber.rows(&mask(units));
    // A position's one logit is its token's id.
    let mut logits = Vec::new();
    let mut found = Vec::new();
    for row in rows {
        let Content::Tokens { ids, .. } = row.content else { panic!() };
        logits.extend(row.read.iter().map(|&place| ids[place] as f32));
        found.push((ids, row.read));
    }
    let outputs = perturber.outputs(&mask(units), &logits, 1).into_owned();
    (found, outputs)
}

#[test]
fn deletion_moves_what_is_read_and_leaves_what_is_held() {
    // Word 0 is tokens 1 and 2: of the two, the held one stays.
    let (rows, outputs) = read_at(Fill::Remove, &[(&[2], &[2])], &[0, 1, 1]);
    assert_eq!(rows, [(vec![100, 102, 103, 104, 105, 106], vec![1])]);
    assert_eq!(outputs, [102.0]);
    let (rows, outputs) = read_at(Fill::Remove, &[(&[2], &[1, 2, 3]), (&[3], &[3])], &[0, 0, 0]);
    assert_eq!(rows, [(vec![100, 102, 104, 106], vec![1]), (vec![100, 103, 104, 106], vec![1])]);
    assert_eq!(outputs, [f32::NEG_INFINITY, 102.0, f32::NEG_INFINITY, 103.0]);
}

#[test]
fn replacement_replaces_what_is_held_too_and_moves_nothing() {
    let (rows, outputs) = read_at(Fill::Mask, &[(&[2], &[2]), (&[3], &[3, 5])], &[0, 1, 0]);
    assert_eq!(rows, [(vec![100, 3, 3, 103, 104, 3, 106], vec![2, 3, 5])]);
    assert_eq!(outputs, [3.0, 103.0, 3.0]);
}

#[test]
fn a_tail_stands_behind_every_row() {
    let input = Input::Text(text());
    let units_of = Units::words(&text());
    let tail = |id| Tail { ids: vec![id, 9], type_ids: vec![1, 1] };
    let readings = [50, 60].map(|id| Reading { tail: tail(id), ..Reading::default() }).to_vec();
    let perturber = text_rows(&spec(2), &input, &units_of, Fill::Remove, readings).unwrap();
    let rows = perturber.rows(&mask(&[0, 0, 0]));
    let content = |id| Content::Tokens { ids: vec![100, 104, 106, id, 9], type_ids: vec![0, 0, 1, 1, 1] };
    assert_eq!(rows.iter().map(|row| row.content.clone()).collect::<Vec<_>>(), [content(50), content(60)]);
    assert_eq!(perturber.outputs(&mask(&[0, 0, 0]), &[1.0, 2.0], 1).into_owned(), [1.0, 2.0]);
}

#[test]
fn other_fills_replace_one_for_one() {
    assert_eq!(tokens(2, Fill::Mask, &[0, 1, 0]), (vec![100, 3, 3, 103, 104, 3, 106], text().type_ids));
    assert_eq!(tokens(0, Fill::Pad, &[1, 0, 1]), (vec![100, 101, 102, 0, 104, 105, 106], vec![]));
}

#[test]
fn the_full_mask_is_the_whole_input() {
    let input = Input::Text(text());
    let Content::Tokens { ids, type_ids } = whole_row(&spec(2), &input).content else { panic!() };
    for fill in [Fill::Remove, Fill::Mask, Fill::Pad] {
        assert_eq!(tokens(2, fill, &[1, 1, 1]), (ids.clone(), type_ids.clone()));
    }
}

#[test]
fn a_fill_must_fit() {
    let input = Input::Text(text());
    assert_eq!(check_fill(&input, Fill::Remove), Ok(()));
    assert_eq!(check_fill(&input, Fill::Unk), Err(PerturbError::MissingToken { fill: "unk", token: "unk" }));
    assert_eq!(check_fill(&input, Fill::Mean), Err(PerturbError::WrongKind("mean")));
    let image = Input::Image(image());
    assert_eq!(check_fill(&image, Fill::Blur), Ok(()));
    assert_eq!(check_fill(&image, Fill::Remove), Err(PerturbError::WrongKind("remove")));
    assert!(single_row(&spec(0), &image, &Units::words(&text()), Fill::Zero).is_err());
}

/// The last token that is left, or the place of the input's last, whatever stands there; pads of the input's own never.
#[test]
fn a_causal_classifier_reads_the_last_token() {
    let mut bare = text();
    bare.tokens.retain(|token| !token.special);
    bare.type_ids = vec![0; 4];
    bare.specials.eos = Some(0);
    let read = |pad: u32, fill: Fill, units: &[u8]| {
        let causal = Spec { reads: Reads::Last { pad: Some(pad) }, ..spec(0) };
        let (input, units_of) = (Input::Text(bare.clone()), Units::words(&bare));
        let whole = whole_row(&causal, &input);
        let row = single_row(&causal, &input, &units_of, fill).unwrap().rows(&mask(units)).remove(0);
        assert!(row.read[0] < row.len());
        (whole.read[0], row.read[0])
    };
    assert_eq!(read(0, Fill::Remove, &[1, 0, 1]), (3, 2));
    assert_eq!(read(0, Fill::Remove, &[1, 0, 0]), (3, 1));
    assert_eq!(read(0, Fill::Remove, &[0, 0, 0]), (3, 0));
    assert_eq!(read(0, Fill::Pad, &[1, 0, 0]), (3, 3));
    // The last word is written as the pad token.
    assert_eq!(read(105, Fill::Remove, &[0, 1, 1]), (2, 0));
    assert_eq!(read(105, Fill::Mask, &[0, 0, 0]), (2, 2));
}

#[test]
fn without_specials_something_remains() {
    let mut bare = text();
    bare.tokens.retain(|token| !token.special);
    bare.type_ids = vec![0; 4];
    let units = Units::words(&bare);
    let input = Input::Text(bare.clone());
    assert!(matches!(
        single_row(&spec(0), &input, &units, Fill::Remove).err(),
        Some(PerturbError::MissingToken { token: "bos, unk or eos", .. })
    ));
    assert!(check_fill(&input, Fill::Remove).is_err());
    bare.specials.unk = Some(7);
    let input = Input::Text(bare);
    let rows = single_row(&spec(2), &input, &units, Fill::Remove).unwrap().rows(&mask(&[0, 0, 0]));
    assert_eq!(rows[0].content, Content::Tokens { ids: vec![7], type_ids: vec![0] });
}

/// 1 × 4 pixels; channel c of pixel p is 10·p + c, but the last pixel's are all 33.
fn image() -> ImageInput {
    let rgb = vec![0, 1, 2, 11, 12, 13, 20, 21, 22, 33, 33, 33];
    let normalisation = Normalisation { scale: 1.0, mean: [1.0; 3], std: [2.0; 3] };
    let pixels = (0..3).flat_map(|c| (0..4).map(move |p| (c, p)));
    let pixels = pixels.map(|(c, p)| normalisation.value(f32::from(rgb[3 * p + c]), c)).collect();
    ImageInput {
        width: 4,
        height: 1,
        region: Region { x: 0.0, y: 0.0, width: 4.0, height: 1.0 },
        rows: 1,
        cols: 4,
        rgb,
        pixels,
        normalisation,
        bytes: Vec::new(),
        sha256: String::new(),
    }
}

fn pixels(fill: Fill, units: &[u8]) -> Vec<f32> {
    let segmentation = Segmentation { rows: 1, cols: 4, labels: vec![0, 0, 1, 1], count: 2 };
    let units_of = Units::Image { kind: UnitKind::Segment, segmentation };
    let input = Input::Image(image());
    let row = single_row(&spec(0), &input, &units_of, fill).unwrap().rows(&mask(units)).remove(0);
    match row.content {
        Content::Pixels(pixels) => pixels,
        other => panic!("{other:?}"),
    }
}

#[test]
fn absent_segments_take_their_mean_colour_in_whole_bytes() {
    let whole = image().pixels;
    assert_eq!(pixels(Fill::Mean, &[1, 1]), whole);
    // Segment 0's red is (0 + 11) / 2 = 5.5, cut to 5 → (5 − 1) / 2.
    let first = pixels(Fill::Mean, &[0, 1]);
    assert_eq!(first[..4], [2.0, 2.0, whole[2], whole[3]]);
    // Segment 1's green is (21 + 33) / 2 = 27.
    assert_eq!(pixels(Fill::Mean, &[1, 0])[4..8], [whole[4], whole[5], 13.0, 13.0]);
}

#[test]
fn zero_is_zero_after_normalisation() {
    let zeroed = pixels(Fill::Zero, &[0, 1]);
    for channel in 0..3 {
        assert_eq!(zeroed[4 * channel..4 * channel + 2], [0.0, 0.0]);
        assert_eq!(zeroed[4 * channel + 2..4 * channel + 4], image().pixels[4 * channel + 2..4 * channel + 4]);
    }
}

#[test]
fn blur_takes_the_blurred_image() {
    let blurred = image().blurred();
    let expected = image().normalisation.value(blurred[3 * 3 + 1], 1);
    let shown = pixels(Fill::Blur, &[1, 0]);
    assert_eq!((shown[7], shown[0]), (expected, image().pixels[0]));
}
