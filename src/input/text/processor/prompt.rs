//! A prompt and what follows it: tokenised together and split at the border, so that the model reads what it would of the
//! whole text.

use tokenizers::Encoding;
use tokenizers::utils::truncation::TruncationDirection;

use super::chat::of_chat;
use super::{TextProcessor, guarded, sha256, tokens_and_words};
use crate::input::text::{Chat, Continuation, TextError, TextInput, Token, Truncation, Word};

/// A prompt to be read.
#[derive(Debug, Clone, Copy)]
pub struct Prompt<'a> {
    pub text: &'a str,
    /// What `text` was made of: the template's own tokens stand in it.
    pub chat: Option<&'a Chat>,
    /// What follows, where it is known.
    pub completion: Option<&'a str>,
    /// Tokens that will be written at most, where it is not.
    pub room: usize,
    pub truncation: Truncation,
}

/// What became of a prompt.
pub struct Prompted {
    pub input: TextInput,
    /// A token would have stood across the border, so the completion was tokenised by itself.
    pub apart: bool,
}

/// Prompt and completion before the template.
struct Halves {
    prompt: Encoding,
    completion: Vec<Token>,
    apart: bool,
}

impl TextProcessor {
    /// Reads a prompt. `room` tokens or those of the completion, but the last, which is never read, count to the model's
    /// length; where that is too little the prompt's beginning is cut off under [`Truncation::Truncate`].
    ///
    /// # Errors
    /// [`TextError::TooManyTokens`] under [`Truncation::Error`]; [`TextError::TooMuchFollows`] where the completion leaves no
    /// room, or under [`Truncation::Error`] is the longer; [`TextError::NoWindows`]; [`TextError::Encode`] where the tokenizer fails; [`TextError::NoToken`] where nothing
    /// can stand for an empty prompt.
    pub fn encode_prompt(&self, prompt: Prompt<'_>) -> Result<Prompted, TextError> {
        let (halves, first, original) = guarded(|| self.halves(prompt)).map_err(TextError::Encode)??;
        let Halves { completion, apart, .. } = halves;
        let mut tokens = first.0;
        self.fits(tokens.iter().chain(&completion))?;
        if tokens.is_empty() {
            tokens.push(self.stand_in(false)?);
        }
        let continuation = Continuation {
            text: prompt.completion.unwrap_or_default().to_owned(),
            written: completion.iter().map(|token| self.written(token.id)).collect(),
            prompt: tokens.len(),
            pending: if prompt.completion.is_some() { 0 } else { prompt.room },
            stopped: completion.last().is_some_and(|token| self.ends(token.id)),
            tokens: completion.into_iter().map(|token| Token { special: self.ends(token.id), ..token }).collect(),
        };
        let input = TextInput {
            text: prompt.text.to_owned(),
            pair: None,
            type_ids: vec![0; tokens.len()],
            original_tokens: original.max(tokens.len()),
            words: first.1,
            windows: Vec::new(),
            specials: self.specials,
            sha256: sha256(prompt.chat.map_or(prompt.text, |chat| chat.sent.as_str()), prompt.completion),
            tokens,
            continuation: None,
        };
        Ok(Prompted { input: input.followed_by(continuation), apart })
    }

    /// Both halves, the prompt's tokens and words, and how many tokens were to be read before anything was cut off. The
    /// outer error is the tokenizer's own.
    #[expect(clippy::type_complexity, reason = "parts of one result")]
    fn halves(
        &self,
        prompt: Prompt<'_>,
    ) -> tokenizers::Result<Result<(Halves, (Vec<Token>, Vec<Word>), usize), TextError>> {
        let mut halves = self.split(prompt.text, prompt.completion.unwrap_or_default())?;
        let follows = halves.completion.len().max(prompt.room).saturating_sub(1);
        let whole = self.prompt_tokens(halves.prompt.clone(), prompt)?;
        let (tokens, max) = (whole.0.len() + follows, self.max_tokens);
        if tokens <= max {
            return Ok(Ok((halves, whole, tokens)));
        }
        let own = match prompt.chat {
            Some(_) => whole.0.iter().filter(|token| !token.special).count(),
            None => halves.prompt.len().min(whole.0.len()),
        };
        let template = whole.0.len() - own;
        let room = max.checked_sub(follows + template).filter(|room| *room > 0);
        // A template that leaves no room by itself is the prompt's.
        let too_long = match (template < max && room.is_none()) || follows > own {
            true => TextError::TooMuchFollows { tokens, max, follows: follows + 1 },
            false => TextError::TooManyTokens { tokens, max, second: false },
        };
        if let (Some(chat), Truncation::Truncate) = (prompt.chat, prompt.truncation) {
            let cut = of_chat(&halves.prompt, chat, tokens - max);
            return Ok(cut.map(|cut| (halves, cut, tokens)).ok_or(too_long));
        }
        match (prompt.truncation, room) {
            (Truncation::Window, _) => Ok(Err(TextError::NoWindows { tokens, max })),
            (Truncation::Truncate, Some(room)) => {
                halves.prompt.truncate(room, 0, TruncationDirection::Left);
                halves.prompt.take_overflowing();
                let cut = self.prompt_tokens(halves.prompt.clone(), prompt)?;
                Ok(Ok((halves, cut, tokens)))
            }
            _ => Ok(Err(too_long)),
        }
    }

    fn split(&self, prompt: &str, completion: &str) -> tokenizers::Result<Halves> {
        let border = prompt.chars().count();
        let mut whole = self.tokenizer.encode_char_offsets(format!("{prompt}{completion}"), false)?;
        let offsets = whole.get_offsets();
        if offsets.iter().any(|&(start, end)| start < border && end > border) {
            let prompt = self.tokenizer.encode_char_offsets(prompt, false)?;
            let own = self.tokenizer.encode_char_offsets(completion, false)?;
            return Ok(Halves { prompt, completion: tokens_from(&own, 0, 0), apart: true });
        }
        let first = offsets.iter().position(|&(_, end)| end > border).unwrap_or(offsets.len());
        let completion = tokens_from(&whole, first, border);
        whole.truncate(first, 0, TruncationDirection::Right);
        whole.take_overflowing();
        Ok(Halves { prompt: whole, completion, apart: false })
    }

    /// Tokens and words of a prompt: with the template's tokens before it, and without those that would end a text.
    fn prompt_tokens(&self, encoding: Encoding, prompt: Prompt<'_>) -> tokenizers::Result<(Vec<Token>, Vec<Word>)> {
        if let Some(chat) = prompt.chat {
            return Ok(of_chat(&encoding, chat, 0).unwrap_or_default());
        }
        let encoding = self.finish(encoding, None)?;
        let (mut tokens, words) = tokens_and_words(&encoding, prompt.text, None);
        let ends = |token: &Token| {
            let id = Some(token.id);
            token.special && id != self.specials.bos && (id == self.specials.eos || id == self.specials.sep)
        };
        while tokens.last().is_some_and(ends) {
            tokens.pop();
        }
        Ok((tokens, words))
    }

    fn fits<'t>(&self, mut tokens: impl Iterator<Item = &'t Token>) -> Result<(), TextError> {
        match tokens.find(|token| token.id as usize >= self.vocab_size) {
            Some(token) => Err(super::outside(&format!("id {}", token.id), self.vocab_size)),
            None => Ok(()),
        }
    }

    /// Whether a text ends with this token.
    pub fn ends(&self, id: u32) -> bool {
        self.ends.contains(&id)
    }

    /// What a token writes behind another one.
    pub fn written(&self, id: u32) -> String {
        self.text_behind(id, &[id])
    }

    /// What `ids` write behind the token `before`.
    pub fn text_behind(&self, before: u32, ids: &[u32]) -> String {
        let decode = |ids: &[u32]| guarded(|| self.tokenizer.decode(ids, false)).unwrap_or_default();
        let (alone, both) = (decode(&[before]), decode(&[&[before], ids].concat()));
        both.strip_prefix(alone.as_str()).map_or_else(|| decode(ids), str::to_owned)
    }

    /// What a completion of `ids` shows behind the token `before`: not the token that ends it, and where it is not
    /// `whole`, no character that further tokens may be a part of.
    pub fn shown(&self, before: u32, ids: &[u32], whole: bool) -> String {
        let ids: Vec<u32> = ids.iter().copied().filter(|id| !self.ends(*id)).collect();
        let mut text = self.text_behind(before, &ids);
        if !whole {
            text.truncate(text.trim_end_matches('\u{fffd}').len());
        }
        text
    }

    /// What of it no further token can change: that of bytes, which are characters together, is known behind them alone.
    pub fn settled(&self, before: u32, ids: &[u32]) -> String {
        let byte = |piece: String| piece.len() == 6 && piece.starts_with("<0x") && piece.ends_with('>');
        let whole = |id: &u32| !self.tokenizer.id_to_token(*id).is_some_and(byte);
        let count = ids.iter().rposition(whole).map_or(0, |last| last + 1);
        self.shown(before, &ids[..count], false)
    }

    /// The one token that `text` is behind others, or how many it takes.
    ///
    /// # Errors
    /// How many tokens it is.
    pub fn token_of(&self, text: &str) -> Result<u32, usize> {
        let ids = guarded(|| self.tokenizer.encode_char_offsets(text, false)).map(|own| own.get_ids().to_vec());
        let ids = ids.unwrap_or_default();
        match (ids.as_slice(), self.tokenizer.token_to_id(text)) {
            (&[id], _) | (_, Some(id)) if (id as usize) < self.vocab_size => Ok(id),
            _ => Err(ids.len()),
        }
    }

    /// The tokens `ids`, written behind `before`; `prompt` is how many tokens stand before them.
    pub fn continued(&self, before: u32, prompt: usize, ids: &[u32], stopped: bool) -> Continuation {
        let end = |count: usize| self.shown(before, &ids[..count], count == ids.len()).chars().count();
        let mut start = 0;
        let token = |(index, &id): (usize, &u32)| {
            let from = start;
            start = end(index + 1).max(from);
            let text = self.tokenizer.id_to_token(id).unwrap_or_default();
            Token { id, text, start: from, end: start, special: self.ends(id), word: None, sequence: None }
        };
        let tokens = ids.iter().enumerate().map(token).collect();
        let written = ids.iter().map(|&id| self.written(id)).collect();
        Continuation { text: self.shown(before, ids, true), tokens, written, prompt, pending: 0, stopped }
    }
}

/// The tokens of an encoding from one on; offsets count from `shift`.
fn tokens_from(encoding: &Encoding, first: usize, shift: usize) -> Vec<Token> {
    let parts = encoding.get_ids().iter().zip(encoding.get_tokens()).zip(encoding.get_offsets()).skip(first);
    let token = |((&id, text), &(start, end)): ((&u32, &String), &(usize, usize))| {
        let (start, end) = (start.saturating_sub(shift), end.saturating_sub(shift));
        Token { id, text: text.clone(), start, end, special: false, word: None, sequence: None }
    };
    parts.map(token).collect()
}
