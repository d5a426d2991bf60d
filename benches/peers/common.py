"""What the rows share: taking turns, the server under test, and memory."""
import glob, hashlib, json, os, pathlib, shutil, socket, statistics, subprocess, tempfile, time, urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEMP = pathlib.Path(tempfile.gettempdir()) / "explaind-peers"


def turns(peer, ours, rounds):
    """Median seconds of both and the median of the ratios of neighbours, after one round that nobody counts."""
    peer(), ours()
    pairs = []
    for _ in range(rounds):
        pairs.append((peer(), ours()))
    return (*(statistics.median(side) for side in zip(*pairs)), statistics.median(a / b for a, b in pairs))


def timed(work):
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


class Server:
    """A running explaind. Latency of a request is taken at the client."""

    def __init__(self, options, *arguments):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.began = time.perf_counter()
        command = [options.explaind, "serve", "--listen", f"127.0.0.1:{port}", "--log-level", "error"]
        command += ["--limits-deadline-ms", "600000", "--compute-threads", str(options.threads), *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        while True:
            try:
                urllib.request.urlopen(self.url + "/readyz").close()
                break
            except OSError:
                if self.process.poll() is not None:
                    raise SystemExit("explaind did not start")
                time.sleep(0.002)

    def ask(self, model, method, target=None, **content):
        own = ("text", "image", "seed", "completion", "generate")
        settings = {key: value for key, value in content.items() if key not in own}
        body = {"model": model, "explain": [{"method": method, **settings}]}
        body |= {key: content[key] for key in own if key in content}
        if target is not None:
            body["target"] = target
        return self.send("/explain", body)["explanations"][0]

    def send(self, path, body):
        data = json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=900) as answer:
            return json.load(answer)

    def peak(self):
        return peak(self.process.pid)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def cached(folder):
    """A folder's files as a hub's cache has them after a download: a cache and a model's name in it."""
    cache, name = TEMP / "hub", f"bench/{folder.name}"
    repository = cache / f"models--{name.replace('/', '--')}"
    snapshot = repository / "snapshots" / ("0" * 40)
    for part in (repository / "blobs", repository / "refs", snapshot):
        part.mkdir(parents=True, exist_ok=True)
    (repository / "refs/main").write_text(snapshot.name)
    for file in folder.iterdir():
        blob = repository / "blobs" / hashlib.sha256(file.read_bytes()).hexdigest()
        if not blob.exists():
            shutil.copy(file, blob)
        (snapshot / file.name).unlink(missing_ok=True)
        (snapshot / file.name).symlink_to(f"../../blobs/{blob.name}")
    return cache, name


def peak(pid="self"):
    """Largest resident memory so far, in MB."""
    status = open(f"/proc/{pid}/status").read()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


class Rounds:
    """The bench target `rounds`: a forward (and gradient) for every line."""

    def __init__(self, options, folder, rows, tokens, work):
        environment = dict(os.environ, RAYON_NUM_THREADS=str(options.threads))
        command = [rounds_bench(options), str(folder), str(rows), str(tokens), work]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def __call__(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self.last = json.loads(self.process.stdout.readline())
        return self.last["seconds"]

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def rounds_bench(options):
    if options.rounds_bench:
        return options.rounds_bench
    built = [path for path in glob.glob(str(ROOT / "target/release/deps/rounds-*")) if not path.endswith(".d")]
    if not built:
        raise SystemExit("build it first: cargo build --release --benches --bins")
    return max(built, key=os.path.getmtime)


def base_models():
    """BERT-base and ViT-B/16 with seeded random weights, made once."""
    import torch, transformers

    for name, make in {
        "bert-base": lambda: transformers.BertForSequenceClassification(transformers.BertConfig()),
        "vit-b-16": lambda: transformers.ViTForImageClassification(transformers.ViTConfig()),
    }.items():
        if not (TEMP / name / "model.safetensors").exists():
            torch.manual_seed(0)
            make().save_pretrained(TEMP / name)
    return TEMP
