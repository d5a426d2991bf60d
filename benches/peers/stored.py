"""What a language model's weights take, and what that costs: the Llama of `llm.py` (12 layers of 768, 32,000 words) stored in
f32, bf16, f16 and, as GGUF, Q8_0 and Q4_0.

    python stored.py --explaind ../../target/release/explaind [--threads 2] [--rounds 5]

For each: bytes as `/models` has them, resident memory (all, and what is not mapped from a file) of a process that has
loaded the model from a hub's cache and answered, and the median seconds of one leave-one-out, `occlusion` of 63 prompt
tokens with 16 that follow. The largest difference of a score to f32's says what the rounding does.
"""
import argparse
import json
import pathlib
import statistics
import sys
import urllib.request

import gguf
import numpy
import safetensors.torch
import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import llm
from common import TEMP, Server, cached, timed

KINDS = ["f32", "bf16", "f16", "Q8_0", "Q4_0"]


def permuted(weights, heads):
    """As llama.cpp has the rows of queries and keys."""
    return weights.reshape(heads, 2, -1, *weights.shape[1:]).swapaxes(1, 2).reshape(weights.shape)


def write_gguf(source, file, kind):
    config = json.loads((source / "config.json").read_text())
    layers, heads, groups = (config[f"num_{key}"] for key in ("hidden_layers", "attention_heads", "key_value_heads"))
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, layers)
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_block_count(layers)
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(groups)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(10_000.0)
    for key, tensor in safetensors.torch.load_file(source / "model.safetensors").items():
        values = tensor.float().numpy()
        if "q_proj" in key or "k_proj" in key:
            values = permuted(values, heads if "q_proj" in key else groups)
        own = gguf.GGMLQuantizationType.F32 if values.ndim == 1 else gguf.GGMLQuantizationType[kind]
        data = values if values.ndim == 1 else gguf.quantize(numpy.ascontiguousarray(values), own)
        writer.add_tensor(names.get_name(key, try_suffixes=(".weight",)), data, raw_dtype=own)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def stored(kind):
    """The model's folder with its weights stored so, made once."""
    source, folder = llm.folder(), TEMP / f"{llm.folder().name}-{kind}"
    if folder.exists():
        return folder
    folder.mkdir()
    for file in source.iterdir():
        if file.name != "model.safetensors" and (kind not in ("Q8_0", "Q4_0") or file.name.startswith("tokenizer")):
            (folder / file.name).write_bytes(file.read_bytes())
    if kind in ("Q8_0", "Q4_0"):
        write_gguf(source, folder / f"model.{kind}.gguf", kind)
    else:
        dtype = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}[kind]
        tensors = safetensors.torch.load_file(source / "model.safetensors")
        tensors = {key: tensor.to(dtype) for key, tensor in tensors.items()}
        safetensors.torch.save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


def resident(pid):
    """Megabytes: all, and what no file stands behind."""
    status = open(f"/proc/{pid}/status").read()
    return [int(status.split(f"{key}:")[1].split()[0]) / 1024 for key in ("VmRSS", "RssAnon")]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--explaind", required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    text, completion = llm.words(7, llm.PROMPT - 1), " " + llm.words(91, llm.COMPLETION)
    exact = None
    print("| weights | of them, MB | in f32 | resident | not mapped | leave-one-out | gradient | largest difference |")
    print("|---|---|---|---|---|---|---|---|")
    for kind in KINDS:
        cache, name = cached(stored(kind))
        with Server(options, "--model", f"lm={name}", "--hub-cache", str(cache), "--hub-offline", "true") as server:
            ask = lambda method: server.ask("lm", method, text=text, completion=completion)
            scores = numpy.array(ask("occlusion")["scores"]["matrix"])
            seconds = statistics.median(timed(lambda: ask("occlusion")) for _ in range(options.rounds))
            gradient = statistics.median(timed(lambda: ask("input_x_gradient")) for _ in range(options.rounds))
            with urllib.request.urlopen(server.url + "/models") as answer:
                memory = json.load(answer)["models"][0]["memory"]
            whole, own = resident(server.process.pid)
        exact = scores if exact is None else exact
        off = numpy.abs(scores - exact).max() / numpy.abs(exact).max()
        print(f"| {kind} | {memory['bytes'] / 1e6:.0f} | {memory['as_f32'] / 1e6:.0f} | {whole:.0f} | {own:.0f} "
              f"| {seconds:.2f} s | {gradient:.2f} s | {off:.1%} |", flush=True)


if __name__ == "__main__":
    main()
