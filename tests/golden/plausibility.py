"""Plausibility of word scores against marked words, as ferret 0.5 computes it, for src/evaluation/plausibility.rs.

ferret's own functions need a model around them; these are its lines: precision_recall_curve and auc of scikit-learn over
max(score, 0), and sets of the five largest positive scores.

    python tests/golden/plausibility.py      (scikit-learn 1.9.1, numpy 2)
"""

import json
import pathlib
import random

from sklearn.metrics import auc, precision_recall_curve

TOP = 5


def case(scores, marked):
    precision, recall, _ = precision_recall_curve(marked, [max(score, 0.0) for score in scores])
    largest = sorted(range(len(scores)), key=lambda index: -scores[index])[:TOP]
    chosen = {index for index in largest if scores[index] > 0}
    human = {index for index, one in enumerate(marked) if one}
    both = len(chosen & human)
    share, found = (both / len(chosen) if chosen else 0.0), both / len(human)
    return {
        "scores": scores,
        "marked": marked,
        "auprc": float(auc(recall, precision)),
        "token_f1": 2 * share * found / (share + found) if both else 0.0,
        "token_iou": both / len(chosen | human),
    }


def main():
    draw = random.Random(7)
    cases = []
    while len(cases) < 40:
        words = draw.randint(2, 25)
        # Rounded ones repeat, so that equal scores are covered.
        digits = draw.choice([0, 1, 6])
        scores = [round(draw.gauss(0, 1), digits) for _ in range(words)]
        marked = [draw.random() < 0.3 for _ in range(words)]
        if 0 < sum(marked) < words and max(scores) > 0:
            cases.append(case(scores, marked))
    out = pathlib.Path(__file__).parent / "values" / "plausibility.json"
    out.write_text("[\n" + ",\n".join(json.dumps(one) for one in cases) + "\n]\n")


main()
