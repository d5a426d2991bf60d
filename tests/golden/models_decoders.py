"""Tiny decoders with a sequence-classification head, and their golden values. `models.py` calls it; see README.md.

A folder holds what `save_pretrained` writes for the family's own model and tokenizer classes, in f16.
"""

import copy
import importlib
import json
from collections import Counter
from dataclasses import dataclass, field

import torch
import transformers
from tokenizers import Tokenizer, models as tokenizer_models, pre_tokenizers, trainers
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import models as base
import models_text as text

LENGTH = 40
TEXTS = [
    ("music", None),
    ("a café: 4 € in 東京 🙂!", None),
    ("The teacher was waiting", None),
    ("The train is slow.", "We waited,  it never"),
    ("not a bad film", None),
]
PAD_TEXTS = ["good {pad} film {pad}{pad}", "{pad}"]  # pads written by the user: the head reads the last other token
CASE_OF_CONTRAST = 4


@dataclass
class Family:
    tokenizer: callable
    kind: str  # `Llama`: of LlamaConfig and LlamaForSequenceClassification
    module: str
    options: dict = field(default_factory=dict)
    labels: list = field(default_factory=lambda: text.LABELS)
    # What an RMS norm adds to its weight.
    offset: float = 0.0
    # Keys of config.json as transformers 4 wrote them, in place of `rope_parameters`.
    old: dict = None


# -------------------------------------------------------------------------------------------------------- tokenizers


def byte_level(specials):
    """Vocabulary and merges of byte-level BPE, specials behind the pieces."""
    trained = Tokenizer(tokenizer_models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(vocab_size=296, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    trained.train_from_iterator(text.CORPUS, trainer)
    parts = json.loads(trained.to_str())["model"]
    vocab = parts["vocab"] | {s: len(parts["vocab"]) + i for i, s in enumerate(specials)}
    return {"vocab": vocab, "merges": [tuple(m) for m in parts["merges"]]}


def byte_fallback(specials):
    """Vocabulary and merges of BPE over `▁` in place of blanks, which spells what it lacks in bytes."""
    trained = Tokenizer(tokenizer_models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    # The trainer itself breaks ties among rare characters by chance.
    counts = Counter("".join(text.CORPUS).replace(" ", "▁"))
    alphabet = sorted(counts, key=lambda c: (-counts[c], c))[:30]
    trainer = trainers.BpeTrainer(vocab_size=80, show_progress=False, initial_alphabet=alphabet, limit_alphabet=len(alphabet))
    trained.train_from_iterator(text.CORPUS, trainer)
    parts = json.loads(trained.to_str())["model"]
    pieces = [*specials, *(f"<0x{byte:02X}>" for byte in range(256)), *parts["vocab"]]
    return {"vocab": {piece: i for i, piece in enumerate(pieces)}, "merges": [tuple(m) for m in parts["merges"]]}


def gpt2_tokenizer():
    return transformers.GPT2Tokenizer(**byte_level(["<|endoftext|>"]))


def qwen2_tokenizer():
    return transformers.Qwen2Tokenizer(**byte_level(["<|endoftext|>"]))


def llama_tokenizer():
    return transformers.LlamaTokenizer(**byte_fallback(["<unk>", "<s>", "</s>"]), add_bos_token=True)


def mistral_tokenizer():
    """Pads with its end token, as many do who train a classifier."""
    parts = byte_fallback(["<unk>", "<s>", "</s>"])
    return transformers.LlamaTokenizer(**parts, add_bos_token=True, pad_token="</s>")


def gemma_tokenizer():
    parts = byte_fallback(["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"])
    return transformers.GemmaTokenizer(**parts, add_bos_token=True)


# ------------------------------------------------------------------------------------------------------------ models

GROUPED = {"num_attention_heads": 4, "num_key_value_heads": 2}
PAIR = {"num_attention_heads": 2, "num_key_value_heads": 1}

FAMILIES = {
    # As Llama 3.1: no pad token, stretched frequencies, keys of transformers 4.
    "tiny-llama": Family(
        llama_tokenizer, "Llama", "llama", GROUPED,
        old={"rope_theta": 500.0, "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                                                   "high_freq_factor": 4.0, "original_max_position_embeddings": 16}},
    ),
    # A reward model: one value. Heads wider than the hidden size's share, a window, one head of keys and values.
    "tiny-mistral": Family(
        mistral_tokenizer, "Mistral", "mistral",
        {"num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 12, "sliding_window": 5,
         "rope_parameters": {"rope_type": "default", "rope_theta": 300.0}},
        ["reward"],
    ),
    # Biases in q, k, v; the second layer sees a window.
    "tiny-qwen2": Family(
        qwen2_tokenizer, "Qwen2", "qwen2",
        GROUPED | {"use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1,
                   "rope_parameters": {"rope_type": "yarn", "rope_theta": 1000.0, "factor": 4.0,
                                       "original_max_position_embeddings": 14}},
    ),
    # Norms of every head's queries and keys, heads wider than the hidden size's share, biases, divided frequencies.
    "tiny-qwen3": Family(
        qwen2_tokenizer, "Qwen3", "qwen3",
        GROUPED | {"head_dim": 12, "attention_bias": True,
                   "rope_parameters": {"rope_type": "linear", "rope_theta": 1000.0, "factor": 2.0}},
    ),
    # No pad token, no template: the unknown token is the end token, as in gpt2.
    "tiny-gpt2": Family(gpt2_tokenizer, "GPT2", "gpt2", {"num_attention_heads": 4, "n_inner": 48}),
    # A cap that scores come near to, a scale that is not the heads' width, a window in the first and third layer.
    "tiny-gemma2": Family(
        gemma_tokenizer, "Gemma2", "gemma2",
        PAIR | {"num_hidden_layers": 3, "head_dim": 10, "query_pre_attn_scalar": 6, "attn_logit_softcapping": 2.0,
                   "sliding_window": 4}, offset=1.0,
    ),
    # Both ropes, the second layer sees all; keys of transformers 4.
    "tiny-gemma3": Family(
        gemma_tokenizer, "Gemma3Text", "gemma3",
        PAIR | {"num_hidden_layers": 3, "head_dim": 10, "query_pre_attn_scalar": 20, "sliding_window": 4},
        offset=1.0,
        old={"rope_theta": 5000.0, "rope_local_base_freq": 50.0, "rope_scaling": {"rope_type": "linear", "factor": 4.0},
             "sliding_window_pattern": 2},
    ),
    # Fused projections, half of every head turns, other frequencies beyond 16 tokens.
    "tiny-phi3": Family(
        mistral_tokenizer, "Phi3", "phi3",
        GROUPED | {"original_max_position_embeddings": 16, "sliding_window": 14,
                   "rope_parameters": {"rope_type": "longrope", "rope_theta": 1000.0, "partial_rotary_factor": 0.5,
                                       "short_factor": [1.0, 1.5], "long_factor": [1.25, 4.0]}},
    ),
}


def randomise(model, offset):
    """Every parameter away from what a fresh model holds, so that no term can be forgotten unseen."""
    generator = torch.Generator().manual_seed(31)
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            noise = torch.randn(p.shape, generator=generator)
            if ("norm" in name or ".ln_" in name) and name.endswith("weight"):
                p.copy_(1 - offset + 0.2 * noise)
            elif name.endswith("bias"):
                p.copy_(0.2 * noise)
            elif name == "score.weight":
                p.copy_(0.5 * noise)
            elif "embed" in name or ".wte." in name or ".wpe." in name:
                p.copy_((0.1 if offset else 0.5) * noise)  # Gemma multiplies by the root of the hidden size
            else:
                p.copy_((0.25 if any(part in name for part in ("q_proj", "k_proj", "qkv", "c_attn")) else 0.15) * noise)


def in_own_type(family):
    """transformers takes softmax and RMS norms in f32 even in an f64 model. These do not. Angles stay f32's."""
    module = importlib.import_module(f"transformers.models.{family.module}.modeling_{family.module}")

    def attention(own, query, key, value, attention_mask, scaling=None, dropout=0.0, softcap=None, **kwargs):
        group = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(group, 1), value.repeat_interleave(group, 1)
        weights = query @ key.transpose(2, 3) * scaling
        if softcap is not None:
            weights = torch.tanh(weights / softcap) * softcap
        weights = torch.softmax(weights if attention_mask is None else weights + attention_mask, dim=-1)
        return (weights @ value).transpose(1, 2).contiguous(), weights

    def norm(own, x):
        epsilon = own.eps if family.offset else own.variance_epsilon
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + epsilon) * (family.offset + own.weight)

    module.eager_attention_forward = attention
    for kind in [value for name, value in vars(module).items() if name.endswith("RMSNorm")]:
        kind.forward = norm


def make(name):
    family, folder = FAMILIES[name], base.fresh(base.HERE / name)
    tokenizer = family.tokenizer()
    tokenizer.save_pretrained(folder)
    common = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "intermediate_size": 48,
        "max_position_embeddings": LENGTH,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "id2label": dict(enumerate(family.labels)),
        "label2id": {label: i for i, label in enumerate(family.labels)},
    }
    options = common | family.options
    if family.module == "gpt2":
        options = {k: v for k, v in options.items() if k != "intermediate_size"}
    config = getattr(transformers, f"{family.kind}Config")(**options, **copy.deepcopy(family.old or {}))
    model = getattr(transformers, f"{family.kind}ForSequenceClassification")(config).eval()
    randomise(model, family.offset)
    model.to(torch.float16).save_pretrained(folder)
    if family.old:
        file = folder / "config.json"
        config = json.loads(file.read_text(encoding="utf-8"))
        del config["rope_parameters"]
        config.pop("layer_types", None)
        base.write_json(file, config | family.old)
    base.same_weights(folder, AutoModelForSequenceClassification, model)


# ------------------------------------------------------------------------------------------------------------ values


def reading(ids, pad):
    """The last token that is no pad, as transformers finds it in ids; the first where all are."""
    others = [i for i, token in enumerate(ids) if token != pad]
    return others[-1] if others else 0


def values(name):
    family, folder = FAMILIES[name], base.HERE / name
    in_own_type(family)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    f64, f32 = base.load_pair(AutoModelForSequenceClassification, folder)
    pipe = transformers.pipeline("text-classification", model=f32, tokenizer=tokenizer, top_k=None)
    pad = f64.config.pad_token_id
    assert pad == tokenizer.pad_token_id
    stand_in = tokenizer.unk_token_id if pad is None else pad  # explaind's own default where there is no pad token
    embed = f64.get_input_embeddings()
    out, cases = {}, []
    texts = TEXTS + [(t.format(pad=tokenizer.pad_token), None) for t in PAD_TEXTS if pad is not None]
    for i, (first, second) in enumerate(texts):
        case = base.encode(tokenizer, first, second)[1]
        assert 0 < len(case["ids"]) <= LENGTH, (name, first, len(case["ids"]))
        ids, special = torch.tensor([case["ids"]]), torch.tensor(case["special"])
        read = reading(case["ids"], pad)
        out[f"{i}.input_ids"], out[f"{i}.token_type_ids"] = ids[0].int(), torch.zeros_like(ids[0]).int()
        out[f"{i}.read"] = torch.tensor([read]).int()
        with torch.no_grad():
            answers = [m(input_ids=ids, attention_mask=torch.ones_like(ids), output_attentions=True) for m in (f64, f32)]
        base.logits_and_attention(out, str(i), *answers)

        # Rows of embeddings are read at the position of the ids; transformers would take their last.
        def run(model, v, read=read):
            states = model.base_model(inputs_embeds=v, attention_mask=torch.ones(v.shape[:2]))[0]
            return model.score(states[:, read])

        x, baseline = embed(ids), embed(torch.where(special, ids, stand_in))
        assert torch.allclose(run(f64, x), answers[0].logits, rtol=0, atol=1e-12)
        contrast = i == CASE_OF_CONTRAST
        targets = base.targets_of(f64, contrast)
        base.white_box(out, str(i), lambda v: run(f64, v), lambda v: run(f32, v), x, baseline, lambda a: a[0].sum(-1),
                       targets if contrast else targets[:1])
        case["pipeline"] = text.pipeline_scores(pipe, first, second)
        cases.append(case)
    base.store(base.VALUES / f"{name}.safetensors", out)
    base.write_json(base.VALUES / f"{name}.json", {"problem_type": f64.config.problem_type, "cases": cases})


def run(only=None):
    for name in FAMILIES:
        if only in (None, name):
            make(name)
            values(name)
            sizes = [f.stat().st_size for f in [*(base.HERE / name).iterdir(), *base.VALUES.glob(f"{name}.*")]]
            print(f"{sum(sizes):>9,}  {name}")
