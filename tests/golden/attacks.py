"""Pictures of Captum's FGSM and PGD that `adversarial`'s unit tests compare with: tests/golden/methods/attacks.json.

captum 0.9.0, torch 2.15.0; a second.
"""

import json
import pathlib

import torch
from captum.robust import FGSM, PGD

OUT = pathlib.Path(__file__).parent / "methods" / "attacks.json"
SIDE, LEVELS = 4, 255.0
MEAN, STD = torch.full((3, 1, 1), 0.5), torch.tensor([0.5, 0.25, 1.0]).reshape(3, 1, 1)


def image():
    """The picture of the unit tests, colours of 0 to 1: 3 x 4 x 4."""
    rgb = torch.tensor([index * 37 % 251 for index in range(SIDE * SIDE * 3)], dtype=torch.float64)
    return (rgb.reshape(SIDE, SIDE, 3).permute(2, 0, 1) / LEVELS).unsqueeze(0)


def waves(colours):
    """The sum over values v of the model's input (in order, numbered i) of sin(4 v + i)."""
    v = ((colours - MEAN) / STD).reshape(len(colours), -1)
    return torch.sin(4 * v + torch.arange(v.shape[1])).sum(1)


def loss(outputs, _target):
    # Captum climbs the loss, which takes the output down.
    return -outputs


def bytes_of(colours):
    return (colours[0] * LEVELS).round().clamp(0, LEVELS).permute(1, 2, 0).reshape(-1).int().tolist()


def value(colours):
    return waves((colours * LEVELS).round() / LEVELS).item()


start = image()
forward = lambda colours: waves(colours)
fgsm = FGSM(forward, loss_func=loss, lower_bound=0, upper_bound=1).perturb(start, 4 / LEVELS, target=0)
pgd = PGD(forward, loss_func=loss, lower_bound=0, upper_bound=1)
steps = [start]
for count in range(1, 7):
    steps.append(pgd.perturb(start, radius=9 / LEVELS, step_size=1.3 / LEVELS, step_num=count, target=0, norm="Linf"))
values = [value(colours) for colours in steps]
# The output falls below the threshold at the last step and not before.
threshold = (values[-1] + values[-2]) / 2
assert min(values[:-1]) > threshold > values[-1], values
OUT.write_text(
    json.dumps(
        {
            "start": waves(start).item(),
            "fgsm": {"picture": bytes_of(fgsm), "value": value(fgsm)},
            "pgd": {"picture": bytes_of(steps[-1]), "threshold": threshold, "steps": 6},
        }
    )
    + "\n"
)
