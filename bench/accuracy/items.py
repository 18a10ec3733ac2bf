#!/usr/bin/env python3
"""Items and labels for agreement_bench, from the pictures that shared data holds.

    items.py SHARED OUT     needs numpy; writes OUT/{mobilenet_v2,squeezenet,resnet20,vit_cifar10}{,_labels}.npy

SHARED is the directory that holds data/ (the tests' $SHOAL_SHARED). What each model wants of a pixel is in
data/SOURCES.md.
"""
import gzip
import os
import sys

import numpy

CIFAR = {"resnet20": ((.485, .456, .406), (.229, .224, .225)), "vit_cifar10": ((.4914, .4822, .4465), (.2023, .1994, .2010))}


def write(out, name, items, labels):
    numpy.save(os.path.join(out, name + ".npy"), numpy.ascontiguousarray(items, dtype=numpy.float32))
    numpy.save(os.path.join(out, name + "_labels.npy"), numpy.asarray(labels, dtype=numpy.int32))


def photographs(data, out):
    pixels = numpy.load(os.path.join(data, "datasets/imagenet/imagenet100_224_rgb_u8.npy")).astype(numpy.float32)
    with open(os.path.join(data, "datasets/imagenet/imagenet100_labels.txt"), encoding="utf-8") as file:
        labels = numpy.array([int(line.split()[0].rstrip(",")) for line in file])
    planes = pixels.transpose(0, 3, 1, 2)
    write(out, "mobilenet_v2", planes / 127.5 - 1, labels + 1)
    mean = numpy.array([104, 117, 123], dtype=numpy.float32).reshape(1, 3, 1, 1)
    write(out, "squeezenet", planes[:, ::-1] - mean, labels)


def small_pictures(data, out):
    with gzip.open(os.path.join(data, "datasets/cifar10/cifar10_test242.bin.gz")) as file:
        records = numpy.frombuffer(file.read(), dtype=numpy.uint8).reshape(-1, 3073)
    planes = records[:, 1:].reshape(-1, 3, 32, 32).astype(numpy.float32) / 255
    for name, (mean, deviation) in CIFAR.items():
        mean, deviation = (numpy.array(v, dtype=numpy.float32).reshape(1, 3, 1, 1) for v in (mean, deviation))
        write(out, name, (planes - mean) / deviation, records[:, 0])


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    os.makedirs(sys.argv[2], exist_ok=True)
    photographs(os.path.join(sys.argv[1], "data"), sys.argv[2])
    small_pictures(os.path.join(sys.argv[1], "data"), sys.argv[2])
