"""Tiny language models and their golden values: the decoders of `models_decoders.py` with a head over the vocabulary.

    OMP_NUM_THREADS=1 python models_lm.py

`values/lm.json` holds, for every decoder's folder, what changes in its config.json to make a language model of it (a head
that is the word embeddings needs no tensor of its own), and for some prompts and completions the ids and the
log-probability of every completion token, and what transformers' `generate` writes behind the first prompt, beyond every
window and beyond the length that phi3's rope was trained for. `tiny-llama-lm` and `tiny-gpt2-lm` are whole folders, the first with a head of
its own; with them go attributions by Captum. Everything is computed in f64.
"""

import json
import shutil
import tempfile
from pathlib import Path

import torch
import transformers
from captum.attr import (
    FeatureAblation,
    LayerGradientXActivation,
    LayerIntegratedGradients,
    LLMAttribution,
    LLMGradientAttribution,
    TextTokenInput,
)
from transformers import AutoModelForCausalLM, AutoTokenizer

import models as base
import models_decoders as decoders

OUT = base.VALUES / "lm.json"
CASES = [
    ("The teacher was", " waiting for a letter"),
    ("a café: 4 €", " 🙂!"),
    ("We", " waited"),
]
# Of the whole folders: segments of the prompt in words, and what follows.
PROMPT, COMPLETION = "The teacher waited", " for a letter"
STEPS = 32
WRITTEN = 24
CHAT = (
    "{% for message in messages %}{{ '<' + message['role'] + '>' + message['content'].strip() + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)


def head(name):
    family = decoders.FAMILIES[name]
    kind = "GPT2LMHeadModel" if family.kind == "GPT2" else family.kind.removesuffix("Text") + "ForCausalLM"
    changes = {"architectures": [kind], "tie_word_embeddings": True}
    if name == "tiny-gemma2":
        changes["final_logit_softcapping"] = 2.0  # near to the logits
    if name == "tiny-gemma3":
        changes["final_logit_softcapping"] = 3.0
    return changes


def changed(name, changes, folder):
    shutil.copytree(base.HERE / name, folder, dirs_exist_ok=True)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | changes), encoding="utf-8")


def load(folder):
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32)
    return model.double().eval()


def log_probabilities(model, prompt, completion):
    """Of every completion token, teacher-forced."""
    with torch.no_grad():
        logits = model(torch.tensor([prompt + completion])).logits[0]
    rows = torch.log_softmax(logits, -1)[len(prompt) - 1 : -1]
    return rows.gather(1, torch.tensor(completion)[:, None])[:, 0], logits[len(prompt) - 1 : -1], rows


def split(tokenizer, prompt, completion):
    """Tokenised together; none of these has a token across the border."""
    whole = tokenizer(prompt + completion, return_offsets_mapping=True)
    special = tokenizer(prompt + completion, return_special_tokens_mask=True)["special_tokens_mask"]
    own = [not s and e > len(prompt) for (s, (b, e)) in zip(special, whole["offset_mapping"])]
    assert all(s or b >= len(prompt) or e <= len(prompt) for s, (b, e) in zip(special, whole["offset_mapping"]))
    first = own.index(True)
    return whole["input_ids"][:first], whole["input_ids"][first:]


def of_family(name):
    changes = head(name)
    decoders.in_own_type(decoders.FAMILIES[name])
    with tempfile.TemporaryDirectory() as at:
        folder = Path(at)
        changed(name, changes, folder)
        model, tokenizer = load(folder), AutoTokenizer.from_pretrained(folder)
        cases = []
        for prompt, completion in CASES:
            before, after = split(tokenizer, prompt, completion)
            found, logits, _ = log_probabilities(model, before, after)
            cases.append({
                "prompt": prompt, "completion": completion, "ids": before, "completion_ids": after,
                "log_probabilities": found.tolist(), "logits": logits[0].tolist(),
            })
        written = generate(model, cases[0]["ids"])
    return {"config": changes, "cases": cases, "written": written}


def generate(model, ids):
    """Greedy; with a cache the same tokens are written as without."""
    def run(cached):
        settings = {"do_sample": False, "max_new_tokens": WRITTEN, "use_cache": cached, "pad_token_id": 0}
        return model.generate(torch.tensor([ids]), return_dict_in_generate=True, output_logits=True, **settings)

    out = run(False)
    new = out.sequences[0, len(ids):]
    assert run(True).sequences[0, len(ids):].tolist() == new.tolist()
    logits = torch.cat(out.logits)
    best = logits.topk(2).values
    assert (best[:, 0] - best[:, 1]).min() > 1e-4, "f32 could take another"
    return {"ids": new.tolist(), "log_probabilities": torch.log_softmax(logits, -1).gather(1, new[:, None])[:, 0].tolist()}


def whole(name, source, tied):
    """A folder of its own, in f16."""
    folder = base.fresh(base.HERE / name)
    with tempfile.TemporaryDirectory() as at:
        changed(source, head(source) | {"tie_word_embeddings": tied}, Path(at))
        model, tokenizer = AutoModelForCausalLM.from_pretrained(at, dtype=torch.float32), AutoTokenizer.from_pretrained(at)
        if not tied:
            generator = torch.Generator().manual_seed(5)
            with torch.no_grad():
                model.lm_head.weight.copy_(0.5 * torch.randn(model.lm_head.weight.shape, generator=generator))
        model.half().save_pretrained(folder)
        old = json.loads((base.HERE / source / "config.json").read_text(encoding="utf-8"))
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if "rope_theta" in old:  # keys of transformers 4, as the source has them
            config = {k: v for k, v in config.items() if k != "rope_parameters"}
            config |= {k: old[k] for k in ("rope_theta", "rope_scaling") if k in old}
        base.write_json(folder / "config.json", config)
        tokenizer.save_pretrained(folder)
        if not tied:
            file = folder / "tokenizer_config.json"
            base.write_json(file, json.loads(file.read_text(encoding="utf-8")) | {"chat_template": CHAT})


def generated(model, ids, count):
    """Greedy, without a cache."""
    out = []
    for _ in range(count):
        with torch.no_grad():
            out.append(int(model(torch.tensor([ids + out])).logits[0, -1].argmax()))
    return out


def attributions(name):
    model, tokenizer = load(base.HERE / name), AutoTokenizer.from_pretrained(base.HERE / name)
    before, after = split(tokenizer, PROMPT, COMPLETION)
    found, logits, rows = log_probabilities(model, before, after)
    out = {
        "prompt": PROMPT, "completion": COMPLETION, "ids": before, "completion_ids": after,
        "log_probabilities": found.tolist(), "generated": generated(model, before, 8),
        "entropy": (-(rows.exp() * rows).sum(-1)).tolist(), "logits": logits.gather(1, torch.tensor(after)[:, None])[:, 0].tolist(),
    }
    pieces = tokenizer(PROMPT, return_offsets_mapping=True, return_special_tokens_mask=True)
    embed = model.get_input_embeddings()
    skip = [i for i, s in zip(pieces["input_ids"], pieces["special_tokens_mask"]) if s]
    stand_in = tokenizer.unk_token_id
    inp = TextTokenInput(PROMPT, tokenizer, baselines=stand_in, skip_tokens=None)
    assert inp.to_model_input()[0].tolist() == before
    # Captum's inputs say which tokens are there (1); every other than the template's is the unknown token.
    baseline = torch.tensor([pieces["special_tokens_mask"]])
    target = torch.tensor(after)
    gradient = LLMGradientAttribution(LayerGradientXActivation(model, embed), tokenizer)
    out["input_x_gradient"] = gradient.attribute(inp, target=target).token_attr.tolist()
    path = LLMGradientAttribution(LayerIntegratedGradients(model, embed), tokenizer)
    out["integrated_gradients"] = path.attribute(inp, target=target, baselines=baseline, n_steps=STEPS).token_attr.tolist()
    out["steps"] = STEPS
    # Every token of the prompt alone replaced by the unknown token: fill `unk`.
    ablation = LLMAttribution(FeatureAblation(model), tokenizer)
    skipping = TextTokenInput(PROMPT, tokenizer, baselines=stand_in, skip_tokens=skip or None)
    ablated = ablation.attribute(skipping, target=target, use_cached_outputs=False)
    out["feature_ablation"] = {"by_token": ablated.token_attr.tolist(), "together": ablated.seq_attr.reshape(-1).tolist()}
    out["versions"] = {"torch": torch.__version__, "transformers": transformers.__version__}
    return out


if __name__ == "__main__":
    torch.use_deterministic_algorithms(True)
    whole("tiny-llama-lm", "tiny-llama", tied=False)
    whole("tiny-gpt2-lm", "tiny-gpt2", tied=True)
    values = {"families": {name: of_family(name) for name in decoders.FAMILIES}}
    values["whole"] = {name: attributions(name) for name in ("tiny-llama-lm", "tiny-gpt2-lm")}
    base.write_json(OUT, values)
