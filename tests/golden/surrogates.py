"""Values that unit tests compare with: of scikit-learn for `decision_tree` (tests/golden/methods/tree.json), and of
brute force over all rules for `anchors` (anchors.json).

scikit-learn 1.9.1, numpy 2.4.6; a second.
"""

import json
import pathlib
from itertools import product
from math import comb

import numpy as np
from sklearn.tree import DecisionTreeRegressor

HERE = pathlib.Path(__file__).parent / "methods"


def function(units, seed):
    """bias + sum a_i z_i + sum over pairs c z_i z_j, as methods.py has it."""
    rng = np.random.default_rng(seed)
    linear = np.round(rng.normal(0, 0.8, units), 3)
    pairs = [sorted(rng.choice(units, 2, replace=False).tolist()) for _ in range(units)]
    return -0.4, linear, [(i, j, float(np.round(rng.normal(0, 0.9), 3))) for i, j in pairs]


def case(units, depth, min_weight, seed):
    bias, linear, pairs = function(units, seed)
    # lime's exact mode for text: all masks but the full one.
    masks = np.array([z for z in product((0, 1), repeat=units) if sum(z) < units], dtype=float)
    kept = masks.sum(1)
    distance = 100 * (1 - np.sqrt(kept / units))
    chance = np.array([1 / units / comb(units, int(units - k)) for k in kept])
    weights = chance * np.exp(-(distance**2) / (2 * 25**2))
    weights /= weights.max()
    values = bias + masks @ linear + sum(c * masks[:, i] * masks[:, j] for i, j, c in pairs)
    # The model's outputs are f32.
    values = values.astype(np.float32).astype(float)
    model = DecisionTreeRegressor(max_depth=depth, min_weight_fraction_leaf=min_weight, random_state=0)
    model.fit(masks, values, sample_weight=weights)
    tree = model.tree_

    def node(index):
        if tree.children_left[index] < 0:
            return {"value": float(tree.value[index][0][0])}
        return {
            "unit": int(tree.feature[index]),
            "absent": node(tree.children_left[index]),
            "present": node(tree.children_right[index]),
        }

    spread = tree.impurity[0]
    return {
        "function": {"bias": bias, "linear": linear.tolist(), "pairs": pairs},
        "depth": depth,
        "min_weight": min_weight,
        "r2": model.score(masks, values, sample_weight=weights),
        "importances": (tree.compute_feature_importances(normalize=False) / spread).tolist(),
        "tree": node(0),
    }


def anchor(units, seed):
    """Of all sets of units the smallest of precision .95 or more; what the model says is the sign."""
    bias, linear, pairs = function(units, seed)
    masks = np.array(list(product((0, 1), repeat=units)))
    values = bias + masks @ linear + sum(c * masks[:, i] * masks[:, j] for i, j, c in pairs)
    same = (values > 0) == (values[-1] > 0)

    def precision(kept):
        return same[masks[:, kept].all(axis=1)].mean()

    rules = [(len(kept), -precision(kept), kept) for mask in masks for kept in [np.flatnonzero(mask).tolist()]]
    size, negative, kept = min(rule for rule in rules if rule[1] <= -0.95)
    singles = [precision([unit]) for unit in range(units)]
    return {
        "function": {"bias": bias, "linear": linear.tolist(), "pairs": pairs},
        "size": size,
        "precision": -negative,
        "units": kept,
        "singles": singles,
    }


(HERE / "anchors.json").write_text(json.dumps({"rules": [anchor(units, seed) for units, seed in ((6, 1), (8, 2), (10, 4))]}) + "\n")
(HERE / "tree.json").write_text(json.dumps({"trees": [case(6, 3, 0.01, 1), case(8, 4, 0.05, 2), case(5, 2, 0.0, 3)]}, indent=1) + "\n")
