#!/usr/bin/env python3
"""Shapley samplers at equal standard error: evaluations and seconds to 1 % of the largest score, on real inputs.

    shapley.py [--only sentences|images] [--sentences FILE] [--images FOLDER] [--count N] [--seeds N] [--error E] [--threads N] [--explaind PATH]

Every sampler plays the same game: words removed from a sentence's token ids (13 to 16 words), or segments of a picture in
their own mean colour, the probability of the predicted label of the bundled models. The error is the root mean square
difference between runs of several seeds, over √2 and over the largest score. A budget is raised until the error is reached;
the last step is interpolated. Rows of a peer are those that it asks for, ours the distinct ones; seconds are those of one
run with that budget, the model's own time included; where the largest budget does not suffice, none. Without arguments the data are read in place from ../shared/data.
Prints a table in Markdown.
"""
import argparse
import base64
import io
import os
import pathlib

import captum.attr
import numpy
import shap
import torch
import transformers
from PIL import Image

from common import ROOT, Server, timed

DATA = ROOT.parent / "shared/data"
MOST = 10_000
BATCH = 64


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("sentences", "images"), help="both without it")
    parser.add_argument("--sentences", type=pathlib.Path, default=DATA / "sst2/dev.tsv", help="a sentence a line")
    parser.add_argument("--images", type=pathlib.Path, default=DATA / "blood-cells")
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--error", type=float, default=0.01)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--explaind", default=str(ROOT / "target/release/explaind"))
    return parser.parse_args()


class Game:
    """The worth of masks, by PyTorch. Known ones are looked up while a budget is searched, but counted again."""

    def __init__(self, units):
        self.units, self.rows, self.known, self.remember = units, 0, {}, True

    def __call__(self, masks):
        masks = numpy.asarray(masks) > 0.5
        self.rows += len(masks)
        if not self.remember:
            return self.worth(masks)
        keys = [mask.tobytes() for mask in masks]
        new = {key: mask for key, mask in zip(keys, masks) if key not in self.known}
        if new:
            self.known |= zip(new, self.worth(numpy.array(list(new.values()))))
        return numpy.array([self.known[key] for key in keys])

    def worth(self, masks):
        parts = [self.batch(masks[first : first + BATCH]) for first in range(0, len(masks), BATCH)]
        return numpy.concatenate(parts)

    def torch(self, masks):
        return torch.tensor(self(masks.numpy()))


class Sentence(Game):
    def __init__(self, tokenizer, model, text):
        encoded = tokenizer(text)
        self.ids = numpy.array(encoded.input_ids)
        self.words = numpy.array([-1 if word is None else word for word in encoded.word_ids()])
        super().__init__(int(self.words.max()) + 1)
        self.pad, self.model = tokenizer.pad_token_id, model
        self.label = int(self.probabilities(numpy.ones((1, self.units), bool))[0].argmax())

    def probabilities(self, masks):
        kept = [self.ids[(self.words < 0) | mask[self.words]] for mask in masks]
        length = max(map(len, kept))
        ids = torch.tensor(numpy.array([numpy.pad(row, (0, length - len(row)), constant_values=self.pad) for row in kept]))
        shown = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in kept])
        with torch.inference_mode():
            return self.model(input_ids=ids, attention_mask=shown).logits.softmax(-1).double().numpy()

    def batch(self, masks):
        return self.probabilities(masks)[:, self.label]


class Picture(Game):
    def __init__(self, processor, model, image, segments, label):
        super().__init__(int(segments.max()) + 1)
        pixels = processor(image, return_tensors="pt")["pixel_values"][0]
        self.model, self.label, self.pixels = model, label, pixels
        self.segments = torch.tensor(segments.astype(numpy.int64))
        flat = self.segments.flatten()
        sizes = torch.bincount(flat).clamp(min=1)
        means = torch.stack([torch.bincount(flat, channel.flatten().double()) / sizes for channel in pixels])
        self.filled = means[:, self.segments].float()

    def batch(self, masks):
        shown = torch.tensor(masks)[:, self.segments][:, None]
        with torch.inference_mode():
            logits = self.model(torch.where(shown, self.pixels, self.filled)).logits
        return logits.softmax(-1)[:, self.label].double().numpy()


def kernel_explainer(game, budget, seed):
    numpy.random.seed(seed)
    explainer = shap.KernelExplainer(game, numpy.zeros((1, game.units)), silent=True)
    return explainer.shap_values(numpy.ones((1, game.units)), nsamples=budget, l1_reg=0, silent=True)[0]


def permutation_explainer(game, budget, seed):
    masker = shap.maskers.Independent(numpy.zeros((1, game.units)), max_samples=1)
    explainer = shap.explainers.PermutationExplainer(game, masker, seed=seed)
    budget = max(budget, 2 * game.units + 1)
    return explainer(numpy.ones((1, game.units)), max_evals=budget, silent=True).values[0]


def captum_kernel(game, budget, seed):
    torch.manual_seed(seed)
    method = captum.attr.KernelShap(game.torch)
    values = method.attribute(torch.ones(1, game.units), n_samples=budget, perturbations_per_eval=BATCH)
    return values[0].numpy()


def captum_orders(game, budget, seed):
    torch.manual_seed(seed)
    method = captum.attr.ShapleyValueSampling(game.torch)
    orders = max(1, budget // game.units)
    values = method.attribute(torch.ones(1, game.units), n_samples=orders, perturbations_per_eval=BATCH)
    return values[0].numpy()


PEERS = {
    "shap KernelExplainer": kernel_explainer,
    "shap PermutationExplainer": permutation_explainer,
    "Captum KernelShap": captum_kernel,
    "Captum ShapleyValueSampling": captum_orders,
}
OURS = ("kernel_shap", "shapley_sampling")


def error_of(runs):
    """One run's error by the differences between runs, relative to the largest score."""
    pairs = [(a, b) for index, a in enumerate(runs) for b in runs[:index]]
    squares = numpy.mean([numpy.mean((a - b) ** 2) for a, b in pairs])
    return float(numpy.sqrt(squares / 2) / abs(numpy.mean(runs, 0)).max())


def search(run, units, seeds, wanted):
    """The rows at which `run(budget, seed)`, which gives values and rows, has the wanted error, and the budget."""
    budget, before = 4 * units, None
    while True:
        answers = [run(budget, seed) for seed in range(seeds)]
        error = error_of([values for values, _ in answers])
        rows = numpy.mean([rows for _, rows in answers])
        if error <= wanted:
            if before and before[1] > error > 0:
                share = numpy.log(before[1] / wanted) / numpy.log(before[1] / error)
                rows = before[0] * (rows / before[0]) ** share
            return rows, budget
        if budget >= MOST:
            return None, budget
        before = rows, error
        budget = min(MOST, int(budget * min(4.0, max(1.25, (error / wanted) ** 2))))


def compare(server, options, name, game, ask):
    """A line of the table: for each sampler the rows and the seconds."""
    cells = []

    def ours(method, budget, seed):
        fixed = budget // 2 * 2 if method == "kernel_shap" else max(2, budget // (game.units - 1) // 2 * 2)
        one = ask(method=method, seed=seed, samples=fixed, max_evaluations=2 * MOST)
        return numpy.array(one["scores"].get("words") or one["scores"]["segments"]), one["diagnostics"]["evaluations"]

    def peer(method, budget, seed):
        before = game.rows
        return numpy.array(PEERS[method](game, budget, seed)), game.rows - before

    for method in (*OURS, *PEERS):
        run = ours if method in OURS else peer
        game.remember = True
        rows, budget = search(lambda budget, seed: run(method, budget, seed), game.units, options.seeds, options.error)
        game.remember = False
        seconds = None if rows is None else timed(lambda: run(method, max(int(rows), 2 * game.units), 0))
        cells.append((rows, seconds))
    shown = [f"> {MOST}" if rows is None else f"{rows:.0f}, {seconds:.2f} s" for rows, seconds in cells]
    print(f"| {name} | {game.units} |", " | ".join(shown), "|", flush=True)
    return [MOST if rows is None else rows for rows, _ in cells]


def sentences(options, tokenizer):
    """The first sentences of 13 to 16 words."""
    for line in options.sentences.read_text(encoding="utf-8").splitlines():
        text = line.split("\t")[0]
        words = {word for word in tokenizer(text).word_ids() if word is not None}
        if 13 <= len(words) <= 16:
            yield text


def pictures(options):
    return sorted(path for path in options.images.iterdir() if path.suffix in (".png", ".jpg"))


def segments_of(answer):
    return numpy.array(Image.open(io.BytesIO(base64.b64decode(answer["segments"]))))


def main():
    options = arguments()
    torch.set_num_threads(options.threads)
    folders = {name: ROOT / "models" / name for name in ("sentiment", "blood-cells")}
    tokenizer = transformers.AutoTokenizer.from_pretrained(folders["sentiment"])
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folders["sentiment"]).eval()
    vision = transformers.AutoModelForImageClassification.from_pretrained(folders["blood-cells"]).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(folders["blood-cells"], use_fast=False)
    print(f"Rows and seconds to an error of {options.error:g} of the largest score, {options.threads} threads\n")
    print("| input | units |", " | ".join((*(f"explaind {name}" for name in OURS), *PEERS)), "|")
    print("|---" * (2 + len(OURS) + len(PEERS)) + "|")
    table = []
    with Server(options) as server:
        texts = () if options.only == "images" else sentences(options, tokenizer)
        for number, text in zip(range(options.count), texts):
            ask = lambda text=text, **settings: server.ask("sentiment", text=text, **settings)
            table.append(compare(server, options, f"sentence {number + 1}", Sentence(tokenizer, model, text), ask))
        images = [] if options.only == "sentences" else pictures(options)
        for path in images[:: max(1, len(images) // options.count)][: options.count]:
            content = base64.b64encode(path.read_bytes()).decode()
            ask = lambda content=content, **settings: server.ask("blood-cells", image=content, segments=14, **settings)
            first = ask(method="occlusion")
            image = Image.open(path).convert("RGB")
            logits = vision(**processor(image, return_tensors="pt")).logits
            game = Picture(processor, vision, image, segments_of(first), int(logits.argmax()))
            if game.units > 12:
                table.append(compare(server, options, path.name, game, ask))
    ratios = numpy.exp(numpy.log(numpy.array(table) / numpy.array(table)[:, :1]).mean(0))
    print("\nRows relative to kernel_shap (geometric mean; at least, where the budget ended):")
    for name, ratio in zip((*OURS, *PEERS), ratios):
        print(f"- {name}: {ratio:.2f}")


if __name__ == "__main__":
    main()
