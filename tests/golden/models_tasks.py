"""Tiny models of the tasks beside sequence classification, and their golden values. `models.py` calls it; see README.md.

A folder holds what `save_pretrained` writes, in f16, with a tokenizer of `models_text.py`. transformers 5 has no pipeline
for questions: their answers follow the rules in docs/tasks.md, from the logits.
"""

import torch
import transformers
from transformers import AutoTokenizer

import models as base
import models_text as texts

ENTITIES = ["O", "B-PER", "I-PER", "B-LOC"]
NLI = ["contradiction", "neutral", "entailment"]
LABELS = ["music", "good films", "trains"]
TOKEN_TEXTS = ["The train is slow.", "not a bad film", "Un café costs 42 € in 東京 🙂!"]
QUESTIONS = [("What is slow?", "The train is slow, we waited,  it never closed"), ("a film?", "Un café in 東京 🙂!")]
ZERO_SHOT = [("The train is slow.", None), ("a really good film", "It is about {}, really.")]
LONGEST = 15

SIZES = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 32, "max_position_embeddings": 64}
FAMILIES = {
    "bert": (texts.wordpiece, transformers.BertConfig, "Bert", {"type_vocab_size": 2}),
    "roberta": (texts.byte_level, transformers.RobertaConfig, "Roberta", {"type_vocab_size": 1, "max_position_embeddings": 66}),
    "modernbert": (texts.byte_level, transformers.ModernBertConfig, "ModernBert", {"pad_token_id": 1, "cls_token_id": 0, "sep_token_id": 2, "bos_token_id": 0, "eos_token_id": 2, "local_attention": 8}),
}
TASKS = {"tokens": "TokenClassification", "answers": "QuestionAnswering", "nli": "SequenceClassification"}
MODELS = [("bert", task) for task in TASKS] + [("roberta", task) for task in TASKS] + [("modernbert", "tokens"), ("modernbert", "answers")]


def make(family, task):
    tokenizer_of, config_of, prefix, more = FAMILIES[family]
    folder = base.fresh(base.HERE / f"tiny-{family}-{task}")
    tokenizer = tokenizer_of(folder)
    base.fresh(folder)
    tokenizer.model_max_length = int(1e30)
    tokenizer.save_pretrained(folder)
    labels = {"tokens": ENTITIES, "nli": NLI, "answers": ["LABEL_0", "LABEL_1"]}[task]
    names = {"id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)}}
    config = config_of(**(SIZES | {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id} | more | names))
    kind = getattr(transformers, f"{prefix}For{TASKS[task]}")
    model = kind(config).eval()
    base.randomise(model, 31)
    model.to(torch.float16).save_pretrained(folder)
    base.same_weights(folder, kind, model)
    return folder, kind


class Case:
    """One row of a model: its tokens, and its logits (rows × tokens or 1 × labels) by word embeddings."""

    def __init__(self, twins, tokenizer, text, pair):
        self.f64, self.f32 = twins
        _, self.case = base.encode(tokenizer, text, pair)
        self.ids = torch.tensor([self.case["ids"]])
        self.types = torch.tensor([self.case["type_ids"]])
        self.takes_types = "token_type_ids" in tokenizer.model_input_names
        self.pad = tokenizer.pad_token_id

    def run(self, model, embeddings):
        extra = {"token_type_ids": self.types.expand(len(embeddings), -1)[:, : embeddings.shape[1]]} if self.takes_types else {}
        answer = model(inputs_embeds=embeddings, attention_mask=torch.ones(embeddings.shape[:2]), **extra)
        if "start_logits" in answer:
            return torch.stack([answer.start_logits, answer.end_logits], -1)
        return answer.logits if answer.logits.ndim == 3 else answer.logits[:, None]

    def logits(self):
        with torch.no_grad():
            return self.run(self.f64, self.f64.get_input_embeddings()(self.ids))[0]

    def white_box(self, out, prefix, targets, replaced):
        embed = self.f64.get_input_embeddings()
        x = embed(self.ids)
        baseline = embed(torch.where(torch.tensor(replaced), self.pad, self.ids))
        base.white_box(out, prefix, lambda v: self.run(self.f64, v), lambda v: self.run(self.f32, v), x, baseline,
                       lambda a: a[0].sum(-1), targets, 1e-4, (200, 16))

    def removed(self, keep):
        """The logits with only the tokens at `keep`, positions counted anew."""
        keep = torch.tensor(keep)
        types, self.types = self.types, self.types[:, keep]
        with torch.no_grad():
            logits = self.run(self.f64, self.f64.get_input_embeddings()(self.ids[:, keep]))[0]
        self.types = types
        return logits


def specials(case):
    return [i for i, special in enumerate(case["special"]) if special]


def token_values(out, twins, tokenizer, folder):
    pipe = transformers.pipeline("token-classification", model=twins[1], tokenizer=tokenizer, ignore_labels=[])
    cases = []
    for i, text in enumerate(TOKEN_TEXTS):
        case = Case(twins, tokenizer, text, None)
        logits = case.logits()
        out[f"{i}.logits"] = logits
        token = len(case.case["ids"]) // 2
        label = int(logits[token].argmax())
        targets = [(f"{token}.{label}", lambda y: y[:, token, label]),
                   (f"{token}.{label}.probability", lambda y: y[:, token].softmax(-1)[:, label])]
        if i == 0:
            case.white_box(out, str(i), targets, [not s for s in case.case["special"]])
        keep = sorted({token, *specials(case.case)})
        rest = case.removed(keep)[keep.index(token)].softmax(-1)[label]
        pipeline = [{"index": p["index"], "entity": p["entity"], "score": float(p["score"])} for p in pipe(text)]
        cases.append(case.case | {"token": token, "label": label, "removed": rest.item(), "pipeline": pipeline})
    return cases


def answer(case, logits):
    """The rules of docs/tasks.md."""
    context = [i for i, s in enumerate(case["sequence_ids"]) if s == 1]
    spans = [(logits[s, 0] + logits[e, 1], -s, -e) for s in context for e in context if s <= e < s + LONGEST]
    _, s, e = max(spans)
    s, e = -s, -e
    p = logits[context].softmax(0)
    start, end = case["offsets"][s][0], case["offsets"][e][1]
    score = p[context.index(s), 0] * p[context.index(e), 1]
    return context, s, e, {"text": case["pair"][start:end], "start": start, "end": end, "score": score.item()}


def question_values(out, twins, tokenizer, folder):
    cases = []
    for i, (text, pair) in enumerate(QUESTIONS):
        case = Case(twins, tokenizer, text, pair)
        logits = case.logits()
        out[f"{i}.logits"] = logits
        context, s, e, best = answer(case.case, logits)
        token = context[len(context) // 2]
        at = context.index(token)
        targets = [("answer", lambda y: y[:, s, 0] + y[:, e, 1]),
                   (f"start.{token}", lambda y: y[:, token, 0]),
                   (f"end.{token}.probability", lambda y: y[:, context, 1].softmax(-1)[:, at])]
        if i == 0:
            case.white_box(out, str(i), targets, [not special for special in case.case["special"]])
        keep = sorted({s, e, *specials(case.case)})
        rest = case.removed(keep)
        rest = rest[keep.index(s), 0] + rest[keep.index(e), 1]
        cases.append(case.case | {"token": token, "span": [s, e], "removed": rest.item(), "answer": best})
    return cases


def nli_values(out, twins, tokenizer, folder):
    pipe = transformers.pipeline("zero-shot-classification", model=twins[1], tokenizer=tokenizer)
    cases = []
    for i, (text, template) in enumerate(ZERO_SHOT):
        given = {} if template is None else {"hypothesis_template": template}
        template = template or "This example is {}."
        rows = [Case(twins, tokenizer, text, template.format(label)) for label in LABELS]
        logits = torch.cat([row.logits() for row in rows])
        out[f"{i}.logits"] = logits
        if i == 0:
            row = rows[1]
            replaced = [s == 0 for s in row.case["sequence_ids"]]
            row.white_box(out, str(i), [("1", lambda y: y[:, 0, 2]), ("1.multi", lambda y: y[:, 0][:, [0, 2]].softmax(-1)[:, 1])], replaced)
        removed = []
        for row in rows:
            keep = [j for j, s in enumerate(row.case["sequence_ids"]) if s != 0]
            removed.append(row.removed(keep)[0, 2])
        removed = torch.stack(removed).softmax(0)
        answers = {}
        for name, multi, labels in [("single", False, LABELS), ("multi", True, LABELS), ("one", False, LABELS[:1])]:
            scores = pipe(text, labels, multi_label=multi, **given)
            answers[name] = dict(zip(scores["labels"], map(float, scores["scores"]), strict=True))
        pairs = transformers.pipeline("text-classification", model=twins[1], tokenizer=tokenizer, top_k=None)
        pair = pairs({"text": text, "text_pair": rows[0].case["pair"]})
        pair = pair[0] if isinstance(pair[0], list) else pair
        cases.append({"text": text, "labels": LABELS, "hypothesis_template": given.get("hypothesis_template"),
                      "removed": removed.tolist(), "pipeline": answers,
                      "pair": rows[0].case["pair"], "nli": {s["label"]: float(s["score"]) for s in pair}})
    return cases


VALUES_OF = {"tokens": token_values, "answers": question_values, "nli": nli_values}


def run():
    texts.modernbert_in_own_type()
    for family, task in MODELS:
        folder, kind = make(family, task)
        tokenizer, twins, out = AutoTokenizer.from_pretrained(folder), base.load_pair(kind, folder), {}
        cases = VALUES_OF[task](out, twins, tokenizer, folder)
        base.store(base.VALUES / f"{folder.name}.safetensors", out)
        base.write_json(base.VALUES / f"{folder.name}.json", {"cases": cases})
        sizes = [f.stat().st_size for f in [*folder.iterdir(), *base.VALUES.glob(f"{folder.name}.*")]]
        print(f"{sum(sizes):>9,}  {folder.name}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    transformers.logging.set_verbosity_error()
    run()
