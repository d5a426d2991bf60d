"""The rows of the table, each a function that yields (work, peer, peer seconds, our seconds, ratio, target, note)."""
import warnings

import numpy

import families
import forwards
import gradients
import llm
import masks
import process
from common import TEMP

warnings.filterwarnings("ignore")

ROWS = {
    "forward": forwards.forward,
    "gradient": forwards.gradient,
    "vit": forwards.vit,
    "ig": gradients.rows,
    "lime-12": masks.few_words,
    "lime-40": masks.words(40),
    # With lime's own UNKWORDZ this text has 594 tokens, and the model takes 512.
    "lime-120": masks.words(120, masks.FILLS[1:]),
    "lime-image": masks.image,
    "memory": process.memory,
    "start": process.start,
}


def run(options):
    import os
    import platform

    import torch

    options.threads = options.threads or len(os.sched_getaffinity(0))
    torch.set_num_threads(options.threads)
    TEMP.mkdir(exist_ok=True)
    names = [name for name in options.only.split(",") if name] or list(ROWS)
    groups = {"families": families.ROWS, "llm": llm.ROWS}
    names = [one for name in names for one in groups.get(name, [name])]
    known = ROWS | families.ROWS | llm.ROWS
    print(f"{options.threads} threads, torch {torch.__version__}, numpy {numpy.__version__}, {platform.machine()}\n")
    print("| work | peer | peer | explaind | ratio | target | accuracy |\n|---|---|---|---|---|---|---|")
    for name in names:
        for work, peer, theirs, ours, ratio, target, note in known[name](options):
            print(f"| {work} | {peer} | {theirs} | {ours} | {ratio:.2f} | {target} | {note} |", flush=True)


