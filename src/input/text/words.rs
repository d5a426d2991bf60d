//! Words out of tokens: the pre-tokeniser's groups, trimmed of white space and split where they hold some.
//!
//! Works on character offsets alone, so that it needs no tokenizer to be tested; `processor` calls it.

use super::Word;

/// What word grouping needs of one token: its place and its `word_ids` entry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    /// Characters `start..end` of the sequence's own text.
    pub start: usize,
    pub end: usize,
    pub group: Option<u32>,
}

/// Appends the words of one sequence to `words` and returns for each piece its index there; `None` only where the
/// sequence has no word at all. `sequence` is set with a pair.
///
/// White space belongs to the word after it (as the leading space of a byte-level token does), at the end of the
/// text to the last word, so that removing every word leaves nothing behind.
pub(super) fn group(
    text: &[char],
    pieces: &[Piece],
    sequence: Option<usize>,
    words: &mut Vec<Word>,
) -> Vec<Option<usize>> {
    let first = words.len();
    let mut of_piece = Vec::with_capacity(pieces.len());
    for group in pieces.chunk_by(|a, b| a.group.is_some() && a.group == b.group) {
        let start = group.iter().map(|piece| piece.start).min().unwrap_or(0);
        let end = group.iter().map(|piece| piece.end).max().unwrap_or(0);
        let group_first = words.len();
        for (start, end) in runs(text, start, end) {
            words.push(Word { text: text[start..end].iter().collect(), start, end, sequence });
        }
        let group_words = words.get(group_first..).unwrap_or(&[]);
        of_piece.extend(group.iter().map(|piece| place(piece, group_words).map(|index| group_first + index)));
    }
    adopt(&mut of_piece, first, words.len());
    of_piece
}

/// The runs of characters that are not white space within `start..end`.
fn runs(text: &[char], start: usize, end: usize) -> Vec<(usize, usize)> {
    let end = end.min(text.len());
    let mut runs = Vec::new();
    let mut open = None;
    for (index, character) in text.iter().enumerate().take(end).skip(start) {
        match (character.is_whitespace(), open) {
            (false, None) => open = Some(index),
            (true, Some(from)) => {
                runs.push((from, index));
                open = None;
            }
            _ => {}
        }
    }
    runs.extend(open.map(|from| (from, end)));
    runs
}

/// The first word a piece touches; a piece of white space alone goes to the next word of its group, else to the last. Words
/// ascend: without a pre-tokeniser all of a text is one group.
fn place(piece: &Piece, words: &[Word]) -> Option<usize> {
    let touched = words.partition_point(|word| word.end <= piece.start);
    if words.get(touched).is_some_and(|word| word.start < piece.end) {
        return Some(touched);
    }
    let next = words.partition_point(|word| word.start < piece.start);
    if next < words.len() { Some(next) } else { words.len().checked_sub(1) }
}

/// Gives pieces of groups without a word (white space alone) to the next word, at the end to the last one.
fn adopt(of_piece: &mut [Option<usize>], first: usize, end: usize) {
    if first == end {
        return;
    }
    let mut last = end - 1;
    for word in of_piece.iter_mut().rev() {
        last = *word.get_or_insert(last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Word by piece would be 2 · 10¹⁰ steps, and this would not end.
    #[test]
    fn a_text_that_is_one_group_takes_time_by_its_length() {
        let count = 200_000;
        let text: Vec<char> = "a ".repeat(count).chars().collect();
        let piece = |at: usize| Piece { start: 2 * at, end: 2 * at + 1, group: Some(0) };
        let pieces: Vec<Piece> = (0..count).map(piece).collect();
        let mut words = Vec::new();
        let of_piece = group(&text, &pieces, None, &mut words);
        assert!(of_piece.into_iter().eq((0..count).map(Some)));
    }
}
