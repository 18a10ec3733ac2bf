#!/usr/bin/env python3
"""Makes tests/golden/data/cnn: small convolutional networks of torchvision's blocks with random weights (f16), and what
PyTorch computes from them in f32. Network NAME's weights are stored as NAME.<torchvision's name>; its input is a formula
(golden_cnn_test.c has it too), its logits are logits.npy[NAME's place], [2, 10]."""
import os

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models.mobilenetv2 import MobileNetV2
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet
from torchvision.models.squeezenet import Fire
from torchvision.models.vgg import make_layers
from torchvision.ops import MLP

OUT = os.path.join(os.path.dirname(__file__), "..", "..", "tests", "golden", "data", "cnn")


class Vgg(nn.Module):
    def __init__(self, widths, classifier):
        super().__init__()
        self.features = make_layers(widths)
        inner = nn.Linear(widths[-2] * 49, classifier), nn.Linear(classifier, classifier), nn.Linear(classifier, 10)
        drop = nn.Dropout
        self.classifier = nn.Sequential(inner[0], nn.ReLU(), drop(), inner[1], nn.ReLU(), drop(), inner[2])

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


class Narrow(ResNet):
    """torchvision's ResNet, its widths multiples of another number than 64."""

    def __init__(self, block, blocks, width):
        super().__init__(block, blocks, num_classes=10)
        self.inplanes = width
        self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        for i, count in enumerate(blocks):
            setattr(self, f"layer{i + 1}", self._make_layer(block, width << i, count, stride=1 if i == 0 else 2))
        self.fc = nn.Linear((width << 3) * block.expansion, 10)


class Squeeze(nn.Module):
    def __init__(self, version, width):
        super().__init__()
        stem = nn.Conv2d(3, (6 if version == 10 else 4) * width, 7 if version == 10 else 3, stride=2)
        layers, channels = [stem, nn.ReLU()], stem.out_channels
        for i in range(8):
            if i in ((0, 3, 7) if version == 10 else (0, 2, 4)):
                layers.append(nn.MaxPool2d(3, 2, ceil_mode=True))
            s = width * (i // 2 + 1)
            layers.append(Fire(channels, s, 4 * s, 4 * s))
            channels = 8 * s
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(), nn.Conv2d(channels, 10, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1))

    def forward(self, x):
        return self.classifier(self.features(x)).flatten(1)


class Flat(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x.flatten(1))


NETWORKS = {  # name: module, side, channels
    "mlp": (lambda: Flat(MLP(8 * 8 * 3, [16, 16, 10])), 8, 3),
    "vgg11": (lambda: Vgg([2, "M", 4, "M", 8, 8, "M", 16, 16, "M", 16, 16, "M"], 8), 224, 3),
    "resnet18": (lambda: Narrow(BasicBlock, [2, 2, 2, 2], 2), 64, 3),
    "resnet50": (lambda: Narrow(Bottleneck, [3, 4, 6, 3], 2), 64, 3),
    "mobilenet": (lambda: MobileNetV2(10, 0.25, [[1, 16, 1, 1], [6, 24, 2, 2], [6, 32, 3, 2]]), 64, 3),
    "squeezenet10": (lambda: Squeeze(10, 1), 64, 3),
    "squeezenet11": (lambda: Squeeze(11, 1), 64, 3),
}


def pixels(side, channels):
    """[2, channels, side, side] of the formula over [2, side, side, channels]."""
    i = np.arange(2 * side * side * channels, dtype=np.int64)
    x = ((i * 7919 % 1009).astype(np.float32) - 504) / np.float32(256)
    return torch.from_numpy(x.reshape(2, side, side, channels)).permute(0, 3, 1, 2)


def settle(module):
    """Weights that keep values in range, norms that do something; all of them f16 numbers."""
    generator = torch.Generator().manual_seed(1)
    for name, tensor in module.state_dict().items():
        if tensor.dtype != torch.float32:
            continue
        random = torch.randn(tensor.shape, generator=generator)
        if name.endswith("running_var"):
            random = 0.5 + random.abs()
        elif tensor.dim() > 1:
            random *= (2.0 / tensor[0].numel()) ** 0.5
        elif name.endswith("weight"):
            random = 1 + 0.3 * random
        else:
            random *= 0.2
        tensor.copy_(random.half().float())


def main():
    os.makedirs(OUT, exist_ok=True)
    tensors, logits = {}, []
    for name, (make, side, channels) in NETWORKS.items():
        module = make().eval()
        settle(module)
        with torch.inference_mode():
            logits.append(module(pixels(side, channels)).numpy())
        for key, tensor in module.state_dict().items():
            if tensor.dtype == torch.float32:
                tensors[f"{name}.{key.removeprefix('inner.')}"] = tensor.half().contiguous()
    save_file(tensors, os.path.join(OUT, "weights.safetensors"))
    np.save(os.path.join(OUT, "logits.npy"), np.stack(logits))
    print(np.abs(np.stack(logits)).max(axis=(1, 2)))


main()
