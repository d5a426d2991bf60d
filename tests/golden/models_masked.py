"""Tiny models that fill masks, and what transformers says of them. See README.md beside this file.

    OMP_NUM_THREADS=1 python models_masked.py

Writes tiny-{bert,distilbert,roberta}-mask in f16 and values/masks.json: for every text and each of its words the ids that
the model reads with a mask in the word's place, and its likeliest tokens there with their log-probabilities, from the stored
weights in f64; of the first texts also what transformers' fill-mask pipeline answers.
"""

import torch
import transformers
from transformers import AutoModelForMaskedLM, AutoTokenizer

import models as base
import models_tasks as tasks
import models_text as texts

OUT = base.VALUES / "masks.json"
TEXTS = ["The train is slow", "a really good film", "we waited all night long"]
LIKELIEST = 40
SHOWN = 5

SIZES = {k: v for k, v in tasks.SIZES.items()}
DISTIL = {"dim": 16, "n_heads": 2, "n_layers": 2, "hidden_dim": 32, "max_position_embeddings": 64}
MODELS = {
    "tiny-bert-mask": (texts.wordpiece, transformers.BertConfig, transformers.BertForMaskedLM, SIZES | {"type_vocab_size": 2}),
    "tiny-distilbert-mask": (texts.wordpiece_without_types, transformers.DistilBertConfig, transformers.DistilBertForMaskedLM, DISTIL),
    # An output matrix of its own, and an activation in the layers that the head does not have.
    "tiny-roberta-mask": (
        texts.byte_level,
        transformers.RobertaConfig,
        transformers.RobertaForMaskedLM,
        SIZES | {"type_vocab_size": 1, "max_position_embeddings": 66, "hidden_act": "gelu_new", "tie_word_embeddings": False},
    ),
}


def make(name):
    tokenizer_of, config_of, kind, sizes = MODELS[name]
    folder = base.fresh(base.HERE / name)
    tokenizer = tokenizer_of(folder)
    base.fresh(folder)
    tokenizer.model_max_length = int(1e30)
    tokenizer.save_pretrained(folder)
    model = kind(config_of(**({"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id} | sizes))).eval()
    base.randomise(model, 41)
    model.to(torch.float16).save_pretrained(folder)
    return folder


def at_mask(model, tokenizer, masked):
    read = tokenizer(masked, return_tensors="pt")
    place = (read["input_ids"][0] == tokenizer.mask_token_id).nonzero().item()
    with torch.no_grad():
        logits = model(**read).logits[0, place]
    best = logits.log_softmax(-1).topk(min(LIKELIEST, len(logits)))
    return read["input_ids"][0].tolist(), place, best.indices.tolist(), best.values.tolist()


def values(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForMaskedLM.from_pretrained(folder, dtype=torch.float32)
    twin = AutoModelForMaskedLM.from_pretrained(folder, dtype=torch.float32).double().eval()
    pipe = transformers.pipeline("fill-mask", model=model.eval(), tokenizer=tokenizer, top_k=SHOWN)
    cases = []
    for text in TEXTS:
        words = text.split(" ")
        for index, word in enumerate(words):
            masked = " ".join(words[:index] + [tokenizer.mask_token] + words[index + 1 :])
            ids, place, likeliest, log_probabilities = at_mask(twin, tokenizer, masked)
            case = {"text": text, "word": index, "masked": masked, "ids": ids, "place": place, "likeliest": likeliest,
                    "log_probabilities": log_probabilities}
            if index == 0:
                case["pipeline"] = [{"token": p["token"], "token_str": p["token_str"], "score": float(p["score"])} for p in pipe(masked)]
            cases.append(case)
    return cases


if __name__ == "__main__":
    torch.use_deterministic_algorithms(True)
    found = {name: values(make(name)) for name in MODELS}
    found["versions"] = {"torch": torch.__version__, "transformers": transformers.__version__}
    base.write_json(OUT, found)
