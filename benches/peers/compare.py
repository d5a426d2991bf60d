#!/usr/bin/env python3
"""explaind against PyTorch, ONNX Runtime, Captum and lime: the same machine, threads, inputs and accuracy, in turn.

    compare.py --setup DIR          make a Python environment in DIR with the pinned peers, and say how to go on
    compare.py [--only ROW,...] [--rounds N] [--threads N] [--explaind PATH] [--rounds-bench PATH]

Peer and explaind take turns (A B A B ...); a row's ratio is the median of the ratios of neighbours. Rows over HTTP ask
a server that this script starts from --explaind; raw forwards drive the bench target `rounds`. Models of base size get
seeded random weights: speed does not depend on them. `--only families` is a row a family (`family-bert`, …), which no
other run includes, and `--only llm` those of language models (`llm-occlusion`, …). Prints a table in Markdown.
"""
import argparse, pathlib, subprocess, sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--setup", metavar="DIR")
    parser.add_argument("--only", default="")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--explaind", default=str(ROOT / "target/release/explaind"))
    parser.add_argument("--rounds-bench", default="")
    return parser.parse_args()


def setup(folder):
    subprocess.check_call([sys.executable, "-m", "venv", folder])
    python = str(pathlib.Path(folder) / "bin/python")
    requirements = pathlib.Path(__file__).with_name("requirements.txt")
    subprocess.check_call([python, "-m", "pip", "install", "-q", "-r", str(requirements)])
    print(f"now: cargo build --release --benches --bins && {python} {__file__}")


def main():
    options = arguments()
    if options.setup:
        return setup(options.setup)
    import rows

    rows.run(options)


if __name__ == "__main__":
    main()
