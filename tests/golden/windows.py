"""Long texts in windows: values/windows.json, for `tests/it/windows.rs`. `models.py` and `models_tasks.py` made the models.

Windows are transformers' own (`return_overflowing_tokens`, `stride` a quarter of a window's room). What their logits make
together, and integrated gradients through that, is written here by the rules of docs/tasks.md.
"""

import torch
import transformers
from transformers import AutoTokenizer

import models as base

SENTENCES = ["the film was good and funny", "a really great film", "not a bad film", "The train is slow", "we waited and it never closed",
             "a really good film", "it was not good", "the train never waited"]
LONG = ". ".join(SENTENCES * 3) + "."
LABELS = ["music", "good films", "trains"]
STEPS = 64


class Windowed:
    """A model over all windows of a text (or of a pair's second text) at once, by the embeddings of the whole."""

    def __init__(self, name, kind, text, pair=None, tail=None):
        folder = base.HERE / name
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = base.load_pair(kind, folder)[0]
        self.longest = self.model.config.max_position_embeddings
        whole = self.tokenizer(text, pair, return_special_tokens_mask=True)
        self.ids, self.special = whole["input_ids"], whole["special_tokens_mask"]
        sequences = whole.sequence_ids()
        self.cut = [i for i, s in enumerate(sequences) if s == (0 if pair is None else 1)]
        self.context = self.cut
        # The tail of a hypothesis takes room in every window.
        self.tail, self.tail_types = tail if tail else ([], [])
        room = self.longest - len(self.tail) - (len(self.ids) - len(self.cut))
        self.stride = room // 4
        parts = self.tokenizer(text, pair, truncation=True if pair is None else "only_second", max_length=self.longest - len(self.tail),
                               stride=self.stride, return_overflowing_tokens=True)
        self.windows = []
        begin = 0
        for i, ids in enumerate(parts["input_ids"]):
            places, at = [], begin
            for j, s in enumerate(parts.sequence_ids(i)):
                if s == (0 if pair is None else 1):
                    places.append(self.cut[at])
                    at += 1
                elif j < self.cut[0]:
                    places.append(j)
                else:
                    places.append(len(self.ids) - 1)
            assert [self.ids[p] for p in places] == ids, (ids, places)
            self.windows.append((places, parts["token_type_ids"][i], range(self.cut[begin], self.cut[at - 1] + 1)))
            begin = at - self.stride
        assert at == len(self.cut)

    def words(self):
        return [i for i, special in enumerate(self.special) if not special]

    def reader(self, token):
        inside = [(min(token - w[2][0], w[2][-1] - token), -i) for i, w in enumerate(self.windows) if token in w[2]]
        return -max(inside)[1] if inside else 0

    def shares(self):
        readers = [self.reader(token) for token in self.cut]
        return [readers.count(i) / len(readers) for i in range(len(self.windows))]

    def rows(self, x, gone=()):
        """Every window's logits (tokens × labels, or 1 × labels) and the tokens that stand there."""
        embed = self.model.get_input_embeddings()
        for places, types, _ in self.windows:
            kept = [(p, t) for p, t in zip(places, types, strict=True) if p not in gone]
            own = x[[p for p, _ in kept]]
            if self.tail:
                own = torch.cat([own, embed(torch.tensor(self.tail))])
            types = torch.tensor([[t for _, t in kept] + self.tail_types])
            answer = self.model(inputs_embeds=own[None], attention_mask=torch.ones(1, len(own)), token_type_ids=types)
            if "start_logits" in answer:
                logits = torch.stack([answer.start_logits, answer.end_logits], -1)[0]
            else:
                logits = answer.logits[0] if answer.logits.ndim == 3 else answer.logits
            yield logits, [p for p, _ in kept]

    def sequence(self, x, gone=()):
        return sum(share * logits[0] for share, (logits, _) in zip(self.shares(), self.rows(x, gone), strict=True))

    def tokens(self, x, gone=()):
        rows = list(self.rows(x, gone))
        def of(token):
            logits, places = rows[self.reader(token)]
            return logits[places.index(token)]
        return {token: of(token) for token in range(len(self.ids)) if token not in gone}

    def embedded(self, ids=None):
        return self.model.get_input_embeddings()(torch.tensor(ids or self.ids)).detach()

    def integrated(self, f):
        x = self.embedded()
        baseline = self.embedded([i if s else self.tokenizer.pad_token_id for i, s in zip(self.ids, self.special, strict=True)])
        nodes, weights = __import__("numpy").polynomial.legendre.leggauss(STEPS)
        sums = torch.zeros_like(x)
        for node, weight in zip(nodes, weights, strict=True):
            at = (baseline + (node + 1) / 2 * (x - baseline)).requires_grad_()
            (gradient,) = torch.autograd.grad(f(at), at)
            sums += weight / 2 * gradient
        return {"scores": ((x - baseline) * sums).sum(-1).tolist(), "base": f(baseline).item(), "output": f(x).item()}

    def case(self, **more):
        return {"ids": self.ids, "windows": [[self.ids[p] for p in w[0]] for w in self.windows], "stride": self.stride} | more


def run():
    cases = {}
    sequence = transformers.BertForSequenceClassification
    for name, text, pair in [("one", LONG, None), ("pair", "not a bad film", LONG)]:
        w = Windowed("tiny-bert", sequence, text, pair)
        cases[name] = w.case(model="tiny-bert", text=text, pair=pair, logits=w.sequence(w.embedded()).tolist(), shares=w.shares(),
                             removed=w.sequence(w.embedded(), w.words()).tolist(), ig=w.integrated(lambda x: w.sequence(x)[1]),
                             ig_probability=w.integrated(lambda x: w.sequence(x).softmax(-1)[1]))
    w = Windowed("tiny-bert-tokens", transformers.BertForTokenClassification, LONG)
    token = w.windows[1][2][3]
    rows = w.tokens(w.embedded())
    others = [t for t in w.words() if t != token]
    cases["tokens"] = w.case(model="tiny-bert-tokens", text=LONG, token=token, logits=[rows[t].tolist() for t in w.cut],
                             removed=w.tokens(w.embedded(), others)[token].softmax(-1).tolist(),
                             ig=w.integrated(lambda x: w.tokens(x)[token][1]))
    w = Windowed("tiny-bert-answers", transformers.BertForQuestionAnswering, "What is slow?", LONG)
    rows = w.tokens(w.embedded())
    logits = torch.stack([rows[t] for t in range(len(w.ids))])
    spans = [(logits[s, 0] + logits[e, 1], -s, -e) for s in w.context for e in w.context if s <= e < s + 15]
    _, s, e = max(spans)
    s, e = -s, -e
    cases["answers"] = w.case(model="tiny-bert-answers", text="What is slow?", pair=LONG, span=[s, e], logits=logits.tolist(),
                              ig=w.integrated(lambda x: w.tokens(x)[s][0] + w.tokens(x)[e][1]))
    rows = []
    for label in LABELS:
        tokenizer = AutoTokenizer.from_pretrained(base.HERE / "tiny-bert-nli")
        hypothesis = tokenizer("", f"This example is {label}.")
        cut = len(tokenizer("")["input_ids"])
        rows.append([hypothesis["input_ids"][cut:], hypothesis["token_type_ids"][cut:]])
    longest = max(len(ids) for ids, _ in rows)
    # The longest hypothesis decides the windows, which all labels share.
    shared = Windowed("tiny-bert-nli", sequence, LONG, tail=(max(rows, key=lambda r: len(r[0]))))
    assert len(shared.tail) == longest
    def entailments(x, gone=()):
        logits = []
        for ids, types in rows:
            shared.tail, shared.tail_types = ids, types
            logits.append(shared.sequence(x, gone)[2])
        return torch.stack(logits)
    cases["zero_shot"] = shared.case(model="tiny-bert-nli", text=LONG, labels=LABELS, logits=entailments(shared.embedded()).tolist(),
                                     removed=entailments(shared.embedded(), shared.words()).tolist(),
                                     ig=shared.integrated(lambda x: entailments(x)[1]),
                                     ig_probability=shared.integrated(lambda x: entailments(x).softmax(-1)[1]))
    # The same labels over a short text: probabilities and differences come from all rows.
    short = Windowed("tiny-bert-nli", sequence, LONG[:100], tail=(rows[0][0], rows[0][1]))
    def short_entailments(x):
        logits = []
        for ids, types in rows:
            short.tail, short.tail_types = ids, types
            logits.append(short.sequence(x)[2])
        return torch.stack(logits)
    cases["labels"] = short.case(model="tiny-bert-nli", text=LONG[:100], labels=LABELS,
                                 ig_probability=short.integrated(lambda x: short_entailments(x).softmax(-1)[1]),
                                 ig_difference=short.integrated(lambda x: short_entailments(x)[1] - short_entailments(x)[0]))
    base.write_json(base.VALUES / "windows.json", cases)
    print({name: len(case["windows"]) for name, case in cases.items()})


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    transformers.logging.set_verbosity_error()
    run()
