//! Text into token ids, character offsets and words, by the model's own `tokenizer.json`.
//!
//! Here are the types; `processor` loads a tokenizer and encodes, `specials` finds the tokens with a meaning of their
//! own, `words` groups tokens into words, `windows` cuts long texts. `explain` calls it through [`TextProcessor`]. Nothing here knows a model.

mod chat;
mod processor;
mod specials;
#[cfg(test)]
mod tests;
mod vocabulary;
mod windows;
mod words;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use chat::{Chat, ChatTemplate, Message};
pub use processor::{Prompt, Prompted, TextProcessor, sha256};
pub use vocabulary::{Join, Kind as WordKind, Like, Piece, Vocabulary, is_word};
pub use windows::Window;

/// A model's words, as its tokenizer has them.
pub trait Lexicon: Sync {
    fn vocabulary(&self) -> &Vocabulary;
    /// The token ids that a text gets where it is sent by itself; `None` where it cannot be read.
    fn read(&self, text: &str, pair: Option<&str>) -> Option<Vec<u32>>;
    /// The token ids that `word` gets where it stands between `before` and `after`; `None` where one of them would write
    /// more than the word.
    fn between(&self, before: &str, word: &str, after: &str) -> Option<Vec<u32>>;
    /// What a token writes: `alone`, as transformers decodes it, or behind another one.
    fn written(&self, id: u32, alone: bool) -> String;
    /// A token by name, one with a meaning of its own as well: `[MASK]`.
    fn name(&self, id: u32) -> Option<String>;
}

/// What to do with a text of more tokens than the model takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Truncation {
    /// Cut the end (of the longer text of a pair, as Hugging Face's `longest_first`) and say so in `warnings`.
    #[default]
    Truncate,
    /// Refuse.
    Error,
    /// Read it in overlapping windows (of a pair the longer text, the other in full in each) and say so in `warnings`.
    Window,
}

/// One token of the input as the model reads it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Token {
    /// Index in the vocabulary.
    pub id: u32,
    /// The vocabulary piece.
    pub text: String,
    /// First Unicode character of the text as sent.
    pub start: usize,
    /// Character after the last.
    pub end: usize,
    /// Added by the tokenizer's template (`[CLS]`, `[SEP]`, …) rather than written by the caller.
    pub special: bool,
    /// Index in `words`; null at specials. White space between words belongs to the word after it.
    pub word: Option<usize>,
    /// With a pair: which text (0 or 1) the token belongs to, null at specials. Absent without a pair.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "sequence")]
    #[schema(value_type = Option<usize>)]
    pub sequence: Option<Option<usize>>,
}

/// A word: the tokenizer's `word_ids` group, trimmed of whitespace and split where it holds inner whitespace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Word {
    pub text: String,
    pub start: usize,
    pub end: usize,
    /// With a pair: which text (0 or 1) the word belongs to. Absent without a pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<usize>,
}

/// `Some(None)` is written as `null`, `None` is left out.
mod sequence {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    pub fn serialize<S: Serializer>(value: &Option<Option<usize>>, serializer: S) -> Result<S::Ok, S::Error> {
        value.flatten().serialize(serializer)
    }
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<usize>>, D::Error> {
        Option::<usize>::deserialize(deserializer).map(Some)
    }
}

/// Ids of the tokens with a meaning of their own; `None` where the tokenizer has none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SpecialIds {
    pub pad: Option<u32>,
    pub mask: Option<u32>,
    pub unk: Option<u32>,
    pub bos: Option<u32>,
    pub eos: Option<u32>,
    pub cls: Option<u32>,
    pub sep: Option<u32>,
}

impl SpecialIds {
    /// Those that an embedding of `entries` has.
    pub fn within(self, entries: usize) -> Self {
        let known = |id: Option<u32>| id.filter(|&id| (id as usize) < entries);
        let Self { pad, mask, unk, bos, eos, cls, sep } = self;
        Self {
            pad: known(pad),
            mask: known(mask),
            unk: known(unk),
            bos: known(bos),
            eos: known(eos),
            cls: known(cls),
            sep: known(sep),
        }
    }

    /// What stands for a text of which no token is there: the token that begins a text, else the unknown one, else the
    /// one that ends a text.
    pub fn stand_in(&self) -> Option<u32> {
        self.bos.or(self.unk).or(self.eos)
    }
}

/// A text (or pair) as the model reads it.
#[derive(Debug, Clone)]
pub struct TextInput {
    pub text: String,
    pub pair: Option<String>,
    pub tokens: Vec<Token>,
    /// One per token: 0 for the first text, 1 for the second, as the tokenizer's template says.
    pub type_ids: Vec<u32>,
    /// All texts' words, in order.
    pub words: Vec<Word>,
    /// Tokens before truncation, specials included; equal to `tokens.len()` where nothing was cut.
    pub original_tokens: usize,
    /// Of an input of more tokens than the model takes under [`Truncation::Window`]; none where one row takes all of it.
    pub windows: Vec<Window>,
    /// Of a language model's prompt: what follows it.
    pub continuation: Option<Continuation>,
    pub specials: SpecialIds,
    /// SHA-256 (hex) of the text and, after a NUL, the pair, in UTF-8.
    pub sha256: String,
}

/// What follows a prompt, and is explained.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Continuation {
    pub text: String,
    /// Their offsets count in `text`.
    pub tokens: Vec<Token>,
    /// What each of them writes.
    pub written: Vec<String>,
    /// Tokens of the prompt, which are the input's first.
    pub prompt: usize,
    /// Tokens that the model has yet to write, at most.
    pub pending: usize,
    /// It ends where the model ends a text, or where a caller let it.
    pub stopped: bool,
}

impl TextInput {
    /// The same prompt with another continuation. All of its tokens but the last are read; they stand behind the
    /// prompt's as tokens that no method takes away.
    pub fn followed_by(mut self, continuation: Continuation) -> Self {
        self.tokens.truncate(continuation.prompt);
        let read = continuation.tokens.len().saturating_sub(1);
        let fixed = |token: &Token| Token { start: 0, end: 0, special: true, word: None, ..token.clone() };
        self.tokens.extend(continuation.tokens.iter().take(read).map(fixed));
        self.type_ids.resize(self.tokens.len(), 0);
        self.original_tokens = self.original_tokens.max(self.tokens.len());
        self.continuation = Some(continuation);
        self
    }
    /// Tokens that a row of it has, those that are still to be written included.
    pub fn length(&self) -> usize {
        let pending = self.continuation.as_ref().map_or(0, |continuation| continuation.pending.saturating_sub(1));
        self.tokens.len() + pending
    }
    /// The tokens that the caller sent, in their template: without a completion's.
    pub fn own_tokens(&self) -> &[Token] {
        let own = self.continuation.as_ref().map_or(self.tokens.len(), |continuation| continuation.prompt);
        self.tokens.get(..own).unwrap_or(&self.tokens)
    }
    pub fn ids(&self) -> impl Iterator<Item = u32> + '_ {
        self.tokens.iter().map(|token| token.id)
    }
    pub fn truncated(&self) -> bool {
        self.original_tokens > self.length()
    }
}

/// Why a tokenizer could not be loaded or a text not be read.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// `file` is the name inside the model's folder.
    #[error("{file}: {detail}")]
    Tokenizer { file: &'static str, detail: String },
    /// `second`: of a pair the second text is the longer.
    #[error("the text has {tokens} tokens and the model takes {max}; shorten it, or send \"truncation\": \"truncate\"")]
    TooManyTokens { tokens: usize, max: usize, second: bool },
    /// The completion, written or to be written, leaves no room for a prompt, or is the longer of both.
    #[error(
        "prompt and completion have {tokens} tokens and the model takes {max}; {follows} of them are the completion's: make \
         it shorter"
    )]
    TooMuchFollows { tokens: usize, max: usize, follows: usize },
    #[error(
        "prompt and completion have {tokens} tokens and the model takes {max}; a prompt is not read in windows: send \
         \"truncation\": \"truncate\", which cuts off its beginning, or shorten it"
    )]
    NoWindows { tokens: usize, max: usize },
    #[error(
        "this model has no chat template (chat_template in tokenizer_config.json, or chat_template.jinja); send the prompt \
         as \"text\""
    )]
    NoTemplate,
    #[error("the model's chat template does not take these messages: {0}")]
    Chat(String),
    /// Of windows. `second`: of the pair the second text is the shorter.
    #[error(
        "the shorter text of the pair leaves {room} of the model's {max} tokens for windows of the longer, which is too \
         few; shorten it, or send \"truncation\": \"truncate\""
    )]
    NoRoom { room: usize, max: usize, second: bool },
    #[error("the text could not be tokenised: {0}")]
    Encode(String),
    #[error("the text has no token, and the tokenizer has no bos, unk or eos token that could stand for it")]
    NoToken,
}
