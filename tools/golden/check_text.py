#!/usr/bin/env python3
"""Compares `shoal run` on texts with transformers: ids and embeddings of a pretrained sentence model, logits of a random BERT.

Fails unless all ids are the same, every embedding's cosine with transformers' is at least 0.99999, and the largest
difference of logits over the largest logit is below 1e-4. See README.md here.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import numpy as np
import torch
import transformers

BATCH = 16


def sentences(path):
    """The first column of a table with names; as shoal takes it."""
    rows = path.read_text().split("\n")[1:]
    return [row.split("\t")[0] for row in rows if row]


def shoal_rows(arguments, model, table, extra):
    with tempfile.TemporaryDirectory() as folder:
        output = pathlib.Path(folder) / "rows.npy"
        command = [arguments.shoal, "run", str(model), "--input", str(table), "--output", str(output), *extra, *arguments.extra]
        print("$", " ".join(command), flush=True)
        subprocess.run(command, check=True)
        return np.load(output).astype(np.float64)


def check_ids(arguments, tokenizer, texts):
    with tempfile.TemporaryDirectory() as folder:
        lines = pathlib.Path(folder) / "lines.txt"
        lines.write_text("".join(text + "\n" for text in texts))
        done = subprocess.run([arguments.tokens, arguments.sentence_model, str(lines), "256"], check=True, capture_output=True, text=True)
    wanted = tokenizer(texts, truncation=True, max_length=256)["input_ids"]
    same = sum(" ".join(map(str, ids)) == line for ids, line in zip(wanted, done.stdout.splitlines(), strict=True))
    print(f"{arguments.sentence_model}: token ids of {same} of {len(texts)} texts are the same")
    return same == len(texts)


def check_embeddings(arguments, texts):
    tokenizer = transformers.AutoTokenizer.from_pretrained(arguments.sentence_model)
    model = transformers.AutoModel.from_pretrained(arguments.sentence_model, attn_implementation="eager").eval()
    good = check_ids(arguments, tokenizer, texts) if arguments.tokens else True
    wanted = []
    for begin in range(0, len(texts), BATCH):
        inputs = tokenizer(texts[begin:begin + BATCH], padding=True, truncation=True, max_length=256, return_tensors="pt")
        with torch.no_grad():
            hidden = model(**inputs).last_hidden_state
        mask = inputs["attention_mask"][:, :, None].float()
        wanted.append(torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1).numpy())
    wanted = np.concatenate(wanted).astype(np.float64)
    got = shoal_rows(arguments, arguments.sentence_model, arguments.sentences, ["--microbatch", "8"])
    cosine = (wanted * got).sum(1) / np.linalg.norm(wanted, axis=1) / np.linalg.norm(got, axis=1)
    print(f"{len(texts)} embeddings: least cosine {cosine.min():.8f}, largest difference {np.abs(wanted - got).max():.2e}")
    return good and bool(cosine.min() >= 0.99999)


def check_logits(arguments, texts):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder)
        torch.manual_seed(1)
        config = transformers.BertConfig(num_labels=3, id2label={0: "no", 1: "perhaps", 2: "yes"})
        model = transformers.BertForSequenceClassification(config).eval()
        model.save_pretrained(folder)
        path.joinpath("vocab.txt").write_bytes(arguments.vocab.read_bytes())
        tokenizer = transformers.BertTokenizer.from_pretrained(folder)
        table = path / "pairs.tsv"
        pairs = list(zip(texts, texts[1:] + texts[:1]))
        table.write_text("a\tb\n" + "".join(f"{a}\t{b}\n" for a, b in pairs))
        wanted = []
        for a, b in pairs:
            with torch.no_grad():
                wanted.append(model(**tokenizer(a, b, truncation=True, max_length=64, return_tensors="pt")).logits.numpy()[0])
        wanted = np.stack(wanted).astype(np.float64)
        got = shoal_rows(arguments, folder, table, ["--column", "a", "--pair", "b", "--max-length", "64"])
    worst = np.abs(wanted - got).max() / np.abs(wanted).max()
    print(f"BERT-Base, {len(pairs)} pairs: largest difference / largest logit = {worst:.2e}")
    return bool(worst < 1e-4)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shoal", required=True)
    parser.add_argument("--tokens", help="tokens_bench, to compare token ids")
    parser.add_argument("--sentence-model", required=True, help="directory of all-MiniLM-L6-v2")
    parser.add_argument("--sentences", type=pathlib.Path, required=True, help="a .tsv whose first column has names and texts")
    parser.add_argument("--vocab", type=pathlib.Path, required=True, help="bert-base-uncased's vocab.txt")
    parser.add_argument("--pairs", type=int, default=32, help="of sentences for the logits")
    parser.add_argument("extra", nargs="*", help="further arguments of shoal run, after --")
    arguments = parser.parse_args()
    texts = sentences(arguments.sentences)
    good = [check_embeddings(arguments, texts), check_logits(arguments, texts[:arguments.pairs])]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
