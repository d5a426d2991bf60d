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
        let (Some(first), Some(end)) = (own.first(), own.last()) else { continue };
        let Some(word) = first.word.and_then(|word| words.get(word)) else { continue };
        let parts = chat.contents.iter().filter(|part| part.start < word.end && word.start < part.end);
        let (from, to) = parts.fold((usize::MAX, 0), |(from, to), part| (from.min(part.start), to.max(part.end)));
        let (start, end) = (word.start.max(first.start).max(from), word.end.min(end.end).min(to));
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
