//! Words without a tokenizer.

use crate::input::text::{Join, Lexicon, Piece, Vocabulary};

/// A hundred words of letters alone, of which every text reads as none.
pub struct FakeLexicon(Vocabulary);

impl Default for FakeLexicon {
    fn default() -> Self {
        let letter = |number: usize| char::from(b'a' + (number % 26) as u8);
        let text = |id: usize| [letter(id / 26), letter(id), 'x'].into_iter().collect();
        Self(Vocabulary::new((0..100).map(|id| Some(Piece { text: text(id), join: Join::Word })).collect()))
    }
}

impl Lexicon for FakeLexicon {
    fn vocabulary(&self) -> &Vocabulary {
        &self.0
    }
    fn read(&self, _text: &str, _pair: Option<&str>) -> Option<Vec<u32>> {
        None
    }
    /// Words of the vocabulary joined by hyphens, a token each.
    fn between(&self, _before: &str, word: &str, _after: &str) -> Option<Vec<u32>> {
        let id = |word: &str| (0..100).find(|&id| self.0.piece(id).is_some_and(|piece| piece.text == word));
        word.split('-').map(id).collect()
    }
    fn written(&self, id: u32, alone: bool) -> String {
        let text = self.0.piece(id).map(|piece| piece.text.clone()).unwrap_or_default();
        if alone { text } else { format!(" {text}") }
    }
    fn name(&self, id: u32) -> Option<String> {
        Some(format!("[{id}]"))
    }
}
