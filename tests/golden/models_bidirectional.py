"""Gemma 3 with attention that sees both sides (`use_bidirectional_attention`): the weights of `tiny-gemma3`, another config.json.

    OMP_NUM_THREADS=1 python models_bidirectional.py

values/bidirectional.json: the changed keys, and for some texts the ids, the position read, the logits, and the L2 norm of the
gradient of logit 1 by each token's embedding, in f64.
"""

import json
import shutil
import tempfile
from pathlib import Path

import torch
import transformers
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import models as base
import models_decoders as decoders

NAME = "tiny-gemma3"
# A window of 5 sees two tokens on each side.
CHANGES = [{"use_bidirectional_attention": True}, {"use_bidirectional_attention": True, "sliding_window": 5}]
OUT = base.VALUES / "bidirectional.json"


def cases(changes):
    tokenizer = AutoTokenizer.from_pretrained(base.HERE / NAME)
    with tempfile.TemporaryDirectory() as at:
        folder = Path(at) / NAME
        shutil.copytree(base.HERE / NAME, folder)
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        base.write_json(folder / "config.json", config | changes)
        model = AutoModelForSequenceClassification.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager").double().eval()
    out = []
    for text, _ in decoders.TEXTS:
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        x = model.get_input_embeddings()(ids).detach().requires_grad_()
        read = decoders.reading(ids[0].tolist(), model.config.pad_token_id)
        states = model.base_model(inputs_embeds=x, attention_mask=torch.ones_like(ids))[0]
        logits = model.score(states[:, read])[0]
        with torch.no_grad():
            whole = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0]
        assert torch.allclose(whole, logits, rtol=0, atol=1e-12)
        logits[1].backward()
        out.append({"ids": ids[0].tolist(), "read": read, "logits": logits.tolist(), "gradient": x.grad[0].norm(dim=-1).tolist()})
    return {"config": changes, "cases": out}


if __name__ == "__main__":
    torch.use_deterministic_algorithms(True)
    decoders.in_own_type(decoders.FAMILIES[NAME])
    base.write_json(OUT, {"all": [cases(changes) for changes in CHANGES],
                          "versions": {"torch": torch.__version__, "transformers": transformers.__version__}})
