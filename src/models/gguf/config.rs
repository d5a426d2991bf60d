//! config.json, made of what a GGUF file says of itself.

use serde_json::{Map, Value, json};

use super::header::Header;
use crate::hub::FileBytes;
use crate::nn::Stored;

/// Architectures, and transformers' names: `model_type` and the class.
const KNOWN: [(&str, &str, &str); 6] = [
    ("llama", "llama", "LlamaForCausalLM"),
    ("qwen2", "qwen2", "Qwen2ForCausalLM"),
    ("qwen3", "qwen3", "Qwen3ForCausalLM"),
    ("gemma2", "gemma2", "Gemma2ForCausalLM"),
    ("gemma3", "gemma3_text", "Gemma3ForCausalLM"),
    ("phi3", "phi3", "Phi3ForCausalLM"),
];
/// Gemma's models of 27 billion parameters scale their scores by the hidden size's share of a head, the others by the
/// head's own; the files do not say which.
const LARGE_GEMMA: [(&str, usize); 2] = [("gemma2", 46), ("gemma3", 62)];

/// # Errors
/// Names the architecture that is not known, the key that is missing, or the number that is none.
pub fn config(header: &Header, bytes: &FileBytes) -> Result<Value, String> {
    let architecture = header.text("general.architecture").ok_or("it has no key general.architecture")?;
    let (name, model_type, class) = KNOWN.iter().find(|(name, ..)| *name == architecture).ok_or_else(|| {
        let known = KNOWN.map(|(name, ..)| name).join(", ");
        format!("its architecture \"{architecture}\" is not supported; supported are {known}")
    })?;
    let keys = Keys { header, bytes, name };
    let mut config = keys.sizes()?;
    config.insert("model_type".into(), json!(model_type));
    config.insert("architectures".into(), json!([class]));
    keys.ropes(&mut config)?;
    keys.biases(&mut config);
    keys.specials(&mut config);
    match *name {
        "gemma2" | "gemma3" => keys.gemma(&mut config)?,
        "phi3" => keys.insert(&mut config, "sliding_window", "attention.sliding_window")?,
        _ => {}
    }
    Ok(Value::Object(config))
}

struct Keys<'a> {
    header: &'a Header,
    bytes: &'a FileBytes,
    name: &'a str,
}

impl Keys<'_> {
    fn number(&self, key: &str) -> Option<f64> {
        self.header.number(&format!("{}.{key}", self.name))
    }

    /// A number without a fraction; those that are no size are found where config.json is read.
    fn size(&self, key: &str) -> Result<Option<u64>, String> {
        let Some(number) = self.number(key) else { return Ok(None) };
        match (0.0..1e15).contains(&number) && number.fract() == 0.0 {
            true => Ok(Some(number as u64)),
            false => Err(format!("{}.{key}: {number} is no size", self.name)),
        }
    }

    fn needed(&self, key: &str) -> Result<u64, String> {
        self.size(key)?.ok_or_else(|| format!("it has no key {}.{key}", self.name))
    }

    fn insert(&self, config: &mut Map<String, Value>, name: &str, key: &str) -> Result<(), String> {
        if let Some(size) = self.size(key)? {
            config.insert(name.into(), json!(size));
        }
        Ok(())
    }

    fn sizes(&self) -> Result<Map<String, Value>, String> {
        let words = self.header.tensor("token_embd.weight").ok_or("tensor \"token_embd.weight\" is missing")?;
        let (hidden, heads) = (self.needed("embedding_length")?, self.needed("attention.head_count")?);
        let epsilon = "attention.layer_norm_rms_epsilon";
        let epsilon = self.number(epsilon).ok_or_else(|| format!("it has no key {}.{epsilon}", self.name))?;
        let mut config = Map::from_iter([
            ("vocab_size".into(), json!(words.shape.first())),
            ("hidden_size".into(), json!(hidden)),
            ("num_hidden_layers".into(), json!(self.needed("block_count")?)),
            ("num_attention_heads".into(), json!(heads)),
            ("intermediate_size".into(), json!(self.needed("feed_forward_length")?)),
            ("max_position_embeddings".into(), json!(self.needed("context_length")?)),
            // Written in f32.
            ("rms_norm_eps".into(), json!(shortest(epsilon))),
            ("tie_word_embeddings".into(), json!(self.header.tensor("output.weight").is_none())),
        ]);
        self.insert(&mut config, "num_key_value_heads", "attention.head_count_kv")?;
        // Not a share of the hidden size where the family's default is none.
        let depth = self.size("attention.key_length")?.unwrap_or(hidden / heads.max(1));
        config.insert("head_dim".into(), json!(depth));
        Ok(config)
    }

    /// Projections have biases where the file has them.
    fn biases(&self, config: &mut Map<String, Value>) {
        let has = |name: &str| self.header.tensor(&format!("blk.0.{name}.bias")).is_some();
        config.insert("attention_bias".into(), json!(has("attn_q") && self.name != "qwen2"));
        config.insert("mlp_bias".into(), json!(has("ffn_up")));
    }

    fn ropes(&self, config: &mut Map<String, Value>) -> Result<(), String> {
        if let Some(theta) = self.number("rope.freq_base") {
            config.insert("rope_theta".into(), json!(shortest(theta)));
        }
        let original = self.size("rope.scaling.original_context_length")?;
        let scaling = match self.header.text(&format!("{}.rope.scaling.type", self.name)) {
            Some(kind @ ("linear" | "yarn")) => {
                let mut scaling = json!({"rope_type": kind, "factor": self.number("rope.scaling.factor")});
                if let Some(original) = original {
                    scaling["original_max_position_embeddings"] = json!(original);
                }
                Some(scaling)
            }
            None | Some("none" | "longrope") => None,
            Some(other) => return Err(format!("{}.rope.scaling.type: \"{other}\" is not supported", self.name)),
        };
        let scaling = match (scaling, self.divisors("rope_freqs.weight")?) {
            (Some(_), Some(_)) => return Err("it scales its rope in two ways, which is not supported".into()),
            (scaling, None) => scaling,
            // Llama 3's ropes: the divisors stand for what they were made of.
            (None, Some(divisors)) => Some(json!({
                "rope_type": "longrope", "short_factor": divisors, "long_factor": divisors, "attention_factor": 1.0,
                "factor": 1.0, "original_max_position_embeddings": self.needed("context_length")?,
            })),
        };
        if let Some(scaling) = scaling {
            config.insert("rope_scaling".into(), scaling);
        }
        if self.name == "phi3" {
            self.phi(config, original)?;
        }
        Ok(())
    }

    fn phi(&self, config: &mut Map<String, Value>, original: Option<u64>) -> Result<(), String> {
        let lists = ["short", "long"].map(|list| self.divisors(&format!("rope_factors_{list}.weight")));
        if let [Some(short), Some(long)] = [lists[0].clone()?, lists[1].clone()?] {
            let scaling = json!({"rope_type": "longrope", "short_factor": short, "long_factor": long});
            config.insert("rope_scaling".into(), scaling);
        }
        let original = original.map_or_else(|| self.needed("context_length"), Ok)?;
        config.insert("original_max_position_embeddings".into(), json!(original));
        let depth = config["head_dim"].as_f64().unwrap_or(1.0);
        if let Some(turned) = self.number("rope.dimension_count") {
            config.insert("partial_rotary_factor".into(), json!(turned / depth.max(1.0)));
        }
        Ok(())
    }

    /// The numbers of a small tensor that belongs to a rope.
    fn divisors(&self, name: &str) -> Result<Option<Vec<f64>>, String> {
        let Some(tensor) = self.header.tensor(name) else { return Ok(None) };
        if tensor.stored != Stored::F32 || tensor.place.len() > 1 << 16 {
            return Err(format!("tensor \"{name}\" is no list of divisors in F32"));
        }
        let bytes = self.bytes.range(tensor.place.clone()).map_err(|error| error.to_string())?;
        let mut numbers = vec![0.0; bytes.len() / size_of::<f32>()];
        Stored::F32.widen(&bytes, &mut numbers);
        match numbers.iter().all(|number| number.is_finite() && *number > 0.0) {
            true => Ok(Some(numbers.into_iter().map(f64::from).collect())),
            false => Err(format!("tensor \"{name}\" holds divisors that are not above 0")),
        }
    }

    fn gemma(&self, config: &mut Map<String, Value>) -> Result<(), String> {
        self.insert(config, "sliding_window", "attention.sliding_window")?;
        for key in ["attn_logit_softcapping", "final_logit_softcapping"] {
            config.insert(key.into(), json!(self.number(key)));
        }
        let (layers, heads) = (self.needed("block_count")?, self.needed("attention.head_count")?.max(1));
        let large = LARGE_GEMMA.iter().any(|(name, depth)| *name == self.name && *depth as u64 == layers);
        let own = if large { json!(self.needed("embedding_length")? / heads) } else { config["head_dim"].clone() };
        config.insert("query_pre_attn_scalar".into(), own);
        config.insert("hidden_activation".into(), json!("gelu_pytorch_tanh"));
        if self.name == "gemma3" {
            // Of layers that see all tokens; those that see a window have a rope of their own, which is not scaled.
            let mut full = config.remove("rope_scaling").unwrap_or_else(|| json!({"rope_type": "default"}));
            full["rope_theta"] = config.remove("rope_theta").unwrap_or_else(|| json!(1_000_000.0));
            let local = self.number("rope.freq_base_swa").map_or(10_000.0, shortest);
            let sliding = json!({"rope_type": "default", "rope_theta": local});
            let both = json!({"full_attention": full, "sliding_attention": sliding});
            config.insert("rope_parameters".into(), both);
        }
        Ok(())
    }

    fn specials(&self, config: &mut Map<String, Value>) {
        for (name, key) in [("bos_token_id", "bos"), ("eos_token_id", "eos"), ("pad_token_id", "padding")] {
            let id = self.header.number(&format!("tokenizer.ggml.{key}_token_id"));
            config.insert(name.into(), json!(id.filter(|id| *id >= 0.0).map(|id| id as u64)));
        }
    }
}

/// A number written in f32, as people write it.
fn shortest(number: f64) -> f64 {
    (number as f32).to_string().parse().unwrap_or(number)
}
