"""Faithfulness as ferret, Quantus and Captum compute it, where their definitions are explaind's: values/faithfulness.json.

- ferret 0.4.2: AOPC comprehensiveness and sufficiency, and Kendall's tau with leave-one-out, of the gradient's norms over
  texts of 10 and 20 words of one token each (every share is then a whole number of tokens, and no score is negative).
- Quantus 0.6.0: Sparseness of lists of scores.
- Captum 0.9.0: infidelity over all masks of a few units, as it is and normalised, and sensitivity_max.

    pip install --no-deps --target DIR ferret-xai==0.4.2 quantus==0.6.0
    PYTHONPATH=DIR python tests/golden/faithfulness.py      (requirements.txt, scipy 1.17.1)
"""

import importlib
import importlib.util
import itertools
import json
import pathlib
import random
import sys
import types

import numpy as np
import torch
from captum.metrics import infidelity, sensitivity_max
from transformers import AutoModelForSequenceClassification, AutoTokenizer

HERE = pathlib.Path(__file__).parent
TEXTS = [
    "the old teacher was in the garden with the child",
    "this film is not very good but the music was great and the story of the child in the night",
]


def bare(package, *names):
    """Modules of a package without what its __init__ asks for (data sets, plots, other explainers)."""
    folder = pathlib.Path(importlib.util.find_spec(package).submodule_search_locations[0])
    for name in ["", *names]:
        full = ".".join(filter(None, [package, name]))
        module = types.ModuleType(full)
        module.__path__ = [str(folder.joinpath(*name.split(".")) if name else folder)]
        sys.modules[full] = module


def of_ferret(folder, text):
    importlib.import_module("ferret.explainers.explanation")
    evaluators = sys.modules["ferret.evaluators"]

    class BaseEvaluator:
        def __init__(self, model, tokenizer):
            from ferret.model_utils import ModelHelper

            self.model, self.tokenizer, self.helper = model, tokenizer, ModelHelper(model, tokenizer)

    evaluators.BaseEvaluator = BaseEvaluator
    measures = importlib.import_module("ferret.evaluators.faithfulness_measures")
    from ferret.explainers.explanation import Explanation

    tokenizer = AutoTokenizer.from_pretrained(HERE / folder)
    model = AutoModelForSequenceClassification.from_pretrained(
        HERE / folder, attn_implementation="eager", dtype=torch.float32
    ).eval()
    item = tokenizer(text, return_tensors="pt")
    tokens = tokenizer.convert_ids_to_tokens(item["input_ids"][0])
    assert len(tokens) == len(text.split()) + 2, tokens
    embedding = model.get_input_embeddings()(item["input_ids"]).detach().requires_grad_()
    logits = model(inputs_embeds=embedding, attention_mask=item["attention_mask"]).logits[0]
    target = int(logits.argmax())
    (gradient,) = torch.autograd.grad(logits[target], embedding)
    scores = gradient[0].norm(dim=-1).numpy()
    explanation = Explanation(text=text, tokens=tokens, scores=scores, explainer="gradient", target=target)
    found = {"model": folder, "text": text, "target": target, "scores": scores.tolist()}
    for name, measure in [
        ("aopc_comprehensiveness", measures.AOPC_Comprehensiveness_Evaluation),
        ("aopc_sufficiency", measures.AOPC_Sufficiency_Evaluation),
        ("loo_correlation", measures.TauLOO_Evaluation),
    ]:
        found[name] = float(measure(model, tokenizer).compute_evaluation(explanation, target).score)
    return found


def of_quantus(scores):
    sparseness = importlib.import_module("quantus.metrics.complexity.sparseness")
    metric = sparseness.Sparseness(abs=True, normalise=False, disable_warnings=True)
    sizes = np.abs(np.array([scores]))
    return {"scores": scores, "sparsity": float(metric.evaluate_batch(x_batch=sizes, a_batch=sizes)[0])}


def of_captum(draw, units):
    """f(z) = tanh of a quadratic of the units that are there; scores drawn at random."""
    linear = torch.tensor([draw.gauss(0, 1) for _ in range(units)], dtype=torch.float64)
    pairs = torch.tensor([[draw.gauss(0, 0.3) for _ in range(units)] for _ in range(units)], dtype=torch.float64)
    scores = torch.tensor([[draw.gauss(0, 1) for _ in range(units)]], dtype=torch.float64)

    def f(z):
        return torch.tanh(z @ linear + ((z @ pairs) * z).sum(-1))

    masks = [torch.tensor(bits, dtype=torch.float64) for bits in itertools.product([0, 1], repeat=units)][:-1]
    whole = torch.ones(1, units, dtype=torch.float64)
    order = iter(masks + masks)

    def perturb(x):
        kept = torch.stack([next(order) for _ in range(len(x))])
        return x - kept, kept

    many = {"n_perturb_samples": len(masks), "max_examples_per_batch": len(masks)}
    raw = infidelity(f, perturb, whole, scores, **many)
    scaled = infidelity(f, perturb, whole, scores, normalize=True, **many)
    said = [float((scores[0] * (1 - mask)).sum()) for mask in masks]
    did = [float(f(whole)[0] - f(mask[None])[0]) for mask in masks]

    changed = [torch.tensor([[draw.gauss(0, 1) for _ in range(units)]], dtype=torch.float64) for _ in range(4)]
    answers = iter([(scores,), (torch.cat(changed),)])
    inputs = torch.zeros(1, units, dtype=torch.float64)
    largest = sensitivity_max(lambda x: next(answers), inputs, n_perturb_samples=4, max_examples_per_batch=4)
    return {
        "said": said,
        "did": did,
        "infidelity": float(raw[0]),
        "infidelity_scaled": float(scaled[0]),
        "scores": scores[0].tolist(),
        "changed": [one[0].tolist() for one in changed],
        "max_sensitivity": float(largest[0]),
    }


def main():
    bare("ferret", "explainers", "evaluators")
    bare("quantus", "metrics", "metrics.complexity", "helpers", "functions")
    draw = random.Random(5)
    lists = [[round(draw.gauss(0, 1), 6) for _ in range(draw.randint(2, 30))] for _ in range(8)]
    found = {
        "ferret": [of_ferret(folder, text) for folder in ["tiny-bert", "tiny-distilbert"] for text in TEXTS],
        "quantus": [of_quantus(scores) for scores in lists],
        "captum": [of_captum(draw, units) for units in [2, 3, 5]],
    }
    (HERE / "values" / "faithfulness.json").write_text(json.dumps(found, indent=1) + "\n")


main()
