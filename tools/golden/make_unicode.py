#!/usr/bin/env python3
"""Makes src/formats/unicode_data.c: what the tokenizers library does to every code point (see README.md here)."""
import pathlib

import tokenizers
from tokenizers import normalizers, pre_tokenizers

ROOT = pathlib.Path(__file__).resolve().parents[2]
OUT = ROOT / "src" / "formats" / "unicode_data.c"
HANGUL = range(0xAC00, 0xD7A4)  # decomposed by arithmetic
POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
SPACES = [9, 10, 13, 0x20, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000]


def normalizer(**on):
    flags = dict(clean_text=False, handle_chinese_chars=False, strip_accents=False, lowercase=False)
    return normalizers.BertNormalizer(**{**flags, **on})


def changed(**on):
    normal = normalizer(**on)
    return {c: t for c in POINTS if (t := normal.normalize_str(chr(c))) != chr(c)}


def ranges(points):
    out = []
    for c in sorted(points):
        if out and c == out[-1][1] + 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def runs(mapping):
    """[first, last, step, difference] of a mapping of one point to one."""
    out = []
    for c, to in sorted(mapping.items()):
        last = out[-1] if out else None
        if last and last[3] == to - c and c - last[1] in (1, 2) and last[2] in (0, c - last[1]):
            last[1], last[2] = c, c - last[1]
        else:
            out.append([c, c, 0, to - c])
    return [[a, b, step or 1, d] for a, b, step, d in out]


def blocks(mapping):
    """Stretches of points with at most 3 gaps in a row, gaps 0."""
    firsts, targets = [], []
    for c in sorted(mapping):
        if not firsts or c - firsts[-1][1] > 4:
            firsts.append([c, c, len(targets)])
        targets += [0] * (c - firsts[-1][1] - 1) + [mapping[c]]
        firsts[-1][1] = c
    return firsts, targets


def table(kind, name, rows):
    text = f"const {kind} {name}[] = {{\n"
    line = "   "
    for row in rows:
        item = row if isinstance(row, str) else "{" + ", ".join(row) + "}"
        if len(line) + len(item) + 2 > 100:
            text += line + "\n"
            line = "   "
        line += f" {item},"
    return f"{text}{line}\n}};\nconst size_t {name}_count = sizeof {name} / sizeof {name}[0];\n"


def hexed(rows):
    return [[hex(a), hex(b), *map(str, rest)] for a, b, *rest in rows]


def main():
    cleaned, chinese, stripped, lower = (changed(**{key: True}) for key in (
        "clean_text", "handle_chinese_chars", "strip_accents", "lowercase"))
    split = pre_tokenizers.BertPreTokenizer()
    punctuation = [c for c in POINTS if len(split.pre_tokenize_str(f"a{chr(c)}b")) == 3]
    dropped = [c for c, t in cleaned.items() if t == ""]
    assert sorted([c for c, t in cleaned.items() if t == " "] + [0x20]) == SPACES
    assert all(t == f" {chr(c)} " for c, t in chinese.items())
    removed = [c for c, t in stripped.items() if t == ""]
    parts = {c: t for c, t in stripped.items() if t and c not in HANGUL}
    assert [c for c, t in lower.items() if len(t) > 1] == [0x130]
    del lower[0x130]
    firsts, targets = blocks({c: ord(t) for c, t in parts.items() if len(t) == 1})
    several = [[hex(c), "{" + ", ".join(hex(ord(x)) for x in t) + "}"] for c, t in parts.items() if len(t) > 1]
    assert max(map(len, parts.values())) <= 3
    OUT.write_text("\n".join([
        f"/* Made by tools/golden/make_unicode.py from tokenizers {tokenizers.__version__}; unicode.h says what it is. */",
        '#include "formats/unicode_data.h"\n\n/* clang-format off */',
        table("struct unicode_range", "unicode_dropped", hexed(ranges(dropped))),
        table("struct unicode_range", "unicode_chinese", hexed(ranges(chinese))),
        table("struct unicode_range", "unicode_punctuation", hexed(ranges(punctuation))),
        table("struct unicode_range", "unicode_removed", hexed(ranges(removed))),
        table("struct unicode_run", "unicode_lower", hexed(runs({c: ord(t) for c, t in lower.items()}))),
        table("struct unicode_block", "unicode_bases", hexed(firsts)),
        table("uint32_t", "unicode_base_targets", [hex(t) if t else "0" for t in targets]),
        table("struct unicode_parts", "unicode_several", several),
        "/* clang-format on */\n"]))
    print(f"{OUT}: {OUT.stat().st_size} bytes, {len(firsts)} blocks, {len(targets)} targets")


if __name__ == "__main__":
    main()
