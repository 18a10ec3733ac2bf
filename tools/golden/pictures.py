"""Draws the small pictures of tests/golden/data/images in every kind of file that Shoal reads."""
import ctypes
import struct
import zlib

import numpy as np
from PIL import Image, ImageDraw

ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def draw(width, height, seed):
    """A gradient, discs, lines and some noise: smooth parts, edges and texture."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    base = np.stack([x * 255 // max(width - 1, 1), y * 255 // max(height - 1, 1),
                     (x + y) * 255 // max(width + height - 2, 1)], axis=-1)
    picture = Image.fromarray(base.astype(np.uint8))
    pen = ImageDraw.Draw(picture)
    for _ in range(5):
        a, b = rng.integers(0, [width, height], 2), rng.integers(3, max(min(width, height) // 2, 4))
        colour = tuple(int(c) for c in rng.integers(0, 256, 3))
        pen.ellipse([int(a[0] - b), int(a[1] - b), int(a[0] + b), int(a[1] + b)], fill=colour)
        pen.line([int(v) for v in rng.integers(0, max(width, height), 4)], fill=colour, width=2)
    noisy = np.asarray(picture).astype(int)
    noisy[: height // 3] += rng.integers(-20, 21, noisy[: height // 3].shape)
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def write_png(path, samples, colour, depth, interlaced=False, extra=b""):
    """samples [h, w, channels], values of `depth` bits (8 or 16); what Pillow itself cannot write."""
    height, width = samples.shape[:2]
    kind = ">u2" if depth == 16 else "u1"
    passes = ADAM7 if interlaced else [(0, 0, 1, 1)]
    raw = b""
    for x0, y0, dx, dy in passes:
        part = samples[y0::dy, x0::dx]
        if part.size:
            raw += b"".join(b"\0" + row.astype(kind).tobytes() for row in part)
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, int(interlaced))
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(raw, 9))
                   + chunk(b"IEND", b""))


def write_low_depth(path, values, depth):
    """values [h, w] grey of 1, 2 or 4 bits."""
    rows = b""
    for row in values:
        bits = "".join(format(int(v), f"0{depth}b") for v in row)
        bits += "0" * (-len(bits) % 8)
        rows += b"\0" + bytes(int(bits[i:i + 8], 2) for i in range(0, len(bits), 8))
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], depth, 0, 0, 0, 0)
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9))
                   + chunk(b"IEND", b""))


def write_ycck(path, cmyk):
    """libturbojpeg stores CMYK as YCCK; Pillow only as plain CMYK."""
    library = ctypes.CDLL("libturbojpeg.so.0")
    library.tjInitCompress.restype = ctypes.c_void_p
    handle = ctypes.c_void_p(library.tjInitCompress())
    out, size = ctypes.c_void_p(None), ctypes.c_ulong(0)
    data = np.ascontiguousarray(cmyk)
    tjpf_cmyk, samp_444 = 11, 0
    code = library.tjCompress2(handle, data.ctypes.data_as(ctypes.c_void_p), cmyk.shape[1], 0, cmyk.shape[0],
                               tjpf_cmyk, ctypes.byref(out), ctypes.byref(size), samp_444, 85, 0)
    assert code == 0
    with open(path, "wb") as file:
        file.write(ctypes.string_at(out, size.value))


def xmp(orientation):
    return (f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description tiff:Orientation="{orientation}"/>'
            "</rdf:RDF></x:xmpmeta>").encode()


def make_jpegs(folder):
    for name, size, seed, options in [
            ("plain-420.jpg", (45, 37), 1, {"subsampling": 2}), ("plain-422.jpg", (41, 30), 2, {"subsampling": 1}),
            ("plain-444.jpg", (33, 33), 3, {"subsampling": 0}),
            ("progressive.jpg", (40, 52), 4, {"progressive": True}),
            ("tall.jpg", (34, 90), 5, {"quality": 95}), ("wide.jpg", (96, 35), 6, {}), ("tiny.jpg", (3, 2), 7, {})]:
        draw(*size, seed).save(folder / name, **options)
    draw(39, 31, 8).convert("L").save(folder / "grey.jpg")
    draw(37, 29, 9).convert("CMYK").save(folder / "cmyk.jpg", quality=90)
    write_ycck(folder / "ycck.jpg", np.asarray(draw(37, 29, 10).convert("CMYK")))
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        draw(27, 19, 11).save(folder / f"exif-{orientation}.jpg", exif=exif)
    big_endian = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    draw(27, 19, 12).save(folder / "exif-big-endian.jpg", exif=big_endian)
    draw(27, 19, 13).save(folder / "xmp-8.jpg", xmp=xmp(8))


def make_pngs(folder):
    picture = draw(43, 36, 20)
    picture.save(folder / "rgb.png")
    grey = np.asarray(picture.convert("L"))
    picture.convert("L").save(folder / "grey8.png")
    picture.convert("1").save(folder / "grey1.png")
    write_low_depth(folder / "grey2.png", grey // 64, 2)
    write_low_depth(folder / "grey4.png", grey // 16, 4)
    alpha = Image.fromarray(np.linspace(0, 255, 43 * 36).reshape(36, 43).astype(np.uint8))
    rgba = picture.copy()
    rgba.putalpha(alpha)
    rgba.save(folder / "rgba.png")
    rgba.convert("LA").save(folder / "grey-alpha.png")
    picture.quantize(200).save(folder / "palette8.png")
    picture.quantize(13).save(folder / "palette4.png", bits=4)
    picture.quantize(2).save(folder / "palette1.png", bits=1)
    picture.quantize(50).save(folder / "palette-transparent.png", transparency=3)
    picture.save(folder / "rgb-transparent.png", transparency=(0, 0, 0))
    wide = np.asarray(picture).astype(np.uint16) * 257 + 77
    write_png(folder / "rgb16.png", wide, 2, 16)
    write_png(folder / "rgba16.png", np.dstack([wide, wide[:, :, :1] // 2]), 6, 16)
    write_png(folder / "grey16.png", grey.astype(np.uint16)[:, :, None] * 2, 0, 16)
    write_png(folder / "grey-alpha16.png", np.dstack([grey.astype(np.uint16) * 257, wide[:, :, 0]]), 4, 16)
    write_png(folder / "interlaced.png", np.asarray(picture), 2, 8, interlaced=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(folder / "exif-6.png", exif=exif)
    text = b"XML:com.adobe.xmp\0\0\0\0\0" + xmp(3)
    write_png(folder / "xmp-3.png", np.asarray(picture), 2, 8, extra=chunk(b"iTXt", text))
    Image.fromarray(np.full((1, 1, 3), 200, np.uint8)).save(folder / "one-pixel.png")


def make_pictures(folder):
    folder.mkdir(parents=True, exist_ok=True)
    make_jpegs(folder)
    make_pngs(folder)
