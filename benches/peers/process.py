"""What a whole process takes: memory under load, and the time to its first answer."""
import concurrent.futures
import json
import shutil
import subprocess
import sys
import time
import urllib.request

from common import ROOT, Server, base_models, cached
from texts import TEXTS, long_texts

PEER_MEMORY = """
import sys, torch, transformers
sys.path.insert(0, {here!r})
from common import peak
from captum.attr import IntegratedGradients
torch.set_num_threads({threads})
model = transformers.AutoModelForSequenceClassification.from_pretrained({folder!r}).eval().requires_grad_(False)
tokenizer = transformers.AutoTokenizer.from_pretrained({folder!r})
ids = tokenizer({texts!r}, return_tensors="pt", padding=True).input_ids
padded = ids.clone()
padded[:, 1:-1] = tokenizer.pad_token_id
embed = model.get_input_embeddings()
method = IntegratedGradients(lambda x: model(inputs_embeds=x).logits)
method.attribute(embed(ids), embed(padded), target=1, n_steps=32, internal_batch_size=16)
print(peak())
"""

PEER_START = """
import torch, transformers
torch.set_num_threads({threads})
folder = {folder!r}
model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).float().eval()
tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
with torch.inference_mode():
    print(model(**tokenizer({text!r}, return_tensors="pt")).logits.softmax(-1))
"""


def python(script):
    return subprocess.run(
        [sys.executable, "-c", script], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ).stdout


def memory(options):
    import transformers

    folder = base_models() / "bert-base"
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(ROOT / "models/sentiment" / name, folder / name)
    texts = long_texts(transformers.AutoTokenizer.from_pretrained(folder))
    here = str(ROOT / "benches/peers")
    theirs = float(python(PEER_MEMORY.format(here=here, threads=options.threads, folder=str(folder), texts=texts)))
    cache, name = cached(folder)
    with Server(options, "--model", f"base={name}", "--hub-cache", str(cache), "--hub-offline", "true") as server:
        with concurrent.futures.ThreadPoolExecutor(len(texts)) as pool:
            ask = lambda text: server.ask("base", "integrated_gradients", text=text, steps=32)
            list(pool.map(ask, texts))
        ours = server.peak()
    work = "memory: BERT-base, IG of 8 × 128 tokens, 32 steps"
    yield work, "PyTorch + Captum", f"{theirs:.0f} MB", f"{ours:.0f} MB", theirs / ours, 3.0, "peak resident"


def start(options):
    folder, text = str(ROOT / "models/sentiment"), TEXTS[12]
    ratios = []
    for _ in range(options.rounds + 1):
        began = time.perf_counter()
        python(PEER_START.format(threads=options.threads, folder=folder, text=text))
        theirs = time.perf_counter() - began
        with Server(options) as server:
            body = json.dumps({"model": "sentiment", "text": text}).encode()
            request = urllib.request.Request(server.url + "/predict", body, {"content-type": "application/json"})
            urllib.request.urlopen(request).read()
            ours = time.perf_counter() - server.began
        ratios.append((theirs / ours, theirs, ours))
    ratio, theirs, ours = sorted(ratios[1:])[(len(ratios) - 1) // 2]
    work = "process start to first prediction, bundled model"
    yield work, "PyTorch + transformers", f"{theirs:.2f} s", f"{ours:.3f} s", ratio, 10.0, "both read from the page cache"


