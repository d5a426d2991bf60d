"""Values of shap and Captum that the Shapley methods and occlusion are compared with: tests/golden/methods/shapley.json
(games given by a formula) and occlusion.json (the tiny models that stand beside this file).

    OMP_NUM_THREADS=1 python perturbation.py

shap 0.51.0, captum 0.9.0, torch 2.15.0, transformers 5.23.0, numpy 2.4.6; about a minute.
"""

import json
import pathlib
from itertools import combinations, product
from math import comb

import numpy as np
import shap
import torch
from captum.attr import FeatureAblation, Occlusion, ShapleyValues
from safetensors.torch import load_file
from transformers import AutoModelForImageClassification, AutoModelForSequenceClassification, AutoTokenizer

from methods import Function

ROOT = pathlib.Path(__file__).resolve().parent
HERE = ROOT / "methods"


def linkage(tree):
    """Nested pairs as a scipy linkage, children before parents."""
    rows = []
    units = max(flat(tree)) + 1

    def add(node):
        if isinstance(node, int):
            return node, 1
        (left, a), (right, b) = add(node[0]), add(node[1])
        rows.append([left, right, len(rows) + 1.0, a + b])
        return units + len(rows) - 1, a + b

    add(tree)
    return np.array(rows, dtype=float)


def flat(tree):
    return [tree] if isinstance(tree, int) else [unit for part in tree for unit in flat(part)]


def interactions(function, units):
    """The Shapley interaction index of each pair (Grabisch and Roubens 1999) by its definition; shap's ExactExplainer
    gives Shapley-Taylor indices instead."""
    masks = np.array(list(product((0, 1), repeat=units)))
    worth = {tuple(mask): value for mask, value in zip(masks.tolist(), function(masks))}
    index = np.zeros((units, units))
    for i, j in combinations(range(units), 2):
        for mask in masks[(masks[:, i] == 0) & (masks[:, j] == 0)].tolist():
            def at(*present):
                return worth[tuple(1 if unit in present else one for unit, one in enumerate(mask))]

            weight = 1 / ((units - 1) * comb(units - 2, sum(mask)))
            index[i, j] += weight * (at(i, j) - at(i) - at(j) + at())
        index[j, i] = index[i, j]
    return index.tolist()


def game_case(units, seed, tree):
    function = Function(units, seed)
    x, nothing = np.ones((1, units)), np.zeros((1, units))
    case = {"function": function.stored(), "hierarchy": tree}
    kernel = shap.KernelExplainer(function, nothing, silent=True)
    case["kernel"] = kernel.shap_values(x, nsamples=2**units + 10, l1_reg=0, silent=True)[0].tolist()
    case["interactions"] = interactions(function, units)
    partition = shap.maskers.Partition(nothing, max_samples=1, clustering=linkage(tree))
    explainer = shap.explainers.PartitionExplainer(function, partition)
    case["partition"] = explainer(x, max_evals=100_000, silent=True).values[0].tolist()

    def torch_function(z):
        return torch.tensor(function(z.numpy()))

    z = torch.ones(1, units, dtype=torch.float64)
    if units <= 7:
        case["orders"] = ShapleyValues(torch_function).attribute(z)[0].tolist()
    case["ablation"] = FeatureAblation(torch_function).attribute(z)[0].tolist()
    case["occlusion"] = {
        f"{window},{stride}": Occlusion(torch_function).attribute(z, (window,), strides=stride)[0].tolist()
        for window, stride in ((1, 1), (2, 1), (3, 2), (4, 3))
    }
    return case


def text_case(name, text, fills, output):
    """Each word's tokens replaced together, as a feature mask says; specials are in no word's group."""
    folder = ROOT / name
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).double().eval()
    encoded = tokenizer(text, return_tensors="pt")
    words = encoded.word_ids()
    count = max(word for word in words if word is not None) + 1
    mask = torch.tensor([[count if word is None else word for word in words]])
    rest = {key: value for key, value in encoded.items() if key != "input_ids"}

    def outputs(ids):
        each = {key: value.expand(len(ids), -1) for key, value in rest.items()}
        logits = model(input_ids=ids, **each).logits
        return logits if output == "logit" else logits.softmax(-1)

    results = {}
    for fill in fills:
        # Specials are replaced by themselves: their group changes nothing.
        stand_in = getattr(tokenizer, f"{fill}_token_id")
        baseline = torch.tensor([[i if word is None else stand_in for i, word in zip(encoded.input_ids[0].tolist(), words)]])
        found = FeatureAblation(outputs).attribute(encoded.input_ids, baseline, target=1, feature_mask=mask)[0]
        results[fill] = [found[words.index(word)].item() for word in range(count)]
    return {"model": name, "text": text, "output": output, "words": results}


def image_case(name, index, windows):
    values = load_file(ROOT / "values" / f"{name}.safetensors")
    pixels = values[f"{index}.pixel_values"].double()[None]
    model = AutoModelForImageClassification.from_pretrained(ROOT / name).double().eval()
    occlusion = Occlusion(lambda x: model(x).logits.softmax(-1))
    results = []
    for window, stride in windows:
        with torch.no_grad():
            found = occlusion.attribute(pixels, (3, window, window), strides=(3, stride, stride), target=1)
        assert (found[0, 0] == found[0, 2]).all()
        results.append({"window": window, "stride": stride, "pixels": found[0, 0].flatten().tolist()})
    return {"model": name, "index": index, "rows": pixels.shape[2], "cols": pixels.shape[3], "results": results}


def rounded(value):
    if isinstance(value, float):
        return float(f"{value:.9g}")
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    return [rounded(one) for one in value] if isinstance(value, list) else value


def main():
    games = {
        "six": game_case(6, 11, [[0, [1, 2]], [[3, 4], 5]]),
        "ten": game_case(10, 12, [[[0, 1], [2, 3]], [[[4, 5], 6], [[7, 8], 9]]]),
    }
    (HERE / "shapley.json").write_text(json.dumps(games) + "\n")
    models = {
        "texts": [
            text_case("tiny-bert", "not a bad film, not a great one", ("pad", "mask", "unk"), "probability"),
            text_case("tiny-distilbert", "The old teacher walked slowly in the unhappiness", ("pad", "mask"), "logit"),
        ],
        "images": [
            image_case("tiny-resnet", 0, ((6, 3), (5, 4))),
            image_case("tiny-vit", 0, ((4, 4), (5, 2))),
        ],
    }
    (HERE / "occlusion.json").write_text(json.dumps(rounded(models)) + "\n")


if __name__ == "__main__":
    main()
