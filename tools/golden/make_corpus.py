#!/usr/bin/env python3
"""Makes the first inputs of the fuzz targets of formats/; what fuzzing found is added to them by hand."""
import json
import pathlib
import struct

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
CORPUS = ROOT / "tests" / "fuzz" / "corpus"
DATA = ROOT / "tests" / "golden" / "data"


def put(target, name, data):
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def safetensors(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(text)) + text + data


def tensor(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def make_safetensors():
    good = {"__metadata__": {"format": "pt"}, "b": tensor("F16", [3], 8, 14), "a": tensor("F32", [2, 1], 0, 8)}
    put("safetensors", "valid", safetensors(good, bytes(14)))
    put("safetensors", "empty", safetensors({}))
    put("safetensors", "scalar", safetensors({"s": tensor("BOOL", [], 0, 1)}, b"\1"))
    put("safetensors", "cut", safetensors(good, bytes(14))[:-3])
    put("safetensors", "cut-header", safetensors(good, bytes(14))[:40])
    put("safetensors", "hole", safetensors({"a": tensor("U8", [2], 4, 6)}, bytes(6)))
    put("safetensors", "overlap", safetensors({"a": tensor("U8", [4], 0, 4), "b": tensor("U8", [4], 2, 6)}, bytes(6)))
    put("safetensors", "lying-size", safetensors({"a": tensor("F64", [2], 0, 4)}, bytes(4)))
    put("safetensors", "overflow", safetensors({"a": tensor("F32", [1 << 62, 4], 0, 0)}))
    put("safetensors", "huge-length", b"\xff" * 8 + b"{}")
    put("safetensors", "twice", safetensors(b'{"a":{},"a":{}}'))
    put("safetensors", "deep", safetensors(b'{"a":' + b"[" * 100 + b"]" * 100 + b"}"))


def make_npy():
    import io
    for name, array in [("f32", np.zeros((2, 3), np.float32)), ("u8", np.zeros(5, np.uint8)),
                        ("f64", np.zeros((), np.float64)), ("i64", np.zeros((1, 2, 1), np.int64)),
                        ("fortran", np.asfortranarray(np.zeros((2, 3)))), ("big-endian", np.zeros(2, ">f4"))]:
        file = io.BytesIO()
        np.save(file, array)
        put("npy", name, file.getvalue())
    file = io.BytesIO()
    np.lib.format.write_array(file, np.zeros(2, np.float32), version=(3, 0))
    put("npy", "version3", file.getvalue())
    put("npy", "cut", file.getvalue()[:50])
    put("npy", "overflow", b"\x93NUMPY\1\0" + struct.pack("<H", 78)
        + b"{'descr': '<f4', 'fortran_order': False, 'shape': (3037000500, 3037000500,), }".ljust(78))


def make_configs():
    for name in ["vit", "deit-distilled", "vit-features"]:
        put("config_json", f"config-{name}", b"\0" + (DATA / name / "config.json").read_bytes())
    for number, name in enumerate(["vit", "vit-sharded", "vit-f16", "deit-distilled"]):
        text = (DATA / name / "preprocessor_config.json").read_bytes()
        put("config_json", f"preprocessor-{name}", bytes([1 + 2 * (number % 2)]) + text)
    for name in ["bert", "bert-f16", "bert-old-names", "bert-regression"]:
        put("config_json", f"config-{name}", b"\0" + (DATA / name / "config.json").read_bytes())
    put("config_json", "decoder", b'\0{"model_type":"bert","is_decoder":true,"position_embedding_type":"relative_key"}')
    for name in ["bert-sentences", "bert-cls"]:  # 18, 19, 20: modules, pooling, longest text
        put("config_json", f"modules-{name}", b"\22" + (DATA / name / "modules.json").read_bytes())
        put("config_json", f"pooling-{name}", b"\23" + (DATA / name / "1_Pooling" / "config.json").read_bytes())
        put("config_json", f"sentence-{name}", b"\24" + (DATA / name / "sentence_bert_config.json").read_bytes())
    put("config_json", "modules-outside", b'\22[{"type":"a.Transformer","path":""},{"type":"a.Pooling","path":"../.."}]')
    put("config_json", "absurd", b'\0{"model_type":"vit","hidden_size":4611686018427387904,"image_size":[0,0]}')
    put("config_json", "labels", b'\0{"model_type":"deit","id2label":{"0":"a","5":"b"}}')
    put("config_json", "sizes", b'\1{"size":{"shortest_edge":4,"longest_edge":9},"do_center_crop":true,"crop_size":[9,7]}')
    put("config_json", "cut", b'\1{"size":{"shortest_edge":4')


def make_images():
    for name in ["tiny.jpg", "exif-6.jpg", "progressive.jpg", "cmyk.jpg", "ycck.jpg", "grey.jpg", "xmp-8.jpg",
                 "one-pixel.png", "interlaced.png", "palette4.png", "grey16.png", "grey2.png", "rgba.png",
                 "exif-6.png", "xmp-3.png", "palette-transparent.png"]:
        put("image", name, (DATA / "images" / name).read_bytes())
    jpeg, png = (DATA / "images" / "exif-6.jpg").read_bytes(), (DATA / "images" / "palette4.png").read_bytes()
    put("image", "cut.jpg", jpeg[:-40])
    put("image", "cut.png", png[:-40])
    put("image", "huge.png", png[:16] + b"\0\1\0\0" * 2 + png[24:])


if __name__ == "__main__":
    make_safetensors()
    make_npy()
    make_configs()
    make_images()
