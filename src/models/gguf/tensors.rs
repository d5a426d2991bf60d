//! What the tensors of a GGUF file are called in transformers, and what its converter did to their numbers.

use super::header::{Header, Tensor};

/// What has to be done to a tensor's numbers to have transformers'.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Nothing,
    /// The converter added 1: Gemma's norms.
    MinusOne,
    /// Rows of so many heads, of each of which the two halves stand one row by one: the projections to queries and keys
    /// of `llama`, whose ropes turn neighbours in llama.cpp and halves in transformers.
    Heads(usize),
}

impl Change {
    /// Numbers of rows of `width`, as transformers has them.
    pub fn undo<T: Copy>(self, values: &mut [T], width: usize) {
        let Self::Heads(heads) = self else { return };
        let depth = values.len() / width.max(1) / heads.max(1);
        for head in values.chunks_exact_mut((depth * width).max(1)) {
            let stored = head.to_vec();
            for (row, to) in head.chunks_exact_mut(width).enumerate() {
                let from = row % (depth / 2) * 2 + row / (depth / 2);
                to.copy_from_slice(&stored[from * width..][..width]);
            }
        }
    }
}

/// Names outside the layers.
const WHOLE: [(&str, &str); 3] =
    [("token_embd", "model.embed_tokens"), ("output", "lm_head"), ("output_norm", "model.norm")];
/// Of a layer, where all architectures agree.
const LAYER: [(&str, &str); 11] = [
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_qkv", "self_attn.qkv_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];
const LLAMA: &[(&str, &str)] = &[("ffn_norm", "post_attention_layernorm")];
const PHI: &[(&str, &str)] = &[("ffn_norm", "post_attention_layernorm"), ("ffn_up", "mlp.gate_up_proj")];
const GEMMA: &[(&str, &str)] = &[
    ("post_attention_norm", "post_attention_layernorm"),
    ("ffn_norm", "pre_feedforward_layernorm"),
    ("post_ffw_norm", "post_feedforward_layernorm"),
];

/// The tensors by transformers' names, and what is to be done to each. Those that no family reads keep their names.
pub fn tensors(header: &Header) -> Vec<(String, Tensor, Change)> {
    let architecture = header.text("general.architecture").unwrap_or_default();
    let heads = |key: &str| header.number(&format!("{architecture}.attention.{key}")).map(|heads| heads as usize);
    let of_queries = heads("head_count").unwrap_or(1).max(1);
    let of_keys = heads("head_count_kv").unwrap_or(of_queries).max(1);
    let change = |name: &str, shape: &[usize]| {
        let norm = name.contains("norm");
        let rows = shape.first().copied().unwrap_or(0);
        let turned = |heads: usize| rows.is_multiple_of(heads.checked_mul(2)?).then_some(Change::Heads(heads));
        match architecture {
            "llama" if name.contains(".attn_q.") => turned(of_queries),
            "llama" if name.contains(".attn_k.") => turned(of_keys),
            "gemma2" | "gemma3" if norm => Some(Change::MinusOne),
            _ => None,
        }
        .unwrap_or(Change::Nothing)
    };
    let named = |tensor: &Tensor| {
        let name = renamed(architecture, &tensor.name).unwrap_or_else(|| tensor.name.clone());
        (name, tensor.clone(), change(&tensor.name, &tensor.shape))
    };
    header.tensors.iter().map(named).collect()
}

fn renamed(architecture: &str, name: &str) -> Option<String> {
    let (module, part) = name.rsplit_once('.')?;
    let own = match architecture {
        "phi3" => PHI,
        "gemma2" | "gemma3" => GEMMA,
        _ => LLAMA,
    };
    let find = |names: &[(&str, &'static str)], module: &str| {
        names.iter().find(|(known, _)| *known == module).map(|(_, renamed)| *renamed)
    };
    match module.strip_prefix("blk.").and_then(|rest| rest.split_once('.')) {
        Some((layer, module)) => {
            let module = find(own, module).or_else(|| find(&LAYER, module))?;
            Some(format!("model.layers.{layer}.{module}.{part}"))
        }
        None => Some(format!("{}.{part}", find(&WHOLE, module)?)),
    }
}
