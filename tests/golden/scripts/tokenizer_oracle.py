#!/usr/bin/env python3
"""The expected values of tests/golden/tokenizer.cpp, from PyPI's sentencepiece and tokenizers.

    python tokenizer_oracle.py SHARED_DATA [--write] [--json]

Prints the digests that the test holds as constants; --write also makes fixtures/text anew, --json leaves
sentencepiece out. A digest is SHA-256 over
the ids as little-endian int32, -1 after each text.
"""
import hashlib
import json
import struct
import sys
from pathlib import Path

import sentencepiece as spm
import tokenizers
from sentencepiece import sentencepiece_model_pb2

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
ALPHABET = list("  eetaoinshrdlu.,!?0123456789ABCxyz\n\t<>[]/_'\"") + [
    "\u2581", "é", "ß", "д", "и", "漢", "字", "한", "ا", "\u0301", "🚀", "😀", "\u200d", "\ufeff", "\ufffd", "\u00a0",
    "the ", " and", "ing", "Hello", "  ", "    ", "<s>", "</s>", "<unk>", "<0x0A>", "\U0010ffff", "\x01", "\x7f"]


def random_texts(count, seed=1):
    """The generator that the test has too: 64-bit xorshift."""
    state = seed * 0x9E3779B97F4A7C15 & (2**64 - 1)
    def next_number():
        nonlocal state
        state ^= state << 13 & (2**64 - 1)
        state ^= state >> 7
        state ^= state << 17 & (2**64 - 1)
        return state
    out = []
    for _ in range(count):
        length = next_number() % 40
        out.append("".join(ALPHABET[next_number() % len(ALPHABET)] for _ in range(length)))
    return out


def digest(rows):
    h = hashlib.sha256()
    for ids in rows:
        h.update(struct.pack(f"<{len(ids) + 1}i", *ids, -1))
    return h.hexdigest()


def text_digest(texts):
    h = hashlib.sha256()
    for t in texts:
        h.update(t.encode("utf-8") + b"\xff")
    return h.hexdigest()


def llama2c_proto(path, vocab):
    """llama2.c's tokenizer.bin as the ModelProto it was exported from."""
    data = path.read_bytes()
    at = 4
    m = sentencepiece_model_pb2.ModelProto()
    for i in range(vocab):
        score, n = struct.unpack_from("<fi", data, at)
        text = data[at + 8:at + 8 + n].decode()
        at += 8 + n
        text = {"\n<s>\n": "<s>", "\n</s>\n": "</s>"}.get(text, text).replace(" ", "\u2581")
        kind = 2 if i == 0 else 3 if i < 3 else 6 if i < 259 else 1
        m.pieces.add(piece=text, score=score, type=kind)
    m.trainer_spec.model_type = 2
    m.trainer_spec.byte_fallback = True
    m.normalizer_spec.name = "identity"
    m.normalizer_spec.remove_extra_whitespaces = False
    return m.SerializeToString()


def spm_digests(name, sp, shared):
    for text in ("tinyshakespeare", "tinystories_a"):
        s = (shared / "text" / f"{text}.txt").read_bytes().decode("utf-8")
        ids = sp.encode(s)
        print(f"{name} {text}: {len(ids)} ids, {digest([ids])}")
    texts = random_texts(20000)
    rows = [sp.encode(t) for t in texts]
    print(f"{name} random: {sum(map(len, rows))} ids, {digest(rows)}")
    decoded = [sp.decode(r) for r in rows]
    print(f"{name} random decoded: {text_digest(decoded)}")
    state_rows = random_ids(sp.get_piece_size(), 20000)
    print(f"{name} random ids decoded: {text_digest([sp.decode(r) for r in state_rows])}")


def random_ids(vocab, count):
    state = 7 * 0x9E3779B97F4A7C15 & (2**64 - 1)
    def next_number():
        nonlocal state
        state ^= state << 13 & (2**64 - 1)
        state ^= state >> 7
        state ^= state << 17 & (2**64 - 1)
        return state
    out = []
    for _ in range(count):
        row = []
        for _ in range(next_number() % 12):
            # Half of them from the first ids, where the control tokens and the bytes are.
            n = next_number()
            row.append(n % min(vocab, 300) if n >> 40 & 1 else n % vocab)
        out.append(row)
    return out


def hf_digest(path):
    tok = tokenizers.Tokenizer.from_file(str(path))
    tok.encode_special_tokens = True
    rows = [tok.encode(t, add_special_tokens=False).ids for t in random_texts(20000)]
    print(f"{path.name} random: {sum(map(len, rows))} ids, {digest(rows)}")


def trained_json(byte_pieces):
    """A tokenizer that tokenizers trained itself: one merge per piece, so a score per piece cannot say it."""
    sys.path.insert(0, str(FIXTURES / "scripts"))
    import small_tokenizer
    from tokenizers import decoders, models, pre_tokenizers, trainers
    specials = ["<unk>", "<s>", "</s>"] + ([f"<0x{b:02X}>" for b in range(256)] if byte_pieces else [])
    tok = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=not byte_pieces, byte_fallback=byte_pieces))
    tok.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tok.decoder = decoders.Metaspace()
    tok.train_from_iterator(small_tokenizer.corpus(), trainers.BpeTrainer(
        vocab_size=200 + (256 if byte_pieces else 0), special_tokens=specials, show_progress=False))
    value = json.loads(tok.to_str())
    value["added_tokens"] = [t for t in value["added_tokens"] if not t["content"].startswith("<0x")]
    return json.dumps(value, ensure_ascii=False) + "\n"


def json_digests():
    for path in sorted((FIXTURES / "text").glob("*.tokenizer.json")):
        hf_digest(path)
    for name in ("tok_json/tokenizer.json", "tok_json/tokenizer.metaspace.json", "tok_json_nobytes/tokenizer.json"):
        hf_digest(FIXTURES / "hf" / name)


def words_json(scheme, split):
    """Merges that reach over words, runs of spaces, and an added token that is not special: by hand."""
    pieces = ["<unk>", "<s>", "</s>", "\u2581", "a", "e", "t", "n", "\u2581a", "a\u2581", "\u2581\u2581", "te", "\u2581te", "nn"]
    merges = [("\u2581", "\u2581"), ("a", "\u2581"), ("t", "e"), ("\u2581", "te"), ("\u2581", "a"), ("n", "n")]
    def added(i, content, special):
        return {"id": i, "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
                "special": special}
    return json.dumps({
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [added(i, p, True) for i, p in enumerate(pieces[:3])] + [added(len(pieces), "ing", False)],
        "normalizer": None,
        "pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": scheme, "split": split},
        "post_processor": None, "decoder": None,
        "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": False, "ignore_merges": False,
                  "vocab": {p: i for i, p in enumerate(pieces)}, "merges": merges}}, ensure_ascii=False) + "\n"


def main():
    shared = Path(sys.argv[1])
    print(f"sentencepiece {spm.__version__}, tokenizers {tokenizers.__version__}")
    if "--write" in sys.argv:
        (FIXTURES / "text").mkdir(exist_ok=True)
        (FIXTURES / "text" / "trained.tokenizer.json").write_text(trained_json(False), encoding="utf-8")
        (FIXTURES / "text" / "trained_bytes.tokenizer.json").write_text(trained_json(True), encoding="utf-8")
        (FIXTURES / "text" / "words.tokenizer.json").write_text(words_json("always", True), encoding="utf-8")
        (FIXTURES / "text" / "words_first.tokenizer.json").write_text(words_json("first", False), encoding="utf-8")
    if "--json" in sys.argv:
        return json_digests()
    spm_digests("llama2", spm.SentencePieceProcessor(model_file=str(shared / "tokenizer" / "tokenizer.model")), shared)
    spm_digests("tok512", spm.SentencePieceProcessor(
        model_proto=llama2c_proto(shared / "models" / "stories260K" / "tok512.bin", 512)), shared)
    spm_digests("small", spm.SentencePieceProcessor(
        model_file=str(FIXTURES / "hf" / "tied" / "tokenizer.model")), shared)
    json_digests()
    # Code Llama's infilling encode, by Meta's trick, on Llama 2's own vocabulary.
    sp = spm.SentencePieceProcessor(model_file=str(shared / "tokenizer" / "tokenizer.model"))
    rows = [sp.encode("\u263a" + t)[2:] for t in random_texts(2000)]
    print(f"llama2 infilling: {sum(map(len, rows))} ids, {digest(rows)}")
    print("llama2 infilling example:", sp.encode("\u263a" + "    return x\n")[2:])


if __name__ == "__main__":
    main()
