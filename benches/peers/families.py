"""Forward and gradient of one base-sized model a family: PyTorch, with the faster of its attention implementations.

Weights are random and seeded: speed does not depend on them. Texts are 8 × 128 tokens, images 8 of 224 × 224.
"""
import json

import torch
import transformers

from common import TEMP
from forwards import differentiated, pictures, token_ids

TARGET = 1.5
VOCABULARY = 30522
DECODER = {"vocab_size": 32000, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12}
LLAMA = DECODER | {"num_key_value_heads": 4, "intermediate_size": 2048, "max_position_embeddings": 2048}
DEBERTA = {
    "vocab_size": 128100,
    "relative_attention": True,
    "pos_att_type": ["p2c", "c2p"],
    "position_buckets": 256,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "position_biased_input": False,
    "type_vocab_size": 0,
    "max_relative_positions": -1,
}
# name: (class of the model, config), as transformers has them by default where nothing is said.
TEXTS = {
    "bert": ("BertForSequenceClassification", transformers.BertConfig),
    "distilbert": ("DistilBertForSequenceClassification", transformers.DistilBertConfig),
    "roberta": ("RobertaForSequenceClassification", lambda: transformers.RobertaConfig(max_position_embeddings=514)),
    "electra": (
        "ElectraForSequenceClassification",
        lambda: transformers.ElectraConfig(
            embedding_size=768, hidden_size=768, num_attention_heads=12, intermediate_size=3072
        ),
    ),
    "albert": (
        "AlbertForSequenceClassification",
        lambda: transformers.AlbertConfig(hidden_size=768, num_attention_heads=12, intermediate_size=3072),
    ),
    "mpnet": ("MPNetForSequenceClassification", lambda: transformers.MPNetConfig(max_position_embeddings=514)),
    "deberta-v2": ("DebertaV2ForSequenceClassification", lambda: deberta()),
    "modernbert": ("ModernBertForSequenceClassification", transformers.ModernBertConfig),
    "gpt2": ("GPT2ForSequenceClassification", transformers.GPT2Config),
    "llama": ("LlamaForSequenceClassification", lambda: transformers.LlamaConfig(**LLAMA)),
}
IMAGES = {
    "vit": ("ViTForImageClassification", transformers.ViTConfig),
    "deit": ("DeiTForImageClassification", transformers.DeiTConfig),
    "dinov2": ("Dinov2ForImageClassification", lambda: transformers.Dinov2Config(image_size=224)),
    "beit": ("BeitForImageClassification", lambda: transformers.BeitConfig(use_relative_position_bias=True)),
    "swin": ("SwinForImageClassification", transformers.SwinConfig),
    "resnet-50": ("ResNetForImageClassification", transformers.ResNetConfig),
    "convnext-tiny": ("ConvNextForImageClassification", transformers.ConvNextConfig),
    "vgg-16": ("vgg16", None),
}


def deberta():
    sizes = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
    return transformers.DebertaV2Config(**sizes, **DEBERTA)


def folder(name, kind, config):
    """Where the model is, made once."""
    path = TEMP / f"family-{name}"
    if not (path / "model.safetensors").exists():
        torch.manual_seed(0)
        if config is None:
            return timm_folder(path)
        config = config()
        # The last id, which no text here has: the last token of a decoder is read.
        if name in ("gpt2", "llama"):
            config.pad_token_id = config.vocab_size - 1
        getattr(transformers, kind)(config).save_pretrained(path)
    return path


def timm_folder(path):
    """torchvision's VGG-16 under timm's names, as on the hub."""
    from safetensors.torch import save_file

    tensors = vgg().state_dict()
    names = {"classifier.0": "pre_logits.fc1", "classifier.3": "pre_logits.fc2", "classifier.6": "head.fc"}
    shapes = {"pre_logits.fc1.weight": (4096, 512, 7, 7), "pre_logits.fc2.weight": (4096, 4096, 1, 1)}
    renamed = {}
    for name, tensor in tensors.items():
        layer, part = name.rsplit(".", 1)
        name = f"{names.get(layer, layer)}.{part}"
        renamed[name] = tensor.reshape(shapes.get(name, tensor.shape)).contiguous()
    path.mkdir(parents=True, exist_ok=True)
    save_file(renamed, path / "model.safetensors")
    (path / "config.json").write_text(json.dumps({"architecture": "vgg16", "num_classes": 1000, "pretrained_cfg": {}}))
    return path


def vgg():
    import torchvision

    torch.manual_seed(0)
    return torchvision.models.vgg16(weights=None)


def frozen(path, kind, attention):
    if kind == "vgg16":
        return vgg().eval().requires_grad_(False)
    own = getattr(transformers, kind)
    try:
        model = own.from_pretrained(path, attn_implementation=attention, dtype=torch.float32)
    except ValueError:  # a family without that implementation, or without attention
        model = own.from_pretrained(path, dtype=torch.float32)
    return model.eval().requires_grad_(False)


def row(name):
    """The row of one family."""

    def of(options):
        kind, config = (TEXTS | IMAGES)[name]
        path = folder(name, kind, config)
        text = name in TEXTS
        make = lambda attention: frozen(path, kind, attention)
        logits = lambda answer: getattr(answer, "logits", answer)
        if text:
            ids = token_ids(8, 128, vocabulary(path))
            inputs = lambda model: model.get_input_embeddings()(ids).detach()
            run = lambda model, x: by_position(logits(model(inputs_embeds=x)))
        else:
            images = pictures(8)
            inputs = lambda model: images.clone()
            run = lambda model, x: logits(model(x))
        work = f"{name} forward + gradient, " + ("8 × 128" if text else "8 images")
        yield from differentiated(options, make, path, 8, 128 if text else 0, inputs, run, work, TARGET)

    return of


def vocabulary(path):
    return json.loads((path / "config.json").read_text()).get("vocab_size", VOCABULARY)


def by_position(logits):
    return logits if logits.ndim == 2 else logits[:, -1]


ROWS = {f"family-{name}": row(name) for name in TEXTS | IMAGES}
