"""Writes tests/golden/values/rope.json: cosines and sines of transformers' rotary embeddings, for src/nn/rotary.

Versions: transformers 5.23.0, torch 2.15.0. Run from the repository root:

    python tests/golden/rope.py
"""

import json
from pathlib import Path

import torch
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

DIMENSION, POSITIONS = 16, 2048
HALF = DIMENSION // 2
SHORT = [1.0 + 0.05 * i for i in range(HALF)]
LONG = [1.0 + 0.9 * i for i in range(HALF)]
ORIGINAL = {"original_max_position_embeddings": 512}
LISTS = {"short_factor": SHORT, "long_factor": LONG}
LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
CASES = [
    (10_000.0, {"rope_type": "default"}),
    (1_000_000.0, {"rope_type": "linear", "factor": 8.0}),
    (10_000.0, {"rope_type": "dynamic", "factor": 2.0}),
    (10_000.0, {"rope_type": "yarn", "factor": 4.0} | ORIGINAL),
    (1_000_000.0, {"rope_type": "yarn", "factor": 4.0, "beta_fast": 16.0, "beta_slow": 2.0, "truncate": False} | ORIGINAL),
    (10_000.0, {"rope_type": "yarn", "factor": 40.0, "mscale": 1.0, "mscale_all_dim": 0.707} | ORIGINAL),
    (10_000.0, {"rope_type": "yarn", "factor": 4.0, "attention_factor": 0.75} | ORIGINAL),
    (10_000.0, {"rope_type": "longrope", "factor": 4.0} | LISTS | ORIGINAL),
    (10_000.0, {"rope_type": "longrope", "factor": 4.0, "attention_factor": 1.25} | LISTS | ORIGINAL),
    (500_000.0, {"rope_type": "llama3", "factor": 8.0} | LLAMA3 | ORIGINAL),
    (10_000.0, {"rope_type": "llama3", "factor": 32.0} | LLAMA3 | ORIGINAL),
]
# Rows within the lengths that models were trained on, and beyond both.
ROWS = [[0, 1, 2, 7, 300], [3, 1000, 2047], [0, 5, 3000]]


def main():
    cases = []
    for theta, parameters in CASES:
        rows = []
        for positions in ROWS:
            config = LlamaConfig(
                hidden_size=2 * DIMENSION,
                num_attention_heads=2,
                max_position_embeddings=POSITIONS,
                rope_parameters=parameters | {"rope_theta": theta},
            )
            rope = LlamaRotaryEmbedding(config)
            cos, sin = rope(torch.zeros(1), torch.tensor([positions]))
            rows.append({"positions": positions, "cos": cos[0, :, :HALF].tolist(), "sin": sin[0, :, :HALF].tolist()})
        cases.append({"theta": theta, "parameters": parameters, "rows": rows})
    out = {"dimension": DIMENSION, "max_position_embeddings": POSITIONS, "cases": cases}
    (Path(__file__).resolve().parent / "values/rope.json").write_text(json.dumps(out) + "\n")


main()
