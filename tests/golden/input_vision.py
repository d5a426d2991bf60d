"""Golden pixel values of the image processors beside ViT's: transformers' PIL classes, and timm's evaluation transform.

    python tests/golden/input_vision.py

Reads the pictures that input.py has written.
"""

import json
from pathlib import Path

import numpy as np
import timm
from safetensors.numpy import save_file
from transformers.image_utils import load_image
from transformers.models.beit.image_processing_pil_beit import BeitImageProcessorPil
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil
from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil
from transformers.models.deit.image_processing_pil_deit import DeiTImageProcessorPil

OUT = Path(__file__).resolve().parent / "input"
PICTURES = ["gradient.png", "wide.png", "tall.png", "noise_up.png", "pixel.png"]
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}

PROCESSORS = [
    (DeiTImageProcessorPil, "DeiTImageProcessor", {"size": 19, "crop_size": 16, **IMAGENET}),
    (DeiTImageProcessorPil, "DeiTFeatureExtractor", {"size": {"height": 17, "width": 20}, "crop_size": {"height": 12, "width": 15}}),
    (BeitImageProcessorPil, "BeitImageProcessor", {"size": 16}),
    (BeitImageProcessorPil, "BeitFeatureExtractor", {"size": 20, "do_center_crop": True, "crop_size": 13, "resample": 2}),
    (BitImageProcessorPil, "BitImageProcessor", {"size": {"shortest_edge": 18}, "crop_size": 15}),
    (BitImageProcessorPil, "BitImageProcessorFast", {"size": 21, "crop_size": {"height": 16, "width": 13}, **IMAGENET}),
    (ConvNextImageProcessorPil, "ConvNextImageProcessor", {"size": {"shortest_edge": 16}}),
    (ConvNextImageProcessorPil, "ConvNextFeatureExtractor", {"size": 16, "crop_pct": 0.9, "resample": 2, **IMAGENET}),
    (ConvNextImageProcessorPil, "ConvNextImageProcessor", {"size": 15, "crop_pct": 1.0}),
]
# As in a config.json on the hub; what is missing is ImageNet's.
TIMM = [
    {"input_size": [3, 16, 16], "interpolation": "bilinear", "crop_pct": 0.875},
    {"input_size": [3, 15, 15], "interpolation": "bicubic", "crop_pct": 0.9, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
    {"input_size": [3, 13, 13], "interpolation": "bicubic", "crop_pct": 0.8, "crop_mode": "squash"},
    {"input_size": [3, 16, 16], "interpolation": "bilinear", "crop_pct": 1.0},
]


def main():
    listed, arrays = [], {}

    def add(file, config, values):
        key = f"{len(listed):02}"
        arrays[key] = np.ascontiguousarray(values, dtype=np.float32)
        listed.append({"key": key, "file": file, "rows": values.shape[1], "cols": values.shape[2], "config": config})

    for kind, name, config in PROCESSORS:
        for file in PICTURES:
            values = kind(**config)(load_image(str(OUT / file)), return_tensors="np")["pixel_values"][0]
            key = "feature_extractor_type" if name.endswith("Extractor") else "image_processor_type"
            add(file, {key: name, **config}, values)
    for cfg in TIMM:
        transform = timm.data.create_transform(**timm.data.resolve_data_config(dict(cfg)), is_training=False)
        for file in PICTURES:
            add(file, {"architecture": "vgg16", "pretrained_cfg": cfg}, transform(load_image(str(OUT / file))).numpy())
    save_file(arrays, OUT / "processors.safetensors")
    (OUT / "processors.json").write_text(json.dumps(listed, separators=(",", ":")))
    for name in ("processors.safetensors", "processors.json"):
        (OUT / name).chmod(0o644)


main()
