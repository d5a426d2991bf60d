"""Golden values of the image families beside ViT. See README.md beside this file.

    OMP_NUM_THREADS=1 python models_vision.py [NAME ...]

Without names all of them are made anew.
"""

import json
import sys

import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import (
    BeitConfig,
    BeitForImageClassification,
    ConvNextConfig,
    ConvNextForImageClassification,
    DeiTConfig,
    DeiTForImageClassification,
    DeiTForImageClassificationWithTeacher,
    Dinov2Config,
    Dinov2ForImageClassification,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersForImageClassification,
    ResNetConfig,
    ResNetForImageClassification,
    SwinConfig,
    SwinForImageClassification,
)
from transformers.models.beit import modeling_beit
from transformers.models.beit.image_processing_pil_beit import BeitImageProcessorPil
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil
from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil
from transformers.models.deit import modeling_deit
from transformers.models.deit.image_processing_pil_deit import DeiTImageProcessorPil
from transformers.models.swin import modeling_swin
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

import models
from models import HERE, IMAGE_LABELS, VALUES, errors, fresh, load_pair, smooth_image, store, targets_of, white_box, write_json

MEAN_STD = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
LABELS = {"id2label": dict(enumerate(IMAGE_LABELS)), "label2id": {label: i for i, label in enumerate(IMAGE_LABELS)}}
TRANSFORMER = {"hidden_size": 24, "num_attention_heads": 3, "num_hidden_layers": 2, "num_channels": 3, **LABELS}
CROPPED = {"do_resize": True, "do_center_crop": True, "resample": 3, **MEAN_STD}


def deit(size, **more):
    return DeiTConfig(patch_size=4, image_size=size, intermediate_size=40, **TRANSFORMER, **more)


def dinov2(kind, size, **more):
    return kind(patch_size=7, image_size=size, mlp_ratio=2, **TRANSFORMER, **more)


def beit(**more):
    return BeitConfig(patch_size=4, image_size=16, intermediate_size=40, **TRANSFORMER, **more)


# name: (class, config, processor class, its file, sizes of the images sent besides the model's own)
MODELS = {
    "tiny-deit": (
        DeiTForImageClassification,
        lambda: deit(16),
        DeiTImageProcessorPil,
        {"image_processor_type": "DeiTImageProcessor", "size": 20, "crop_size": 16, **CROPPED},
    ),
    "tiny-deit-distilled": (
        DeiTForImageClassificationWithTeacher,
        lambda: deit([12, 20], qkv_bias=False),
        DeiTImageProcessorPil,
        {
            "feature_extractor_type": "DeiTFeatureExtractor",
            "size": {"height": 15, "width": 24},
            "crop_size": {"height": 12, "width": 20},
            **CROPPED,
        },
    ),
    "tiny-dinov2": (
        Dinov2ForImageClassification,
        lambda: dinov2(Dinov2Config, 28),
        BitImageProcessorPil,
        {
            "image_processor_type": "BitImageProcessor",
            "size": {"shortest_edge": 37},
            "crop_size": {"height": 21, "width": 35},
            **CROPPED,
        },
    ),
    "tiny-dinov2-registers": (
        Dinov2WithRegistersForImageClassification,
        lambda: dinov2(Dinov2WithRegistersConfig, 42, num_register_tokens=2, use_swiglu_ffn=True, qkv_bias=False),
        BitImageProcessorPil,
        {
            "image_processor_type": "BitImageProcessorFast",
            "size": {"shortest_edge": 28},
            "crop_size": {"height": 28, "width": 21},
            **CROPPED,
        },
    ),
    "tiny-resnet": (
        ResNetForImageClassification,
        lambda: ResNetConfig(embedding_size=8, hidden_sizes=[16, 24, 32], depths=[2, 1, 1], **LABELS),
        ConvNextImageProcessorPil,
        {"feature_extractor_type": "ConvNextFeatureExtractor", "size": 32, "crop_pct": 0.875, "resample": 3, **MEAN_STD},
    ),
    "tiny-resnet-basic": (
        ResNetForImageClassification,
        lambda: ResNetConfig(
            embedding_size=6,
            hidden_sizes=[6, 10],
            depths=[1, 2],
            layer_type="basic",
            downsample_in_first_stage=True,
            **LABELS,
        ),
        ConvNextImageProcessorPil,
        {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 29}, **MEAN_STD},
    ),
    "tiny-convnext": (
        ConvNextForImageClassification,
        lambda: ConvNextConfig(hidden_sizes=[12, 20], depths=[2, 1], num_stages=2, image_size=28, **LABELS),
        ConvNextImageProcessorPil,
        {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 28}, "crop_pct": 0.9, **MEAN_STD},
    ),
    "tiny-beit": (
        BeitForImageClassification,
        lambda: beit(use_relative_position_bias=True),
        BeitImageProcessorPil,
        {"image_processor_type": "BeitImageProcessor", "size": 16, "do_center_crop": False, "resample": 2},
    ),
    "tiny-beit-shared": (
        BeitForImageClassification,
        lambda: beit(
            use_shared_relative_position_bias=True,
            use_absolute_position_embeddings=True,
            use_mean_pooling=False,
            layer_scale_init_value=0.0,
        ),
        BeitImageProcessorPil,
        {
            "image_processor_type": "BeitImageProcessor",
            "size": {"height": 20, "width": 20},
            "do_center_crop": True,
            "crop_size": 16,
        },
    ),
    "tiny-swin": (
        SwinForImageClassification,
        lambda: SwinConfig(
            image_size=20,
            patch_size=2,
            embed_dim=12,
            depths=[2, 2],
            num_heads=[2, 3],
            window_size=4,
            mlp_ratio=2.0,
            **LABELS,
        ),
        ViTImageProcessorPil,
        {"image_processor_type": "ViTImageProcessor", "size": 20, "resample": 3, **MEAN_STD},
    ),
}
# Their values are fewer: another golden of the family has all of them.
LIGHT = {"tiny-vgg-bn", "tiny-resnet-basic", "tiny-dinov2", "tiny-beit-shared"}
# Written with the tensor names of transformers 5's modules; the others have the hub's.
MODERN = {"tiny-deit-distilled", "tiny-dinov2-registers", "tiny-beit-shared"}


def randomise(model, seed):
    """Every parameter and every running statistic away from what a fresh model holds, at scales that keep signals alive."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            noise = torch.randn(p.shape, generator=generator)
            if name.endswith("bias"):
                p.copy_(0.2 * noise)
            elif "lambda" in name or "layer_scale" in name:
                p.copy_(0.7 + 0.3 * noise)
            elif "norm" in name.lower() or (p.dim() == 1 and name.endswith("weight")):
                p.copy_(1 + 0.2 * noise)
            elif "classifier" in name or "head.fc" in name:
                p.copy_(0.5 * noise)
            elif "position" in name or "token" in name:
                p.copy_(0.5 * noise)
            elif "q_proj" in name or "k_proj" in name:
                p.copy_(0.3 * noise)
            else:
                p.copy_(noise * (1.2 / p[0].numel() ** 0.5))
        for name, b in sorted(model.named_buffers()):
            noise = torch.randn(b.shape, generator=generator)
            if name.endswith("running_mean"):
                b.copy_(0.3 * noise)
            elif name.endswith("running_var"):
                b.copy_(torch.exp(0.5 * noise))


def eager(module, query, key, value, attention_mask, scaling=None, dropout=0.0, **kwargs):
    """transformers' eager attention with the softmax in the model's own type, also where theirs is f32 in an f64 model."""
    scores = query @ key.transpose(2, 3) * scaling
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = torch.softmax(scores, dim=-1)
    return (weights @ value).transpose(1, 2).contiguous(), weights


for module in (modeling_beit, modeling_deit, modeling_swin):
    module.eager_attention_forward = eager


def make(name):
    kind, config, processor, steps = MODELS[name]
    folder = fresh(HERE / name)
    torch.manual_seed(0)
    model = kind(config()).eval()
    randomise(model, 31)
    model.to(torch.float16).save_pretrained(folder)
    if name in MODERN:
        save_file({k: v.contiguous() for k, v in model.state_dict().items()}, folder / "model.safetensors", metadata={"format": "pt"})
    back = kind.from_pretrained(folder, dtype=model.dtype).state_dict()
    assert back.keys() == model.state_dict().keys()
    assert all(torch.equal(back[k], v) for k, v in model.state_dict().items())
    write_json(folder / "preprocessor_config.json", steps)
    return processor.from_pretrained(folder)


def values(name, processor, f64, f32, attends, tolerance):
    """Logits, attention maps, gradients and integrated gradients of three images; all targets of the first."""
    out = {}
    for i, size in enumerate([(33, 41), (61, 83), (13, 11)]):
        u8 = smooth_image(200 + i, *size)
        pixels = torch.as_tensor(processor(Image.fromarray(u8)))
        out[f"{i}.image"] = torch.from_numpy(u8)
        out[f"{i}.pixel_values"] = pixels[0]
        x = pixels.double()
        with torch.no_grad():
            wide, narrow = f64(x), f32(pixels)
        if attends:
            models.logits_and_attention(out, str(i), wide, narrow)
        else:
            errors["logits"] = max(errors["logits"], models.close("logits", narrow.logits, wide.logits, 1e-4))
            out[f"{i}.logits"] = wide.logits[0]
        targets = targets_of(f64.model, True) if i == 0 else [] if name in LIGHT else targets_of(f64.model, False)[1:]
        run = lambda model: lambda v: model(v).logits
        white_box(out, str(i), run(f64), run(f32), x, torch.zeros_like(x), lambda a: a[0].sum(0), targets, tolerance)
    store(VALUES / f"{name}.safetensors", out)
    for file in [VALUES / f"{name}.safetensors", *(HERE / name).iterdir()]:
        file.chmod(0o644)


class Called:
    def __init__(self, model, **more):
        self.model, self.more = model, more

    def __call__(self, x):
        return self.model(x, **self.more)


def transformers_values(name):
    kind, _, processor, _ = MODELS[name]
    pil = processor.from_pretrained(HERE / name)
    pixels = lambda image: pil(image, return_tensors="pt")["pixel_values"]
    attends = not any(family in name for family in ("resnet", "convnext", "swin"))
    more = {"output_attentions": True} if attends else {}
    if attends:
        f64, f32 = load_pair(kind, HERE / name)
    else:
        pair = [kind.from_pretrained(HERE / name, dtype=torch.float32).eval().requires_grad_(False) for _ in range(2)]
        f64, f32 = pair[0].double(), pair[1]
        if "swin" in name:
            for model in (f64, f32):
                model.set_attn_implementation("eager")
    # Kinks: rounding may take a node of the path to the other side of one.
    tolerance = 2e-2 if "resnet" in name else 2e-5
    values(name, pixels, Called(f64, **more), Called(f32, **more), attends, tolerance)


# ---------------------------------------------------------------------------------------------------------- timm

VGG = {
    "architecture": "vgg16",
    "num_classes": len(IMAGE_LABELS),
    "num_features": 24,
    "label_names": IMAGE_LABELS,
    "pretrained_cfg": {
        "tag": "tiny",
        "custom_load": False,
        "input_size": [3, 32, 32],
        "fixed_input_size": False,
        "interpolation": "bilinear",
        "crop_pct": 0.875,
        "crop_mode": "center",
        "mean": MEAN_STD["image_mean"],
        "std": MEAN_STD["image_std"],
        "num_classes": len(IMAGE_LABELS),
        "pool_size": [1, 1],
        "first_conv": "features.0",
        "classifier": "head.fc",
    },
}
# Channels of the convolutions between the pools; timm's own vgg16 has 64 to 512.
SLIM = [4, 4, "M", 6, 6, "M", 8, 8, 8, "M", 10, 10, 10, "M", 12, 12, 12, "M"]


def make_vgg(name, norm):
    from timm.layers import ClassifierHead
    from timm.models.vgg import VGG as Model, ConvMlp

    model = Model(SLIM, num_classes=len(IMAGE_LABELS), mlp_ratio=1 / 4096, norm_layer=torch.nn.BatchNorm2d if norm else None)
    model.pre_logits = ConvMlp(SLIM[-2], 24, 7)
    model.head = ClassifierHead(24, len(IMAGE_LABELS))
    model.eval().requires_grad_(False)
    randomise(model, 32)
    folder = fresh(HERE / name)
    state = {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    config = VGG | ({"architecture": "vgg16_bn"} if norm else {})
    write_json(folder / "config.json", config)
    model.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in load_file(folder / "model.safetensors").items()})
    return model


class Logits:
    """A timm model in the shape of transformers' ones."""

    class Answer:
        pass

    def __init__(self, model):
        self.net = model
        self.model = Logits.Answer()
        self.model.config = Logits.Answer()
        self.model.config.num_labels = len(IMAGE_LABELS)

    def __call__(self, x):
        answer = Logits.Answer()
        answer.logits = self.net(x)
        return answer


def vgg(name):
    from copy import deepcopy

    import timm

    norm = name.endswith("bn")
    model = make_vgg(name, norm)
    data = timm.data.resolve_data_config(json.loads((HERE / name / "config.json").read_text())["pretrained_cfg"])
    transform = timm.data.create_transform(**data, is_training=False)
    pixels = lambda image: transform(image)[None]
    values(name, pixels, Logits(deepcopy(model).double()), Logits(model), False, 2e-2)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name in sys.argv[1:] or [*MODELS, "tiny-vgg", "tiny-vgg-bn"]:
        if "vgg" in name:
            vgg(name)
        else:
            make(name)
            transformers_values(name)
        print(name, {k: f"{v:.1e}" for k, v in errors.items()})
