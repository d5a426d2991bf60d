//! Loads a `tokenizer.json` and encodes text with it: truncation, offsets, words, checks.
//!
//! Truncation and padding of the file are switched off: the limit is the model's, and the number of tokens before the
//! cut must be known. The template (`[CLS] … [SEP]`) is applied by hand after the cut, since post-processing twice
//! would trim byte-level offsets twice.

mod chat;
mod in_place;
mod prompt;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

use sha2::{Digest, Sha256};
use tokenizers::models::ModelWrapper;
use tokenizers::processors::PostProcessorWrapper;
use tokenizers::utils::truncation::{TruncationDirection, TruncationParams, TruncationStrategy, truncate_encodings};
use tokenizers::{Encoding, PostProcessor, Tokenizer};

pub use prompt::{Prompt, Prompted};

use super::specials::{TokenizerConfig, names, well_known};
use super::windows::{Places, stretches};
use super::words::{Piece, group};
use super::{ChatTemplate, Lexicon, SpecialIds, TextError, TextInput, Token, Truncation, Vocabulary, Window, Word};

/// What the model reads of a text.
struct Cut {
    encoding: Encoding,
    /// Before anything was cut off.
    original_tokens: usize,
    windows: Vec<Window>,
}

/// A model's tokenizer with its truncation, specials and word grouping.
pub struct TextProcessor {
    /// Without its post-processor, which is applied after truncation.
    tokenizer: Tokenizer,
    post: Option<PostProcessorWrapper>,
    specials: SpecialIds,
    /// Else every token's type is 0, as in transformers without `token_type_ids`.
    types: bool,
    max_tokens: usize,
    /// Tokens that the template adds to one text.
    template: usize,
    vocab_size: usize,
    chat: Option<ChatTemplate>,
    /// Ids that end a text.
    ends: Vec<u32>,
    /// Made when first asked for.
    vocabulary: OnceLock<Vocabulary>,
}

impl Lexicon for TextProcessor {
    fn vocabulary(&self) -> &Vocabulary {
        self.vocabulary.get_or_init(|| Vocabulary::of(&self.tokenizer, self.vocab_size))
    }

    fn read(&self, text: &str, pair: Option<&str>) -> Option<Vec<u32>> {
        self.encode(text, pair, Truncation::Truncate).ok().map(|text| text.ids().collect())
    }

    fn between(&self, before: &str, word: &str, after: &str) -> Option<Vec<u32>> {
        self.ids_between(before, word, after)
    }

    fn written(&self, id: u32, alone: bool) -> String {
        if alone { self.decoded(id) } else { self.written(id) }
    }

    fn name(&self, id: u32) -> Option<String> {
        self.tokenizer.id_to_token(id)
    }
}

impl TextProcessor {
    /// Reads `tokenizer.json` (and `tokenizer_config.json`: special tokens, `model_max_length`). `max_positions` is
    /// what the model itself can take; `vocab_size` its embedding rows, which every id must fit.
    ///
    /// # Errors
    /// A file that cannot be read, an id outside the embedding, or a template longer than the model's input.
    pub fn new(
        tokenizer_json: &[u8],
        tokenizer_config: Option<&[u8]>,
        max_positions: usize,
        vocab_size: usize,
    ) -> Result<Self, TextError> {
        let mut tokenizer = guarded(|| Tokenizer::from_bytes(tokenizer_json))
            .map_err(|detail| broken(format!("{detail}; it must be a Hugging Face fast tokenizer")))?;
        tokenizer.with_truncation(None).map_err(|error| broken(error.to_string()))?;
        tokenizer.with_padding(None);
        clear_dropout(&mut tokenizer);
        check_vocabulary(&tokenizer, vocab_size)?;

        let config = tokenizer_config.map(TokenizerConfig::parse).transpose()?;
        let (specials, max_length, types) = match &config {
            Some(config) => (config.special_ids(&tokenizer), config.max_length(), config.sends_types()),
            None => (well_known(&tokenizer), None, true),
        };
        let template = config.as_ref().and_then(TokenizerConfig::chat_template);
        let chat = template.map(|source| ChatTemplate::new(source, names(&specials, &tokenizer)));
        let specials = specials.within(vocab_size);
        let post = tokenizer.get_post_processor().cloned();
        tokenizer.with_post_processor(None::<PostProcessorWrapper>);
        let max_tokens = max_length.map_or(max_positions, |length| length.min(max_positions));
        let (ends, vocabulary) = (specials.eos.into_iter().collect(), OnceLock::new());
        let template = 0;
        let processor =
            Self { tokenizer, post, specials, types, max_tokens, template, vocab_size, chat, ends, vocabulary };
        let template = processor.check_template()?;
        Ok(Self { template, ..processor })
    }

    /// The longest input in tokens, specials included.
    pub fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// How many of them a text can have by itself: the template's are not its own.
    pub fn max_own_tokens(&self) -> usize {
        self.max_tokens.saturating_sub(self.template)
    }

    pub fn specials(&self) -> SpecialIds {
        self.specials
    }

    /// Encodes a text or a pair. Offsets count the Unicode characters of a token's own text; the empty text is valid:
    /// where the template adds nothing either, one special token stands for it.
    ///
    /// # Errors
    /// [`TextError::TooManyTokens`] under [`Truncation::Error`], or where a pair's template alone is too long;
    /// [`TextError::Encode`] where the tokenizer fails; [`TextError::NoToken`] where nothing can stand for the empty
    /// text.
    pub fn encode(&self, text: &str, pair: Option<&str>, truncation: Truncation) -> Result<TextInput, TextError> {
        self.encode_before(text, pair, truncation, 0)
    }

    /// The same where `tail` tokens of the model's length are taken by what will stand behind.
    ///
    /// # Errors
    /// As [`TextProcessor::encode`].
    pub fn encode_before(
        &self,
        text: &str,
        pair: Option<&str>,
        truncation: Truncation,
        tail: usize,
    ) -> Result<TextInput, TextError> {
        let max = self.max_tokens.saturating_sub(tail);
        let Cut { encoding, original_tokens, windows } =
            guarded(|| self.encode_cut(text, pair, truncation, max)).map_err(TextError::Encode)??;
        self.check_ids(&encoding)?;
        let (mut tokens, words) = tokens_and_words(&encoding, text, pair);
        if tokens.is_empty() {
            tokens.push(self.stand_in(pair.is_some())?);
        }
        let sends_types = self.types && encoding.len() == tokens.len();
        Ok(TextInput {
            text: text.to_owned(),
            pair: pair.map(str::to_owned),
            type_ids: if sends_types { encoding.get_type_ids().to_vec() } else { vec![0; tokens.len()] },
            original_tokens: original_tokens.max(tokens.len()),
            tokens,
            words,
            windows,
            continuation: None,
            specials: self.specials,
            sha256: sha256(text, pair),
        })
    }

    /// Ids and types of what `second` adds behind any first text of a pair: the separator before it, itself, and what
    /// ends it.
    ///
    /// # Errors
    /// [`TextError::Encode`] where the tokenizer fails, or where a pair does not begin as its first text alone.
    pub fn encode_tail(&self, second: &str) -> Result<(Vec<u32>, Vec<u32>), TextError> {
        let encode = || {
            let nothing = self.tokenizer.encode_char_offsets("", false)?;
            let second = self.tokenizer.encode_char_offsets(second, false)?;
            Ok((self.finish(nothing.clone(), None)?, self.finish(nothing, Some(second))?))
        };
        let (alone, pair) = guarded(encode).map_err(TextError::Encode)?;
        self.check_ids(&pair)?;
        let Some(ids) = pair.get_ids().strip_prefix(alone.get_ids()) else {
            let detail = "its pairs do not begin as a text alone does, so that no hypothesis can follow it";
            return Err(TextError::Encode(detail.to_owned()));
        };
        let types = pair.get_type_ids().iter().skip(alone.len());
        let type_ids = types.map(|&kind| if self.types { kind } else { 0 }).collect();
        Ok((ids.to_vec(), type_ids))
    }

    /// The encoding within `max` tokens or in windows of them. The outer error is the tokenizer's own.
    fn encode_cut(
        &self,
        text: &str,
        pair: Option<&str>,
        truncation: Truncation,
        max: usize,
    ) -> tokenizers::Result<Result<Cut, TextError>> {
        let first = self.tokenizer.encode_char_offsets(text, false)?;
        let second = pair.map(|pair| self.tokenizer.encode_char_offsets(pair, false)).transpose()?;
        let written = first.len() + second.as_ref().map_or(0, Encoding::len);
        // A template repeats a sequence only in theory, but then the length must be measured, not added up.
        let whole = self.finish(first.clone(), second.clone())?;
        let (tokens, second_longer) = (whole.len(), second.as_ref().is_some_and(|second| second.len() > first.len()));
        let too_many = |tokens| TextError::TooManyTokens { tokens, max, second: second_longer };
        if tokens <= max {
            return Ok(Ok(Cut { encoding: whole, original_tokens: tokens, windows: Vec::new() }));
        }
        let room = max.checked_sub(tokens.saturating_sub(written));
        match (truncation, room) {
            (Truncation::Window, Some(room)) => self.windowed(first, second, whole, room, max),
            (Truncation::Truncate, Some(room)) => {
                let (first, second) = cut(first, second, room)?;
                let encoding = self.finish(first, second)?;
                if encoding.len() > max {
                    return Ok(Err(too_many(encoding.len())));
                }
                Ok(Ok(Cut { encoding, original_tokens: tokens, windows: Vec::new() }))
            }
            _ => Ok(Err(too_many(tokens))),
        }
    }

    /// All of it, in windows whose texts have `room` tokens together.
    fn windowed(
        &self,
        first: Encoding,
        second: Option<Encoding>,
        whole: Encoding,
        room: usize,
        max: usize,
    ) -> tokenizers::Result<Result<Cut, TextError>> {
        let places = Places::of(&whole);
        let (cut, long, short) = match second {
            Some(second) if second.len() >= first.len() => (1, second, Some(first)),
            other => (0, first, other),
        };
        let room = room.saturating_sub(short.as_ref().map_or(0, Encoding::len));
        let Some(parts) = stretches(long, room) else {
            return Ok(Err(TextError::NoRoom { room, max, second: cut == 0 && short.is_some() }));
        };
        let mut windows = Vec::with_capacity(parts.len());
        for (range, part) in parts {
            let part = match (cut, short.clone()) {
                (0, short) => self.finish(part, short)?,
                (_, short) => self.finish(short.unwrap_or_default(), Some(part))?,
            };
            let Some(window) = places.window(&part, cut, &range, self.types).filter(|_| part.len() <= max) else {
                let detail = "its template makes windows that do not fit the whole text".to_owned();
                return Ok(Err(TextError::Encode(detail)));
            };
            windows.push(window);
        }
        Ok(Ok(Cut { original_tokens: whole.len(), encoding: whole, windows }))
    }

    /// The token that stands for a text without any.
    fn stand_in(&self, paired: bool) -> Result<Token, TextError> {
        let id = self.specials.stand_in().ok_or(TextError::NoToken)?;
        let text = self.tokenizer.id_to_token(id).unwrap_or_default();
        Ok(Token { id, text, start: 0, end: 0, special: true, word: None, sequence: paired.then_some(None) })
    }

    /// Applies the template to one or two encodings, as `Tokenizer::post_process` does.
    fn finish(&self, first: Encoding, mut second: Option<Encoding>) -> tokenizers::Result<Encoding> {
        if let Some(second) = &mut second {
            second.set_type_ids(vec![1; second.len()]);
        }
        match &self.post {
            Some(post) => post.process(first, second, true),
            None => {
                let parts = std::iter::once(first).chain(second);
                Ok(Encoding::merge(
                    parts.enumerate().map(|(index, mut part)| {
                        part.set_sequence_id(index);
                        part
                    }),
                    false,
                ))
            }
        }
    }

    /// The template's own tokens, which stand in no vocabulary list, fit the embedding and the model's length. How many it
    /// adds to one text.
    fn check_template(&self) -> Result<usize, TextError> {
        let mut alone = 0;
        for pair in [None, Some("")] {
            let part = |text: &str| self.tokenizer.encode_char_offsets(text, false);
            let encoding = guarded(|| self.finish(part("")?, pair.map(part).transpose()?)).map_err(broken)?;
            self.check_ids(&encoding)?;
            let (specials, max) = (encoding.len(), self.max_tokens);
            if pair.is_none() && specials >= max {
                return Err(broken(format!(
                    "its template adds {specials} tokens and the model takes {max}, which leaves no room for text"
                )));
            }
            if pair.is_none() {
                alone = specials;
            }
        }
        Ok(alone)
    }

    fn check_ids(&self, encoding: &Encoding) -> Result<(), TextError> {
        match encoding.get_ids().iter().find(|&&id| id as usize >= self.vocab_size) {
            Some(id) => Err(outside(&format!("id {id}"), self.vocab_size)),
            None => Ok(()),
        }
    }
}

/// Runs tokenizer code; an error or a panic in it becomes a text.
fn guarded<T>(run: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
            Err(format!("the tokenizer failed inside ({text})"))
        }
    }
}

fn broken(detail: String) -> TextError {
    TextError::Tokenizer { file: "tokenizer.json", detail }
}

fn outside(what: &str, vocab_size: usize) -> TextError {
    broken(format!("{what} is outside the model's {vocab_size} embeddings; the tokenizer is another model's"))
}

/// BPE dropout is a training aid; left on, the same text would get other tokens each time.
fn clear_dropout(tokenizer: &mut Tokenizer) {
    if let ModelWrapper::BPE(bpe) = tokenizer.get_model()
        && bpe.dropout.is_some()
    {
        let mut bpe = bpe.clone();
        bpe.dropout = None;
        tokenizer.with_model(bpe);
    }
}

/// The vocabulary fits the embedding. Added tokens may lie behind it, as Gemma 3's for images and pads that were added
/// for training alone: a text that holds one is refused.
fn check_vocabulary(tokenizer: &Tokenizer, vocab_size: usize) -> Result<(), TextError> {
    let vocabulary = tokenizer.get_vocab(false);
    // The largest id, so that the message does not depend on the map's order.
    let largest = vocabulary.iter().max_by_key(|(token, id)| (**id, token.as_str()));
    match largest {
        Some((token, id)) if *id as usize >= vocab_size => {
            Err(outside(&format!("token {token:?} (id {id})"), vocab_size))
        }
        _ => Ok(()),
    }
}

/// Cuts the end so that both together keep `room` tokens: Hugging Face's `longest_first`.
fn cut(first: Encoding, second: Option<Encoding>, room: usize) -> tokenizers::Result<(Encoding, Option<Encoding>)> {
    let params = TruncationParams {
        direction: TruncationDirection::Right,
        max_length: room,
        strategy: TruncationStrategy::LongestFirst,
        stride: 0,
    };
    let (mut first, mut second) = truncate_encodings(first, second, &params)?;
    // What was cut off would be run through the template as well, in every combination of a pair.
    first.take_overflowing();
    if let Some(second) = &mut second {
        second.take_overflowing();
    }
    Ok((first, second))
}

/// Tokens and words of an encoding. The offsets are the tokenizer's own, held inside the text.
fn tokens_and_words(encoding: &Encoding, text: &str, pair: Option<&str>) -> (Vec<Token>, Vec<Word>) {
    let texts: Vec<Vec<char>> = std::iter::once(text).chain(pair).map(|text| text.chars().collect()).collect();
    let mut pieces: Vec<(Vec<usize>, Vec<Piece>)> = vec![Default::default(); texts.len()];
    let sequences = encoding.get_sequence_ids();
    let mut tokens = Vec::with_capacity(encoding.len());
    for (index, (&id, piece)) in encoding.get_ids().iter().zip(encoding.get_tokens()).enumerate() {
        let special = encoding.get_special_tokens_mask().get(index) == Some(&1);
        let sequence = sequences.get(index).copied().flatten().unwrap_or(0).min(texts.len() - 1);
        let (start, end) = encoding.get_offsets().get(index).copied().unwrap_or_default();
        let end = end.min(texts[sequence].len());
        let start = start.min(end);
        if !special {
            let group = encoding.get_word_ids().get(index).copied().flatten();
            pieces[sequence].0.push(index);
            pieces[sequence].1.push(Piece { start, end, group });
        }
        let sequence = pair.map(|_| (!special).then_some(sequence));
        tokens.push(Token { id, text: piece.clone(), start, end, special, word: None, sequence });
    }
    let mut words = Vec::new();
    for (sequence, (indices, pieces)) in pieces.iter().enumerate() {
        let of_piece = group(&texts[sequence], pieces, pair.map(|_| sequence), &mut words);
        for (&index, word) in indices.iter().zip(of_piece) {
            tokens[index].word = word;
        }
    }
    (tokens, words)
}

/// SHA-256 (hex) of a text and, after a NUL, its pair, in UTF-8.
pub fn sha256(text: &str, pair: Option<&str>) -> String {
    let mut hash = Sha256::new();
    hash.update(text);
    if let Some(pair) = pair {
        hash.update([0]);
        hash.update(pair);
    }
    format!("{:x}", hash.finalize())
}
