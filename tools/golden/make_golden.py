#!/usr/bin/env python3
"""Makes tests/golden/data. Usage: make_golden.py [--shared DIR] (see README.md here)."""
import argparse
import hashlib
import io
import os
import pathlib
import shutil
import sys
import tarfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import numpy as np
import PIL
import torch
import transformers
from PIL import Image
from transformers.image_utils import load_image

import models
import pictures
import text_models

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "golden" / "data"
SAMPLES = 24  # values per photograph and preprocessing, at fixed places


def digest(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def write_pictures_table():
    lines = ["# file width height sha256 of the upright RGB bytes"]
    for path in sorted((DATA / "images").iterdir()):
        rgb = np.asarray(load_image(str(path)))
        lines.append(f"{path.name} {rgb.shape[1]} {rgb.shape[0]} {digest(rgb)}")
    (DATA / "images.txt").write_text("\n".join(lines) + "\n")


def write_resize_table():
    lines = ["# file resample width height sha256 of the resized RGB bytes"]
    sizes = {"rgb.png": [(32, 32), (43, 20), (20, 36), (90, 70), (5, 60), (1, 1)],
             "tall.jpg": [(32, 32), (30, 80), (60, 60), (34, 33)], "wide.jpg": [(32, 32), (95, 34), (7, 70)],
             "one-pixel.png": [(4, 3)]}
    for name, targets in sizes.items():
        picture = load_image(str(DATA / "images" / name))
        for resample in range(6):
            for size in targets:
                lines.append(f"{name} {resample} {size[0]} {size[1]} {digest(np.asarray(picture.resize(size, resample)))}")
    (DATA / "resize.txt").write_text("\n".join(lines) + "\n")


def sample_places():
    return [(i * 224 * 224 * 3 // SAMPLES) + 7 * i + 1 for i in range(SAMPLES)]


def write_photo_table(shared):
    """Of every photograph: digests of RGB, ViT and DeiT pixel values [224,224,3], and a few of the values."""
    vit = transformers.ViTImageProcessorPil()
    deit = transformers.DeiTImageProcessorPil(image_mean=models.MEAN, image_std=models.STD)
    lines = ["# file sha256/16 of RGB, of ViT and of DeiT pixel values; then their values at fixed places, ViT then DeiT"]
    with tarfile.open(shared / "data/datasets/imagenet/imagenet100_jpeg.tar") as tar:
        for member in tar.getmembers():
            if not member.isfile():
                continue
            picture = load_image(Image.open(io.BytesIO(tar.extractfile(member).read())))
            fields = [pathlib.Path(member.name).name, digest(np.asarray(picture))[:16]]
            values = [np.ascontiguousarray(p(picture, return_tensors="np")["pixel_values"][0].transpose(1, 2, 0))
                      .astype(np.float32) for p in (vit, deit)]
            fields += [digest(v)[:16] for v in values]
            fields += [f"{v.reshape(-1)[place]:.5g}" for v in values for place in sample_places()]
            lines.append(" ".join(fields))
    (DATA / "photos.txt").write_text("\n".join(lines) + "\n")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--shared", type=pathlib.Path, default=ROOT.parent / "shared")
    shared = parser.parse_args().shared
    print("python", sys.version.split()[0], "transformers", transformers.__version__, "torch", torch.__version__,
          "Pillow", PIL.__version__, "numpy", np.__version__)
    photos = (DATA / "photos.txt").read_bytes() if (DATA / "photos.txt").exists() else None
    shutil.rmtree(DATA, ignore_errors=True)
    pictures.make_pictures(DATA / "images")
    write_pictures_table()
    write_resize_table()
    models.make_models(DATA, DATA / "images")
    text_models.make_text_models(DATA)
    if shared.exists():
        write_photo_table(shared)
    elif photos is not None:
        (DATA / "photos.txt").write_bytes(photos)


if __name__ == "__main__":
    main()
