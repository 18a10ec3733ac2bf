"""The same models on Shoal, ONNX Runtime and PyTorch, in turns: `./dev peers` (see --help).

Every round lets each of the three run the model a few times, one after the other, the others idle;
what is reported is the median over the rounds of the ratio within a round. Weights are random.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))

# name: (what builds it, options of `shoal bench engine`, sequence length)
MODELS = {
    "vit-base": ("vit", ["vit-base"], None),
    "vit-large": ("vit", ["vit-large"], None),
    "bert-base-128": ("bert", ["bert-base", "--max-length", "128"], 128),
    "bert-base-512": ("bert", ["bert-base", "--max-length", "512"], 512),
    "resnet-50": ("resnet50", ["resnet-50"], None),
    "mobilenet-v2": ("mobilenet_v2", ["mobilenet-v2"], None),
    "vgg-16": ("vgg16", ["vgg-16"], None),
    "squeezenet": ("squeezenet1_1", ["squeezenet"], None),
}


def torchvision_models():
    """torchvision's models need none of its compiled operators, and its wheel may be for another build of PyTorch than
    the one that is there; its import then only wants two of them declared."""
    import torch

    library = torch.library.Library("torchvision", "FRAGMENT")
    torchvision_models.library = library
    for operator in ("nms", "qnms"):
        try:
            library.define(operator + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        except RuntimeError:
            pass  # the wheel brings its own
    import torchvision

    return torchvision.models


def build_torch(name):
    """The model and one batch of inputs for it."""
    import torch

    torchvision_models()  # before transformers, which imports torchvision where it finds it
    torch.manual_seed(1)
    kind, _, length = MODELS[name]
    if kind == "vit":
        from transformers import ViTConfig, ViTForImageClassification

        large = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
        config = ViTConfig(num_labels=1000, **(large if name == "vit-large" else {}))
        model = ViTForImageClassification(config)
        make = lambda batch: {"pixel_values": torch.randn(batch, 3, 224, 224)}
    elif kind == "bert":
        from transformers import BertConfig, BertModel

        model = BertModel(BertConfig())
        make = lambda batch: {
            "input_ids": torch.randint(0, 30000, (batch, length)),
            "attention_mask": torch.ones(batch, length, dtype=torch.long),
        }
    else:
        model = getattr(torchvision_models(), kind)(weights=None)
        make = lambda batch: {"x": torch.randn(batch, 3, 224, 224)}
    return model.eval(), make


class Plain:
    """A module that takes its inputs by position and returns one tensor, for exporting."""

    @staticmethod
    def wrap(model, names):
        import torch

        class Module(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.model = model

            def forward(self, *inputs):
                result = self.model(**dict(zip(names, inputs))) if names != ["x"] else self.model(*inputs)
                if isinstance(result, torch.Tensor):
                    return result
                return result.logits if hasattr(result, "logits") else result.last_hidden_state

        return Module().eval()


def export(name, batch, path):
    import torch

    if os.path.exists(path):
        return
    model, make = build_torch(name)
    inputs = make(batch)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with torch.inference_mode():
        torch.onnx.export(
            Plain.wrap(model, list(inputs)),
            tuple(inputs.values()),
            path + ".part",
            input_names=list(inputs),
            output_names=["output"],
            opset_version=17,
            dynamo=False,
        )
    os.rename(path + ".part", path)


def rss_peak():
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024
    return 0


def make_runner(kind, name, batch, threads, path):
    """A function that runs the model once; and the seconds from nothing to the first result."""
    if kind == "ort":
        import numpy
        import onnxruntime

        start = time.perf_counter()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        random = numpy.random.default_rng(1)
        feeds = {}
        for value in session.get_inputs():
            if "int64" in value.type:
                feeds[value.name] = numpy.ones(value.shape, dtype=numpy.int64)
            else:
                feeds[value.name] = random.standard_normal(value.shape, dtype=numpy.float32)
        session.run(None, feeds)
        return (lambda: session.run(None, feeds)), time.perf_counter() - start
    import torch

    torch.set_num_threads(threads)
    model, make = build_torch(name)
    inputs = make(batch)
    if kind == "torch-channels-last":
        model = model.to(memory_format=torch.channels_last)
        inputs = {k: v.contiguous(memory_format=torch.channels_last) for k, v in inputs.items()}
    plain = Plain.wrap(model, list(inputs))
    values = tuple(inputs.values())

    def run():
        with torch.inference_mode():
            plain(*values)

    start = time.perf_counter()
    run()
    return run, time.perf_counter() - start


def worker(arguments):
    """Answers lines `COUNT` on standard input with the median seconds of so many runs."""
    before = rss_peak()
    run, first = make_runner(arguments.worker, arguments.model[0], arguments.batch[0], arguments.threads[0], arguments.path)
    print(json.dumps({"first_s": first, "base_rss": before, "peak_rss": rss_peak()}), flush=True)
    for line in sys.stdin:
        times = []
        for _ in range(int(line)):
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
        print(json.dumps({"seconds": statistics.median(times), "peak_rss": rss_peak()}), flush=True)


class Peer:
    def __init__(self, kind, name, batch, threads, path, isa):
        environment = dict(os.environ)
        environment["OMP_NUM_THREADS"] = str(threads)
        if isa == "avx2":
            environment.update(ATEN_CPU_CAPABILITY="avx2", ONEDNN_MAX_CPU_ISA="AVX2", MKL_ENABLE_INSTRUCTIONS="AVX2")
        self.process = subprocess.Popen(
            [sys.executable, os.path.abspath(__file__), name, "--worker", kind, "--batch", str(batch),
             "--threads", str(threads), "--path", path],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        self.start = json.loads(self.process.stdout.readline())
        self.peak = 0

    def seconds(self, count):
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        self.peak = answer["peak_rss"]
        return answer["seconds"]

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def shoal(arguments, name, batch, threads, path, isa):
    target = [path] if arguments.onnx else MODELS[name][1]
    command = [arguments.shoal, "bench", "engine", *target, "--batch", str(batch), "--threads", str(threads),
               "--isa", isa, "--repeats", str(arguments.repeats), "--kernels", arguments.kernels,
               "--dtype", arguments.dtype, "--json"]
    answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(answer.stdout)


def compare(arguments, name, batch, threads, isa):
    path = os.path.join(arguments.models, f"{name}-{batch}.onnx")
    if not os.path.exists(path):  # in a process of its own: exporting takes memory
        subprocess.run([sys.executable, os.path.abspath(__file__), name, "--export", path, "--batch", str(batch)],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    kinds = ["ort", "torch"]  # ONNX Runtime has no cap of its own: it goes on with what the processor has
    if MODELS[name][0] not in ("vit", "bert"):
        kinds.append("torch-channels-last")
    peers = {kind: Peer(kind, name, batch, threads, path, isa) for kind in kinds}
    rounds = []
    for _ in range(arguments.rounds):
        ours = shoal(arguments, name, batch, threads, path, isa)
        row = {"shoal": batch / ours["items_per_second"], "fraction": ours["fraction_of_peak"],
               "shoal_peak": ours["peak_memory_bytes"], "planned": ours["planned_memory_bytes"]}
        row.update({kind: peer.seconds(arguments.repeats) for kind, peer in peers.items()})
        rounds.append(row)
    result = {"model": name, "batch": batch, "threads": threads, "isa": isa, "dtype": arguments.dtype,
              "shoal_s": statistics.median(r["shoal"] for r in rounds),
              "fraction_of_peak": statistics.median(r["fraction"] for r in rounds),
              "shoal_peak_bytes": max(r["shoal_peak"] for r in rounds),
              "shoal_planned_bytes": rounds[0]["planned"]}
    for kind, peer in peers.items():
        result[kind + "_s"] = statistics.median(r[kind] for r in rounds)
        result["faster_than_" + kind] = statistics.median(r[kind] / r["shoal"] for r in rounds)
        result[kind + "_peak_bytes"] = peer.peak
        result[kind + "_base_bytes"] = peer.start["base_rss"]
        result[kind + "_first_s"] = peer.start["first_s"]
        peer.close()
    result["faster_than_best"] = statistics.median(min(r[k] for k in kinds) / r["shoal"] for r in rounds)
    return result


def show(result, kinds=("ort", "torch", "torch-channels-last")):
    against = "  ".join(f"{k} {result[k + '_s'] * 1e3:8.1f} ms ({result['faster_than_' + k]:.2f}x)"
                        for k in kinds if k + "_s" in result)
    print(f"{result['model']:14} b{result['batch']} t{result['threads']} {result['isa']:7} {result['dtype']:4} "
          f"shoal {result['shoal_s'] * 1e3:8.1f} ms, {result['fraction_of_peak']:.3f} of peak  {against}  "
          f"against the faster: {result['faster_than_best']:.2f}x", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="*", help="of: " + ", ".join(MODELS) + " (default: all)")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--isa", nargs="+", default=["native"], help="native or avx2: Shoal and PyTorch are capped; ONNX Runtime cannot be and computes with all that the processor has")
    parser.add_argument("--dtype", default="f32", help="of Shoal; the peers compute in f32")
    parser.add_argument("--kernels", default="auto")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3, help="runs in a round, of which the median counts")
    parser.add_argument("--onnx", action="store_true", help="Shoal runs the exported file, too, instead of its own builder's graph")
    parser.add_argument("--shoal", default="build/release/shoal")
    parser.add_argument("--models", default="build/peers/models")
    parser.add_argument("--json", help="append each result to this file as a line of JSON")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--path", help=argparse.SUPPRESS)
    parser.add_argument("--export", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        return worker(arguments)
    if arguments.export:
        return export(arguments.model[0], arguments.batch[0], arguments.export)
    for name in arguments.model or MODELS:
        for isa in arguments.isa:
            for threads in arguments.threads:
                for batch in arguments.batch:
                    result = compare(arguments, name, batch, threads, isa)
                    show(result)
                    if arguments.json:
                        with open(arguments.json, "a") as file:
                            file.write(json.dumps(result) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
