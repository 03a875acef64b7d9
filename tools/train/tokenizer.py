"""Tokenizer: byte-level BPE with DeepSeek-V3's pre-tokenizer and control tokens, trained here, in plain Python.

The file is Hugging Face's tokenizer.json. Both the tokenizers library and the engine read it; check.py and the engine's
tests hold the three against each other. Needs the `regex` module (Unicode classes)."""
import heapq
import json
import os
from collections import Counter, defaultdict

import regex

BOS, EOS, PAD = 0, 1, 2
CONTROL = ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"]

# The three stages of DeepSeek-V3's tokenizer.json, run one after another on the pieces of the one before.
STAGES = [
    r"\p{N}{1,3}",
    "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
    "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
]
COMPILED = [regex.compile(stage) for stage in STAGES]


def spelling():
    """GPT-2's table: the character that stands for each byte."""
    plain = list(range(0x21, 0x7F)) + list(range(0xA1, 0xAD)) + list(range(0xAE, 0x100))
    table = {b: chr(b) for b in plain}
    for i, b in enumerate(b for b in range(256) if b not in table):
        table[b] = chr(256 + i)
    return table


SPELL = spelling()


def isolate(pattern, text):
    """The text cut at every match; matches and what is between them are pieces."""
    at = 0
    for match in pattern.finditer(text):
        if match.start() > at:
            yield text[at:match.start()]
        if match.end() > match.start():
            yield match.group()
        at = match.end()
    if at < len(text):
        yield text[at:]


def pieces(text):
    for a in isolate(COMPILED[0], text):
        for b in isolate(COMPILED[1], a):
            yield from isolate(COMPILED[2], b)


def spell(piece):
    return "".join(SPELL[b] for b in piece.encode())


class Words:
    """The distinct pieces of the training texts as lists of symbols, with an index from pairs to words."""

    def __init__(self, counts):
        self.words = [(list(word), n) for word, n in sorted(counts.items())]
        self.pairs = Counter()
        self.where = defaultdict(set)
        for i, (symbols, n) in enumerate(self.words):
            for pair in zip(symbols, symbols[1:]):
                self.pairs[pair] += n
                self.where[pair].add(i)
        self.heap = [(-n, pair) for pair, n in self.pairs.items()]
        heapq.heapify(self.heap)

    def best(self):
        """The most frequent pair, the first in order among equals; None when none occurs twice."""
        while self.heap:
            n, pair = heapq.heappop(self.heap)
            if self.pairs[pair] == -n:
                return pair if -n >= 2 else None
            if self.pairs[pair] > 0:
                heapq.heappush(self.heap, (-self.pairs[pair], pair))
        return None

    def merge(self, pair):
        changed = set()
        for i in self.where.pop(pair):
            symbols, n = self.words[i]
            for old in zip(symbols, symbols[1:]):
                self.pairs[old] -= n
            at = 0
            while at + 1 < len(symbols):
                if (symbols[at], symbols[at + 1]) == pair:
                    symbols[at:at + 2] = ["".join(pair)]
                at += 1
            for new in zip(symbols, symbols[1:]):
                self.pairs[new] += n
                self.where[new].add(i)
                changed.add(new)
        del self.pairs[pair]
        for new in changed - {pair}:
            heapq.heappush(self.heap, (-self.pairs[new], new))


def count_pieces(texts):
    """Counts of spelled pieces; `texts` gives (text, times)."""
    counts, raw = Counter(), Counter()
    for text, times in texts:
        for piece in pieces(text):
            raw[piece] += times
    for piece, n in raw.items():
        counts[spell(piece)] += n
    return counts


def train(counts, size):
    """A tokenizer of `size` tokens (fewer when the texts give no more pairs)."""
    vocab = {text: i for i, text in enumerate(CONTROL)}
    for text in sorted(SPELL.values()):
        vocab[text] = len(vocab)
    words, merges = Words(counts), []
    while len(vocab) < size:
        pair = words.best()
        if pair is None:
            break
        words.merge(pair)
        merges.append(pair)
        vocab.setdefault("".join(pair), len(vocab))
    return Tokenizer(vocab, merges)


class Tokenizer:
    def __init__(self, vocab, merges):
        self.vocab, self.merges = vocab, [tuple(m) for m in merges]
        self.rank = {pair: i for i, pair in enumerate(self.merges)}
        self.cache = {}
        unspell = {c: b for b, c in SPELL.items()}
        self.bytes = {i: bytes(unspell[c] for c in t) for t, i in vocab.items() if i > PAD}

    def piece(self, piece):
        ids = self.cache.get(piece)
        if ids is None:
            symbols = list(spell(piece))
            while len(symbols) > 1:
                rank, at = min((self.rank.get(p, 1 << 30), i) for i, p in enumerate(zip(symbols, symbols[1:])))
                if rank == 1 << 30:
                    break
                symbols[at:at + 2] = [symbols[at] + symbols[at + 1]]
            ids = self.cache[piece] = [self.vocab[x] for x in symbols]
        return ids

    def encode(self, text):
        """Ids of the text; control tokens are never made from text."""
        ids = []
        for piece in pieces(text):
            ids += self.piece(piece)
        return ids

    def decode(self, ids):
        return b"".join(self.bytes.get(int(i), b"") for i in ids).decode(errors="replace")

    def save(self, folder):
        split = [dict(type="Split", pattern=dict(Regex=s), behavior="Isolated", invert=False) for s in STAGES]
        byte_level = dict(type="ByteLevel", add_prefix_space=False, trim_offsets=True, use_regex=False)
        added = [dict(id=i, content=text, single_word=False, lstrip=False, rstrip=False, normalized=False, special=True)
                 for i, text in enumerate(CONTROL)]
        begin = dict(SpecialToken=dict(id=CONTROL[BOS], type_id=0))
        post = dict(type="TemplateProcessing", single=[begin, dict(Sequence=dict(id="A", type_id=0))],
                    pair=[begin, dict(Sequence=dict(id="A", type_id=0)), dict(Sequence=dict(id="B", type_id=1))],
                    special_tokens={CONTROL[BOS]: dict(id=CONTROL[BOS], ids=[BOS], tokens=[CONTROL[BOS]])})
        root = dict(version="1.0", truncation=None, padding=None, added_tokens=added,
                    normalizer=dict(type="Sequence", normalizers=[]),
                    pre_tokenizer=dict(type="Sequence", pretokenizers=split + [byte_level]), post_processor=post,
                    decoder=dict(type="ByteLevel", add_prefix_space=True, trim_offsets=True, use_regex=True),
                    model=dict(type="BPE", dropout=None, unk_token=None, continuing_subword_prefix=None,
                               end_of_word_suffix=None, fuse_unk=False, byte_fallback=False, vocab=self.vocab,
                               merges=[" ".join(m) for m in self.merges]))
        settings = dict(tokenizer_class="PreTrainedTokenizerFast", bos_token=CONTROL[BOS], eos_token=CONTROL[EOS],
                        pad_token=CONTROL[PAD], unk_token=None, add_bos_token=True, add_eos_token=False,
                        clean_up_tokenization_spaces=False, model_max_length=4096)
        for name, value in (("tokenizer.json", root), ("tokenizer_config.json", settings)):
            with open(os.path.join(folder, name), "w", encoding="utf8") as file:
                json.dump(value, file, ensure_ascii=False, indent=1)

    @staticmethod
    def load(folder):
        with open(os.path.join(folder, "tokenizer.json"), encoding="utf8") as file:
            model = json.load(file)["model"]
        return Tokenizer(model["vocab"], [tuple(m.split(" ")) for m in model["merges"]])
