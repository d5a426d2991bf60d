"""Values of what looks inside a forward, for tests/it/inside.rs: tests/golden/methods/inside.json.

    OMP_NUM_THREADS=1 python inside.py

Relevance, rollout, value zeroing, the logit lens and units of some tiny models (tests/golden/tiny-*), from transformers'
eager attention, PyTorch's autograd and Captum; feature maps weighed by their gradients, from Captum's LayerGradCam and
from the formulas of pytorch-grad-cam. Everything in f64. Inputs are those of values/<folder>.safetensors.
"""

import json
from pathlib import Path

import torch
from captum.attr import LayerConductance, LayerGradCam, LayerGradientXActivation
from safetensors.torch import load_file
from transformers import AutoModelForImageClassification, AutoModelForSequenceClassification

HERE = Path(__file__).resolve().parent
# The case of values/<folder>.json.
TEXT_CASE, TARGETS = 2, (0, 1)
# What enters the head of hidden states, the layers, the module whose output is the values (and where they begin in it),
# and the product behind the activations.
TEXT = {
    "tiny-bert": ("bert.encoder.layer", "attention.self.value", 0, "output.dense"),
    "tiny-deberta-v3": ("deberta.encoder.layer", "attention.self.value_proj", 0, "output.dense"),
    "tiny-modernbert": ("model.layers", "attn.Wqkv", 2, "mlp.Wo"),
    "tiny-gpt2": ("transformer.h", "attn.c_attn", 2, "mlp.c_proj"),
    "tiny-llama": ("model.layers", "self_attn.v_proj", 0, "mlp.down_proj"),
}
IMAGE = {"tiny-vit": ("vit.layers", "attention.v_proj", 0, "mlp.fc2")}


def rows(tensor):
    return torch.as_tensor(tensor).double().tolist()


def relevance(logits, maps, read):
    """R ← R + mean_h(max(0, A ∘ dA)) · R; the row read, its own entry 0. And Σ |A ∘ dA| of each head."""
    out = {}
    for target in TARGETS:
        if target >= logits.shape[-1]:
            continue
        grads = torch.autograd.grad(logits[0, target], maps, retain_graph=True)
        r, heads = torch.eye(maps[0].shape[-1], dtype=torch.float64), []
        for a, g in zip(maps, grads):
            product = (a * g)[0].double()
            r = r + product.clamp(min=0).mean(0) @ r
            heads.append(product.abs().sum((1, 2)))
        row = r[read].clone()
        row[read] = 0
        out[str(target)] = {"row": rows(row), "heads": rows(torch.stack(heads))}
    return out


def rollout(maps, read, fusion, discard, start):
    n = maps[0].shape[-1]
    r = torch.eye(n, dtype=torch.float64)
    for a in maps[start:]:
        a = a[0].detach().double()
        a = {"mean": a.mean(0), "max": a.max(0).values, "min": a.min(0).values}[fusion]
        flat = a.flatten().clone()
        flat[flat.argsort(stable=True)[: int(discard * n * n)]] = 0
        a = (flat.view(n, n) + torch.eye(n)) / 2
        r = (a / a.sum(-1, keepdim=True)) @ r
    return rows(r[read])


def state(output):
    return output[0] if isinstance(output, tuple) else output


def states_of(model, layers, run):
    """What enters each layer and what it gives."""
    entries, exits, hooks = [], [], []
    for layer in layers:
        hooks.append(layer.register_forward_pre_hook(lambda m, args, kwargs: entries.append((args + tuple(kwargs.values()))[0]), with_kwargs=True))
        hooks.append(layer.register_forward_hook(lambda m, args, output: exits.append(state(output))))
    run()
    for hook in hooks:
        hook.remove()
    return entries, exits


def value_zeroing(model, layers, value, begin, run):
    """One run a token: its values are 0 and every layer gets what entered it before."""
    clean_in, clean_out = states_of(model, layers, run)
    n = clean_in[0].shape[1]
    matrices = torch.zeros(len(layers), n, n, dtype=torch.float64)
    for token in range(n):
        hooks, outs = [], []
        for layer, entry in zip(layers, clean_in):
            module = layer.get_submodule(value)

            def silence(m, args, output):
                output = output.clone()
                output[:, token, output.shape[-1] * begin // 3 :] = 0
                return output

            hooks.append(module.register_forward_hook(silence))
            hooks.append(layer.register_forward_pre_hook(lambda m, args, entry=entry: (entry, *args[1:]) if args else None))
            hooks.append(layer.register_forward_hook(lambda m, args, output: outs.append(state(output))))
        run()
        for hook in hooks:
            hook.remove()
        for l, (before, after) in enumerate(zip(clean_out, outs)):
            matrices[l, :, token] = 1 - torch.nn.functional.cosine_similarity(before[0], after[0], dim=-1)
    return rows(matrices / matrices.sum(-1, keepdim=True))


def lens(name, model, exits, read):
    """The head on what each layer gives."""
    out = []
    for x in exits:
        if name == "tiny-bert":
            logits = model.classifier(model.bert.pooler(x))
        elif name == "tiny-deberta-v3":
            logits = model.classifier(model.pooler(x))
        elif name == "tiny-modernbert":
            logits = model.classifier(model.head(model.model.final_norm(x)[:, 0]))
        elif name == "tiny-gpt2":
            logits = model.score(model.transformer.ln_f(x)[:, read])
        elif name == "tiny-llama":
            logits = model.score(model.model.norm(x)[:, read])
        else:
            logits = model.classifier(model.vit.layernorm(x)[:, 0])
        out.append(rows(logits[0]))
    return out


def units(layers, inner, run, x, baseline):
    """Means of activations, Captum's gradient × activation and conductance, summed over positions."""
    out = {"activation": [], "gradient": [], "conductance": []}
    for layer in layers:
        module = layer.get_submodule(inner)
        seen = []
        hook = module.register_forward_pre_hook(lambda m, args: seen.append(args[0]))
        run(x)
        hook.remove()
        out["activation"].append(rows(seen[0][0].mean(0)))
        product = LayerGradientXActivation(run, module).attribute(x, target=0, attribute_to_layer_input=True)
        out["gradient"].append(rows(product[0].sum(0)))
        if baseline is not None:
            path = LayerConductance(run, module).attribute(
                x, baseline, target=0, n_steps=2000, internal_batch_size=100, attribute_to_layer_input=True
            )
            out["conductance"].append(rows(path[0].sum(0)))
    if baseline is None:
        del out["conductance"]
    return out


def load(kind, name, attention="eager"):
    more = {"attn_implementation": attention} if attention else {}
    model = kind.from_pretrained(HERE / name, dtype=torch.float32, **more).eval()
    return model.requires_grad_(False).double()


def text_values(name, path, value, begin, inner):
    model, stored = load(AutoModelForSequenceClassification, name), load_file(HERE / f"values/{name}.safetensors")
    case = json.loads((HERE / f"values/{name}.json").read_text())["cases"][TEXT_CASE]
    ids, types = (stored[f"{TEXT_CASE}.{key}"].long()[None] for key in ("input_ids", "token_type_ids"))
    read = int(stored[f"{TEXT_CASE}.read"][0]) if f"{TEXT_CASE}.read" in stored else 0
    more = {"token_type_ids": types} if getattr(model.config, "type_vocab_size", 0) else {}
    layers = model.get_submodule(path)
    embedding = model.get_input_embeddings()
    pad = model.config.pad_token_id

    def run(x):
        n = len(x)
        kwargs = {key: value.expand(n, -1) for key, value in more.items()}
        if name in ("tiny-gpt2", "tiny-llama"):
            states = model.base_model(inputs_embeds=x, attention_mask=torch.ones(x.shape[:2]))[0]
            return model.score(states[:, read])
        return model(inputs_embeds=x, attention_mask=torch.ones(x.shape[:2]), **kwargs).logits

    x = embedding(ids)
    with torch.enable_grad():
        more_of = {"inputs_embeds": x.requires_grad_(), "attention_mask": torch.ones_like(ids), "output_attentions": True}
        if name in ("tiny-gpt2", "tiny-llama"):
            body = model.base_model(**more_of)
            logits, maps = model.score(body[0][:, read]), body.attentions
        else:
            answer = model(**more_of, **more)
            logits, maps = answer.logits, answer.attentions
        found = {"case": TEXT_CASE, "read": read, "relevance": relevance(logits, maps, read)}
    x = x.detach()
    found["rollout"] = {
        "mean": rollout(maps, read, "mean", 0, 0),
        "max": rollout(maps, read, "max", 0.3, 0),
        "min": rollout(maps, read, "min", 0, 1),
    }
    special = torch.tensor(case["special"])
    stand_in = embedding(torch.where(special, ids, pad)) if pad is not None else None
    with torch.no_grad():
        found["lens"] = lens(name, model, states_of(model, layers, lambda: run(x))[1], read)
        found["value_zeroing"] = value_zeroing(model, layers, value, begin, lambda: run(x))
    found["units"] = units(layers, inner, run, x, stand_in if name == "tiny-bert" else None)
    return found


def cams(a, g):
    """pytorch-grad-cam's, over channels × positions."""
    power = 2 * g**2 + a.sum(-1, keepdim=True) * g**3 + 1e-6
    plus = (g.clamp(min=0) * torch.where(g != 0, g**2 / power, 0)).sum(-1, keepdim=True)
    return {
        "grad_cam": (g.mean(-1, keepdim=True) * a).sum(0),
        "grad_cam++": (plus * a).sum(0),
        "layer_cam": (g.clamp(min=0) * a).sum(0),
        "hires_cam": (g * a).sum(0),
    }


class Maps(torch.nn.Module):
    """Images × channels × rows × columns: what Captum asks a layer."""

    def forward(self, x):
        return x.clone()


class VitByMaps(torch.nn.Module):
    """A ViT whose patches pass a layer of maps before its layer `at`."""

    def __init__(self, model, at):
        super().__init__()
        self.model, self.at, self.maps = model, at, Maps()

    def forward(self, pixels):
        x = self.model.vit.embeddings(pixels)
        for index, layer in enumerate(self.model.vit.layers):
            if index == self.at:
                side = int((x.shape[1] - 1) ** 0.5)
                maps = self.maps(x[:, 1:].transpose(1, 2).reshape(len(x), -1, side, side))
                x = torch.cat([x[:, :1], maps.flatten(2).transpose(1, 2)], 1)
            x = state(layer(x))
        return self.model.classifier(self.model.vit.layernorm(x)[:, 0])


def logits_of(answer):
    return getattr(answer, "logits", answer)


def map_values(forward, layer, pixels, target):
    seen = []
    hook = layer.register_forward_hook(lambda m, args, output: seen.append(state(output)))
    with torch.enable_grad():
        logits = logits_of(forward(pixels.clone().requires_grad_()))
        gradient = torch.autograd.grad(logits[0, target], seen[0])[0]
    hook.remove()
    a, g = seen[0][0].detach(), gradient[0]
    if a.dim() == 3:
        a, g, grid = a.flatten(1), g.flatten(1), a.shape[1:]
    else:
        a, g, grid = a.T, g.T, (int(len(a) ** 0.5),) * 2
    found = {key: rows(value) for key, value in cams(a, g).items()}
    if seen[0].dim() == 4:
        captum = LayerGradCam(lambda x: logits_of(forward(x)), layer)
        found["captum"] = rows(captum.attribute(pixels, target=target)[0, 0].flatten())
        assert torch.allclose(torch.tensor(found["captum"]), torch.tensor(found["grad_cam"]), atol=1e-9)
    return {"grid": list(grid), **found}


def image_values(name):
    attention = "eager" if name in IMAGE else None
    model, stored = load(AutoModelForImageClassification, name, attention), load_file(HERE / f"values/{name}.safetensors")
    pixels = stored["0.pixel_values"].double()[None]
    found = {"case": 0, "read": 0}
    if name in IMAGE:
        path, value, begin, inner = IMAGE[name]
        layers = model.get_submodule(path)
        with torch.enable_grad():
            answer = model(pixels.clone().requires_grad_(), output_attentions=True)
            found["relevance"] = relevance(answer.logits, answer.attentions, 0)
        found["rollout"] = {
            "mean": rollout(answer.attentions, 0, "mean", 0, 0),
            "max": rollout(answer.attentions, 0, "max", 0.3, 0),
            "min": rollout(answer.attentions, 0, "min", 0, 1),
        }
        run = lambda x: model(x).logits
        with torch.no_grad():
            found["lens"] = lens(name, model, states_of(model, layers, lambda: run(pixels))[1], 0)
            found["value_zeroing"] = value_zeroing(model, layers, value, begin, lambda: run(pixels))
        found["units"] = units(layers, inner, run, pixels, None)
        by_maps = {at: VitByMaps(model, at) for at in (1, len(layers) - 1)}
        found["maps"] = {str(at): map_values(m, m.maps, pixels, 1) for at, m in by_maps.items()}
        return found
    stages = model.get_submodule({"tiny-swin": "swin.encoder.layers"}.get(name, f"{name.split('-')[1]}.encoder.stages"))
    blocks = [block for stage in stages for block in (stage.blocks if name == "tiny-swin" else stage.layers)]
    chosen = (1, len(blocks) - 1)
    found["maps"] = {str(at): map_values(model, blocks[at], pixels, 1) for at in chosen}
    return found


def main():
    found = {name: text_values(name, *parts) for name, parts in TEXT.items()}
    for name in ("tiny-vit", "tiny-resnet", "tiny-convnext", "tiny-swin"):
        found[name] = image_values(name)
    rounded = json.loads(json.dumps(found), parse_float=lambda x: float(f"{float(x):.9g}"))
    (HERE / "methods/inside.json").write_text(json.dumps(rounded) + "\n")


if __name__ == "__main__":
    main()
