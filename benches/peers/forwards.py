"""Forwards and gradients of base-size models: PyTorch eager and ONNX Runtime."""
import numpy
import torch
import transformers

from common import TEMP, Rounds, base_models, timed, turns


def frozen(kind, name, attention):
    model = kind.from_pretrained(base_models() / name, attn_implementation=attention).eval()
    return model.requires_grad_(False)


def faster(make, run):
    """The model with the faster of PyTorch's attention implementations."""
    timings = {}
    for attention in ("eager", "sdpa"):
        model = make(attention)
        run(model)
        timings[attention] = (min(timed(lambda: run(model)) for _ in range(3)), model)
    name = min(timings, key=lambda name: timings[name][0])
    return name, timings[name][1]


def token_ids(rows, tokens, vocabulary=30522):
    return torch.tensor([[(at * 131 + row * 17) % (vocabulary - 1) for at in range(tokens)] for row in range(rows)])


def pictures(count):
    pixels = numpy.arange(3 * 224 * 224)
    images = [((pixels * 31 + row * 7) % 255).astype("float32") / numpy.float32(127) - 1 for row in range(count)]
    return torch.tensor(numpy.array(images)).reshape(count, 3, 224, 224)


def seconds(value):
    return f"{value * 1000:.0f} ms"


def compared(options, peer, ours, work, name, target, difference):
    theirs, mine, ratio = turns(peer, ours, options.rounds)
    return work, name, seconds(theirs), seconds(mine), ratio, target, difference()


def forward(options):
    bert = transformers.BertForSequenceClassification
    for rows, tokens in ((8, 128), (32, 32)):
        ids = token_ids(rows, tokens)
        last = {}

        def run(model):
            with torch.inference_mode():
                last["logits"] = model(ids).logits.numpy()

        attention, model = faster(lambda attention: frozen(bert, "bert-base", attention), run)
        ours = Rounds(options, TEMP / "bert-base", rows, tokens, "forward")

        def difference():
            mine = numpy.array(ours.last["logits"]).reshape(rows, -1)
            return f"logits within {abs(mine - last['logits']).max():.1e}"

        work = f"BERT-base forward {rows} × {tokens}"
        yield compared(
            options, lambda: timed(lambda: run(model)), ours, work, f"PyTorch eager ({attention})", 2.0, difference
        )
        session = onnx_session(model, ids, options.threads)
        feed = {"input_ids": ids.numpy()}

        def onnx():
            last["logits"] = session.run(None, feed)[0]

        yield compared(options, lambda: timed(onnx), ours, work, "ONNX Runtime f32", 1.0, difference)
        ours.close()


def onnx_session(model, ids, threads):
    import onnxruntime

    path = TEMP / f"bert-{ids.shape[0]}x{ids.shape[1]}.onnx"
    if not path.exists():

        class Logits(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.model = model

            def forward(self, input_ids):
                return self.model(input_ids).logits

        torch.onnx.export(Logits(), (ids,), str(path), input_names=["input_ids"], output_names=["logits"], dynamo=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def differentiated(options, make, folder, rows, tokens, inputs, run, work, target):
    """A forward and the gradient of every row's first logit by its input. `make` takes an attention implementation."""
    last = {}

    def once(model):
        x = inputs(model).requires_grad_(True)
        logits = run(model, x)
        (gradient,) = torch.autograd.grad(logits[:, 0].sum(), x)
        last["size"] = gradient.abs().double().sum().item()

    attention, model = faster(make, once)
    ours = Rounds(options, folder, rows, tokens, "gradient")

    def difference():
        return f"Σ|gradient| within {abs(ours.last['gradient'] / last['size'] - 1):.1e}"

    yield compared(
        options, lambda: timed(lambda: once(model)), ours, work, f"PyTorch eager ({attention})", target, difference
    )
    ours.close()


def gradient(options):
    ids = token_ids(8, 128)
    yield from differentiated(
        options,
        lambda attention: frozen(transformers.BertForSequenceClassification, "bert-base", attention),
        TEMP / "bert-base",
        8,
        128,
        lambda model: model.get_input_embeddings()(ids).detach(),
        lambda model, x: model(inputs_embeds=x).logits,
        "BERT-base forward + gradient 8 × 128",
        2.0,
    )


def vit(options):
    images = pictures(8)
    yield from differentiated(
        options,
        lambda attention: frozen(transformers.ViTForImageClassification, "vit-b-16", attention),
        TEMP / "vit-b-16",
        8,
        0,
        lambda model: images.clone(),
        lambda model, x: model(x).logits,
        "ViT-B/16 forward + gradient, 8 images",
        1.8,
    )
