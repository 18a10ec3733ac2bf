#!/usr/bin/env python3
"""Exports small models with random weights to ONNX, as PyTorch's two exporters write them, and asks ONNX Runtime
what they compute.

Every model keeps its real structure and names; only its sizes are small. For each it writes
OUT/NAME/model.onnx and OUT/NAME/test_data_set_0/{input,output}_N.pb, the layout of the ONNX standard's own tests,
which `shoal check MODEL --data` reads. The same seeds give the same files. See README.md here.
"""
import argparse
import os
import pathlib
import sys
import traceback
import warnings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import numpy as np
import onnx
import onnx.numpy_helper
import onnxruntime
import torch
import torch.nn as nn

try:
    import torchvision
except RuntimeError:  # built for another torch: its compiled ops are missing, which these models do not need
    for module in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[module]
    LIBRARY = torch.library.Library("torchvision", "DEF")
    for op in ["nms", "qnms"]:
        LIBRARY.define(op + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision
import transformers

warnings.filterwarnings("ignore")
VIT = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=16, patch_size=4,
           num_labels=5)
TEXT = dict(vocab_size=31, hidden_size=16, num_hidden_layers=2, num_attention_heads=4, intermediate_size=32,
            max_position_embeddings=16)


class Take(nn.Module):
    """A transformers model with plain tensors in and out."""

    def __init__(self, model, names, **constants):
        super().__init__()
        self.model, self.names, self.constants = model, names, constants

    def forward(self, *inputs):
        return self.model(**dict(zip(self.names, inputs)), **self.constants, return_dict=False)[0]


class MobileNetV1(nn.Module):
    """Howard et al. 2017, section 3.2: depthwise and pointwise convolutions, each with batch norm and ReLU."""

    def __init__(self, width=8, classes=5):
        super().__init__()

        def block(inputs, outputs, stride):
            return nn.Sequential(nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False), nn.BatchNorm2d(inputs),
                                 nn.ReLU(inplace=True), nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs),
                                 nn.ReLU(inplace=True))

        self.features = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True),
                                      block(width, width * 2, 1), block(width * 2, width * 4, 2),
                                      block(width * 4, width * 4, 1), nn.AdaptiveAvgPool2d(1))
        self.classifier = nn.Linear(width * 4, classes)

    def forward(self, x):
        return self.classifier(torch.flatten(self.features(x), 1))


class UNet(nn.Module):
    """Ronneberger et al. 2015 with padded convolutions and batch norm, two levels deep."""

    def __init__(self, width=4, transposed=True):
        super().__init__()

        def double(inputs, outputs):
            return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True),
                                 nn.Conv2d(outputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))

        def up(inputs, outputs):
            if transposed:
                return nn.ConvTranspose2d(inputs, outputs, 2, 2)
            return nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True), nn.Conv2d(inputs, outputs, 1))

        self.down = nn.ModuleList([double(3, width), double(width, width * 2), double(width * 2, width * 4)])
        self.up = nn.ModuleList([up(width * 4, width * 2), up(width * 2, width)])
        self.join = nn.ModuleList([double(width * 4, width * 2), double(width * 2, width)])
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Conv2d(width, 2, 1)

    def forward(self, x):
        first = self.down[0](x)
        second = self.down[1](self.pool(first))
        x = self.down[2](self.pool(second))
        x = self.join[0](torch.cat([second, self.up[0](x)], 1))
        x = self.join[1](torch.cat([first, self.up[1](x)], 1))
        return self.head(x)


def settle(model):
    """Batch norms with statistics and weights as training leaves them: neither zeros nor ones."""
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm2d, nn.LayerNorm)) and module.weight is not None:
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.2)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.3, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model.eval()


def pixels(batch=1, size=32):
    return torch.rand(batch, 3, size, size) * 2 - 1


def ids(batch=2, length=9):
    return torch.randint(1, TEXT["vocab_size"], (batch, length))


def mask(batch=2, length=9):
    mask = torch.ones(batch, length, dtype=torch.int64)
    mask[0, length - 3:] = 0
    return mask


def attention(kind):
    return dict(attn_implementation=kind)


def vit(kind="sdpa"):
    return Take(transformers.ViTForImageClassification(transformers.ViTConfig(**VIT, **attention(kind))), ["pixel_values"]), [pixels(2, 16)]


def deit(kind="sdpa"):
    return Take(transformers.DeiTForImageClassificationWithTeacher(transformers.DeiTConfig(**VIT, **attention(kind))),
                ["pixel_values"]), [pixels(2, 16)]


def bert(kind="sdpa"):
    config = transformers.BertConfig(**TEXT, type_vocab_size=2, **attention(kind))
    return (Take(transformers.BertModel(config), ["input_ids", "attention_mask", "token_type_ids"]),
            [ids(), mask(), torch.zeros(2, 9, dtype=torch.int64)])


def distilbert(kind="sdpa"):
    config = transformers.DistilBertConfig(vocab_size=31, dim=16, n_layers=2, n_heads=4, hidden_dim=32, max_position_embeddings=16,
                                           **attention(kind))
    return Take(transformers.DistilBertForSequenceClassification(config), ["input_ids", "attention_mask"]), [ids(), mask()]


def gpt2(kind="sdpa"):
    config = transformers.GPT2Config(vocab_size=31, n_embd=16, n_layer=2, n_head=4, n_positions=16, **attention(kind))
    return Take(transformers.GPT2LMHeadModel(config), ["input_ids"], use_cache=False), [ids()]


def llama(kind="sdpa"):
    config = transformers.LlamaConfig(**TEXT, num_key_value_heads=2, **attention(kind))
    return Take(transformers.LlamaForCausalLM(config), ["input_ids"], use_cache=False), [ids()]


def llama_mask(kind="sdpa"):
    config = transformers.LlamaConfig(**TEXT, num_key_value_heads=2, **attention(kind))
    return Take(transformers.LlamaForCausalLM(config), ["input_ids", "attention_mask"], use_cache=False), [ids(), mask()]


class ResNet(nn.Module):
    """torchvision's ResNets with their blocks' own code, four blocks and few channels."""

    def __init__(self):
        super().__init__()
        Basic, Bottleneck = torchvision.models.resnet.BasicBlock, torchvision.models.resnet.Bottleneck

        def down(inputs, outputs, stride):
            return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

        self.stem = nn.Sequential(nn.Conv2d(3, 8, 7, 2, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(True), nn.MaxPool2d(3, 2, 1))
        self.layers = nn.Sequential(Basic(8, 8), Basic(8, 12, 2, down(8, 12, 2)), Bottleneck(12, 4, 1, down(12, 16, 1)),
                                    Bottleneck(16, 4))
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(16, 5)

    def forward(self, x):
        return self.fc(torch.flatten(self.avgpool(self.layers(self.stem(x))), 1))


def resnet18():
    model = torchvision.models.ResNet(torchvision.models.resnet.BasicBlock, [1, 1, 1, 1], num_classes=5)
    return model, [pixels()]


def resnet50():
    return torchvision.models.ResNet(torchvision.models.resnet.Bottleneck, [1, 1, 1, 1], num_classes=5, width_per_group=16), [pixels()]


def mobilenet_v2():
    return torchvision.models.MobileNetV2(num_classes=5, width_mult=0.25,
                                          inverted_residual_setting=[[1, 8, 1, 1], [6, 8, 2, 2], [6, 16, 2, 2]]), [pixels()]


def mobilenet_v3():
    return torchvision.models.mobilenet_v3_small(num_classes=5, width_mult=0.25), [pixels()]


def efficientnet():
    from torchvision.models.efficientnet import EfficientNet, MBConvConfig
    setting = [MBConvConfig(1, 3, 1, 8, 8, 1, 1, 1), MBConvConfig(4, 3, 2, 8, 16, 2, 1, 1), MBConvConfig(4, 5, 2, 16, 24, 2, 1, 1)]
    return EfficientNet(setting, dropout=0.2, num_classes=5, last_channel=32), [pixels()]


def vgg():
    from torchvision.models.vgg import VGG, make_layers
    model = VGG(make_layers([8, "M", 16, "M", 16, 16, "M"]), num_classes=5)
    model.avgpool = nn.AdaptiveAvgPool2d((4, 4))
    model.classifier = nn.Sequential(nn.Linear(16 * 16, 32), nn.ReLU(True), nn.Dropout(), nn.Linear(32, 5))
    return model, [pixels()]


def squeezenet():
    model = torchvision.models.SqueezeNet("1_1", num_classes=5)
    return model, [pixels(size=64)]


def densenet():
    return torchvision.models.DenseNet(growth_rate=4, block_config=(2, 2), num_init_features=8, num_classes=5), [pixels()]


# Kept in tests/golden/data/onnx: one of each kind of pattern.
FIXTURES = ["vit", "deit-dynamo", "bert", "bert-eager-dynamo", "distilbert-dynamo", "gpt2-dynamo", "llama-mask", "llama-dynamo",
            "resnet", "mobilenet-v1", "mobilenet-v2-dynamo", "efficientnet", "densenet-dynamo", "unet", "unet-resize-dynamo", "vgg"]

MODELS = {
    "vit": vit, "vit-eager": lambda: vit("eager"), "deit": deit, "bert": bert, "bert-eager": lambda: bert("eager"),
    "distilbert": distilbert, "distilbert-eager": lambda: distilbert("eager"), "gpt2": gpt2, "gpt2-eager": lambda: gpt2("eager"),
    "llama": llama, "llama-eager": lambda: llama("eager"), "llama-mask": llama_mask,
    "resnet": lambda: (ResNet(), [pixels(2)]), "resnet18": resnet18, "resnet50": resnet50, "mobilenet-v1": lambda: (MobileNetV1(), [pixels()]), "mobilenet-v2": mobilenet_v2,
    "mobilenet-v3": mobilenet_v3, "efficientnet": efficientnet, "vgg": vgg, "squeezenet": squeezenet, "densenet": densenet,
    "unet": lambda: (UNet(), [pixels()]), "unet-resize": lambda: (UNet(transposed=False), [pixels()]),
}


# The old exporter has no aten::diff, which transformers uses where no attention mask is given.
NEW_ONLY = ["gpt2", "gpt2-eager", "llama", "llama-eager"]


def export(model, inputs, path, dynamo):
    names = [f"input_{i}" for i in range(len(inputs))]
    kind = dict(dynamo=True, external_data=False, verbose=False) if dynamo else dict(dynamo=False, opset_version=17)
    with torch.no_grad():
        torch.onnx.export(model, tuple(inputs), str(path), input_names=names, output_names=["output"], **kind)


def expectations(path, inputs, folder):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    wanted = [value.name for value in session.get_inputs()]
    feeds = {f"input_{i}": tensor.numpy() for i, tensor in enumerate(inputs)}
    folder.mkdir(exist_ok=True)
    for i, name in enumerate(wanted):
        (folder / f"input_{i}.pb").write_bytes(onnx.numpy_helper.from_array(feeds[name], name).SerializeToString())
    outputs = session.run(None, {name: feeds[name] for name in wanted})
    for i, (value, array) in enumerate(zip(session.get_outputs(), outputs)):
        (folder / f"output_{i}.pb").write_bytes(onnx.numpy_helper.from_array(array, value.name).SerializeToString())
    return outputs


def strip(path):
    """What the new exporter notes about its sources would make the files differ between machines, and large."""
    model = onnx.load(str(path))
    model.doc_string = ""
    for graph in [model.graph, *model.functions]:
        graph.doc_string = ""
        del graph.metadata_props[:]
        for node in graph.node:
            node.doc_string = ""
            del node.metadata_props[:]
        for value in graph.value_info:
            del value.metadata_props[:]
    for value in [*model.graph.initializer, *model.graph.input, *model.graph.output]:
        del value.metadata_props[:]
    del model.metadata_props[:]
    del model.graph.value_info[:]
    onnx.save(model, str(path))


def make(name, dynamo, out):
    torch.manual_seed(7)
    model, inputs = MODELS[name]()
    model = settle(model)
    folder = out / (name + ("-dynamo" if dynamo else ""))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "model.onnx"
    export(model, inputs, path, dynamo)
    strip(path)
    outputs = expectations(path, inputs, folder / "test_data_set_0")
    with torch.no_grad():
        reference = model(*inputs).numpy()
    difference = float(np.abs(reference - outputs[0]).max() / np.abs(reference).max())
    print(f"{folder.name}: {path.stat().st_size} bytes, ONNX Runtime and PyTorch differ by {difference:.1e}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("models", nargs="*", default=[], help="all by default")
    parser.add_argument("--fixtures", action="store_true", help="those of tests/golden/data/onnx")
    parser.add_argument("--exporter", choices=["old", "new", "both"], default="both")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    wanted = [(name, dynamo) for name in arguments.models or MODELS for dynamo in [False, True]
              if arguments.exporter in ("both", "new" if dynamo else "old")]
    if arguments.fixtures:
        wanted = [(name.removesuffix("-dynamo"), name.endswith("-dynamo")) for name in FIXTURES]
    failed = []
    for name, dynamo in wanted:
        if (name, dynamo) in [(model, False) for model in NEW_ONLY]:
            continue
        try:
            make(name, dynamo, arguments.out)
        except Exception:  # the next model may still work
            traceback.print_exc()
            failed.append(name + ("-dynamo" if dynamo else ""))
    if failed:
        sys.exit("failed: " + ", ".join(failed))


if __name__ == "__main__":
    main()
