"""A tiny CLIP and its golden values. See README.md beside this file.

    OMP_NUM_THREADS=1 python models_clip.py

Everything goes through transformers' `CLIPModel` and `CLIPProcessor`'s parts: logits of an image over labels as texts,
the image tower's attention, gradients and integrated gradients with respect to the pixels.
"""

import json

import torch
import transformers
from PIL import Image
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, trainers
from tokenizers import models as tokenizer_models
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

import models as base
import models_text as texts

NAME = "tiny-clip"
LABELS = ["a good film", "Trains", "café crème"]
TEMPLATES = ["This is a photo of {}.", "{}, really"]
SIZES = [None, (30, 41), (57, 24)]
TOWER = {"num_hidden_layers": 2, "num_attention_heads": 2, "layer_norm_eps": 1e-5, "hidden_act": "quick_gelu"}


def tokenizer_of(folder):
    """CLIP's own class over 320 pieces; those that are committed, since training gives other ones every time."""
    file = folder / "tokenizer.json"
    if file.exists():
        parts = json.loads(file.read_text(encoding="utf-8"))["model"]
    else:
        trained = Tokenizer(tokenizer_models.BPE(end_of_word_suffix="</w>"))
        trained.normalizer = normalizers.Lowercase()
        trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=700, show_progress=False, initial_alphabet=alphabet, end_of_word_suffix="</w>")
        trained.train_from_iterator(texts.CORPUS, trainer)
        parts = json.loads(trained.to_str())["model"]
        # Every byte ends a word somewhere.
        for byte in sorted(alphabet):
            parts["vocab"].setdefault(f"{byte}</w>", len(parts["vocab"]))
    vocab = {piece: i for piece, i in parts["vocab"].items() if not piece.startswith("<|")}
    vocab |= {"<|startoftext|>": len(vocab), "<|endoftext|>": len(vocab) + 1}
    return transformers.CLIPTokenizer(vocab=vocab, merges=[tuple(m) for m in parts["merges"]])


def make():
    folder = base.HERE / NAME
    tokenizer = tokenizer_of(folder)
    base.fresh(folder)
    tokenizer.model_max_length = 32
    tokenizer.save_pretrained(folder)
    text = {"vocab_size": len(tokenizer), "hidden_size": 16, "intermediate_size": 24, "max_position_embeddings": 32,
            "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    vision = {"hidden_size": 24, "intermediate_size": 40, "image_size": 24, "patch_size": 6}
    config = transformers.CLIPConfig(text_config=TOWER | text, vision_config=TOWER | vision, projection_dim=12)
    model = transformers.CLIPModel(config).eval()
    base.randomise(model, 41)
    with torch.no_grad():
        model.logit_scale.fill_(2.0)
    model.to(torch.float16).save_pretrained(folder)
    processor = {"feature_extractor_type": "CLIPFeatureExtractor", "do_center_crop": True, "do_normalize": True, "do_resize": True,
                 "crop_size": 24, "size": 24, "resample": 3,
                 "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}
    base.write_json(folder / "preprocessor_config.json", processor)
    base.same_weights(folder, transformers.CLIPModel, model)
    return folder, tokenizer


def run():
    folder, tokenizer = make()
    f64, f32 = base.load_pair(transformers.CLIPModel, folder)
    processor = CLIPImageProcessorPil.from_pretrained(folder)
    out, cases = {}, []
    for i, size in enumerate(SIZES):
        u8 = base.smooth_image(300 + i, *(size or (24, 24)))
        pixels = processor(Image.fromarray(u8), return_tensors="pt")["pixel_values"]
        out[f"{i}.image"] = torch.from_numpy(u8)
        out[f"{i}.pixel_values"] = pixels[0]
        template = TEMPLATES[i % 2]
        rows = tokenizer([template.format(label) for label in LABELS], padding=True, return_tensors="pt")

        def logits(model, v, rows=rows):
            many = len(v)
            return model(input_ids=rows["input_ids"], attention_mask=rows["attention_mask"], pixel_values=v).logits_per_image.view(many, -1)

        with torch.no_grad():
            answers = [m(**rows, pixel_values=v, output_attentions=True) for m, v in ((f64, pixels.double()), (f32, pixels))]
        base.close("logits", answers[1].logits_per_image, answers[0].logits_per_image, 1e-4)
        out[f"{i}.logits"] = answers[0].logits_per_image[0]
        for layer, a in enumerate(answers[0].vision_model_output.attentions):
            out[f"{i}.attention.{layer}"] = a[0]
        x = pixels.double()
        targets = [("1", lambda y: y[:, 1]), ("1.probability", lambda y: y.softmax(-1)[:, 1]), ("1-0", lambda y: y[:, 1] - y[:, 0])]
        base.white_box(out, str(i), lambda v: logits(f64, v), lambda v: logits(f32, v), x, torch.zeros_like(x), lambda a: a[0].sum(0),
                       targets if i == 0 else targets[:1])
        ids = [tokenizer(template.format(label))["input_ids"] for label in LABELS]
        cases.append({"labels": LABELS, "template": template, "ids": ids, "probabilities": answers[0].logits_per_image[0].softmax(-1).tolist()})
    base.store(base.VALUES / f"{NAME}.safetensors", out)
    base.write_json(base.VALUES / f"{NAME}.json", {"cases": cases})
    print({name: out[f"{i}.logits"].tolist() for i, name in enumerate(TEMPLATES + ["again"])}, sorted(k for k in out if k.startswith("0.")))


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    transformers.logging.set_verbosity_error()
    run()
