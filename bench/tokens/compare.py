#!/usr/bin/env python3
"""Ten thousand lines of text tokenised by Shoal and by transformers: the same ids, and tokens a second of both.

usage: compare.py TOKENS_BENCH TEXTS; TEXTS holds sst2/, cola/, tinyshakespeare.txt and bert-base-uncased-vocab.txt.
Fails if a line's ids differ. Without transformers it measures Shoal alone, and says so.
"""
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # one core each
PARTS = [("sst2/train.tsv", 5000), ("cola/in_domain_train.tsv", 2000), ("tinyshakespeare.txt", 3000)]
LENGTH = 512
REPEATS = 5


def read_lines(texts):
    """TAB separates the two texts of a pair for tokens_bench; here every line is one text."""
    lines = []
    for name, count in PARTS:
        lines += (texts / name).read_text().split("\n")[:count]
    return [line.replace("\t", " ") for line in lines]


def run_shoal(bench, vocab, lines):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "lines.txt"
        path.write_text("".join(line + "\n" for line in lines))
        done = subprocess.run([bench, vocab, path, str(LENGTH), str(REPEATS)], check=True, capture_output=True, text=True)
    print(f"shoal:        {done.stderr.strip()} on one core")
    return done.stdout.splitlines()


def run_transformers(vocab, lines):
    import transformers

    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder)
        path.joinpath("vocab.txt").write_bytes(vocab.read_bytes())
        path.joinpath("config.json").write_text('{"model_type": "bert"}')
        tokenizer = transformers.BertTokenizer.from_pretrained(folder)
    rates = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        ids = tokenizer(lines, truncation=True, max_length=LENGTH, return_token_type_ids=False, return_attention_mask=False)["input_ids"]
        rates.append(sum(map(len, ids)) / (time.perf_counter() - begin))
    print(f"transformers: {sum(map(len, ids))} tokens, {statistics.median(rates):.0f} tokens/s on one core ({transformers.__version__})")
    return [" ".join(map(str, row)) for row in ids]


def main():
    bench, texts = sys.argv[1], pathlib.Path(sys.argv[2])
    vocab = texts / "bert-base-uncased-vocab.txt"
    lines = read_lines(texts)
    got = run_shoal(bench, vocab, lines)
    try:
        wanted = run_transformers(vocab, lines)
    except ImportError:
        print("transformers is not installed for this Python: nothing was compared")
        return 0
    differing = [i for i, pair in enumerate(zip(wanted, got, strict=True)) if pair[0] != pair[1]]
    for i in differing[:10]:
        print(f"line {i + 1}: {lines[i]!r}\n  transformers {wanted[i]}\n  shoal        {got[i]}")
    print(f"ids of {len(lines) - len(differing)} of {len(lines)} lines are the same")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
