"""Golden values of the model families, from PyTorch, transformers and Captum. See README.md beside this file.

    OMP_NUM_THREADS=1 python models.py [--models DIR] [--tweets FILE] [--blood-cells DIR] [--only tiny|bundled|check]

Without --tweets and --blood-cells the sentences and windows that are committed already are computed again.
"""

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
import torch
import transformers
from captum.attr import IntegratedGradients
from PIL import Image
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models as tokenizer_models, normalizers, pre_tokenizers, processors
from transformers import (
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessorPil,
)
from transformers.models.vit import modeling_vit

HERE = Path(__file__).resolve().parent
VALUES = HERE / "values"
IMAGES = HERE / "images"

# ---------------------------------------------------------------------------------------------- tiny text models

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = """the a an and or but not no very too is was are were it this that he she they we you i in on of to with for
from good bad great poor film story plot actor music night day house river garden train letter price market
bread water light child friend teacher rain storm quiet bright slow fast old new happy sad walk read wait open
close never always cafe summer winter window table green blue black white long short people city""".split()
PIECES = ["##ed", "##ing", "##er", "##ly", "##ness", "##un"]
LETTERS = "abcdefghijklmnopqrstuvwxyz"

TEXTS = [
    ("music", None),
    ("Quiet garden", None),
    (
        "The old teacher was waiting for a letter from the river house, but the storm never closed; "
        "she walked slowly in the bright rain and read a sad story.",
        None,
    ),
    ("Un café costs 42 € in 東京 🙂 — was it good?", None),
    ("", None),
    ("The train is slow.", "We waited all night, and the unhappiness never closed!"),
    ("not a bad film, not a great one", None),
]
TEXT_CASE_OF_CONTRAST = 2


def tiny_tokenizer(folder):
    vocab = SPECIALS + list(LETTERS) + ["##" + c for c in LETTERS] + list(".,!?;:'-") + list("0123")
    vocab += WORDS_UNIQUE + PIECES
    assert len(vocab) == len(set(vocab)), "a piece stands twice"
    ids = {piece: i for i, piece in enumerate(vocab)}
    tokenizer = Tokenizer(tokenizer_models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.add_special_tokens(SPECIALS)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])],
    )
    (folder / "tokenizer.json").write_text(tokenizer.to_str(pretty=False) + "\n", encoding="utf-8")
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": 48,
            "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
            "pad_token": "[PAD]",
            "unk_token": "[UNK]",
            "cls_token": "[CLS]",
            "sep_token": "[SEP]",
            "mask_token": "[MASK]",
        },
    )
    return len(vocab)


WORDS_UNIQUE = [w for w in dict.fromkeys(WORDS) if len(w) > 1]


def randomise(model, seed):
    """Every parameter away from what a fresh model holds, so that no term can be forgotten unseen."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            noise = torch.randn(p.shape, generator=generator)
            if "norm" in name.lower() and name.endswith("weight"):
                p.copy_(1 + 0.2 * noise)
            elif name.endswith("bias"):
                p.copy_(0.2 * noise)
            elif "classifier" in name:
                p.copy_(0.5 * noise)
            elif ("embeddings" in name and "projection" not in name) or "relative_attention_bias" in name:
                p.copy_(0.5 * noise)
            else:
                p.copy_((0.25 if "query" in name or "key" in name or "q_proj" in name or "k_proj" in name else 0.15) * noise)


def fresh(folder):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


# folder: (labels, dtype, shard size, config)
BERTS = {
    "tiny-bert": (["negative", "neutral", "positive"], torch.float32, None, {}),
    "tiny-bert-tanh": (["negative", "neutral", "positive"], torch.float16, "50KB", {"hidden_act": "gelu_new"}),
    "tiny-bert-multilabel": (
        ["place", "person", "weather", "money"],
        torch.bfloat16,
        None,
        {"hidden_act": "relu", "problem_type": "multi_label_classification"},
    ),
    "tiny-bert-regression": (["LABEL_0"], torch.float16, None, {"problem_type": "regression"}),
    "tiny-bert-sigmoid": (["relevance"], torch.float16, None, {}),
}


def make_bert(name):
    labels, dtype, shard, more = BERTS[name]
    folder = fresh(HERE / name)
    config = BertConfig(
        vocab_size=tiny_tokenizer(folder),
        hidden_size=32,
        num_attention_heads=4,
        num_hidden_layers=3,
        intermediate_size=64,
        max_position_embeddings=48,
        type_vocab_size=2,
        initializer_range=0.15,
        layer_norm_eps=1e-12,
        pad_token_id=0,
        id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
        **more,
    )
    model = BertForSequenceClassification(config).eval()
    randomise(model, 11)  # the same encoder in every folder: only names that sort behind `bert.` differ in shape
    model.to(dtype).save_pretrained(folder, **({"max_shard_size": shard} if shard else {}))
    if name == "tiny-bert-sigmoid":  # the names of TensorFlow times, as bert-base-uncased has them
        rename(folder, lambda key: key.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"))


    same_weights(folder, AutoModelForSequenceClassification, model)


def same_weights(folder, kind, model):
    """What transformers reads back is what was written, under whatever names."""
    back = kind.from_pretrained(folder, dtype=model.dtype).state_dict()
    assert back.keys() == model.state_dict().keys()
    assert all(torch.equal(back[k], v) for k, v in model.state_dict().items())


def rename(folder, new_name):
    file = folder / "model.safetensors"
    save_file({new_name(k): v for k, v in load_file(file).items()}, file, metadata={"format": "pt"})


# ------------------------------------------------------------------------------------------------------ gradients


def targets_of(model, contrast):
    """(name, function of the logits). A name is a label's index, or `1-0` for the difference of two logits."""
    n = model.config.num_labels
    names = [(str(t), lambda y, t=t: y[:, t]) for t in range(min(n, 2))]
    if contrast and n > 1:
        names.append(("1-0", lambda y: y[:, 1] - y[:, 0]))
    return names


def close(what, a, b, tolerance):
    a, b = torch.as_tensor(a).double(), torch.as_tensor(b).double()
    error = (a - b).abs().max().item() / max(b.abs().max().item(), 1e-3)
    assert error <= tolerance, f"{what}: f32 and f64 differ by {error:.2e}"
    return error


def legendre(f, x, baseline, steps, chunk=50):
    """Integrated gradients written out, to see that Captum's are what we think."""
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    total = torch.zeros_like(x)
    for at in range(0, steps, chunk):
        alpha = torch.tensor((1 + nodes[at : at + chunk]) / 2, dtype=x.dtype).view(-1, *[1] * (x.dim() - 1))
        weight = torch.tensor(weights[at : at + chunk] / 2, dtype=x.dtype).view_as(alpha)
        rows = (baseline + alpha * (x - baseline)).requires_grad_()
        (gradient,) = torch.autograd.grad(f(rows).sum(), rows)
        total += (weight * gradient).sum(0, keepdim=True)
    return (x - baseline) * total


def integrated(f, x, baseline, steps, chunk=None):
    return IntegratedGradients(f).attribute(
        x, baselines=baseline, n_steps=steps, method="gausslegendre", internal_batch_size=chunk
    )


def white_box(out, prefix, f64, f32, x, baseline, reduce, targets, tolerance=2e-5, ig_steps=(200, 16)):
    """Gradient and IG into `out`, compared with their f32 twins. f64 and f32 map an input to logits."""
    for name, of in targets:
        f, g = (lambda v, of=of: of(f64(v))), (lambda v, of=of: of(f32(v)))
        rows = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(f(rows).sum(), rows)
        rows32 = x.float().requires_grad_()
        (gradient32,) = torch.autograd.grad(g(rows32).sum(), rows32)
        errors["gradient"] = max(errors["gradient"], close("gradient", gradient32, gradient, 1e-4))
        out[f"{prefix}.gradient.{name}"] = gradient[0]

        full = integrated(f, x, baseline, ig_steps[0])
        close("Captum's ig", full, legendre(f, x, baseline, ig_steps[0]), 1e-6)  # Captum rounds the weights to f32
        full32 = integrated(g, x.float(), baseline.float(), ig_steps[0])
        key = "ig" if tolerance < 1e-3 else "ig of relu"
        errors[key] = max(errors[key], close(f"ig {prefix} {name}", full32, full, tolerance))
        with torch.no_grad():
            at_input, at_base = f(x), f(baseline)
        out[f"{prefix}.ig.{name}"] = reduce(full)
        out[f"{prefix}.ig{ig_steps[1]}.{name}"] = reduce(integrated(f, x, baseline, ig_steps[1]))
        out[f"{prefix}.ig_base.{name}"] = at_base
        out[f"{prefix}.ig_output.{name}"] = at_input


errors = {"logits": 0.0, "attention": 0.0, "gradient": 0.0, "ig": 0.0, "ig of relu": 0.0}


def logits_and_attention(out, prefix, answer, answer32):
    errors["logits"] = max(errors["logits"], close("logits", answer32.logits, answer.logits, 1e-4))
    out[f"{prefix}.logits"] = answer.logits[0]
    for layer, (a, a32) in enumerate(zip(answer.attentions, answer32.attentions, strict=True)):
        errors["attention"] = max(errors["attention"], close("attention", a32, a, 1e-4))
        out[f"{prefix}.attention.{layer}"] = a[0]


def store(file, tensors):
    VALUES.mkdir(exist_ok=True)
    small = {k: (v if v.dtype in (torch.int32, torch.uint8) else v.detach().float()).contiguous() for k, v in tensors.items()}
    save_file(small, file)
    back = load_file(file)
    assert back.keys() == small.keys() and all(torch.equal(back[k], v) for k, v in small.items())
    assert all(torch.isfinite(v.float()).all() for v in back.values())


def write_json(file, value):
    file.parent.mkdir(exist_ok=True)
    text = json.dumps(value, ensure_ascii=False, indent=1)
    file.write_text(text + "\n", encoding="utf-8")
    assert json.loads(file.read_text(encoding="utf-8")) == value


def load_pair(kind, folder):
    """The model in f64 and in f32, from the stored weights."""
    models = [kind.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval() for _ in range(2)]
    for model in models:
        model.requires_grad_(False)
    return models[0].double(), models[1]


# ------------------------------------------------------------------------------------------------- values: text


def encode(tokenizer, text, pair=None):
    e = tokenizer(text, pair, return_token_type_ids=True, return_special_tokens_mask=True, return_offsets_mapping=True)
    return e, {
        "text": text,
        "pair": pair,
        "tokens": e.tokens(),
        "ids": e["input_ids"],
        "type_ids": e["token_type_ids"],
        "offsets": [list(o) for o in e["offset_mapping"]],
        "word_ids": e.word_ids(),
        "special": [bool(s) for s in e["special_tokens_mask"]],
        "sequence_ids": e.sequence_ids(),
    }


def ig_tolerance(model):
    """With ReLU a node that lies on a kink takes the other side's gradient after rounding: one node in 200, visibly."""
    return 3e-3 if model.config.hidden_act == "relu" else 2e-5


def bert_values(name):
    folder = HERE / name
    tokenizer = AutoTokenizer.from_pretrained(folder)
    f64, f32 = load_pair(AutoModelForSequenceClassification, folder)
    pipe = transformers.pipeline("text-classification", model=f32, tokenizer=tokenizer, top_k=None)
    out, cases = {}, []
    for i, (text, pair) in enumerate(TEXTS):
        e, case = encode(tokenizer, text, pair)
        assert len(case["ids"]) <= 48
        ids = torch.tensor([case["ids"]])
        types = torch.tensor([case["type_ids"]])
        special = torch.tensor(case["special"])
        out[f"{i}.input_ids"], out[f"{i}.token_type_ids"] = ids[0].int(), types[0].int()
        with torch.no_grad():
            answers = [m(input_ids=ids, token_type_ids=types, output_attentions=True) for m in (f64, f32)]
        logits_and_attention(out, str(i), *answers)

        embed = f64.get_input_embeddings()
        x = embed(ids)
        baseline = embed(torch.where(special, ids, tokenizer.pad_token_id))

        def run(model, v, types=types):
            return model(inputs_embeds=v, token_type_ids=types.expand(len(v), -1)).logits

        white_box(
            out,
            str(i),
            lambda v: run(f64, v),
            lambda v: run(f32, v),
            x,
            baseline,
            lambda a: a[0].sum(-1),
            targets_of(f64, i == TEXT_CASE_OF_CONTRAST),
            ig_tolerance(f64),
        )
        scores = pipe({"text": text, "text_pair": pair} if pair else [text])
        scores = scores[0] if isinstance(scores[0], list) else scores
        case["pipeline"] = {s["label"]: s["score"] for s in scores}
        cases.append(case)
    store(VALUES / f"{name}.safetensors", out)
    write_json(VALUES / f"{name}.json", {"problem_type": f64.config.problem_type, "cases": cases})


# ----------------------------------------------------------------------------------------------- values: images

VITS = {
    "tiny-vit": (torch.float32, {"image_size": 24, "qkv_bias": True}, (24, 24), 3),
    "tiny-vit-plain": (
        torch.float16,
        {"image_size": [16, 24], "qkv_bias": False, "hidden_act": "gelu_pytorch_tanh"},
        (16, 24),
        2,
    ),
}
IMAGE_LABELS = ["circle", "stripe", "blob", "corner", "nothing"]
IMAGE_SIZES = [None, (61, 83), (13, 11)]  # height, width; None = the model's own


def make_vit(name):
    dtype, more, (height, width), resample = VITS[name]
    folder = fresh(HERE / name)
    config = ViTConfig(
        patch_size=4,
        hidden_size=32,
        num_attention_heads=4,
        num_hidden_layers=3,
        intermediate_size=64,
        num_channels=3,
        initializer_range=0.15,
        layer_norm_eps=1e-12,
        id2label=dict(enumerate(IMAGE_LABELS)),
        label2id={label: i for i, label in enumerate(IMAGE_LABELS)},
        **more,
    )
    model = ViTForImageClassification(config).eval()
    randomise(model, 12)
    model.to(dtype).save_pretrained(folder)
    if name == "tiny-vit-plain":
        rename(folder, vit_name_of_5)
        assert load_file(folder / "model.safetensors").keys() == model.state_dict().keys()
    same_weights(folder, AutoModelForImageClassification, model)
    write_json(
        folder / "preprocessor_config.json",
        {
            "image_processor_type": "ViTImageProcessor",
            "do_resize": True,
            "size": {"height": height, "width": width},
            "resample": resample,
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": [0.485, 0.456, 0.406],
            "image_std": [0.229, 0.224, 0.225],
        },
    )


def vit_name_of_5(key):
    """The names of the modules in transformers 5, which the bundled model has. `save_pretrained` still writes the
    names that every ViT on the hub has, and loading understands both."""
    for old, new in [
        ("vit.encoder.layer.", "vit.layers."),
        (".attention.attention.query.", ".attention.q_proj."),
        (".attention.attention.key.", ".attention.k_proj."),
        (".attention.attention.value.", ".attention.v_proj."),
        (".attention.output.dense.", ".attention.o_proj."),
        (".intermediate.dense.", ".mlp.fc1."),
        (".output.dense.", ".mlp.fc2."),
    ]:
        key = key.replace(old, new)
    return key


def eager_in_own_type(module, query, key, value, attention_mask, scaling=None, dropout=0.0, **kwargs):
    """transformers' eager attention of ViT takes the softmax in f32 even in an f64 model. This one does not."""
    assert attention_mask is None
    weights = torch.softmax(query @ key.transpose(2, 3) * scaling, dim=-1)
    return (weights @ value).transpose(1, 2).contiguous(), weights


def smooth_image(seed, height, width):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)).astype(np.int16)
    return np.clip(smooth + rng.integers(-8, 9, smooth.shape), 0, 255).astype(np.uint8)


def pixels_of(processor, image):
    """The processor's pixel values, checked against plain Pillow."""
    got = processor(image, return_tensors="pt")["pixel_values"]
    size = (processor.size["width"], processor.size["height"])
    plain = np.asarray(image.resize(size, Image.Resampling(processor.resample))).astype(np.float64) / 255
    plain = (plain - np.array(processor.image_mean)) / np.array(processor.image_std)
    assert np.abs(got[0].double().numpy().transpose(1, 2, 0) - plain).max() < 2e-6
    return got


def vit_values(name):
    folder = HERE / name
    processor = ViTImageProcessorPil.from_pretrained(folder)
    f64, f32 = load_pair(AutoModelForImageClassification, folder)
    out = {}
    for i, size in enumerate(IMAGE_SIZES):
        u8 = smooth_image(100 + i, *(size or VITS[name][2]))
        pixels = pixels_of(processor, Image.fromarray(u8))
        out[f"{i}.image"] = torch.from_numpy(u8)
        out[f"{i}.pixel_values"] = pixels[0]
        with torch.no_grad():
            answers = [m(v, output_attentions=True) for m, v in ((f64, pixels.double()), (f32, pixels))]
        logits_and_attention(out, str(i), *answers)
        x = pixels.double()
        white_box(
            out,
            str(i),
            lambda v: f64(v).logits,
            lambda v: f32(v).logits,
            x,
            torch.zeros_like(x),
            lambda a: a[0].sum(0),
            targets_of(f64, i == 0),
        )
    store(VALUES / f"{name}.safetensors", out)


# ---------------------------------------------------------------------------------------------- bundled models

OFFSET_TEXTS = [
    ("Café crème, naïve façade — déjà vu!", None),
    ("Cafe\u0301 with a combining accent", None),
    ("I can't believe it's n't; they've said \u201cwe'll\u201d.", None),
    ("great 😀👍🏽 film 👨‍👩‍👧 !", None),
    ("電影很好 and 映画は良い", None),
    ("한국어 영화", None),
    ("İstanbul'da ǅ ß ﬁne", None),
    ("  two  blanks,\ttab\nand\r\nlines \u00a0 nbsp \u200b zero-width", None),
    ("a literal [MASK] and [SEP] in the text", None),
    ("x\u0000y \ufffd control\u0007bell", None),
    ("http://a-b.example/c_d?e=1&f=100% #tag @name $3.50", None),
    ("a" * 101, None),
    ("", None),
    ("The film is good.", "Le film est très bon 🎬."),
]


def sentiment_values(models, tweets):
    folder = models / "sentiment"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    _, f32 = load_pair(AutoModelForSequenceClassification, folder)
    file = VALUES / "sentiment.json"
    if tweets:
        rows = [json.loads(line) for line in tweets.read_text(encoding="utf-8").splitlines()][3::20]
        rows = [(r["id"], r["text"]) for r in rows]
    else:
        rows = [(c["id"], c["text"]) for c in json.loads(file.read_text(encoding="utf-8"))["cases"]]
    cases = []
    for name, text in rows:
        _, case = encode(tokenizer, text)
        with torch.no_grad():
            logits = f32(torch.tensor([case["ids"]])).logits[0]
        cases.append({"id": name, "logits": logits.tolist()} | {k: case[k] for k in ("text", "tokens", "ids", "offsets")})
    write_json(file, {"licence": "CC BY 4.0", "source": "Tweet Sentiment Extraction, see ../README.md", "cases": cases})
    write_json(VALUES / "offsets.json", {"cases": [encode(tokenizer, *t)[1] for t in OFFSET_TEXTS]})


def blood_values(models, source):
    folder = models / "blood-cells"
    file = VALUES / "blood-cells.json"
    if source:
        fresh(IMAGES)
        shutil.copyfile(source / "LICENSE", IMAGES / "LICENSE")
        for label, take in [("white_blood_cell", 4), ("platelet", 3), ("red_blood_cells_only", 3)]:
            chosen = sorted(source.glob(f"{label}_*.jpg"))[::10][:take]
            for path in chosen:
                Image.open(path).convert("RGB").save(IMAGES / f"{path.stem}.png", optimize=True)
            if label != "red_blood_cells_only":
                shutil.copyfile(chosen[0], IMAGES / chosen[0].name)
    processor = ViTImageProcessorPil.from_pretrained(folder)
    f64, f32 = load_pair(AutoModelForImageClassification, folder)
    white = next(i for i, label in f64.config.id2label.items() if label == "white_blood_cell")
    cases, mapped = [], 0
    for path in sorted(IMAGES.glob("*.png")):
        image = Image.open(path).convert("RGB")
        jpeg = path.with_suffix(".jpg")
        if jpeg.exists():
            assert np.array_equal(np.asarray(Image.open(jpeg).convert("RGB")), np.asarray(image))
        pixels = pixels_of(processor, image)
        with torch.no_grad():
            logits, logits64 = f32(pixels).logits, f64(pixels.double()).logits
        errors["logits"] = max(errors["logits"], close("blood logits", logits, logits64, 1e-4))
        case = {"file": path.name, "jpeg": jpeg.name if jpeg.exists() else None, "label": path.stem.rsplit("_", 1)[0]}
        case["logits"] = logits[0].tolist()
        if case["label"] == "white_blood_cell" and mapped < 3:
            mapped += 1
            x = pixels.double()
            scores, scores32 = (
                integrated(lambda v, m=m: m(v).logits[:, white], x.to(m.dtype), torch.zeros_like(x, dtype=m.dtype), 100, 10)
                for m in (f64, f32)
            )
            errors["blood ig"] = max(errors.get("blood ig", 0), close("blood ig", scores32, scores, 1e-3))
            with torch.no_grad():
                base = f64(torch.zeros_like(x)).logits[0, white].item()
            cells = scores[0].sum(0).reshape(12, 8, 12, 8).sum((1, 3))
            case["ig"] = {"target": white, "steps": 100, "base": base, "output": logits64[0, white].item(), "cells": cells.tolist()}
        cases.append(case)
    write_json(file, {"processor": "ViTImageProcessorPil", "labels": list(f64.config.id2label.values()), "cases": cases})


# ------------------------------------------------------------------------------------------------------- check


def check():
    """Load everything back and compare it with the models once more, by another way than it was made."""
    for name in BERTS:
        values = load_file(VALUES / f"{name}.safetensors")
        cases = json.loads((VALUES / f"{name}.json").read_text(encoding="utf-8"))["cases"]
        model = AutoModelForSequenceClassification.from_pretrained(HERE / name, dtype=torch.float32, attn_implementation="sdpa").eval()
        tokenizer = AutoTokenizer.from_pretrained(HERE / name)
        for i, case in enumerate(cases):
            assert values[f"{i}.input_ids"].tolist() == case["ids"]
            e = tokenizer(case["text"], case["pair"], return_tensors="pt")
            with torch.no_grad():
                logits = model(**e).logits[0]
            assert torch.allclose(logits, values[f"{i}.logits"], atol=1e-4), (name, i)
            check_ig(values, i, case["tokens"], 3e-3 if model.config.hidden_act == "relu" else 1e-5)
            scores = torch.tensor([case["pipeline"][model.config.id2label[k]] for k in range(len(logits))])
            problem = model.config.problem_type
            expected = (
                logits
                if problem == "regression"
                else logits.sigmoid() if problem == "multi_label_classification" or len(logits) == 1 else logits.softmax(-1)
            )
            assert torch.allclose(scores, expected, atol=1e-5), (name, i, scores, expected)
    for name in VITS:
        values = load_file(VALUES / f"{name}.safetensors")
        model = AutoModelForImageClassification.from_pretrained(HERE / name, dtype=torch.float32, attn_implementation="sdpa").eval()
        for i in range(len(IMAGE_SIZES)):
            with torch.no_grad():
                logits = model(values[f"{i}.pixel_values"][None]).logits[0]
            assert torch.allclose(logits, values[f"{i}.logits"], atol=1e-4), (name, i)
            check_ig(values, i, None, 1e-5)
    for file in sorted([*VALUES.iterdir(), *HERE.glob("tiny-*/*")]):
        print(f"{file.stat().st_size:>9,}  {file.relative_to(HERE)}")
    total = sum(f.stat().st_size for f in VALUES.iterdir())
    assert total < 6_000_000, total
    print(f"{total:>9,}  values in all; images {sum(f.stat().st_size for f in IMAGES.glob('*')):,}")


def check_ig(values, i, tokens, tolerance):
    for key in [k for k in values if k.startswith(f"{i}.ig_base.")]:
        target = key.split(".")[-1]
        delta = values[f"{i}.ig_output.{target}"] - values[key]
        residual = (values[f"{i}.ig.{target}"].sum() - delta).abs().item()
        assert residual < tolerance, (key, residual)
        row_sums = [values[f"{i}.attention.{layer}"].sum(-1) for layer in range(3)]
        assert all((s - 1).abs().max() < 1e-5 for s in row_sums)
        if tokens:
            special = [t in ("[CLS]", "[SEP]") for t in tokens]
            assert values[f"{i}.ig.{target}"][torch.tensor(special)].abs().max() == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, help="folder of the bundled models (default: ../../models)")
    parser.add_argument("--tweets", type=Path, help="tweets.jsonl of tweet-rationales")
    parser.add_argument("--blood-cells", type=Path, help="folder of the blood-cell windows, with LICENSE")
    parser.add_argument("--only", choices=["tiny", "bundled", "check"])
    args = parser.parse_args()
    models = args.models or HERE.parent.parent / "models"
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    modeling_vit.eager_attention_forward = eager_in_own_type
    if args.only in (None, "tiny"):
        import models_decoders  # all import this file
        import models_tasks
        import models_text

        models_text.run()
        models_decoders.run()
        models_tasks.run()
        models_text.tokenizers()
        for name in BERTS:
            make_bert(name)
            bert_values(name)
        for name in VITS:
            make_vit(name)
            vit_values(name)
    if args.only in (None, "bundled"):
        sentiment_values(models, args.tweets)
        blood_values(models, args.blood_cells)
    check()
    print("largest f32 against f64 difference, relative to the tensor's maximum:", {k: f"{v:.1e}" for k, v in errors.items()})


if __name__ == "__main__":
    main()
