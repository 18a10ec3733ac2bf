#!/usr/bin/env python3
"""Compares the logits of `shoal run` on a full-size model (transformers' random weights) with transformers' own.

Prints, and fails unless below 1e-4, the largest difference over the largest logit. Needs a few GB of memory
and of temporary space. See README.md here.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch
import transformers
from transformers.image_utils import load_image

import models
import pictures

SIZES = {
    "vit-base": (transformers.ViTConfig, transformers.ViTForImageClassification, {}),
    "vit-large": (transformers.ViTConfig, transformers.ViTForImageClassification,
                  dict(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096)),
    "deit-base": (transformers.DeiTConfig, transformers.DeiTForImageClassificationWithTeacher, {}),
}


def make_model(name, folder):
    config, kind, options = SIZES[name]
    torch.manual_seed(1)
    model = kind(config(num_labels=1000, **options)).eval()
    model.save_pretrained(folder, max_shard_size="200MB")
    processor = (transformers.ViTImageProcessorPil() if config is transformers.ViTConfig else
                 transformers.DeiTImageProcessorPil(image_mean=models.MEAN, image_std=models.STD))
    processor.save_pretrained(folder)
    return model, processor


def expected(model, processor, paths):
    rows = []
    for path in paths:
        pixels = processor(load_image(str(path)), return_tensors="pt")["pixel_values"].float()
        with torch.no_grad():
            rows.append(model(pixels).logits.numpy()[0])
    return np.stack(rows)


def run_shoal(arguments, folder, images, extra):
    output = folder / "output.jsonl"
    command = [arguments.shoal, "run", str(folder / "model"), "--input", str(images), "--output", str(output),
               "--logits", *extra]
    print("$", " ".join(command), flush=True)
    subprocess.run(command, check=True)
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    return {pathlib.Path(row["item"]).name: np.array(row["logits"], np.float64) for row in rows}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shoal", required=True)
    parser.add_argument("--model", default="vit-base", choices=sorted(SIZES))
    parser.add_argument("--images", type=pathlib.Path, help="folder of pictures; drawn ones if absent")
    parser.add_argument("--count", type=int, default=8)
    parser.add_argument("extra", nargs="*", help="further arguments of shoal run, after --")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        images = folder / "images"
        images.mkdir()
        if arguments.images:
            for path in sorted(p for p in arguments.images.iterdir() if p.is_file())[: arguments.count]:
                (images / path.name).write_bytes(path.read_bytes())
        else:
            for number in range(arguments.count):
                pictures.draw(300 + 17 * number, 420 - 23 * number, number).save(images / f"{number:03}.png")
        model, processor = make_model(arguments.model, folder / "model")
        paths = sorted(images.iterdir())
        wanted = expected(model, processor, paths)
        got = run_shoal(arguments, folder, images, arguments.extra)
        stacked = np.stack([got[path.name] for path in paths])
        worst = float(np.abs(stacked - wanted).max() / np.abs(wanted).max())
        same = int((stacked.argmax(1) == wanted.argmax(1)).sum())
        print(f"{arguments.model}: {len(paths)} pictures, largest difference / largest logit = {worst:.2e}, "
              f"same first class {same}")
        return 0 if worst < 1e-4 else 1


if __name__ == "__main__":
    sys.exit(main())
