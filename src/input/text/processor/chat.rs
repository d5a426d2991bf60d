//! Chats as a model reads them: its template, and which tokens of a prompt are the template's own.

use tokenizers::Encoding;

use super::{TextProcessor, names, tokens_and_words};
use crate::input::text::{Chat, ChatTemplate, Message, TextError, Token, Word};

impl TextProcessor {
    /// With what else of a model's folder concerns what is written: `chat_template.jinja`, which counts before
    /// tokenizer_config.json's, and `generation_config.json` (without it config.json), which may name more tokens that end
    /// a text.
    pub fn writing(mut self, template: Option<&[u8]>, generation: Option<&[u8]>) -> Self {
        if let Some(source) = template.and_then(|bytes| std::str::from_utf8(bytes).ok()) {
            self.chat = Some(ChatTemplate::new(source, names(&self.specials, &self.tokenizer)));
        }
        let config = generation.and_then(|bytes| serde_json::from_slice::<serde_json::Value>(bytes).ok());
        let named = config.as_ref().and_then(|config| config.get("eos_token_id"));
        let ids = named.map_or(&[][..], |ids| ids.as_array().map_or(std::slice::from_ref(ids), Vec::as_slice));
        self.ends.extend(ids.iter().filter_map(serde_json::Value::as_u64).filter_map(|id| u32::try_from(id).ok()));
        self
    }

    /// Messages as the model reads them.
    ///
    /// # Errors
    /// The model has no template, or it refuses the messages.
    pub fn chat(&self, messages: &[Message]) -> Result<Chat, TextError> {
        self.chat.as_ref().ok_or(TextError::NoTemplate)?.render(messages)
    }
}

/// Tokens and words of a chat. What the template wrote is special and belongs to no word, of which the caller's part
/// remains. `excess` of the caller's tokens are left out, the first ones; `None` where it has no more than these.
pub(super) fn of_chat(encoding: &Encoding, chat: &Chat, excess: usize) -> Option<(Vec<Token>, Vec<Word>)> {
    let (mut tokens, words) = tokens_and_words(encoding, &chat.text, None);
    for token in &mut tokens {
        let behind = chat.contents.partition_point(|part| part.end <= token.start);
        token.special = chat.contents.get(behind).is_none_or(|part| part.start >= token.end);
        token.word = token.word.filter(|_| !token.special);
    }
    if excess > 0 {
        if tokens.iter().filter(|token| !token.special).count() <= excess {
            return None;
        }
        let mut left = excess;
        tokens.retain(|token| {
            let cut = left > 0 && !token.special;
            left -= usize::from(cut);
            !cut
        });
    }
    let words = keep_own(&mut tokens, &words, chat);
    Some((tokens, words))
}

/// Of `words` the caller's parts that `tokens` still hold; the tokens' words become places among these.
fn keep_own(tokens: &mut [Token], words: &[Word], chat: &Chat) -> Vec<Word> {
    let characters: Vec<char> = chat.text.chars().collect();
    let mut kept: Vec<Word> = Vec::new();
    let mut last = None;
    for own in tokens.chunk_by_mut(|a, b| a.word == b.word) {
        let (Some(begin), Some(end)) = (own.first(), own.last()) else { continue };
        let Some(word) = begin.word.and_then(|word| words.get(word)) else { continue };
        // Contents ascend, and there may be as many as words.
        let first = chat.contents.partition_point(|part| part.end <= word.start);
        let parts = chat.contents.iter().skip(first).take_while(|part| part.start < word.end);
        let (from, to) = parts.fold((usize::MAX, 0), |(from, to), part| (from.min(part.start), to.max(part.end)));
        let (start, end) = (word.start.max(begin.start).max(from), word.end.min(end.end).min(to));
        if start < end {
            last = Some(kept.len());
            kept.push(Word { text: characters[start..end].iter().collect(), start, end, sequence: None });
        }
        own.iter_mut().for_each(|token| token.word = last);
    }
    // White space in front of every word goes to the first.
    let first = (!kept.is_empty()).then_some(0);
    tokens.iter_mut().filter(|token| !token.special && token.word.is_none()).for_each(|token| token.word = first);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A chat of `count` messages `ab`, each behind a `>` that its word is glued to: a token a character.
    fn chat(count: usize) -> (Vec<Token>, Vec<Word>, Chat) {
        let token = |at: usize| Token {
            id: 0,
            text: String::new(),
            start: at,
            end: at + 1,
            special: at.is_multiple_of(3),
            word: (!at.is_multiple_of(3)).then_some(at / 3),
            sequence: None,
        };
        let word = |at: usize| Word { text: ">ab".to_owned(), start: 3 * at, end: 3 * at + 3, sequence: None };
        let contents = (0..count).map(|at| 3 * at + 1..3 * at + 3).collect();
        let chat = Chat { text: ">ab".repeat(count), contents, dated: false, sent: String::new() };
        ((0..3 * count).map(token).collect(), (0..count).map(word).collect(), chat)
    }

    #[test]
    fn of_a_word_the_callers_part_remains() {
        let (mut tokens, words, chat) = chat(2);
        let kept = keep_own(&mut tokens, &words, &chat);
        let places: Vec<_> = kept.iter().map(|word| (word.text.as_str(), word.start, word.end)).collect();
        assert_eq!(places, [("ab", 1, 3), ("ab", 4, 6)]);
        let of_tokens: Vec<_> = tokens.iter().map(|token| token.word).collect();
        assert_eq!(of_tokens, [None, Some(0), Some(0), None, Some(1), Some(1)]);
    }

    /// Word by message would be 4 · 10¹⁰ steps, and this would not end.
    #[test]
    fn a_chat_of_many_messages_takes_time_by_its_length() {
        let (mut tokens, words, chat) = chat(200_000);
        assert_eq!(keep_own(&mut tokens, &words, &chat).len(), 200_000);
    }
}
