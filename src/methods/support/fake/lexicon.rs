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
    fn name(&self, id: u32) -> Option<String> {
        Some(format!("[{id}]"))
    }
}
