"""Tiny text encoders of every family beside BERT, and their golden values. `models.py` calls it; see README.md.

A folder holds what `save_pretrained` writes for the family's own model and tokenizer classes, in f16.
"""

import json
from dataclasses import dataclass, field

import torch
import transformers
from tokenizers import AddedToken, normalizers, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer, models as tokenizer_models
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import models as base

LABELS = ["negative", "neutral", "positive"]
CORPUS = [text for case in base.TEXTS for text in case if text] + ["the film was good and funny, a really great film it is"] * 4
LENGTH = 40

TEXTS = [
    ("music", None),
    ("Un café costs 42 € in 東京 🙂!", None),
    ("", None),
    ("The train is slow.", "We waited,  it never closed"),
    ("not a bad film", None),
    ("", "a"),
]
PAD_TEXT = ("good {pad} film", None)  # a pad token written by the user: RoBERTa does not count it
CASE_OF_CONTRAST = 4


@dataclass
class Family:
    tokenizer: callable
    config: type
    model: type
    options: dict = field(default_factory=dict)
    labels: list = field(default_factory=lambda: LABELS)
    # A ReLU somewhere: a node of integrated gradients may fall on the other side of its kink.
    kinks: bool = False
    # Positions that gradients are taken at; transformers counts pads in rows of embeddings, not in rows of ids.
    pad_positions: bool = False


def wordpiece(folder):
    base.tiny_tokenizer(folder)
    return AutoTokenizer.from_pretrained(folder)


def wordpiece_without_types(folder):
    tokenizer = wordpiece(folder)
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    return tokenizer


def byte_level(folder):
    """RoBERTa's own class over 300 pieces, ids of the specials as in roberta-base."""
    specials = ["<s>", "<pad>", "</s>", "<unk>"]
    trained = Tokenizer(tokenizer_models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(vocab_size=299, special_tokens=specials, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    trained.train_from_iterator(CORPUS, trainer)
    parts = json.loads(trained.to_str())["model"]
    vocab = parts["vocab"] | {"<mask>": len(parts["vocab"])}
    mask = AddedToken("<mask>", lstrip=True, special=True)
    return transformers.RobertaTokenizer(vocab=vocab, merges=[tuple(m) for m in parts["merges"]], mask_token=mask)


def unigram(kind, specials, unk, behind=()):
    """A tokenizer class of transformers over some 190 pieces of a Unigram model."""

    def make(folder):
        pieces = pieces_of(folder) or trained_pieces()
        pieces = [(piece, score) for piece, score in pieces if piece not in (*specials, *behind)]
        vocab = [(s, 0.0) for s in specials] + pieces + [(s, 0.0) for s in behind]
        assert len({p for p, _ in vocab}) == len(vocab) and specials.index(unk) == kind_unk(kind, specials, unk)
        return kind(vocab=vocab)

    return make


def pieces_of(folder):
    """Those that are committed: training gives other ones every time."""
    file = folder / "tokenizer.json"
    return [tuple(p) for p in json.loads(file.read_text(encoding="utf-8"))["model"]["vocab"]] if file.exists() else None


def trained_pieces():
    trained = Tokenizer(tokenizer_models.Unigram())
    trained.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    trainer = trainers.UnigramTrainer(vocab_size=190, unk_token="\x00", special_tokens=["\x00"], show_progress=False)
    trained.train_from_iterator([text.lower() for text in CORPUS] + CORPUS, trainer)
    return [(p, round(s, 4)) for p, s in json.loads(trained.to_str())["model"]["vocab"] if p != "\x00"]


def kind_unk(kind, specials, unk):
    """Where the class expects the unknown token."""
    return {"XLMRobertaTokenizer": 3, "AlbertTokenizer": 1, "CamembertTokenizer": specials.index(unk),
            "DebertaV2Tokenizer": specials.index(unk)}[kind.__name__]


ROBERTA = {"max_position_embeddings": LENGTH + 2, "type_vocab_size": 1, "layer_norm_eps": 1e-5, "pad_token_id": 1}
xlm_roberta_tokenizer = unigram(transformers.XLMRobertaTokenizer, ["<s>", "<pad>", "</s>", "<unk>"], "<unk>", ["<mask>"])
SPECIALS = ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"]
CAMEMBERT = ["<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>", "<unk>NOTUSED", "<s>", "</s>"]

DEBERTA = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
deberta_tokenizer = unigram(transformers.DebertaV2Tokenizer, DEBERTA, "[UNK]", ["[MASK]"])

FAMILIES = {
    "tiny-distilbert": Family(
        wordpiece_without_types,
        transformers.DistilBertConfig,
        transformers.DistilBertForSequenceClassification,
        {"dim": 32, "n_heads": 2, "n_layers": 2, "hidden_dim": 64, "hidden_size": None, "num_attention_heads": None,
         "num_hidden_layers": None, "intermediate_size": None},
        kinks=True,
    ),
    "tiny-roberta": Family(
        byte_level, transformers.RobertaConfig, transformers.RobertaForSequenceClassification, ROBERTA, pad_positions=True
    ),
    "tiny-camembert": Family(
        unigram(transformers.CamembertTokenizer, CAMEMBERT, "<unk>", ["<mask>"]),
        transformers.CamembertConfig,
        transformers.CamembertForSequenceClassification,
        ROBERTA,
        pad_positions=True,
    ),
    "tiny-xlm-roberta": Family(
        xlm_roberta_tokenizer,
        transformers.XLMRobertaConfig,
        transformers.XLMRobertaForSequenceClassification,
        ROBERTA | {"hidden_act": "gelu_new"},
        pad_positions=True,
    ),
    "tiny-xlm-roberta-xl": Family(
        xlm_roberta_tokenizer,
        transformers.XLMRobertaXLConfig,
        transformers.XLMRobertaXLForSequenceClassification,
        ROBERTA,
        ["relevance"],
        pad_positions=True,
    ),
    "tiny-electra": Family(
        wordpiece,
        transformers.ElectraConfig,
        transformers.ElectraForSequenceClassification,
        {"embedding_size": 16, "type_vocab_size": 2},
    ),
    "tiny-albert": Family(
        unigram(transformers.AlbertTokenizer, SPECIALS, "<unk>"),
        transformers.AlbertConfig,
        transformers.AlbertForSequenceClassification,
        {"embedding_size": 16, "num_hidden_layers": 3, "num_hidden_groups": 2, "hidden_act": "gelu_new"},
    ),
}

FAMILIES |= {
    "tiny-deberta": Family(
        lambda folder: modernbert_tokenizer(folder, ["token_type_ids"]),
        transformers.DebertaConfig,
        transformers.DebertaForSequenceClassification,
        {"relative_attention": True, "max_relative_positions": 20, "pos_att_type": ["c2p", "p2c"],
         "position_biased_input": False, "type_vocab_size": 0, "layer_norm_eps": 1e-7},
    ),
    # As deberta-v3-base, with few buckets, so that far ones are shared.
    "tiny-deberta-v3": Family(
        deberta_tokenizer,
        transformers.DebertaV2Config,
        transformers.DebertaV2ForSequenceClassification,
        {"relative_attention": True, "position_buckets": 8, "norm_rel_ebd": "layer_norm", "share_att_key": True,
         "pos_att_type": ["p2c", "c2p"], "position_biased_input": False, "type_vocab_size": 0, "layer_norm_eps": 1e-7},
    ),
    # As deberta-v2-xlarge with its convolution, and with what no published model has: projections of positions, a
    # range without buckets, types, absolute positions, narrow embeddings.
    "tiny-deberta-v2": Family(
        deberta_tokenizer,
        transformers.DebertaV2Config,
        transformers.DebertaV2ForSequenceClassification,
        {"relative_attention": True, "max_relative_positions": 9, "pos_att_type": "c2p|p2c", "type_vocab_size": 2,
         "conv_kernel_size": 3, "conv_act": "gelu", "conv_groups": 2, "embedding_size": 16, "pooler_hidden_act": "tanh"},
    ),
}


def mpnet_tokenizer(folder):
    specials = ["<s>", "<pad>", "</s>", "[UNK]"]
    pieces = [p for p in json.loads(wordpiece(folder).backend_tokenizer.to_str())["model"]["vocab"] if p not in base.SPECIALS]
    vocab = {piece: i for i, piece in enumerate([*specials, *pieces, "<mask>"])}
    return transformers.MPNetTokenizer(vocab=vocab)


def modernbert_tokenizer(folder, names_more=()):
    """Byte-level BPE with BERT's specials behind the pieces."""
    parts = json.loads(byte_level(folder).backend_tokenizer.to_str())["model"]
    pieces = [p for p in parts["vocab"] if p not in ("<s>", "<pad>", "</s>", "<unk>", "<mask>")]
    vocab = {piece: i for i, piece in enumerate([*pieces, *base.SPECIALS])}
    tokenizer = Tokenizer(tokenizer_models.BPE(vocab, [tuple(m) for m in parts["merges"]]))
    tokenizer.add_special_tokens([AddedToken(s, lstrip=s == "[MASK]", special=True) for s in base.SPECIALS])
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(s, vocab[s]) for s in ("[CLS]", "[SEP]")])
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_input_names=["input_ids", "attention_mask", *names_more], **names)


MODERNBERT = {"intermediate_size": 48, "local_attention": 8, "global_attn_every_n_layers": 2}
for mpnet_or_modernbert in [
    ("tiny-mpnet", Family(mpnet_tokenizer, transformers.MPNetConfig, transformers.MPNetForSequenceClassification,
                          ROBERTA | {"type_vocab_size": None}, pad_positions=True)),
    ("tiny-modernbert", Family(modernbert_tokenizer, transformers.ModernBertConfig,
                               transformers.ModernBertForSequenceClassification, MODERNBERT)),
    # Biases everywhere, and the mean of all tokens in the head.
    ("tiny-modernbert-mean", Family(modernbert_tokenizer, transformers.ModernBertConfig,
                                    transformers.ModernBertForSequenceClassification,
                                    MODERNBERT | {"classifier_pooling": "mean", "attention_bias": True, "mlp_bias": True,
                                                  "norm_bias": True, "classifier_bias": True,
                                                  "layer_types": ["sliding_attention", "full_attention"],
                                                  "hidden_activation": "gelu_pytorch_tanh"})),
]:
    FAMILIES[mpnet_or_modernbert[0]] = mpnet_or_modernbert[1]


def modernbert_in_own_type():
    """transformers takes ModernBERT's softmax and rotation in f32 even in an f64 model. These do not."""
    module = transformers.models.modernbert.modeling_modernbert

    def attention(own, query, key, value, attention_mask, scaling, dropout=0.0, **kwargs):
        weights = query @ key.transpose(2, 3) * scaling
        weights = torch.softmax(weights if attention_mask is None else weights + attention_mask, dim=-1)
        return (weights @ value).transpose(1, 2).contiguous(), weights

    def rotate(q, k, cos, sin, unsqueeze_dim=1):
        cos, sin = cos.unsqueeze(unsqueeze_dim), sin.unsqueeze(unsqueeze_dim)
        return tuple(x * cos + module.rotate_half(x) * sin for x in (q, k))

    module.eager_attention_forward, module.apply_rotary_pos_emb = attention, rotate


def deberta_buckets():
    """Entries of the distances 0 … 600 in the tables of DeBERTa v3."""
    bucket = transformers.models.deberta_v2.modeling_deberta_v2.make_log_bucket_position
    entries = bucket(torch.arange(601), 256, 512).long().add(256).clamp(0, 511)
    (base.VALUES / "deberta-buckets.json").write_text(json.dumps(entries.tolist(), separators=(",", ":")) + "\n")


OFFSET_TEXTS = [
    ("Café crème, naïve façade — déjà vu!", None),
    ("Cafe\u0301 with a combining accent", None),
    ("great 😀👍🏽 film 👨‍👩‍👧 !", None),
    ("電影很好 and 映画は良い", None),
    ("한국어 İstanbul ǅ ß ﬁne ½", None),
    ("  two  blanks,\ttab\nand\r\nlines \u00a0 nbsp \u200b zero ", None),
    ("x\u0000y \ufffd \u0007bell ``quoted''", None),
    ("a <mask> b <pad>, [MASK] </s> [SEP] <s>", None),
    ("The film is good.", "  Le film est très bon 🎬."),
    ("", " "),
]


def tokenizers():
    """Every kind of tokenizer on awkward texts, as tests/golden/input.py writes its own."""
    cases = []
    for name in ["tiny-roberta", "tiny-camembert", "tiny-xlm-roberta", "tiny-albert", "tiny-deberta-v3", "tiny-mpnet",
                 "tiny-modernbert", "tiny-gpt2", "tiny-llama", "tiny-qwen2", "tiny-gemma2"]:
        tokenizer = Tokenizer.from_file(str(base.HERE / name / "tokenizer.json"))
        tokenizer.no_padding(), tokenizer.no_truncation()
        for text, pair in OFFSET_TEXTS:
            e = tokenizer.encode(text, pair)
            cases.append({"tokenizer": name, "text": text, "pair": pair, "max": None, "ids": e.ids, "tokens": e.tokens,
                          "type_ids": e.type_ids, "offsets": [list(o) for o in e.offsets], "special": e.special_tokens_mask,
                          "word_ids": e.word_ids, "sequence_ids": e.sequence_ids})
    text = json.dumps(cases, ensure_ascii=False, separators=(",", ":"))
    (base.VALUES / "tokenizers.json").write_text(text + "\n", encoding="utf-8")


def make(name):
    family = FAMILIES[name]
    folder = base.HERE / name
    folder.mkdir(exist_ok=True)
    tokenizer = family.tokenizer(folder)
    base.fresh(folder)
    tokenizer.model_max_length = LENGTH if name == "tiny-electra" else int(1e30)
    tokenizer.save_pretrained(folder)
    if name == "tiny-albert":  # ALBERT was trained with types; transformers 5 leaves them out unless they are named
        file = folder / "tokenizer_config.json"
        names = {"model_input_names": ["input_ids", "token_type_ids", "attention_mask"]}
        base.write_json(file, json.loads(file.read_text(encoding="utf-8")) | names)
    common = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "num_attention_heads": 2,
        "num_hidden_layers": 2,
        "intermediate_size": 64,
        "max_position_embeddings": LENGTH,
        "pad_token_id": tokenizer.pad_token_id,
        "id2label": dict(enumerate(family.labels)),
        "label2id": {label: i for i, label in enumerate(family.labels)},
    }
    options = {k: v for k, v in (common | family.options).items() if v is not None}
    model = family.model(family.config(**options)).eval()
    base.randomise(model, 21)
    model.to(torch.float16).save_pretrained(folder)
    base.same_weights(folder, AutoModelForSequenceClassification, model)


def positions(family, ids, pad):
    """Positions as transformers counts them in ids, to be given along with embeddings."""
    if not family.pad_positions:
        return None
    mask = ids.ne(pad).int()
    return (torch.cumsum(mask, 1) * mask).long() + pad


def values(name):
    family, folder = FAMILIES[name], base.HERE / name
    tokenizer = AutoTokenizer.from_pretrained(folder)
    f64, f32 = base.load_pair(AutoModelForSequenceClassification, folder)
    takes_types = "token_type_ids" in tokenizer.model_input_names
    pipe = transformers.pipeline("text-classification", model=f32, tokenizer=tokenizer, top_k=None)
    out, cases = {}, []
    pad_text = (PAD_TEXT[0].format(pad=tokenizer.pad_token), None)
    for i, (text, pair) in enumerate([*TEXTS, pad_text]):
        case = base.encode(tokenizer, text, pair)[1]
        assert len(case["ids"]) <= LENGTH, (name, text, len(case["ids"]))
        ids = torch.tensor([case["ids"]])
        types = torch.tensor([case["type_ids"]]) if takes_types else torch.zeros_like(ids)
        out[f"{i}.input_ids"], out[f"{i}.token_type_ids"] = ids[0].int(), types[0].int()
        extra = {"token_type_ids": types} if takes_types else {}
        mask = torch.ones_like(ids)
        with torch.no_grad():
            answers = [m(input_ids=ids, attention_mask=mask, output_attentions=True, **extra) for m in (f64, f32)]
        base.logits_and_attention(out, str(i), *answers)
        written_pad = i == len(TEXTS)
        places = positions(family, ids, tokenizer.pad_token_id) if written_pad else None
        white_box(family, out, str(i), (f64, f32), ids, case, extra, places, tokenizer.pad_token_id, written_pad)
        case["pipeline"] = pipeline_scores(pipe, text, pair)
        cases.append(case)
    base.store(base.VALUES / f"{name}.safetensors", out)
    base.write_json(base.VALUES / f"{name}.json", {"problem_type": f64.config.problem_type, "cases": cases})


def pipeline_scores(pipe, text, pair):
    scores = pipe({"text": text, "text_pair": pair} if pair else [text])
    scores = scores[0] if isinstance(scores[0], list) else scores
    return {s["label"]: s["score"] for s in scores}


def white_box(family, out, prefix, twins, ids, case, extra, places, pad, written_pad):
    f64, f32 = twins
    special = torch.tensor(case["special"])
    embed = f64.get_input_embeddings()
    x, baseline = embed(ids), embed(torch.where(special, ids, pad))

    def run(model, v):
        more = {k: t.expand(len(v), -1) for k, t in extra.items()}
        if places is not None:
            more["position_ids"] = places.expand(len(v), -1)
        return model(inputs_embeds=v, attention_mask=torch.ones(v.shape[:2]), **more).logits

    targets = base.targets_of(f64, prefix == str(CASE_OF_CONTRAST))
    if written_pad:  # the path of integrated gradients goes over rows of embeddings, where no pad is seen
        rows = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(targets[0][1](run(f64, rows)).sum(), rows)
        out[f"{prefix}.gradient.0"] = gradient[0]
        return
    steps = (200, 16)
    base.white_box(out, prefix, lambda v: run(f64, v), lambda v: run(f32, v), x, baseline, lambda a: a[0].sum(-1),
                   targets[:1] if prefix != str(CASE_OF_CONTRAST) else targets, 3e-3 if family.kinks else 2e-5, steps)


def run(only=None):
    deberta_buckets()
    modernbert_in_own_type()
    for name in FAMILIES:
        if only in (None, name):
            make(name)
            values(name)
            sizes = [f.stat().st_size for f in [*(base.HERE / name).iterdir(), *base.VALUES.glob(f"{name}.*")]]
            print(f"{sum(sizes):>9,}  {name}")
