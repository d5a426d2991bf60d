#!/usr/bin/env python3
"""Logits of models that candle-transformers runs, from timm and transformers, for weights that a formula makes.

The weights are too large to commit, so both sides make them: number k of a tensor is a hash of the tensor's name and k,
scaled so that activations keep their size. Committed are the tensors' names and shapes, and the logits:
values/blackbox.json. The tolerance is that of every family: 2e-4 + 2e-3 of the largest logit.
"""
import json
import math
import pathlib
import tempfile

import numpy
import timm
import torch
import transformers
from safetensors.torch import load_file, save_file

HERE = pathlib.Path(__file__).parent
LABELS = 5
# timm's name, and the side of its input.
TIMM = {
    "repvgg_a0": 64,
    "mobileone_s4": 64,
    "mobilenetv4_conv_small": 64,
    "mobilenetv4_hybrid_medium": 128,
    "fastvit_t8": 64,
    "fastvit_sa12": 64,
}
SEGFORMER = {
    "model_type": "segformer",
    "architectures": ["SegformerForImageClassification"],
    "hidden_sizes": [8, 16, 24, 32],
    "num_attention_heads": [1, 2, 3, 4],
    "depths": [1, 2, 1, 1],
    "decoder_hidden_size": 48,
    "id2label": {str(label): f"L{label}" for label in range(LABELS)},
}


def unit(name, count):
    """`count` numbers in [-0.5, 0.5): splitmix64 of the FNV-1a hash of `name`, stepped."""
    state = 0xCBF29CE484222325
    for byte in name.encode():
        state = ((state ^ byte) * 0x100000001B3) % 2**64
    with numpy.errstate(over="ignore"):
        z = numpy.uint64(state) + numpy.arange(1, count + 1, dtype=numpy.uint64) * numpy.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
        z ^= z >> numpy.uint64(31)
    return (z >> numpy.uint64(40)).astype(numpy.float32) / numpy.float32(2**24) - numpy.float32(0.5)


def made(name, shape):
    """A tensor's numbers: base + unit × spread."""
    base, spread = 0.0, 0.2
    if name.endswith("running_var"):
        base, spread = 1.0, 0.5
    elif len(shape) in (2, 4):
        spread = math.sqrt(6 / math.prod(shape[1:]))
    elif name.endswith("weight") or "gamma" in name:
        base, spread = 1.0, 0.4
    numbers = numpy.float32(base) + unit(name, math.prod(shape)) * numpy.float32(spread)
    return torch.from_numpy(numbers.reshape(shape))


def filled(model):
    state = model.state_dict()
    floats = {name: list(tensor.shape) for name, tensor in state.items() if tensor.is_floating_point()}
    model.load_state_dict(state | {name: made(name, shape) for name, shape in floats.items()})
    return model.eval(), floats


def segformer():
    """By the names that its files on the hub have."""
    config = transformers.SegformerConfig(**SEGFORMER)
    with tempfile.TemporaryDirectory() as folder:
        transformers.SegformerForImageClassification(config).save_pretrained(folder)
        path = pathlib.Path(folder) / "model.safetensors"
        floats = {name: list(tensor.shape) for name, tensor in load_file(path).items() if tensor.is_floating_point()}
        save_file({name: made(name, shape) for name, shape in floats.items()}, path, metadata={"format": "pt"})
        return transformers.SegformerForImageClassification.from_pretrained(folder).eval(), floats


def answer(model, floats, side, config):
    pixels = torch.from_numpy(unit("pixels", 3 * side * side).reshape(1, 3, side, side)) * 4
    with torch.no_grad():
        logits = model.double()(pixels.double())
    logits = getattr(logits, "logits", logits)[0]
    return {"config": config, "side": side, "logits": logits.tolist(), "tensors": sorted(floats.items())}


def main():
    values = {}
    for name, side in TIMM.items():
        model, floats = filled(timm.create_model(name, num_classes=LABELS))
        pretrained = {"input_size": [3, side, side], "interpolation": "bicubic", "crop_pct": 1.0}
        config = {"architecture": name, "num_classes": LABELS, "pretrained_cfg": pretrained}
        values[name] = answer(model, floats, side, config)
    model, floats = segformer()
    values["segformer"] = answer(model, floats, 64, SEGFORMER)
    for name, value in values.items():
        print(name, value["logits"], len(value["tensors"]))
    (HERE / "values/blackbox.json").write_text(json.dumps(values, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
