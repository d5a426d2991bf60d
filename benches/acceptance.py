#!/usr/bin/env python3
"""Measures a running explaind over HTTP; the standard library alone.

    acceptance.py URL residual  DEV.TSV [N]        integrated gradients: residual against the output's change
    acceptance.py URL pointing  FOLDER             is a map's maximum inside the annotated box (boxes.json)
    acceptance.py URL latency   DEV.TSV            /predict while a 5000-sample LIME runs, against idle
                                               (serve --limits-deadline-ms 300000: beside it LIME takes a minute)
    acceptance.py URL parallel  DEV.TSV FOLDER     100 mixed requests at once against one at a time: equal bytes
    acceptance.py URL flood     PID [N]            bad requests of every kind: statuses, memory, the next good one

Data are read in place and never kept. DEV.TSV: text<TAB>label lines. FOLDER: boxes.json and its images.
"""
import base64, concurrent.futures, json, pathlib, re, statistics, sys, threading, time, urllib.error, urllib.request

URL = sys.argv[1].rstrip("/")


def call(path, body, kind="application/json", timeout=600):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(URL + path, data, {"content-type": kind})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def explain(**request):
    status, body = call("/explain", request)
    assert status == 200, (status, body[:400])
    return json.loads(body)


def sentences(path):
    return [line.rsplit("\t", 1)[0] for line in open(path, encoding="utf-8")]


def residual(path, n=50):
    texts = sentences(path)
    texts = texts[:: max(1, len(texts) // int(n))][: int(n)]
    shares, rows, elapsed = [], [], []
    for text in texts:
        one = explain(text=text, method="integrated_gradients")["explanations"][0]
        change = abs(one["output_value"] - one["base_value"])
        shares.append(abs(one["residual"]) / change)
        rows.append(one["diagnostics"]["evaluations"])
        elapsed.append(one["elapsed_ms"])
    print(f"{sum(s <= 0.01 for s in shares)} of {len(shares)} within 1 %; worst {max(shares):.4%}, median {statistics.median(shares):.4%}; "
          f"evaluations median {statistics.median(rows)}, most {max(rows)}; {statistics.median(elapsed):.0f} ms")


def pointing(folder):
    folder = pathlib.Path(folder)
    windows = [w for w in json.load(open(folder / "boxes.json")) if w["label"] == "white_blood_cell"]
    settings = {
        "integrated_gradients": {"method": "integrated_gradients"},
        "lime, its defaults": {"method": "lime"},
        "lime, quickshift": {"method": "lime", "segmenter": "quickshift"},
        "lime, fill blur": {"method": "lime", "fill": "blur"},
        "lime, fill zero": {"method": "lime", "fill": "zero"},
        "lime, patches": {"method": "lime", "unit": "patch"},
    }
    for name, setting in settings.items():
        inside, elapsed = [], []
        for window in windows:
            image = base64.b64encode((folder / window["file"]).read_bytes()).decode()
            answer = explain(image=image, target="white_blood_cell", explain=[setting])
            one, size = answer["explanations"][0], answer["input"]["region"]
            grid = one["scores"]["grid"]
            row, col = max(((r, c) for r in range(len(grid)) for c in range(len(grid[0]))), key=lambda at: grid[at[0]][at[1]])
            x = size["x"] + (col + 0.5) * size["width"] / len(grid[0])
            y = size["y"] + (row + 0.5) * size["height"] / len(grid)
            inside.append(any(b["cell"] == "WBC" and b["xmin"] <= x < b["xmax"] and b["ymin"] <= y < b["ymax"] for b in window["boxes"]))
            elapsed.append(one["elapsed_ms"])
        print(f"{name}: {sum(inside)} of {len(inside)}; {statistics.median(elapsed):.0f} ms")


def latency(path):
    words = " ".join(sentences(path)).split()[:120]
    def predict():
        begin = time.perf_counter()
        assert call("/predict", {"text": "a gripping, funny film"})[0] == 200
        return time.perf_counter() - begin
    idle = [predict() for _ in range(50)]
    done = threading.Event()
    def lime():
        try:
            answer = explain(text=" ".join(words), explain=[{"method": "lime", "samples": 5000}])
            print(f"lime: {answer['explanations'][0]['elapsed_ms'] / 1e3:.1f} s beside it")
        finally:
            done.set()
    thread = threading.Thread(target=lime)
    thread.start()
    time.sleep(1.0)
    busy = []
    while not done.is_set():
        busy.append(predict())
    thread.join()
    a, b = statistics.median(idle) * 1e3, statistics.median(busy) * 1e3
    print(f"/predict: idle {a:.2f} ms, beside LIME {b:.2f} ms ({len(busy)} calls): {b / a:.1f} times")


def stable(body):
    answer = json.loads(body)
    answer.pop("id")
    for one in answer.get("explanations", []):
        one.pop("elapsed_ms")
    return json.dumps(answer)


def parallel(path, folder):
    folder = pathlib.Path(folder)
    texts, images = sentences(path)[:40], sorted(folder.glob("*.jpg"))[:20]
    methods = ["attention", "integrated_gradients", {"method": "lime", "max_evaluations": 600}]
    jobs = []
    for i in range(100):
        if i % 5 == 4:
            image = base64.b64encode(images[i // 5].read_bytes()).decode()
            jobs.append(("/explain", {"image": image, "explain": [methods[i % 2]], "target": "all" if i % 3 else "predicted"}))
        elif i % 5 == 3:
            jobs.append(("/predict", {"text": texts[i % 40]}))
        else:
            jobs.append(("/explain", {"text": texts[i % 40], "explain": [methods[i % 3]], "seed": i}))
    run = lambda job: (lambda status, body: (status, stable(body)))(*call(*job))
    alone = [run(job) for job in jobs]
    with concurrent.futures.ThreadPoolExecutor(100) as pool:
        together = list(pool.map(run, jobs))
    assert all(status == 200 for status, _ in alone + together), [s for s, _ in together]
    print(f"{sum(a == b for a, b in zip(alone, together))} of 100 answers equal, alone and together")


def flood(pid, n=10_000):
    def memory():
        return int(re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{pid}/status").read()).group(1)) / 1024
    good = {"text": "a gripping, funny film", "method": "lime"}
    bad = [
        ("/explain", b"{", "application/json"), ("/explain", b"\xff\xfe", "application/json"), ("/explain", b"[]", "application/json"),
        ("/explain", {}, "application/json"), ("/explain", {"text": "a", "image": "b"}, "application/json"),
        ("/explain", {"text": 5}, "application/json"), ("/explain", {"text": "a", "colour": 1}, "application/json"),
        ("/explain", {"text": "a", "model": "nobody"}, "application/json"), ("/explain", {"text": "a", "target": "NOBODY"}, "application/json"),
        ("/explain", {"text": "a", "target": 99}, "application/json"), ("/explain", {"text": "a", "method": "magic"}, "application/json"),
        ("/explain", {"text": "a", "explain": [{"method": "lime", "samples": -1}]}, "application/json"),
        ("/explain", {"text": "a", "explain": [{"method": "integrated_gradients", "baseline": "blur"}]}, "application/json"),
        ("/explain", {"image": "%%%"}, "application/json"), ("/explain", {"image": base64.b64encode(b"no image").decode()}, "application/json"),
        ("/explain", {"text": "a " * 5000, "truncation": "error"}, "application/json"), ("/explain", {"text": "a" * 300_000}, "application/json"),
        ("/explain", {"text": "a", "seed": 2**60}, "application/json"), ("/explain", {"text": "a", "deadline_ms": 10**9}, "application/json"),
        ("/explain", b"--x\r\nbroken", "multipart/form-data; boundary=x"), ("/explain", b"hello", "application/pdf"),
        ("/explain", b"not a png", "image/png"), ("/nowhere", b"", "text/plain"), ("/explain", b"[" * 100_000, "application/json"),
    ]
    assert call("/explain", good)[0] == 200
    statuses, marks = {}, []
    for i in range(int(n)):
        status, body = call(*bad[i % len(bad)])
        problem = json.loads(body)
        assert 400 <= status < 500 and problem["status"] == status and problem["detail"], (bad[i % len(bad)], status, body[:200])
        statuses[status] = statuses.get(status, 0) + 1
        if i % (int(n) // 10) == 0:
            marks.append(round(memory(), 1))
    print("statuses", statuses)
    print("resident MiB", marks, round(memory(), 1))
    assert call("/explain", good)[0] == 200
    print("the next good request is answered")


globals()[sys.argv[2]](*sys.argv[3:])
