"""Integrated gradients of the bundled sentiment model: Captum with the fewest steps that are good enough."""
import torch
import transformers

from common import ROOT, Server, timed, turns
from texts import TEXTS

STEPS = (8, 16, 32, 50, 100, 200)
GOOD = 0.01


def sentiment():
    folder = ROOT / "models/sentiment"
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    return transformers.AutoTokenizer.from_pretrained(folder), model.requires_grad_(False)


class Captum:
    """Integrated gradients from word embeddings of padding, specials kept: explaind's default."""

    def __init__(self, tokenizer, model, text):
        from captum.attr import IntegratedGradients

        ids = tokenizer(text, return_tensors="pt").input_ids
        padded = ids.clone()
        padded[:, 1:-1] = tokenizer.pad_token_id
        embed = model.get_input_embeddings()
        self.x, self.baseline = embed(ids), embed(padded)
        with torch.inference_mode():
            logits = model(inputs_embeds=torch.cat([self.x, self.baseline])).logits
        self.target = int(logits[0].argmax())
        self.change = abs((logits[0] - logits[1])[self.target].item())
        self.method = IntegratedGradients(lambda x: model(inputs_embeds=x).logits)
        self.steps = next(steps for steps in STEPS if self.run(steps)[1] <= GOOD)

    def run(self, steps=None):
        scores, delta = self.method.attribute(
            self.x,
            self.baseline,
            target=self.target,
            n_steps=steps or self.steps,
            internal_batch_size=16,
            return_convergence_delta=True,
        )
        return scores.sum(-1), abs(delta.item()) / self.change


def rows(options):
    tokenizer, model = sentiment()
    with Server(options) as server:
        for words in (12, 40, 120):
            text = TEXTS[words]
            captum = Captum(tokenizer, model, text)
            last = {}

            def ours():
                last["answer"] = server.ask("sentiment", "integrated_gradients", text=text)

            theirs, mine, ratio = turns(lambda: timed(captum.run), lambda: timed(ours), options.rounds)
            one = last["answer"]
            change = abs(one["output_value"] - one["base_value"])
            residual = abs(one["residual"]) / change
            fine = captum.run(200)[0]
            error = lambda scores: max(abs(a - b) for a, b in zip(scores, fine[0].tolist())) / captum.change
            note = (
                f"residual {captum.run()[1]:.2%} / {residual:.2%}; largest error of a score "
                f"{error(captum.run()[0][0].tolist()):.2%} / {error(one['scores']['tokens']):.2%}; "
                f"{one['diagnostics']['evaluations']} evaluations"
            )
            name = f"Captum, {captum.steps} steps"
            yield f"IG, {words} words", name, f"{theirs * 1000:.0f} ms", f"{mine * 1000:.0f} ms", ratio, 4.0, note
