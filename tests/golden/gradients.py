"""Values of Captum that the gradient methods and the rules of `nn` are compared with:
tests/golden/methods/gradients.json and tests/golden/values/rules.safetensors.

    OMP_NUM_THREADS=1 python gradients.py

captum 0.9.0, torch 2.15.0, transformers 5.23.0, numpy 2.4.6; seconds. Reads methods/captum.json and the folders tiny-vgg,
tiny-vgg-bn and tiny-resnet with their values. timm is not needed: its VGG is a row of layers.
"""

import json
import pathlib

import numpy as np
import torch
from captum.attr import DeepLift, GuidedBackprop, InputXGradient, NoiseTunnel, Saliency
from captum.attr._core import noise_tunnel
from captum.attr._core.gradient_shap import InputBaselineXGradient
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import ResNetForImageClassification

HERE = pathlib.Path(__file__).resolve().parent
SAMPLES = 6


def embedding(ids):
    return np.sin((ids[:, None] + 1.0) * (np.arange(4) + 1.7) * 0.37).astype(np.float32).astype(float)


def small():
    """The function and the text of methods.py's captum_case, under the methods that draw nothing or are told what."""
    case = json.loads((HERE / "methods" / "captum.json").read_text())
    first, bias, second = (torch.tensor(case[name], dtype=torch.float64) for name in ("first", "bias", "second"))
    ids = np.array([1, 10, 11, 12, 13, 14, 2])
    x = torch.tensor(embedding(ids))[None]
    pads = torch.tensor(embedding(np.where(ids < 10, ids, 0)))[None]
    zeros = torch.tensor(np.where((ids < 10)[:, None], embedding(ids), 0.0))[None]

    def forward(x):
        return torch.tanh(x.flatten(1) @ first.reshape(28, 6) + bias) @ second.reshape(6, 2)

    norms = lambda a: a[0].norm(dim=-1).tolist()
    sums = lambda a: a[0].sum(-1).tolist()
    out = {
        "gradient": norms(Saliency(forward).attribute(x, target=1, abs=False)),
        "input_x_gradient": sums(InputXGradient(forward).attribute(x, target=1)),
    }

    rng = np.random.default_rng(11)
    noise = torch.tensor(rng.normal(0, 0.3, (SAMPLES, 7, 4)).astype(np.float32).astype(float))
    out["noise"] = noise.reshape(SAMPLES, -1).tolist()
    # NoiseTunnel asks torch.normal for one input's samples at a time.
    plain = torch.normal
    noise_tunnel.torch.normal = lambda mean, std: mean + noise.reshape(std.shape)
    for kind, variant, reduce in (("smoothgrad", "mean", norms), ("smoothgrad_sq", "squared", sums), ("vargrad", "variance", sums)):
        tunnel = NoiseTunnel(Saliency(forward))
        found = tunnel.attribute(x, nt_type=kind, nt_samples=SAMPLES, stdevs=1.0, target=1, abs=False)
        out[variant] = reduce(found)
    noise_tunnel.torch.normal = plain

    which, us = rng.integers(0, 2, SAMPLES), rng.uniform(0, 1, SAMPLES)
    plain = np.random.uniform
    total = 0
    for baseline, u in zip(which, us):
        np.random.uniform = lambda *_, u=u: np.array([u])
        total = total + InputBaselineXGradient(forward).attribute(x, [pads, zeros][baseline], target=1)
    np.random.uniform = plain
    out["gradient_shap"] = sums(total / SAMPLES)
    out["draws"] = [[int(b), float(u)] for b, u in zip(which, us)]
    ends = [forward(b)[0, 1].item() for b in (pads, zeros)]
    out["base"], out["output"] = sum(ends) / 2, forward(x)[0, 1].item()

    # DeepLIFT of a network of ReLUs.
    torch.manual_seed(5)
    net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 2)).double().eval()
    pair = torch.randn(2, 6, dtype=torch.float64).float().double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_((3 * parameter).float())
    found, delta = DeepLift(net).attribute(pair[:1], pair[1:], target=1, return_convergence_delta=True)
    assert delta.abs().item() < 1e-12
    out["deep_lift"] = {
        "layers": [{"weight": net[i].weight.flatten().tolist(), "bias": net[i].bias.tolist()} for i in (0, 2, 4)],
        "pair": pair.flatten().tolist(),
        "scores": found[0].tolist(),
    }
    return out


class Copy(nn.Module):
    def forward(self, x):
        return x * 1


class Vgg(nn.Module):
    """timm's VGG in modules of their own, as Captum's hooks need them."""

    def __init__(self, folder):
        super().__init__()
        state = {k: v.double() for k, v in load_file(HERE / folder / "model.safetensors").items()}
        layers = []
        depths = [2, 2, 3, 3, 3]
        normed = folder.endswith("bn")
        index = 0
        for depth in depths:
            for _ in range(depth):
                weight = state[f"features.{index}.weight"]
                layers.append(conv(weight, state[f"features.{index}.bias"], 1))
                if normed:
                    norm = nn.BatchNorm2d(weight.shape[0])
                    norm.load_state_dict({k.split(".")[-1]: v for k, v in state.items() if k.startswith(f"features.{index + 1}.")})
                    layers.append(norm)
                layers.append(nn.ReLU())
                index += 3 if normed else 2
            # Captum's hooks of neighbouring modules share a tensor: without a copy between them a ReLU sees the gradient
            # that its max pool's rule has not changed yet, and the sum is off.
            layers += [Copy(), nn.MaxPool2d(2, 2)]
            index += 1
        layers.append(nn.AdaptiveAvgPool2d(7))
        for name in ("fc1", "fc2"):
            layers += [conv(state[f"pre_logits.{name}.weight"], state[f"pre_logits.{name}.bias"], 0), nn.ReLU()]
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        head = nn.Linear(*reversed(state["head.fc.weight"].shape))
        head.load_state_dict({"weight": state["head.fc.weight"], "bias": state["head.fc.bias"]})
        self.net = nn.Sequential(*layers, head).double().eval().requires_grad_(False)

    def forward(self, x):
        return self.net(x)


def conv(weight, bias, padding):
    layer = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2:], padding=padding)
    layer.load_state_dict({"weight": weight, "bias": bias})
    return layer


class ResNet(nn.Module):
    def __init__(self, folder):
        super().__init__()
        self.net = ResNetForImageClassification.from_pretrained(HERE / folder, dtype=torch.float32).double().eval()
        self.net.requires_grad_(False)

    def forward(self, x):
        return self.net(x).logits


def images():
    out = {}
    for folder, make, lifts in (("tiny-vgg", Vgg, True), ("tiny-vgg-bn", Vgg, True), ("tiny-resnet", ResNet, False)):
        values = load_file(HERE / "values" / f"{folder}.safetensors")
        for case in range(3):
            x = values[f"{case}.pixel_values"].double()[None]
            with torch.no_grad():
                off = (make(folder)(x)[0] - values[f"{case}.logits"]).abs().max() / values[f"{case}.logits"].abs().max()
            assert off < 1e-6, (folder, case, off)
            # Hooks stay behind: every value has a model of its own.
            out[f"{folder}.{case}.guided_backprop.1"] = GuidedBackprop(make(folder)).attribute(x.clone().requires_grad_(), target=1)[0]
            if lifts:
                scores, delta = DeepLift(make(folder)).attribute(x, torch.zeros_like(x), target=1, return_convergence_delta=True)
                assert delta.abs().item() < 1e-9, delta
                out[f"{folder}.{case}.deep_lift.1"] = scores[0].sum(0)
    save_file({k: v.detach().float().contiguous() for k, v in out.items()}, HERE / "values" / "rules.safetensors")


if __name__ == "__main__":
    torch.set_num_threads(1)
    (HERE / "methods" / "gradients.json").write_text(json.dumps(small()) + "\n")
    images()
