"""Writes tests/golden/input/*: what Python makes of texts and images, for the tests of src/input.

Versions: transformers 5.23.0, tokenizers 0.23.3, pillow 13.0.0, scikit-image 0.26.0, scipy 1.17.1, numpy 2.4.6,
safetensors. Run from the repository root:

    python tests/golden/input.py [FOLDER-WITH-BLOOD-CELL-WINDOWS]

The natural image (cells.png) is a window of the BCCD blood cell data set (MIT licence); without the folder the one
already written is used.
"""

import io
import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import save_file
from scipy.ndimage import gaussian_filter
from skimage.segmentation import quickshift, slic
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers.image_utils import load_image
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

ROOT = Path(__file__).resolve().parents[2]
OUT = Path(__file__).resolve().parent / "input"

# ---------------------------------------------------------------------------------------------------------- texts

TEXTS = [
    "", " ", "a", "a gripping, funny film", "Don't re-tokenise it; it's fine.", "Crème brûlée à la carte",
    "so good 😀👍🏽 really 👩‍👩‍👧", "我喜欢这部电影。 great", "  two  spaces\tand a tab\nand a line ", "ﬁnal ½ cup ①",
    "[SEP] is written, so is [MASK].", "antidisestablishmentarianism x" + "y" * 120, "e\u0301a\u0308", "\u200bzero\u200bwidth\u00a0nbsp",
    "हिन्दी ไทย 한국어", "\u0000\u0007control\ufffd", "<s> <mask></s>", "A.B.C 3.14 $5 user@mail.org http://x.y/z?q=1",
]
PAIRS = [("a film", "it was good"), ("", "x"), ("x", ""), ("", ""), ("é 😀", "don't  stop"), ("one [SEP] two", "three")]


def train_small():
    """A byte-level BPE, a Metaspace BPE and a BPE without pre-tokeniser, small enough to be committed."""
    corpus = [t for t in TEXTS if t] + ["the film was good and funny", "a really great film it is"] * 5

    byte_level = Tokenizer(models.BPE())
    byte_level.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    byte_level.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=380, special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    byte_level.train_from_iterator(corpus, trainer)
    byte_level.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), trim_offsets=True, add_prefix_space=False)

    metaspace = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=False))
    metaspace.normalizer = normalizers.NFKC()
    metaspace.pre_tokenizer = pre_tokenizers.Metaspace()
    metaspace.train_from_iterator(corpus, trainers.BpeTrainer(
        vocab_size=240, special_tokens=["<unk>", "<s>", "</s>", "<pad>"], show_progress=False))
    metaspace.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B:1 </s>:1", special_tokens=[("<s>", 1), ("</s>", 2)])

    # No pre-tokeniser: one group for the whole text, and tokens that span words.
    whole = Tokenizer(models.BPE(unk_token="<unk>"))
    whole.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    whole.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=260, special_tokens=["<unk>", "<s>"], show_progress=False))
    whole.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B:1", special_tokens=[("<s>", 1)])
    return {"byte_level": byte_level, "metaspace": metaspace, "whole": whole}


def encoding(tokenizer, text, pair, max_length=None):
    if max_length is None:
        tokenizer.no_truncation()
    else:
        tokenizer.enable_truncation(max_length)
    e = tokenizer.encode(text, pair)
    return {"text": text, "pair": pair, "max": max_length, "ids": e.ids, "tokens": e.tokens, "type_ids": e.type_ids,
            "offsets": [list(o) for o in e.offsets], "special": e.special_tokens_mask,
            "word_ids": e.word_ids, "sequence_ids": e.sequence_ids}


def texts():
    tokenizers = {"sentiment": Tokenizer.from_file(str(ROOT / "models/sentiment/tokenizer.json")), **train_small()}
    cases = []
    for name, tokenizer in tokenizers.items():
        tokenizer.no_padding()
        if name != "sentiment":
            tokenizer.no_truncation()
            (OUT / f"{name}.json").write_text(json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False, separators=(",", ":")))
        rows = [(t, None, None) for t in TEXTS] + [(a, b, None) for a, b in PAIRS]
        long, longer = TEXTS[4], TEXTS[17]
        rows += [(long, None, 6), (longer, None, 9), (long, longer, 12), (longer, long, 13), ("a", longer, 9), (longer, "a", 9)]
        cases += [{"tokenizer": name, **encoding(tokenizer, *row)} for row in rows]
    (OUT / "texts.json").write_text(json.dumps(cases, ensure_ascii=False, separators=(",", ":")))


# --------------------------------------------------------------------------------------------------------- images

RANDOM = np.random.default_rng(0)
ROWS, COLS = 16, 13


def noise(rows, cols, channels=3):
    return RANDOM.integers(0, 256, (rows, cols, channels), dtype=np.uint8)


def gradient(rows, cols):
    y, x = np.mgrid[:rows, :cols]
    return np.stack([255 * x / max(cols - 1, 1), 255 * y / max(rows - 1, 1), 127 + 127 * np.sin(x / 3.0 + y / 5.0)], -1).astype(np.uint8)


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def exif(orientation):
    data = Image.Exif()
    data[0x0112] = orientation
    return data


def resize(resample, **more):
    return {"size": {"height": ROWS, "width": COLS}, "resample": resample, **more}


def files():
    """name -> (bytes, levels of tolerance in the decoded image)."""
    rgb = Image.fromarray
    out = {
        "noise_down.png": (encoded(rgb(noise(37, 41)), "PNG"), 0),
        "noise_up.png": (encoded(rgb(noise(7, 9)), "PNG"), 0),
        "gradient.png": (encoded(rgb(gradient(64, 48)), "PNG"), 0),
        "wide.png": (encoded(rgb(noise(9, 60)), "PNG"), 0),
        "tall.png": (encoded(rgb(noise(61, 23)), "PNG"), 0),
        "pixel.png": (encoded(rgb(noise(1, 1)), "PNG"), 0),
        "same.png": (encoded(rgb(noise(ROWS, COLS)), "PNG"), 0),
        "rgba.png": (encoded(rgb(noise(24, 30, 4)), "PNG"), 0),
        "grey.png": (encoded(rgb(noise(24, 30, 1)[..., 0]), "PNG"), 0),
        "grey_alpha.png": (encoded(rgb(noise(24, 30, 2), "LA"), "PNG"), 0),
        "bilevel.png": (encoded(rgb(noise(24, 30, 1)[..., 0]).convert("1"), "PNG"), 0),
        "palette.png": (encoded(rgb(gradient(30, 24)).quantize(16), "PNG"), 0),
        "palette_transparent.png": (encoded(rgb(gradient(30, 24)).quantize(16), "PNG", transparency=3), 0),
        "lossless.webp": (encoded(rgb(gradient(30, 24)), "WEBP", lossless=True), 0),
        "lossy.webp": (encoded(rgb(gradient(48, 40)), "WEBP", quality=90), 2),
        "animated.webp": (encoded(rgb(gradient(30, 24)), "WEBP", lossless=True, save_all=True,
                                  append_images=[rgb(noise(30, 24))], duration=50), 0),
        "grey.jpeg": (encoded(rgb(gradient(48, 40)[..., 2]), "JPEG", quality=90), 2),
        "full_colour.jpeg": (encoded(rgb(gradient(48, 40)), "JPEG", quality=90, subsampling=0), 2),
        "subsampled.jpeg": (encoded(rgb(gradient(96, 80)), "JPEG", quality=90, subsampling=2), 4),
        "progressive.jpeg": (encoded(rgb(gradient(48, 40)), "JPEG", quality=90, subsampling=0, progressive=True), 2),
        "cmyk.jpeg": (encoded(rgb(gradient(48, 40)).convert("CMYK"), "JPEG", quality=95), 3),
    }
    for orientation in range(1, 9):
        out[f"exif_{orientation}.png"] = (encoded(rgb(gradient(14, 11)), "PNG", exif=exif(orientation)), 0)
    out["exif_6.jpeg"] = (encoded(rgb(gradient(48, 40)), "JPEG", quality=90, subsampling=0, exif=exif(6)), 2)
    out["exif_6.webp"] = (encoded(rgb(gradient(30, 24)), "WEBP", lossless=True, exif=exif(6)), 0)
    return out


def images():
    made = files()
    for name, (data, _) in made.items():
        (OUT / name).write_bytes(data)
    cases = []
    for name in made:
        filters = [0, 1, 2, 3, 4, 5] if name in ("noise_down.png", "noise_up.png", "wide.png", "tall.png") else [2]
        cases += [(name, resize(filter)) for filter in filters]
    for name in ("gradient.png", "wide.png", "tall.png", "noise_up.png"):
        cases += [(name, {"size": {"shortest_edge": 23}, "resample": filter, "do_center_crop": True,
                          "crop_size": {"height": ROWS, "width": COLS}}) for filter in (0, 2, 3)]
    # A crop larger than the image is padded with black.
    cases.append(("wide.png", {"do_resize": False, "do_center_crop": True, "crop_size": {"height": ROWS, "width": COLS}}))
    cases.append(("pixel.png", {"size": {"shortest_edge": 5}, "do_center_crop": True, "crop_size": {"height": ROWS, "width": COLS}}))
    cases.append(("same.png", {"do_resize": False, "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}))
    cases.append(("gradient.png", resize(3, image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225])))
    cases.append(("gradient.png", resize(2, do_normalize=False)))
    cases.append(("gradient.png", resize(2, do_rescale=False, image_mean=[127.5] * 3, image_std=[127.5] * 3)))
    cases.append(("gradient.png", resize(2, rescale_factor=1 / 127.5, image_mean=[1.0] * 3, image_std=[1.0] * 3)))
    listed, arrays = [], {}
    for index, (name, config) in enumerate(cases):
        image = load_image(str(OUT / name))
        values = ViTImageProcessorPil(**config)(image, return_tensors="np")["pixel_values"][0]
        assert values.shape == (3, ROWS, COLS), (name, config, values.shape)
        key = f"{index:02}"
        arrays[key] = np.ascontiguousarray(values, dtype=np.float32)
        listed.append({"key": key, "file": name, "levels": made[name][1], "width": image.width, "height": image.height, "config": config})
    # 16 bit is ours: Pillow clips grey and drops the low byte of colour, we divide by 257.
    deep = RANDOM.integers(0, 65536, (24, 30), dtype=np.uint16)
    (OUT / "grey16.png").write_bytes(encoded(Image.fromarray(deep), "PNG"))
    shallow = np.repeat(((deep.astype(np.uint32) + 128) // 257).astype(np.uint8)[..., None], 3, -1)
    values = ViTImageProcessorPil(**resize(2))(Image.fromarray(shallow), return_tensors="np")["pixel_values"][0]
    arrays["16bit"] = np.ascontiguousarray(values, dtype=np.float32)
    listed.append({"key": "16bit", "file": "grey16.png", "levels": 0, "width": 30, "height": 24, "config": resize(2)})
    save_file(arrays, OUT / "images.safetensors")
    (OUT / "images.json").write_text(json.dumps(listed, separators=(",", ":")))


def blurs():
    image = gradient(18, 14)
    noisy = noise(18, 14)
    arrays = {"source": np.ascontiguousarray(np.concatenate([image, noisy], 1))}
    for sigma in (0.7, 2.0, 9.6):
        blurred = gaussian_filter(arrays["source"].astype(np.float64), (sigma, sigma, 0), truncate=4.0, mode="reflect")
        arrays[f"sigma {sigma}"] = blurred.astype(np.float32)
    save_file(arrays, OUT / "blur.safetensors")


# ------------------------------------------------------------------------------------------------------- segments


def synthetic():
    """Textured shapes: flat areas would leave quickshift's trees to the noise."""
    y, x = np.mgrid[:72, :80]
    image = np.stack([120 + 60 * np.sin(x / 9.0), 110 + 60 * np.cos(y / 11.0), 100 + 40 * np.sin((x + y) / 13.0)], -1)
    image[(x - 25) ** 2 + (y - 30) ** 2 < 300] += [70, -60, 10]
    image[(np.abs(x - 58) < 12) & (np.abs(y - 45) < 15)] += [-60, 20, 80]
    return np.clip(image + RANDOM.normal(0, 5, image.shape), 0, 255).astype(np.uint8)


def segments(windows):
    if windows:
        cells = Image.open(Path(windows) / "white_blood_cell_001.jpg").convert("RGB")
        cells.resize((96, 96), Image.Resampling.BILINEAR).save(OUT / "cells.png", optimize=True)
    Image.fromarray(synthetic()).save(OUT / "shapes.png", optimize=True)
    for name in ("cells", "shapes"):
        image = np.asarray(Image.open(OUT / f"{name}.png").convert("RGB"))
        maps = {"slic": slic(image, n_segments=50, compactness=10, sigma=0, start_label=0),
                "quickshift": quickshift(image, kernel_size=4, max_dist=200, ratio=0.2, rng=0)}
        for method, labels in maps.items():
            Image.fromarray(labels.astype(np.uint16)).save(OUT / f"{name}_{method}.png", optimize=True)


if __name__ == "__main__":
    OUT.mkdir(exist_ok=True)
    texts()
    images()
    blurs()
    segments(sys.argv[1] if len(sys.argv) > 1 else None)
    for file in OUT.iterdir():
        file.chmod(0o644)
