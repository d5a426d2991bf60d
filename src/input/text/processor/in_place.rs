//! Words in their places: the tokens that one word of a text gets, and what tokens write.

use super::{TextProcessor, guarded};

impl TextProcessor {
    /// As [`crate::input::text::Lexicon::between`].
    pub(super) fn ids_between(&self, before: &str, word: &str, after: &str) -> Option<Vec<u32>> {
        let text = format!("{before}{word}{after}");
        let encoding = guarded(|| self.tokenizer.encode_char_offsets(text.as_str(), false)).ok()?;
        let start = before.chars().count();
        let end = start + word.chars().count();
        let characters: Vec<char> = text.chars().collect();
        let blank = |from: usize, to: usize| {
            characters.get(from..to).is_none_or(|between| between.iter().all(|c| c.is_whitespace()))
        };
        let mut ids = Vec::new();
        for (&id, &(from, to)) in encoding.get_ids().iter().zip(encoding.get_offsets()) {
            if from >= end || to <= start {
                continue;
            }
            if !blank(from, start) || !blank(end, to) || id as usize >= self.vocab_size {
                return None;
            }
            ids.push(id);
        }
        (!ids.is_empty()).then_some(ids)
    }

    /// What each token of the vocabulary writes by itself, as transformers' `decode`.
    pub fn all_written(&self) -> Vec<String> {
        (0..self.vocab_size as u32).map(|id| self.decoded(id)).collect()
    }

    pub(super) fn decoded(&self, id: u32) -> String {
        guarded(|| self.tokenizer.decode(&[id], false)).unwrap_or_default()
    }
}
