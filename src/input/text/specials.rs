//! Special tokens and `model_max_length`, as `tokenizer_config.json` states them.
//!
//! `processor` calls it once per model.

use serde::Deserialize;
use serde_json::Value;
use tokenizers::Tokenizer;

use super::{ChatTemplate, SpecialIds, TextError};

/// A `model_max_length` above this means "none": transformers writes 1e30 for it.
const SANE_LENGTH: f64 = 1e9;

/// The part of `tokenizer_config.json` that matters here; the rest is ignored.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct TokenizerConfig {
    pad_token: Option<Value>,
    mask_token: Option<Value>,
    unk_token: Option<Value>,
    bos_token: Option<Value>,
    eos_token: Option<Value>,
    cls_token: Option<Value>,
    sep_token: Option<Value>,
    model_max_length: Option<Value>,
    model_input_names: Option<Vec<String>>,
    chat_template: Option<Value>,
}

impl TokenizerConfig {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, TextError> {
        serde_json::from_slice(bytes)
            .map_err(|error| TextError::Tokenizer { file: "tokenizer_config.json", detail: error.to_string() })
    }

    /// The template of chats.
    pub(super) fn chat_template(&self) -> Option<&str> {
        ChatTemplate::source_of(self.chat_template.as_ref()?)
    }

    /// `model_max_length` where it is a length at all.
    pub(super) fn max_length(&self) -> Option<usize> {
        let length = self.model_max_length.as_ref()?.as_f64()?;
        (1.0..SANE_LENGTH).contains(&length).then_some(length as usize)
    }

    /// Whether token types are part of the model's input. Where nothing is said, the template's own types count.
    pub(super) fn sends_types(&self) -> bool {
        self.model_input_names.as_ref().is_none_or(|names| names.iter().any(|name| name == "token_type_ids"))
    }

    /// Ids of the tokens it names; a name that the vocabulary lacks has none.
    pub(super) fn special_ids(&self, tokenizer: &Tokenizer) -> SpecialIds {
        let id = |token: &Option<Value>| content(token.as_ref()?).and_then(|name| tokenizer.token_to_id(name));
        SpecialIds {
            pad: id(&self.pad_token),
            mask: id(&self.mask_token),
            unk: id(&self.unk_token),
            bos: id(&self.bos_token),
            eos: id(&self.eos_token),
            cls: id(&self.cls_token),
            sep: id(&self.sep_token),
        }
    }
}

/// Tokens with a meaning by the names that chat templates know them by.
pub(super) fn names(specials: &SpecialIds, tokenizer: &Tokenizer) -> Vec<(&'static str, String)> {
    let SpecialIds { pad, mask, unk, bos, eos, cls, sep } = *specials;
    let all = [
        ("bos_token", bos),
        ("eos_token", eos),
        ("unk_token", unk),
        ("pad_token", pad),
        ("sep_token", sep),
        ("cls_token", cls),
        ("mask_token", mask),
    ];
    all.into_iter().filter_map(|(name, id)| Some((name, tokenizer.id_to_token(id?)?))).collect()
}

/// A token is written as a string or as `{"content": …}`.
fn content(token: &Value) -> Option<&str> {
    token.as_str().or_else(|| token.get("content")?.as_str())
}

/// Without `tokenizer_config.json`: the names that published vocabularies use.
pub(super) fn well_known(tokenizer: &Tokenizer) -> SpecialIds {
    let first = |names: &[&str]| names.iter().find_map(|name| tokenizer.token_to_id(name));
    SpecialIds {
        pad: first(&["[PAD]", "<pad>", "<|pad|>"]),
        mask: first(&["[MASK]", "<mask>", "<|mask|>"]),
        unk: first(&["[UNK]", "<unk>"]),
        bos: first(&["[BOS]", "<s>", "<bos>", "<|begin_of_text|>"]),
        eos: first(&["[EOS]", "</s>", "<eos>", "<|end_of_text|>", "<|endoftext|>"]),
        cls: first(&["[CLS]", "<cls>"]),
        sep: first(&["[SEP]", "<sep>"]),
    }
}
