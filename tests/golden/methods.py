"""Values of lime and Captum that the methods' unit tests compare with: tests/golden/methods/{lime,captum}.json.

lime 0.2.0.1, scikit-learn 1.9.1, captum 0.9.0, torch 2.15.0, numpy 2.4.6; about a minute.
"""

import json
import pathlib
from itertools import product
from math import comb

import numpy as np
import torch
from captum.attr import IntegratedGradients
from lime.lime_image import LimeImageExplainer
from lime.lime_text import LimeTextExplainer

HERE = pathlib.Path(__file__).parent / "methods"
SEEDS = range(8)


class Function:
    """sigmoid(bias + sum a_i z_i + sum over pairs c z_i z_j)."""

    def __init__(self, units, seed):
        rng = np.random.default_rng(seed)
        self.units = units
        self.bias = -0.4
        self.linear = np.round(rng.normal(0, 0.8, units), 3)
        pairs = [sorted(rng.choice(units, 2, replace=False).tolist()) for _ in range(units)]
        self.pairs = [(i, j, float(np.round(rng.normal(0, 0.9), 3))) for i, j in pairs]

    def __call__(self, masks):
        masks = np.asarray(masks, dtype=float)
        total = self.bias + masks @ self.linear
        for i, j, c in self.pairs:
            total += c * masks[:, i] * masks[:, j]
        return 1 / (1 + np.exp(-total))

    def stored(self):
        return {"bias": self.bias, "linear": self.linear.tolist(), "pairs": self.pairs}


def brute_force(function, text):
    """Weighted least squares with intercept over all masks but the full one."""
    d = function.units
    masks = np.array([z for z in product((0, 1), repeat=d) if sum(z) < d], dtype=float)
    kept = masks.sum(1)
    if text:
        distance = 100 * (1 - np.sqrt(kept / d))
        chance = np.array([1 / d / comb(d, int(d - k)) for k in kept])
        weights = chance * np.exp(-(distance**2) / (2 * 25**2))
    else:
        distance = 1 - np.sqrt(kept / d)
        weights = 2.0**-d * np.exp(-(distance**2) / (2 * 0.25**2))
    design = np.column_stack([masks, np.ones(len(masks))])
    root = np.sqrt(weights / weights.max())
    values = function(masks)
    solution, *_ = np.linalg.lstsq(design * root[:, None], values * root, rcond=None)
    mean = np.average(values, weights=weights)
    left = np.average((values - design @ solution) ** 2, weights=weights)
    r2 = 1 - left / np.average((values - mean) ** 2, weights=weights)
    return {"scores": solution[:-1].tolist(), "intercept": solution[-1], "r2": r2}


def lime_of(explanation, units):
    scores = dict(explanation.local_exp[1])
    return {
        "scores": [scores[unit] for unit in range(units)],
        "intercept": explanation.intercept[1],
        "r2": explanation.score[1] if isinstance(explanation.score, dict) else explanation.score,
    }


def text_case(units, seed):
    function = Function(units, seed)
    words = [f"w{i}" for i in range(units)]

    def classify(texts):
        masks = [[int(word == words[i]) for i, word in enumerate(text.split(" "))] for text in texts]
        yes = function(masks)
        return np.column_stack([1 - yes, yes])

    runs = []
    for run in SEEDS:
        explainer = LimeTextExplainer(bow=False, split_expression=" ", random_state=run)
        found = explainer.explain_instance(" ".join(words), classify, num_features=units, num_samples=5000)
        runs.append(lime_of(found, units))
    return {
        "function": function.stored(),
        "samples": 5000,
        "runs": runs,
        "exact": brute_force(function, True) if units <= 12 else None,
    }


def image_case(side, seed):
    """side x side segments of 2 x 2 pixels; lime fills an absent one with its mean colour."""
    units = side * side
    function = Function(units, seed)
    segments = np.kron(np.arange(units).reshape(side, side), np.ones((2, 2), dtype=int)).astype(int)
    image = np.zeros((2 * side, 2 * side, 3))
    image[::2, ::2] = 1.0

    def classify(images):
        masks = [[int(picture[segments == s].max() > 0.9) for s in range(units)] for picture in images]
        yes = function(masks)
        return np.column_stack([1 - yes, yes])

    runs = []
    for run in SEEDS:
        found = LimeImageExplainer(random_state=run).explain_instance(
            image, classify, labels=(1,), top_labels=None, num_samples=1000, num_features=100000,
            segmentation_fn=lambda _: segments,
        )
        runs.append(lime_of(found, units))
    return {"function": function.stored(), "samples": 1000, "runs": runs, "exact": brute_force(function, False)}


def captum_case():
    """logits = tanh(x W1 + b1) W2 over the embeddings of 5 tokens x 4, the first and last being special."""
    rng = np.random.default_rng(3)
    first = np.round(rng.normal(0, 0.7, (28, 6)), 3)
    bias = np.round(rng.normal(0, 0.5, 6), 3)
    second = np.round(rng.normal(0, 1.0, (6, 2)), 3)
    ids = np.array([1, 10, 11, 12, 13, 14, 2])
    pads = np.where(ids < 10, ids, 0)

    def embedding(ids):
        return np.sin((ids[:, None] + 1.0) * (np.arange(4) + 1.7) * 0.37).astype(np.float32).astype(float)

    def forward(x):
        return torch.tanh(x.flatten(1) @ torch.tensor(first) + torch.tensor(bias)) @ torch.tensor(second)

    x = torch.tensor(embedding(ids))[None]
    results = {}
    for baseline, start in (("pad", embedding(pads)), ("zero", np.where((ids < 10)[:, None], embedding(ids), 0.0))):
        for steps in (16, 50, 1000):
            scores, delta = IntegratedGradients(forward).attribute(
                x, torch.tensor(start)[None], target=1, n_steps=steps, return_convergence_delta=True
            )
            tokens = scores.sum(-1)[0].tolist()
            results[f"{baseline}_{steps}"] = {"tokens": tokens, "delta": delta.item()}
    return {"first": first.flatten().tolist(), "bias": bias.tolist(), "second": second.flatten().tolist(), "results": results}


def main():
    HERE.mkdir(exist_ok=True)
    lime = {"text_12": text_case(12, 1), "text_20": text_case(20, 2), "image_9": image_case(3, 4), "image_16": image_case(4, 5)}
    (HERE / "lime.json").write_text(json.dumps(lime) + "\n")
    (HERE / "captum.json").write_text(json.dumps(captum_case()) + "\n")


if __name__ == "__main__":
    main()
