"""Data: rows of `prover generate` as weighted examples (state, tactic), and premises as texts about names."""
import gzip
import json
import lzma
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field

import prompt


@dataclass
class Options:
    longest_tactic: int = 240  # bytes; grids of `first | exact ...` are above
    longest_state: int = 4000
    step: float = 1.0  # weight of a proof's step
    cheap: float = 0.6  # of the step of a cheap proof
    solved: float = 1.0  # of a state that was solved on the way
    alternative: float = 0.5
    state_cap: float = 2.0  # most weight of all tactics of one state
    tactic_cap: int = 300  # examples of one tactic and module tree that count in full
    tactic_power: float = 0.5  # above: weight grows with count ** power
    heaviest: float = 4.0


@dataclass
class Data:
    examples: dict = field(default_factory=dict)  # split -> [(state, tactic, weight)]
    statements: dict = field(default_factory=dict)  # split -> number of statements with an example
    failed: list = field(default_factory=list)  # (state, tactic, class) of the train split
    counts: Counter = field(default_factory=Counter)


def open_text(path):
    opener = {"gz": gzip.open, "xz": lzma.open}.get(path.rsplit(".", 1)[-1], open)
    return opener(path, "rt", encoding="utf8")


def rows(path):
    """Rows of a file; a torn last line is left out."""
    with open_text(path) as file:
        for line in file:
            if line.endswith("\n"):
                yield json.loads(line)


def read_keys(paths):
    return {row["key"] for path in paths for row in rows(path)}


def is_checked(row):
    """Whether Lean's word on the row's proof is final: its level says that a fresh process judged it."""
    return row["kind"] == "proof" and row.get("provenance", {}).get("level") == "audited"


def row_examples(row, options):
    """(state, tactic, weight, what) of a row. States that were solved on the way are kernel-checked where they were found."""
    if is_checked(row):
        weight = options.cheap if row.get("cheap") else options.step
        for step in row["steps"]:
            yield step["state"], step["tactic"], weight, "step"
        for other in row.get("alternatives", []):
            yield row["steps"][other["step"]]["state"], other["tactic"], weight * options.alternative, "alternative"
    for solved in row.get("solved", []):
        yield solved["state"], solved["tactic"], options.solved, "solved"


def mention_of(name):
    """What finds a theorem's full name in a tactic: a statement must not be answered with the theorem that it is."""
    return re.compile(r"(?<![\w.])" + re.escape(name) + r"(?![\w'!?]|\.\w)") if name else None


def tree(module):
    """The library's part that a module belongs to: Init.Data.List for Init.Data.List.Lemmas."""
    return ".".join(module.split(".")[:3])


class Reader:
    def __init__(self, options, held_out):
        self.options, self.held_out = options, held_out
        self.found = {"train": {}, "valid": {}}  # (state, tactic) -> (weight, tree)
        self.keys = {"train": set(), "valid": set()}
        self.data = Data()

    def take(self, row, factor):
        counts = self.data.counts
        counts["rows " + row["kind"]] += 1
        if row["kind"] not in ("proof", "open"):
            return
        if row["key"] in self.held_out or row["source"]["root"] in self.held_out:
            counts["held out"] += 1
            return
        split = row["split"]
        if split not in self.found:
            counts["split " + split] += 1
            return
        itself = mention_of(row["source"].get("name") or "")
        for state, tactic, weight, what in row_examples(row, self.options):
            if itself is not None and itself.search(tactic):
                counts["names its own theorem"] += 1
                continue
            self.add(row, split, (state, tactic.strip()), weight * factor, what)
        if split == "train":
            self.take_failed(row)

    def add(self, row, split, pair, weight, what):
        counts, options = self.data.counts, self.options
        if len(pair[1].encode()) > options.longest_tactic or len(pair[0].encode()) > options.longest_state:
            counts["too long"] += 1
            return
        if prompt.STOP in pair[1] or not pair[1]:
            counts["unusable"] += 1
            return
        counts[what] += 1
        self.keys[split].add(row["key"])
        old = self.found[split].get(pair, (0, ""))[0]
        self.found[split][pair] = (max(old, weight), tree(row["source"].get("library") or ""))

    def take_failed(self, row):
        for f in row.get("failed", []):
            if f["class"] not in ("timeout", "self"):
                self.data.failed.append((row["steps"][f["step"]]["state"], f["tactic"], f["class"]))

    def finish(self):
        data = self.data
        for split, found in self.found.items():
            data.examples[split] = temper(found, self.options)
            data.statements[split] = len(self.keys[split])
            data.counts["pairs " + split] = len(found)
            data.counts["states " + split] = len({state for state, _ in found})
            data.counts["statements " + split] = len(self.keys[split])
        # A state of a held-out split must not be a state of training with the same answer.
        seen = self.found["train"]
        data.counts["valid pairs also in train"] = sum(pair in seen for pair in self.found["valid"])
        data.examples["valid"] = [e for e in data.examples["valid"] if (e[0], e[1]) not in seen]
        return data


def temper(found, options):
    """Weights, so that neither one tactic nor one state has too large a part."""
    count = Counter((tactic, where) for (_, tactic), (_, where) in found.items())
    weights = {}
    for (state, tactic), (weight, where) in found.items():
        n = count[tactic, where]
        if n > options.tactic_cap:
            weight *= (options.tactic_cap / n) ** (1 - options.tactic_power)
        weights[state, tactic] = min(weight, options.heaviest)
    total = defaultdict(float)
    for (state, _), weight in weights.items():
        total[state] += weight
    return [(state, tactic, weight * min(1, options.state_cap / total[state]))
            for (state, tactic), weight in sorted(weights.items())]


def read(paths, held_out, options):
    """`paths`: files, each with @WEIGHT behind its name where it is to count more or less."""
    reader = Reader(options, held_out)
    for text in paths:
        path, _, factor = text.partition("@")
        for row in rows(path):
            reader.take(row, float(factor or 1))
    return reader.finish()


def premise_texts(paths, held_out):
    """(prompt, answer) texts of the train split's theorems: a statement's name, a name's statement."""
    texts = []
    for path in paths:
        for row in rows(path):
            if row["split"] != "train" or row["key"] in held_out:
                continue
            statement = row["statement"].removeprefix("theorem statement").strip()
            texts.append((statement + prompt.NAME_OF, row["name"]))
            texts.append((row["name"] + prompt.STATEMENT_OF, statement))
    return texts
