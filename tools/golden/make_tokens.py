#!/usr/bin/env python3
"""Makes tests/golden/data/tokens: a vocabulary, nasty lines, and the ids that transformers gives them (see README.md here)."""
import argparse
import hashlib
import json
import os
import pathlib
import random
import struct
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")
from transformers import BertTokenizer

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "golden" / "data" / "tokens"
FUZZ = ROOT / "tests" / "fuzz" / "corpus" / "tokens"
LENGTH = 64  # tokens of an item, at most; as in golden_tokens_test.c
KINDS = {"uncased": {}, "cased": {"do_lower_case": False}, "stripped": {"do_lower_case": False, "strip_accents": True},
         "joined": {"strip_accents": False, "tokenize_chinese_chars": False}}
# What of the shared text is tokenised: the first lines of each.
TEXTS = [("sst2/train.tsv", 5000), ("cola/in_domain_train.tsv", 2000), ("tinyshakespeare.txt", 3000)]
WORDS = """the of and to in is was he for it with as his on be at by had not are but from or have an they which one you were
all her she there would their we him been has when who will no more if out so up said what its about than into them can
only other time new some could these two may first then do any like my now over such our man me even most made after also
did many off before must well back through years where much your way down should because long each just those people how
too good very make world still own work men day here old life both place same house""".split()
HARD = ["hello", "World", "[MASK]", "[SEP]", "[UNK]", "[CLS]", "[PAD]", "[mask]", "[MASK", "MASK]", "CAFÉ", "naïve", "straße",
        "İstanbul", "ΑΣ", "ὈΔΥΣΣΕΎΣ", "中文", "漢字", "한국어", "don't", "x-ray", "##ing", "ﬁ", "ǅ", "Å", "e\u0301", "日本",
        "ｶﾅ", "１２", "—", "…", "“q”", "™", "½", "a\u0300\u0316b", "\u200d", "👩\u200d👩\u200d👧", "🏽", "\x00", "\ufffd",
        "\x1c", "\x85", "\u2028", "\u00a0", "\u3000", " ", "  ", "\r", "\x0b", "x" * 99, "y" * 100, "z" * 101, "é" * 100,
        "İ" * 60, "≠", "\u037e", "\u1fef", "ẞ", "Ω", "K", "۝", "٪", "।", "\u00ad", "\ufeff", "\ue000", "\U00010400",
        "\U0001d15e", "\u9fa6", "豈", "\U0002f800", "ㄱ", "ภาษา", "हिन्दी", "עִבְרִית", "العَرَبِيَّة", "Ελληνικά", "Русский", "Ё", "й"]


def vocabulary():
    letters = [chr(c) for c in range(0x21, 0x7F)] + list("абвгдежзийклмнопрстуфхцчшщыьэюяαβγδεζηθικλμνοπρστυφχψως")
    letters += list("äöüßéèêçñøåæœıłđÄÖÜÉÅ中文日本漢字人大한国語豈切。、「」…—“”‘’€£½²°§¿¡«»×™ﬁ") + [chr(0x1100 + i) for i in range(19)]
    letters += [chr(0x1161 + i) for i in range(21)] + [chr(0x11A8 + i) for i in range(27)] + [chr(c) for c in range(0x30A1, 0x30F7)]
    syllables = [c + v for c in "bcdfghjklmnprstvwz" for v in "aeiou"] + [v + c for v in "aeiou" for c in "bcdfghklmnprstvx"]
    syllables += [c + v + e for c in "bdfglmnprst" for v in "aeio" for e in "nrst"]
    ends = "s ed ing er est ly ness ment tion able ful less ity ous ive al".split()
    tokens = ["[PAD]"] + [f"[unused{i}]" for i in range(1, 8)] + ["[UNK]", "[CLS]", "[SEP]", "[MASK]"] + letters + WORDS
    tokens += [w.capitalize() for w in WORDS[:40]] + ["hello", "world", "World", "cafe", "Café", "naive", "straße"]
    tokens += ["##" + t for t in letters + syllables + ends]
    return list(dict.fromkeys(tokens))


def lines():
    chance = random.Random(13)
    points = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000 and c not in (9, 10)]
    out = [""] + HARD + ["ab" + h + "cd" for h in HARD]
    while len(out) < 420:
        kind = chance.random()
        if kind < 0.2:
            out.append("".join(chr(chance.choice(points)) for _ in range(chance.randint(1, 20))))
        elif kind < 0.4:
            out.append("".join(chr(chance.randint(0x20, 0x24FF)) for _ in range(chance.randint(1, 30))))
        elif kind < 0.6:
            out.append(" ".join(chance.choice(WORDS) + chance.choice(["", "s", ".", ",", "ing"]) for _ in range(chance.randint(1, 90))))
        else:
            out.append(chance.choice(["", " "]).join(chance.choice(HARD) for _ in range(chance.randint(1, 12))))
    raw = []
    for text in out:
        line = text.encode()
        if chance.random() < 0.15:  # malformed
            at = chance.randint(0, len(line))
            line = line[:at] + bytes(chance.randint(128, 255) for _ in range(chance.randint(1, 3))) + line[at:]
        if chance.random() < 0.3:  # a pair
            line += b"\t" + (chance.choice(out) or "x").encode()
        raw.append(line)
    return raw


def encode(tokenizer, raw):
    first, tab, second = raw.decode(errors="replace").partition("\t")
    pair = second.rstrip("\r") if tab else None
    return tokenizer([first if tab else first.rstrip("\r")], [pair] if tab else None, truncation="longest_first", max_length=LENGTH)


def write_ids(path, tokenizer, raw):
    rows = []
    for line in raw:
        got = encode(tokenizer, line)
        ids, types = got["input_ids"][0], got["token_type_ids"][0]
        rows.append(" ".join(map(str, ids)) + f" | {types.count(1)}")
    path.write_text("\n".join(rows) + "\n")


def tokenizer_of(vocab, flags):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder)
        path.joinpath("vocab.txt").write_bytes(vocab)
        path.joinpath("config.json").write_text('{"model_type": "bert"}')
        path.joinpath("tokenizer_config.json").write_text(json.dumps(flags))
        return BertTokenizer.from_pretrained(folder)


def write_digests(texts):
    """SHA-256 over every line's count and ids, 32 bits each: the vocabulary is bert-base-uncased's."""
    tokenizer = tokenizer_of((texts / "bert-base-uncased-vocab.txt").read_bytes(), {})
    rows = ["# file lines tokens sha256 (tools/golden/make_tokens.py)"]
    for name, count in TEXTS:
        digest, tokens = hashlib.sha256(), 0
        for line in (texts / name).read_bytes().split(b"\n")[:count]:
            ids = encode(tokenizer, line)["input_ids"][0]
            digest.update(struct.pack(f"<{1 + len(ids)}i", len(ids), *ids))
            tokens += len(ids)
        rows.append(f"{name} {count} {tokens} {digest.hexdigest()}")
    (DATA / "texts.txt").write_text("\n".join(rows) + "\n")


def write_corpus(raw, vocab):
    """fuzz_tokens: the first byte says which decoder the rest is for."""
    FUZZ.mkdir(parents=True, exist_ok=True)
    model = {"model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                       "vocab": {t: i for i, t in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "##b"])}},
             "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None,
                            "lowercase": False}, "pre_tokenizer": {"type": "BertPreTokenizer"},
             "added_tokens": [{"id": 1, "content": "[UNK]", "normalized": False, "special": True}, {"id": 9, "content": "<x>"}]}
    config = {"do_lower_case": False, "strip_accents": True, "model_max_length": 512, "unk_token": {"content": "[UNK]"},
              "added_tokens_decoder": {"0": {"content": "[PAD]", "special": True}}, "tokenizer_class": "BertTokenizer"}
    for i in range(0, len(raw), 12):
        (FUZZ / f"text-{i}").write_bytes(b"\0" + b"\n".join(raw[i:i + 12]))
    (FUZZ / "vocab").write_bytes(b"\1" + b"\n".join(vocab.split(b"\n")[:40]) + b"\n")
    (FUZZ / "vocab-crlf").write_bytes(b"\1[PAD]\r\n[UNK]\r\n\r\n[CLS]\r\n[SEP]\r\nabc")
    (FUZZ / "vocab-twice").write_bytes(b"\1[PAD]\n[UNK]\n[CLS]\n[SEP]\na\na\n")
    (FUZZ / "tokenizer").write_bytes(b"\2" + json.dumps(model).encode())
    (FUZZ / "config").write_bytes(b"\3" + json.dumps(config).encode())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--shared", type=pathlib.Path, help="where data/datasets/text is; without it texts.txt stays as it is")
    arguments = parser.parse_args()
    DATA.mkdir(parents=True, exist_ok=True)
    vocab = "".join(t + "\n" for t in vocabulary()).encode()
    raw = lines()
    (DATA / "vocab.txt").write_bytes(vocab)
    (DATA / "lines.txt").write_bytes(b"".join(line + b"\n" for line in raw))
    for kind, flags in KINDS.items():
        write_ids(DATA / f"{kind}.txt", tokenizer_of(vocab, flags), raw)
    write_corpus(raw, vocab)
    if arguments.shared:
        write_digests(arguments.shared / "data" / "datasets" / "text")


if __name__ == "__main__":
    main()
