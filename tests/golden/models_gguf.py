"""Tiny language models as GGUF files, and their golden values.

    OMP_NUM_THREADS=1 python models_gguf.py

`gguf/NAME.gguf` are random decoders, written as llama.cpp's converter writes them: its names (by the package gguf), rows of
Llama's queries and keys turned, 1 added to Gemma's norms, Llama 3's rope as divisors. Matrices are quantised by the
package where their rows are whole blocks, else f16. `values/gguf.json` holds for each file some ids, the logits behind the
last of them and the log-probability of each but the first: of transformers' model in f64 with the numbers that the package
reads out of the blocks. Where transformers itself reads such files, its numbers must be the same ones.
"""

import math
import shutil

import gguf
import numpy as np
import torch
import transformers
from gguf import GGMLQuantizationType as Q
from transformers import AutoModelForCausalLM

import models as base
import models_decoders as decoders

OUT = base.HERE / "gguf"
VALUES = base.VALUES / "gguf.json"
TEXT = "The teacher was waiting for a café in the rain"
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 48, "max_position_embeddings": 40}
LLAMA3 = {"rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 16}
YARN = {"rope_type": "yarn", "rope_theta": 1000.0, "factor": 4.0, "original_max_position_embeddings": 10}
LINEAR = {"rope_type": "linear", "rope_theta": 1000.0, "factor": 2.0}
LONG = {"rope_type": "longrope", "rope_theta": 1000.0, "partial_rotary_factor": 0.5, "short_factor": [1.0, 1.5],
        "long_factor": [1.25, 4.0], "original_max_position_embeddings": 16}
GEMMA3 = {"full_attention": {"rope_type": "linear", "rope_theta": 5000.0, "factor": 4.0},
          "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}}

# Architecture, transformers' kind, tokenizer, options, kinds of numbers by layer (the last one outside the layers),
# whether transformers reads it.
FAMILIES = {
    "llama": ("Llama", decoders.llama_tokenizer, decoders.GROUPED | {"rope_parameters": LLAMA3},
              [Q.Q8_0, Q.Q4_0, Q.Q8_0], True),
    "qwen2": ("Qwen2", decoders.qwen2_tokenizer,
              decoders.GROUPED | {"rope_parameters": YARN, "tie_word_embeddings": True}, [Q.Q5_1, Q.Q4_1, Q.Q8_0], True),
    "qwen3": ("Qwen3", decoders.qwen2_tokenizer, decoders.GROUPED | {"head_dim": 16, "rope_parameters": LINEAR},
              [Q.Q5_0, Q.F16, Q.BF16], False),
    "gemma2": ("Gemma2", decoders.gemma_tokenizer,
               decoders.PAIR | {"num_hidden_layers": 3, "head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 4,
                                "attn_logit_softcapping": 2.0, "final_logit_softcapping": 2.0},
               [Q.Q8_0, Q.Q4_0, Q.Q8_0, Q.Q8_0], True),
    "gemma3": ("Gemma3Text", decoders.gemma_tokenizer,
               decoders.PAIR | {"num_hidden_layers": 6, "head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 4,
                                "rope_parameters": GEMMA3}, [Q.Q8_0] * 7, False),
    "phi3": ("Phi3", decoders.mistral_tokenizer,
             decoders.GROUPED | {"original_max_position_embeddings": 16, "sliding_window": 14, "rope_parameters": LONG},
             [Q.Q8_0, Q.Q4_0, Q.F16], False),
}


def model_of(name, tokenizer):
    kind, _, options, _, _ = FAMILIES[name]
    ids = {f"{key}_token_id": getattr(tokenizer, f"{key}_token_id") for key in ("bos", "eos", "pad")}
    config = getattr(transformers, f"{kind}Config")(**(SIZES | ids | {"vocab_size": len(tokenizer)} | options))
    config._attn_implementation = "eager"
    model = getattr(transformers, kind.removesuffix("Text") + "ForCausalLM")(config).eval()
    decoders.randomise(model, 1.0 if "Gemma" in kind else 0.0)
    return model


def permuted(weights, heads):
    return weights.reshape(heads, 2, -1, *weights.shape[1:]).swapaxes(1, 2).reshape(weights.shape)


def divisors(config):
    """llama.cpp's rope_freqs: what llama3 divides its frequencies by."""
    rope, factors = config.rope_parameters, []
    for i in range(0, config.head_dim, 2):
        length = 2 * math.pi * rope["rope_theta"] ** (i / config.head_dim)
        low = rope["original_max_position_embeddings"] / rope["low_freq_factor"]
        high = rope["original_max_position_embeddings"] / rope["high_freq_factor"]
        smooth = (rope["original_max_position_embeddings"] / length - rope["low_freq_factor"]) / (
            rope["high_freq_factor"] - rope["low_freq_factor"])
        factors.append(1.0 if length < high else rope["factor"] if length > low
                       else 1 / ((1 - smooth) / rope["factor"] + smooth))
    return np.array(factors, dtype=np.float32)


def describe(writer, name, config, tokenizer):
    rope = config.rope_parameters
    writer.add_context_length(config.max_position_embeddings)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    depth = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    if name in ("qwen3", "gemma2", "gemma3"):
        writer.add_key_length(depth)
        writer.add_value_length(depth)
    if name in ("llama", "phi3"):
        writer.add_rope_dimension_count(int(depth * rope.get("partial_rotary_factor", 1.0)))
        writer.add_vocab_size(config.vocab_size)
    full = rope.get("full_attention", rope)
    if name != "gemma2":
        writer.add_rope_freq_base(full["rope_theta"])
    if full["rope_type"] in ("linear", "yarn"):
        writer.add_rope_scaling_type(gguf.RopeScalingType(full["rope_type"]))
        writer.add_rope_scaling_factor(full["factor"])
    if "original_max_position_embeddings" in full and name != "llama":
        writer.add_rope_scaling_orig_ctx_len(full["original_max_position_embeddings"])
    if name in ("gemma2", "gemma3", "phi3"):
        writer.add_sliding_window(config.sliding_window)
    if name == "gemma2":
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
    byte_level = name.startswith("qwen")
    writer.add_tokenizer_model("gpt2" if byte_level else "llama")
    pieces = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    special = set(tokenizer.all_special_ids)
    writer.add_token_list([piece for piece, _ in pieces])
    writer.add_token_types([gguf.TokenType.CONTROL if id in special else gguf.TokenType.NORMAL for _, id in pieces])
    if byte_level:
        writer.add_tokenizer_pre("qwen2")
        writer.add_token_merges([" ".join(merge) for merge in decoders.byte_level(["<|endoftext|>"])["merges"]])
        writer.add_chat_template("{% for message in messages %}{{ message['content'] }}{% endfor %}")
        writer.add_add_bos_token(False)
    else:
        writer.add_token_scores([0.0] * len(pieces))
    writer.add_eos_token_id(tokenizer.eos_token_id)
    if tokenizer.bos_token_id is not None:
        writer.add_bos_token_id(tokenizer.bos_token_id)


def quantised(values, kind):
    """Bytes, and the numbers that they stand for."""
    if kind == Q.F32 or values.ndim == 1:
        return values.astype(np.float32), values.astype(np.float32), Q.F32
    if values.shape[-1] % 32:
        kind = Q.F16
    data = gguf.quantize(values.astype(np.float32), kind)
    return data, gguf.dequantize(data, kind).astype(np.float32), kind


def write(name):
    _, make_tokenizer, _, kinds, read = FAMILIES[name]
    tokenizer = make_tokenizer()
    model = model_of(name, tokenizer)
    config, file = model.config, OUT / f"{name}.gguf"
    arch = {value: key for key, value in gguf.MODEL_ARCH_NAMES.items()}[name]
    names = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    writer = gguf.GGUFWriter(file, name)
    describe(writer, name, config, tokenizer)
    if name == "llama":
        writer.add_tensor("rope_freqs.weight", divisors(config))
    if name == "phi3":
        for length in ("long", "short"):
            writer.add_tensor(f"rope_factors_{length}.weight",
                              np.array(config.rope_parameters[f"{length}_factor"], dtype=np.float32))
    state = model.state_dict()
    for key, tensor in state.items():
        if key == "lm_head.weight" and config.tie_word_embeddings:
            continue
        values = tensor.float().numpy()
        layer = int(key.split(".")[2]) if ".layers." in key else -1
        heads = None
        if name == "llama" and ("q_proj" in key or "k_proj" in key):
            heads = config.num_attention_heads if "q_proj" in key else config.num_key_value_heads
            values = permuted(values, heads)
        added = 1.0 if "gemma" in name and key.endswith("norm.weight") else 0.0
        data, numbers, kind = quantised(values + np.float32(added), kinds[layer])
        writer.add_tensor(names.get_name(key, try_suffixes=(".weight", ".bias")), data, raw_dtype=kind)
        if heads:
            order = permuted(np.arange(len(numbers)), heads)
            numbers = numbers[np.argsort(order)]
        state[key] = torch.from_numpy(numbers - np.float32(added))
    if config.tie_word_embeddings:
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    model.load_state_dict(state)
    if read:
        theirs = AutoModelForCausalLM.from_pretrained(OUT, gguf_file=file.name, dtype=torch.float32).state_dict()
        assert all(torch.equal(theirs[key], state[key]) for key in state if key in theirs), name
    return model.double(), tokenizer


def values(name):
    decoders.in_own_type(decoders.FAMILIES[f"tiny-{name}"])
    model, tokenizer = write(name)
    ids = tokenizer(TEXT)["input_ids"][:16]
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0]
    rows = torch.log_softmax(logits, -1)
    return {"ids": ids, "logits": logits[-1].tolist(),
            "log_probabilities": [rows[i, id].item() for i, id in enumerate(ids[1:])]}


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir()
    base.write_json(VALUES, {name: values(name) for name in FAMILIES})


if __name__ == "__main__":
    main()
