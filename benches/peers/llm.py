"""A language model's completion explained: Captum's LLMAttribution and LLMGradientAttribution on the same weights.

A Llama of 12 layers of 768 columns with seeded random weights and a vocabulary of 32,000 words; a prompt of 64 tokens and a
completion of 16, by token, log-probabilities, absent tokens replaced by the unknown token. Captum runs a perturbation at a
time: token by token as it does by default, or in one forward (`forward_in_tokens=False`). Its cache is left out
(`use_cached_outputs=False`): with transformers 5 scores with it were off by a fifth of the largest.

EXPLAIND_LLM_SMALL=1 takes a small model and few tokens, to see whether everything runs.
"""
import functools
import os

import numpy
import torch
import transformers

from common import TEMP, Server, timed, turns

SMALL = "EXPLAIND_LLM_SMALL" in os.environ
PROMPT, COMPLETION, STEPS, ORDERS = (12, 4, 4, 2) if SMALL else (64, 16, 16, 2)
WORDS = 500 if SMALL else 32_000
SIZES = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4} if SMALL else {
    "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12
}
MORE = {"num_key_value_heads": 4, "intermediate_size": 128 if SMALL else 2048, "max_position_embeddings": 2048}
BEGIN, END, PAD, UNKNOWN = "<s>", "</s>", "<pad>", "<unk>"
GRADIENTS, PERTURBATIONS = 5.0, 10.0


def folder():
    """Where the model is, made once."""
    path = TEMP / ("lm-small" if SMALL else "lm-base")
    if not (path / "model.safetensors").exists():
        torch.manual_seed(0)
        config = transformers.LlamaConfig(vocab_size=WORDS, pad_token_id=2, bos_token_id=0, eos_token_id=1, **SIZES, **MORE)
        transformers.LlamaForCausalLM(config).save_pretrained(path)
        tokenizer().save_pretrained(path)
    return path


def tokenizer():
    """A word is a token; one that begins stands before every text."""
    import tokenizers

    words = [BEGIN, END, PAD, UNKNOWN, *(f"w{index}" for index in range(WORDS - 4))]
    own = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: index for index, word in enumerate(words)}, unk_token=UNKNOWN)
    )
    own.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    own.post_processor = tokenizers.processors.TemplateProcessing(single=f"{BEGIN} $A", special_tokens=[(BEGIN, 0)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=own, bos_token=BEGIN, eos_token=END, pad_token=PAD, unk_token=UNKNOWN
    )


def words(first, count):
    return " ".join(f"w{(first + index * 131) % (WORDS - 4)}" for index in range(count))


class Case:
    """The model, what it is asked, and Captum's view of it."""

    def __init__(self):
        self.folder = folder()
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(self.folder)
        self.text, self.completion = words(7, PROMPT - 1), " " + words(91, COMPLETION)
        self.target = torch.tensor(self.tokenizer.encode(self.completion, add_special_tokens=False))
        assert len(self.tokenizer(self.text).input_ids) == PROMPT and len(self.target) == COMPLETION
        self.attention, self.model = min((self.loaded(kind) for kind in ("eager", "sdpa")), key=lambda one: one[0])[1:]

    def loaded(self, attention):
        """Its seconds of a forward, its name, and the model: frozen, but for the embeddings that gradients are taken at."""
        model = transformers.AutoModelForCausalLM.from_pretrained(
            self.folder, attn_implementation=attention, dtype=torch.float32
        )
        model = model.eval().requires_grad_(False)
        model.get_input_embeddings().weight.requires_grad_(True)
        ids = torch.tensor([self.tokenizer(self.text + self.completion).input_ids])

        def forward():
            with torch.inference_mode():
                model(ids)

        forward()
        return min(timed(forward) for _ in range(3)), attention, model

    def units(self):
        """The prompt's tokens but the one that begins, absent ones unknown."""
        from captum.attr import TextTokenInput

        unknown = self.tokenizer.unk_token_id
        return TextTokenInput(self.text, self.tokenizer, baselines=unknown, skip_tokens=[self.tokenizer.bos_token_id])

    def perturbed(self, method, together, **settings):
        from captum.attr import LLMAttribution

        with torch.no_grad():
            found = LLMAttribution(method(self.model), self.tokenizer).attribute(
                self.units(), target=self.target, forward_in_tokens=not together, use_cached_outputs=False, **settings
            )
        return found.token_attr, found.seq_attr

    def differentiated(self, method, **settings):
        from captum.attr import LLMGradientAttribution, TextTokenInput

        unknown = self.tokenizer.unk_token_id
        whole = TextTokenInput(self.text, self.tokenizer, baselines=unknown, skip_tokens=None)
        layer = method(self.model, self.model.get_input_embeddings())
        return LLMGradientAttribution(layer, self.tokenizer).attribute(whole, target=self.target, **settings).token_attr

    def baselines(self):
        """Captum's inputs say which tokens are there (1)."""
        return torch.tensor([[1] + [0] * (PROMPT - 1)])


@functools.cache
def case():
    return Case()


def served(options):
    return Server(options, "--model", f"lm={case().folder}")


def ask(server, method, **settings):
    own = case()
    settings = {"output": "log_probability", **settings}
    return server.ask("lm", method, text=own.text, completion=own.completion, **settings)


def compared(options, server, work, name, peer, ours, target, difference):
    """A row; `difference` is given what both sides gave last."""
    last = {}
    theirs, mine, ratio = turns(
        lambda: timed(lambda: last.update(peer=peer())), lambda: timed(lambda: last.update(ours=ours())), options.rounds
    )
    note = difference(last["peer"], last["ours"])
    name = f"{name} ({case().attention})"
    return work, name, f"{theirs * 1000:.0f} ms", f"{mine * 1000:.0f} ms", ratio, target, note


def rows_of(matrix, columns):
    """A completion token a row: the prompt's entries."""
    return numpy.array([row[:columns] for row in matrix], dtype=float)


def of_tokens(peer, ours, skip):
    """The largest difference of a score, relative to the largest score."""
    peer = numpy.array(peer.detach() if hasattr(peer, "detach") else peer, dtype=float)
    ours = rows_of(ours["scores"]["matrix"], PROMPT)[:, skip:]
    return f"scores within {abs(ours - peer).max() / abs(peer).max():.1e} of the largest"


def of_sums(peer, ours):
    """Draws differ, so that single scores do; what they add up to does not."""
    whole = sum(b - a for a, b in zip(ours["base_value"], ours["output_value"]))
    sums = [float(peer.sum()), sum(map(sum, ours["scores"]["matrix"]))]
    error = max(abs(sum - whole) for sum in sums) / abs(whole)
    return f"other draws; sums within {error:.1e}, {ours['diagnostics']['evaluations']} evaluations"


def occlusion(options):
    from captum.attr import FeatureAblation

    with served(options) as server:
        ours = lambda: ask(server, "occlusion", unit="token", fill="unk")
        for together, how in ((True, "one forward a perturbation"), (False, "token by token")):
            yield compared(
                options, server, f"LM {PROMPT} + {COMPLETION} tokens, leave one out", f"Captum FeatureAblation, {how}",
                lambda: case().perturbed(FeatureAblation, together)[0], ours, PERTURBATIONS,
                lambda peer, own: of_tokens(peer, own, 1),
            )


def shapley(options):
    from captum.attr import ShapleyValueSampling

    with served(options) as server:
        yield compared(
            options, server, f"Shapley values by {ORDERS} orders", "Captum ShapleyValueSampling, one forward",
            lambda: case().perturbed(ShapleyValueSampling, True, n_samples=ORDERS)[1],
            lambda: ask(server, "shapley_sampling", unit="token", fill="unk", samples=ORDERS), PERTURBATIONS, of_sums,
        )


def kernel(options):
    from captum.attr import KernelShap

    samples = ORDERS * PROMPT
    with served(options) as server:
        yield compared(
            options, server, f"KernelSHAP of {samples} samples", "Captum KernelShap, one forward",
            lambda: case().perturbed(KernelShap, True, n_samples=samples)[1],
            lambda: ask(server, "kernel_shap", unit="token", fill="unk", samples=samples), PERTURBATIONS, of_sums,
        )


def input_x_gradient(options):
    from captum.attr import LayerGradientXActivation

    with served(options) as server:
        yield compared(
            options, server, "input × gradient, every token", "Captum LLMGradientAttribution",
            lambda: case().differentiated(LayerGradientXActivation), lambda: ask(server, "input_x_gradient"), GRADIENTS,
            lambda peer, own: of_tokens(peer, own, 0),
        )


def integrated_gradients(options):
    from captum.attr import LayerIntegratedGradients

    with served(options) as server:
        yield compared(
            options, server, f"integrated gradients, {STEPS} steps, every token", "Captum LLMGradientAttribution",
            lambda: case().differentiated(LayerIntegratedGradients, baselines=case().baselines(), n_steps=STEPS),
            lambda: ask(server, "integrated_gradients", steps=STEPS, baseline="unk"), GRADIENTS,
            lambda peer, own: of_tokens(peer, own, 0),
        )


def memory(options):
    """What writing more tokens takes beyond the fewest, against the keys and values of the tokens."""
    layers, heads = SIZES["num_hidden_layers"], SIZES["num_attention_heads"]
    token = layers * 2 * MORE["num_key_value_heads"] * SIZES["hidden_size"] // heads * 4 / 2**20
    fewest = None
    for tokens in (16, 256, 1024):
        with served(options) as server:
            generate = {"max_new_tokens": tokens}
            answer = server.send("/predict", {"model": "lm", "text": case().text, "generate": generate})
            written, peak = len(answer["prediction"]["tokens"]), server.peak()
        fewest = fewest or peak
        work, note = f"peak memory, {written} tokens written", f"{(peak - fewest) / written * 1024:.0f} KB a token more"
        cache = written * token
        yield work, "keys and values", f"{cache:.1f} MB", f"{peak:.0f} MB", cache / max(peak - fewest, 1e-9), "none", note


ROWS = {
    "llm-occlusion": occlusion,
    "llm-shapley": shapley,
    "llm-kernel": kernel,
    "llm-input-x-gradient": input_x_gradient,
    "llm-ig": integrated_gradients,
    "llm-memory": memory,
}
