"""LIME: lime's own explainers with their 5,000 (text) or 1,000 (image) samples."""
import base64
import io

import numpy
import torch
import transformers

from common import ROOT, Server, timed, turns
from gradients import sentiment
from texts import TEXTS

SAMPLES = 5000
SEEDS = (1, 2, 3)
FILLS = ((None, ""), ("", " deleting words"))
MOST = 40_000


class Lime:
    """lime on texts whose words stand between spaces, as explaind's do; every feature kept. `absent` is what it writes
    for a word that is away: its own default, or nothing, which is explaind's default and gives shorter rows."""

    def __init__(self, tokenizer, model, text, absent=None):
        self.tokenizer, self.model, self.text, self.absent = tokenizer, model, text, absent
        self.words = text.split()
        self.label = int(self.probabilities([text], 1)[0].argmax())
        timings = {size: timed(lambda: self.run(0, size, 500)) for size in (64, 256)}
        self.batch = min(timings, key=timings.get)

    def probabilities(self, texts, size):
        parts = []
        with torch.inference_mode():
            for first in range(0, len(texts), size):
                batch = self.tokenizer(texts[first : first + size], return_tensors="pt", padding=True)
                parts.append(self.model(**batch).logits.softmax(-1).numpy())
        return numpy.concatenate(parts)

    def run(self, seed=0, size=None, samples=SAMPLES):
        from lime.lime_text import LimeTextExplainer

        explainer = LimeTextExplainer(
            bow=False,
            mask_string=self.absent,
            split_expression=str.split,
            feature_selection="none",
            random_state=seed,
        )
        found = explainer.explain_instance(
            self.text,
            lambda texts: self.probabilities(texts, size or self.batch),
            labels=(self.label,),
            num_features=len(self.words),
            num_samples=samples,
        )
        weights = dict(found.local_exp[self.label])
        return numpy.array([weights[word] for word in range(len(self.words))])


def spread(runs):
    """Root mean square difference of one run from another, over √2: one run's error, relative to the largest score."""
    pairs = [(a, b) for index, a in enumerate(runs) for b in runs[:index]]
    squares = numpy.mean([numpy.mean((a - b) ** 2) for a, b in pairs])
    return float(numpy.sqrt(squares / 2) / abs(numpy.mean(runs, 0)).max())


def distance(run, exact):
    return float(numpy.sqrt(numpy.mean((run - exact) ** 2)) / abs(exact).max())


def asked(server, text, seed=0, **settings):
    one = server.ask("sentiment", "lime", text=text, seed=seed, **settings)
    return numpy.array(one["scores"]["words"]), one["diagnostics"]


def milliseconds(value):
    return f"{value * 1000:.0f} ms"


def few_words(options):
    tokenizer, model = sentiment()
    with Server(options) as server:
        for words in (11, 12):
            for absent, how in FILLS:
                lime = Lime(tokenizer, model, TEXTS[words], absent)
                peer, mine, ratio = turns(
                    lambda: timed(lime.run), lambda: timed(lambda: asked(server, lime.text)), options.rounds
                )
                error = spread([lime.run(seed) for seed in SEEDS])
                exact, diagnostics = asked(server, lime.text)
                name = f"lime{how}, {SAMPLES} samples, batches of {lime.batch}"
                note = f"error {error:.2%} / exact; {diagnostics['evaluations']} evaluations"
                work = f"LIME, {words} units, exact (2^{words} masks)"
                yield work, name, milliseconds(peer), milliseconds(mine), ratio, 10.0, note
                measure = lambda runs: float(numpy.mean([distance(run, exact) for run in runs]))
                yield at_equal_error(options, server, lime, error, measure, 25.0, how)


def words(count, fills=FILLS):
    def row(options):
        tokenizer, model = sentiment()
        with Server(options) as server:
            for absent, how in fills:
                lime = Lime(tokenizer, model, TEXTS[count], absent)
                runs = []
                seconds = [timed(lambda: runs.append(lime.run(seed))) for seed in SEEDS]
                yield at_equal_error(options, server, lime, spread(runs), spread, 8.0, how, seconds)

    return row


def at_equal_error(options, server, lime, error, measure, target, how, known=()):
    """explaind with the smallest budget whose error over the seeds is no larger than the peer's seed-to-seed error. Peer's
    runs that took `known` seconds already serve as its turns: they take minutes each."""
    work, text = f"LIME, {len(lime.words)} words, equal error", lime.text
    budget = 100
    while True:
        settings = {"max_evaluations": budget, "tolerance": 1e-6}
        runs = [asked(server, text, seed, **settings)[0] for seed in SEEDS]
        ours = measure(runs)
        if ours <= error or budget >= MOST:
            break
        budget = min(MOST, int(budget * min(4.0, max(1.15, (ours / error) ** 2))))
    mine = lambda: timed(lambda: asked(server, text, 1, **settings))
    if known:
        theirs, own = float(numpy.median(known)), float(numpy.median([mine() for _ in known]))
        ratio = theirs / own
    else:
        theirs, own, ratio = turns(lambda: timed(lime.run), mine, min(options.rounds, 3))
    name = f"lime{how}, {SAMPLES} samples, batches of {lime.batch}"
    note = f"error {error:.2%} / {ours:.2%}; {budget} evaluations"
    return work, name, milliseconds(theirs), milliseconds(own), ratio, target, note


def image(options):
    from lime.lime_image import LimeImageExplainer
    from PIL import Image

    folder = ROOT / "models/blood-cells"
    model = transformers.AutoModelForImageClassification.from_pretrained(folder, dtype=torch.float32).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    path = ROOT / "tests/golden/images/platelet_027.png"
    pixels = numpy.array(Image.open(path).convert("RGB"))
    encoded = base64.b64encode(path.read_bytes()).decode()

    def probabilities(images):
        with torch.inference_mode():
            batch = processor([image.astype("uint8") for image in images], return_tensors="pt")
            return model(**batch).logits.softmax(-1).numpy()

    label = int(probabilities([pixels])[0].argmax())
    with Server(options) as server:
        settings = {"samples": 1000}
        last = {}

        def ours():
            last["answer"] = server.ask("blood-cells", "lime", image=encoded, **settings)

        ours()
        picture = base64.b64decode(last["answer"]["segments"])
        # In the model's size; lime wants one label a pixel of the image itself.
        segments = numpy.array(Image.open(io.BytesIO(picture))).astype(int)
        down, right = (numpy.arange(size) * cells // size for size, cells in zip(pixels.shape, segments.shape))
        segments = segments[numpy.ix_(down, right)]

        def theirs(size=10):
            LimeImageExplainer(random_state=0, feature_selection="none").explain_instance(
                pixels,
                probabilities,
                labels=(label,),
                hide_color=None,
                top_labels=None,
                num_samples=1000,
                batch_size=size,
                segmentation_fn=lambda _: segments,
            )

        sizes = {size: timed(lambda: theirs(size)) for size in (10, 100)}
        size = min(sizes, key=sizes.get)
        peer, mine, ratio = turns(lambda: timed(lambda: theirs(size)), lambda: timed(ours), options.rounds)
        name = f"lime_image, 1000 samples, batches of {size}"
        note = f"the same {segments.max() + 1} segments"
        yield "LIME, blood-cell image", name, milliseconds(peer), milliseconds(mine), ratio, 4.0, note
