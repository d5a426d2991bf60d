#!/usr/bin/env python3
"""Does an explanation find the words that decide an answer? A language model that completes facts from its prompt, whose
right attributions are known: `cases.jsonl` beside its weights gives prompts, answers and the spans of the deciding words.

    recall.py FOLDER [--cases N] [--peer] [--show N] [--explaind PATH] [--threads N]

Starts explaind with the model of FOLDER and prints a table in Markdown: of all cases how often a deciding word has the
largest score (top 1), the largest score without its sign, and what share of the three largest are deciding words (top 3).
`--peer` computes occlusion and integrated gradients again by PyTorch and Captum, and prints how far scores are apart.
`--show N` prints for N cases which facts the model used for every token of its answer, a text table each.

A line of cases.jsonl: {"prompt", "answer", "spans": {"deciding": [[start, end], …]}}, in characters of the prompt.
Needs no packages but for `--peer`: torch, transformers, captum.
"""
import argparse, json, pathlib

from common import ROOT, Server

METHODS = {
    "occlusion": {"method": "occlusion"},
    "occlusion, pad": {"method": "occlusion", "fill": "pad"},
    "Shapley sampling": {"method": "shapley_sampling", "max_evaluations": 1000},
    "KernelSHAP": {"method": "kernel_shap", "max_evaluations": 1000},
    "LIME": {"method": "lime", "max_evaluations": 1000},
    "LIME, sparse, 64 masks": {"method": "lime", "variant": "sparse"},
    "integrated gradients, probability": {"method": "integrated_gradients", "output": "probability"},
    "integrated gradients, logit": {"method": "integrated_gradients", "steps": 100},
    "input × gradient": {"method": "input_x_gradient"},
    "gradient": {"method": "gradient"},
    "attention relevance": {"method": "attention_relevance"},
    "attention rollout": {"method": "attention_rollout"},
}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--cases", type=int, default=100)
    parser.add_argument("--peer", action="store_true")
    parser.add_argument("--show", type=int, default=0)
    parser.add_argument("--explaind", default=str(ROOT / "target/release/explaind"))
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


class Counts:
    """How often the largest scores are deciding words'."""

    def __init__(self):
        self.first, self.first_size, self.third, self.cases = 0, 0, 0.0, 0

    def add(self, scores, deciding):
        by = lambda key: sorted(range(len(scores)), key=lambda word: -key(scores[word]))
        self.first += by(float)[0] in deciding
        sizes = by(abs)
        self.first_size += sizes[0] in deciding
        self.third += sum(word in deciding for word in sizes[:3]) / min(3, len(deciding))
        self.cases += 1

    def cells(self):
        return " | ".join(f"{count / max(self.cases, 1):.2f}" for count in (self.first, self.first_size, self.third))


def deciding(words, spans):
    """The words that lie in a span."""
    inside = lambda word, span: word["start"] < span[1] and span[0] < word["end"]
    return {index for index, word in enumerate(words) if any(inside(word, span) for span in spans)}


class Peer:
    """The answer's token by PyTorch: occlusion of words, pads in their place or nothing, and Captum's gradients."""

    def __init__(self, folder):
        import torch, transformers

        self.torch = torch
        self.model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self.pad = transformers.AutoTokenizer.from_pretrained(folder).pad_token_id

    def logits(self, ids):
        return self.model(ids).logits[:, -1]

    def occlusion(self, ids, words, answer, removed):
        """By Captum where pads stand in a word's place; what is removed changes the length, which Captum cannot."""
        from captum.attr import FeatureAblation

        torch, count = self.torch, max(word for word in words if word is not None) + 1
        probability = lambda ids: self.logits(ids).softmax(-1)[:, answer]
        with torch.no_grad():
            if removed:
                whole = probability(torch.tensor([ids])).item()
                kept = lambda gone: torch.tensor([[own for own, word in zip(ids, words) if word != gone]])
                return [whole - probability(kept(word)).item() for word in range(count)]
            groups = torch.tensor([[count if word is None else word for word in words]])
            baselines = torch.tensor([[own if word is None else self.pad for own, word in zip(ids, words)]])
            found = FeatureAblation(probability).attribute(torch.tensor([ids]), baselines, feature_mask=groups)
        firsts = [words.index(word) for word in range(count)]
        return [found[0, first].item() for first in firsts]

    def integrated_gradients(self, ids, words, answer, steps=100):
        from captum.attr import LayerIntegratedGradients

        torch, count = self.torch, max(word for word in words if word is not None) + 1
        baselines = torch.tensor([[own if word is None else self.pad for own, word in zip(ids, words)]])
        method = LayerIntegratedGradients(lambda ids: self.logits(ids), self.model.get_input_embeddings())
        found = method.attribute(torch.tensor([ids]), baselines, target=answer, n_steps=steps).sum(-1)[0]
        return [sum(score.item() for score, own in zip(found, words) if own == word) for word in range(count)]


def main():
    options = arguments()
    cases = [json.loads(line) for line in open(options.folder / "cases.jsonl", encoding="utf-8")][: options.cases]
    with Server(options, "--model", f"recall={options.folder}") as server:
        measure(options, server, cases)
        for case in cases[: options.show]:
            show(server, case)


def asked(server, case, items):
    body = {"model": "recall", "text": case["prompt"], "completion": case["answer"], "explain": items}
    return server.send("/explain", body | {"target": {"token": 0}})


def measure(options, server, cases):
    ours = {name: Counts() for name in METHODS}
    peers = {"occlusion": Counts(), "occlusion, pad": Counts(), "integrated gradients, logit": Counts()}
    apart = dict.fromkeys(peers, 0.0)
    peer = Peer(options.folder) if options.peer else None
    for case in cases:
        answer = asked(server, case, list(METHODS.values()))
        right = deciding(answer["input"]["words"], case["spans"]["deciding"])
        scores = dict(zip(METHODS, (one["scores"]["words"] for one in answer["explanations"])))
        for name, own in scores.items():
            ours[name].add(own, right)
        if peer is None:
            continue
        ids, words = ([token[key] for token in answer["input"]["tokens"]] for key in ("id", "word"))
        target = answer["input"]["completion"][0]["id"]
        found = {
            "occlusion": peer.occlusion(ids, words, target, removed=True),
            "occlusion, pad": peer.occlusion(ids, words, target, removed=False),
            "integrated gradients, logit": peer.integrated_gradients(ids, words, target),
        }
        for name, own in found.items():
            peers[name].add(own, right)
            error = max(abs(a - b) for a, b in zip(own, scores[name])) / max(map(abs, own))
            apart[name] = max(apart[name], error)
    print(f"\n{len(cases)} cases\n\n| method | top 1 | top 1, sizes | top 3, sizes |\n|---|---|---|---|")
    for name, counts in ours.items():
        print(f"| {name} | {counts.cells()} |")
    for name, counts in peers.items() if peer else ():
        print(f"| {name}, by PyTorch (scores within {apart[name]:.0e} of the largest) | {counts.cells()} |")


def show(server, case):
    """The prompt's facts as they are, its end and the answer as the completion: which words made each token."""
    facts, begun = case["prompt"].rsplit(". ", 1)
    body = {"model": "recall", "text": f"{facts}.", "completion": f" {begun}{case['answer']}"}
    answer = server.send("/explain", body | {"explain": [{"method": "occlusion", "output": "log_probability"}]})
    words = [word["text"] for word in answer["input"]["words"]]
    one = answer["explanations"][0]
    width = max(map(len, words))
    print(f"\n{facts}.\n{' ' * 10}" + " ".join(f"{word:>{width}}" for word in words))
    for token, said, row in zip(answer["input"]["completion"], answer["prediction"]["tokens"], one["scores"]["matrix"]):
        cells = " ".join(f"{score:>{width}.1f}" if abs(score) >= 0.05 else f"{'·':>{width}}" for score in row[: len(words)])
        print(f"{said['text']:>9} {cells}   p {said['probability']:.2f}")


if __name__ == "__main__":
    main()
