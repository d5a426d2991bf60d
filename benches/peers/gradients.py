"""Integrated gradients of the bundled sentiment model: Captum with the fewest steps that are good enough."""
import torch
import transformers

from common import ROOT, Server, timed, turns
from texts import several

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

        self.text = text
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
    """Six texts of each length in a turn. Steps of the peer are each text's own."""
    tokenizer, model = sentiment()
    with Server(options) as server:
        for words in (12, 40, 120):
            peers = [Captum(tokenizer, model, text) for text in several(words)]
            answers = {}

            def ours():
                for index, peer in enumerate(peers):
                    answers[index] = server.ask("sentiment", "integrated_gradients", text=peer.text)

            def theirs():
                for peer in peers:
                    peer.run()

            peer_seconds, mine, ratio = turns(lambda: timed(theirs), lambda: timed(ours), options.rounds)
            note = accuracy(peers, [answers[index] for index in range(len(peers))])
            name = f"Captum, {', '.join(str(peer.steps) for peer in peers)} steps"
            count = f"IG, {len(peers)} texts of {words} words"
            yield count, name, f"{peer_seconds * 1000:.0f} ms", f"{mine * 1000:.0f} ms", ratio, 4.0, note


def accuracy(peers, answers):
    """The worst of all texts, relative to the change of the output: the residual, and a score against 200 steps."""
    residuals, errors = [], []
    for peer, one in zip(peers, answers):
        fine = peer.run(200)[0][0].tolist()
        own, residual = peer.run()
        error = lambda scores: max(abs(a - b) for a, b in zip(scores, fine)) / peer.change
        residuals.append((residual, abs(one["residual"]) / abs(one["output_value"] - one["base_value"])))
        errors.append((error(own[0].tolist()), error(one["scores"]["tokens"])))
    worst = lambda pairs: " / ".join(f"{max(side):.2%}" for side in zip(*pairs))
    evaluations = [one["diagnostics"]["evaluations"] for one in answers]
    return f"residual {worst(residuals)}; largest error of a score {worst(errors)}; {evaluations} evaluations"
