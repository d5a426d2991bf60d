//! tokenizer.json and tokenizer_config.json, made of a GGUF file's vocabulary: byte-level BPE, where the way in which the
//! model cuts text into words is known by its name. Vocabularies of other kinds need the file beside.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::header::Header;

/// Where GPT-4's cuts words; `{digits}` of a number stay together.
const WORDS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|{digits}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Types of tokens: those that mean something, and those that a user added.
const CONTROL: f64 = 3.0;
const ADDED: f64 = 4.0;

/// # Errors
/// Says that a tokenizer.json beside the file is needed, and why.
pub fn files(header: &Header) -> Result<(Value, Value), String> {
    let own = |key: &str| format!("tokenizer.ggml.{key}");
    let beside = |why: String| format!("{why}; put the model's tokenizer.json beside it");
    let model = header.text(&own("model")).ok_or_else(|| beside("it has no tokenizer".into()))?;
    if model != "gpt2" {
        return Err(beside(format!(
            "its tokenizer is of the kind \"{model}\", and only \"gpt2\" can be read out of it"
        )));
    }
    let cut = Cut::of(header.text(&own("pre")).unwrap_or("default")).map_err(beside)?;
    let (Some(tokens), Some(merges)) = (header.texts(&own("tokens")), header.texts(&own("merges"))) else {
        return Err(beside("its tokenizer has no tokens or no merges".into()));
    };
    if tokens.iter().collect::<HashSet<_>>().len() != tokens.len() {
        return Err(beside("its tokenizer has a token twice".into()));
    }
    let kinds = header.numbers(&own("token_type")).unwrap_or_default();
    let special = |id: usize| kinds.get(id).copied();
    let added: Vec<Value> = tokens
        .iter()
        .enumerate()
        .filter(|(id, _)| special(*id).is_some_and(|kind| kind == CONTROL || kind == ADDED))
        .map(|(id, token)| added(id, token, special(id) == Some(CONTROL)))
        .collect();
    let named = |key: &str| {
        let id = header.number(&own(key)).filter(|id| *id >= 0.0)?;
        tokens.get(id as usize).map(|token| (id as usize, token.as_str()))
    };
    let begins = header.number(&own("add_bos_token")).map_or(cut.begins, |adds| adds != 0.0);
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
        "normalizer": cut.normalizer(), "pre_tokenizer": cut.pre_tokenizer(),
        "post_processor": template(named("bos_token_id").filter(|_| begins)),
        "decoder": byte_level(false),
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": cut.whole_words,
            "vocab": tokens.iter().enumerate().map(|(id, token)| (token.clone(), json!(id))).collect::<Map<_, _>>(),
            "merges": merges,
        },
    });
    let mut settings = json!({"model_input_names": ["input_ids", "attention_mask"]});
    for (name, key) in [("bos", "bos"), ("eos", "eos"), ("pad", "padding"), ("unk", "unknown")] {
        settings[format!("{name}_token")] = json!(named(&format!("{key}_token_id")).map(|(_, token)| token));
    }
    settings["chat_template"] = json!(header.text("tokenizer.chat_template"));
    Ok((tokenizer, settings))
}

/// How a text is cut into words before pieces are merged.
struct Cut {
    /// `None`: as GPT-2.
    pattern: Option<String>,
    /// Composed characters (Unicode's NFC).
    composed: bool,
    /// A word that is a token is that token, whatever the merges say.
    whole_words: bool,
    /// A token that begins a text is added where the file says nothing of it.
    begins: bool,
}

impl Cut {
    fn of(name: &str) -> Result<Self, String> {
        let (digits, composed, whole_words, begins) = match name {
            "gpt-2" => (None, false, false, false),
            "llama-bpe" => (Some(r"\p{N}{1,3}"), false, true, true),
            "qwen2" => (Some(r"\p{N}"), true, false, false),
            other => {
                return Err(format!(
                    "its tokenizer cuts words as \"{other}\", and only gpt-2, llama-bpe and qwen2 can be read out of it"
                ));
            }
        };
        let pattern = digits.map(|digits| WORDS.replace("{digits}", digits));
        Ok(Self { pattern, composed, whole_words, begins })
    }

    fn normalizer(&self) -> Value {
        if self.composed { json!({"type": "NFC"}) } else { Value::Null }
    }

    fn pre_tokenizer(&self) -> Value {
        let Some(pattern) = &self.pattern else { return byte_level(true) };
        let split = json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
        json!({"type": "Sequence", "pretokenizers": [split, byte_level(false)]})
    }
}

fn byte_level(cuts: bool) -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": cuts})
}

fn added(id: usize, token: &str, special: bool) -> Value {
    json!({
        "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
        "special": special,
    })
}

/// What is added to a text: the token that begins it, if any.
fn template(begins: Option<(usize, &str)>) -> Value {
    let Some((id, token)) = begins else { return byte_level(false) };
    let of = |sequence: &str, kind: usize| json!([{"SpecialToken": {"id": token, "type_id": kind}}, {"Sequence": {"id": sequence, "type_id": kind}}]);
    let pair: Vec<Value> =
        [of("A", 0), of("B", 1)].into_iter().flat_map(|part| part.as_array().cloned().unwrap_or_default()).collect();
    json!({"type": "TemplateProcessing", "single": of("A", 0), "pair": pair,
        "special_tokens": {token: {"id": token, "ids": [id], "tokens": [token]}}})
}
