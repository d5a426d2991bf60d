"""Values that unit tests compare with: scikit-learn's Lasso behind its StandardScaler over masks of coins, its coefficients
put back into the masks' units, as ContextCite (Cohen-Wang et al. 2024) fits them (tests/golden/methods/lasso.json).

scikit-learn 1.9.1, numpy 2.4.6; a second.
"""

import json
import pathlib
from itertools import product

import numpy as np
from sklearn.linear_model import Lasso
from sklearn.preprocessing import StandardScaler

HERE = pathlib.Path(__file__).parent / "methods"


def case(units, rows, penalty, seed):
    rng = np.random.default_rng(seed)
    masks = np.array(list(product((0, 1), repeat=units))) if rows is None else rng.integers(0, 2, (rows, units))
    weights = np.where(rng.random(units) < 0.25, rng.normal(0, 2, units), rng.normal(0, 0.02, units))
    pairs = rng.choice(units, 2, replace=False)
    values = -1.0 + masks @ weights + 0.5 * masks[:, pairs].prod(axis=1) + rng.normal(0, 0.05, len(masks))
    scaler = StandardScaler().fit(masks)
    model = Lasso(alpha=penalty, max_iter=1_000_000, tol=1e-14).fit(scaler.transform(masks), values)
    coefficients = model.coef_ / scaler.scale_
    return {
        "masks": ["".join(map(str, mask)) for mask in masks],
        "values": values.tolist(),
        "penalty": penalty,
        "coefficients": coefficients.tolist(),
        "intercept": float(model.intercept_ - coefficients @ scaler.mean_),
        "r2": float(model.score(scaler.transform(masks), values)),
    }


CASES = [(5, None, 0.01, 1), (12, 64, 0.01, 2), (20, 64, 0.1, 3), (80, 64, 0.05, 4)]
(HERE / "lasso.json").write_text(json.dumps([case(*one) for one in CASES]) + "\n")
