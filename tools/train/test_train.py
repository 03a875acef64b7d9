#!/usr/bin/env python3
"""Tests of the parts that need no GPU: data, prompt form, tokenizer, FP8, checkpoint files.

usage: test_train.py [ENGINE]    (needs `regex`; the last two need torch and are said to be skipped without it;
                                  with the `prover` program as ENGINE its tokens are compared with ours)"""
import json
import os
import re
import subprocess
import sys
import tempfile
import unittest

import data
import prompt
import tokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
ENGINE = sys.argv.pop(1) if len(sys.argv) > 1 and not sys.argv[1].startswith("-") else None

try:
    import torch
except ImportError:
    torch = None


def row(key, split="train", kind="proof", root=None, **extra):
    base = dict(kind=kind, key=key, statement="theorem statement : True", split=split, cheap=False,
                source=dict(library="Init.Data.List.Basic", name="x", mutation="theorem", root=root or key),
                steps=[dict(state="⊢ " + key, tactic="trivial", next=[])], alternatives=[], solved=[], failed=[],
                provenance=dict(level="audited"))
    return {**base, **extra}


def read(rows, held_out=(), **options):
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf8") as file:
        for r in rows:
            file.write(json.dumps(r) + "\n")
        file.flush()
        return data.read([file.name], set(held_out), data.Options(**options))


class DataTest(unittest.TestCase):
    def test_held_out_keys_and_roots_never_enter(self):
        found = read([row("a"), row("b"), row("c", root="b")], held_out=["b"])
        self.assertEqual([e[0] for e in found.examples["train"]], ["⊢ a"])
        self.assertEqual(found.counts["held out"], 2)

    def test_a_statement_is_not_answered_with_its_own_theorem(self):
        source = dict(library="Init.Data.Nat.Basic", name="Nat.add_comm", mutation="theorem", root="a")
        tactics = ["grind [Nat.add_comm]", "exact Nat.add_comm", "rw [Nat.add_comm']", "simp [Nat.add_comm_of]",
                   "simp [My.Nat.add_comm]", "simp [Nat.add_comm.symm]"]
        steps = [dict(state="⊢ %d" % i, tactic=t, next=[]) for i, t in enumerate(tactics)]
        found = read([row("a", source=source, steps=steps)])
        self.assertEqual([e[1] for e in found.examples["train"]], tactics[2:])
        self.assertEqual(found.counts["names its own theorem"], 2)

    def test_test_split_is_left_out(self):
        found = read([row("a", "test"), row("b", "valid")])
        self.assertEqual((found.examples["train"], len(found.examples["valid"])), ([], 1))

    def test_proofs_that_no_judge_saw_give_only_solved_states(self):
        solved = [dict(state="⊢ s", tactic="simp", next=[])]
        found = read([row("a", provenance=dict(level="searched"), solved=solved)])
        self.assertEqual([e[:2] for e in found.examples["train"]], [("⊢ s", "simp")])

    def test_a_pair_of_training_is_not_validated_on(self):
        steps = [dict(state="⊢ same", tactic="rfl", next=[])]
        found = read([row("a", steps=steps), row("b", "valid", steps=steps)])
        self.assertEqual(found.examples["valid"], [])
        self.assertEqual(found.counts["valid pairs also in train"], 1)

    def test_frequent_tactics_are_tempered(self):
        found = read([row(f"{i:03}") for i in range(400)], tactic_cap=100, tactic_power=0.5)
        self.assertAlmostEqual(sum(e[2] for e in found.examples["train"]), 200.0, places=6)

    def test_a_state_has_a_largest_weight(self):
        others = [dict(step=0, tactic=f"exact h{i}", next=[]) for i in range(20)]
        found = read([row("a", alternatives=others)], state_cap=2.0)
        self.assertAlmostEqual(sum(e[2] for e in found.examples["train"]), 2.0, places=6)

    def test_weight_of_a_file(self):
        with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf8") as file:
            file.write(json.dumps(row("a")) + "\n" + '{"torn":')
            file.flush()
            found = data.read([file.name + "@2.5"], set(), data.Options())
        self.assertEqual(found.examples["train"], [("⊢ a", "trivial", 2.0)])  # the state's cap

    def test_premises_of_the_train_split_only(self):
        rows = [dict(name="A.b", statement="theorem statement (n : Nat) : n = n", key="1", split="train"),
                dict(name="C", statement="theorem statement : True", key="2", split="train"),
                dict(name="D", statement="theorem statement : True", key="3", split="valid")]
        with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf8") as file:
            file.write("".join(json.dumps(r) + "\n" for r in rows))
            file.flush()
            texts = data.premise_texts([file.name], {"2"})
        self.assertEqual(texts, [("(n : Nat) : n = n\n:name:\n", "A.b"), ("A.b\n:statement:\n", "(n : Nat) : n = n")])


class PromptTest(unittest.TestCase):
    def test_the_engine_puts_goals_between_before_and_after(self):
        """policy_prompt.c: before, the goals' texts joined by an empty line, after; rows hold the goals joined already."""
        with open(os.path.join(HERE, "../../prover/policy_prompt.c"), encoding="utf8") as file:
            code = re.sub(r"\s+", " ", file.read())
        order = [code.index(x) for x in ("pv_buf_puts(out, format->before);", 'pv_buf_puts(out, i > 0 ? "\\n\\n" : "");',
                                         "pv_buf_puts(out, q->goals[i]);", "pv_buf_puts(out, format->after);")]
        self.assertEqual(order, sorted(order))
        goals = ["case a\n⊢ p", "case b\n⊢ q"]
        self.assertEqual(prompt.tactic_prompt("\n\n".join(goals)),
                         prompt.PROVER_JSON["before"] + goals[0] + "\n\n" + goals[1] + prompt.PROVER_JSON["after"])

    def test_nothing_that_ends_a_tactic_is_inside_one(self):
        found = read([row("a", steps=[dict(state="⊢ x", tactic="simp\n:::", next=[])]),
                      row("b", steps=[dict(state="⊢ y", tactic="cases h\n· simp\n· rfl", next=[])])])
        self.assertEqual([e[1] for e in found.examples["train"]], ["cases h\n· simp\n· rfl"])


class TokenizerTest(unittest.TestCase):
    texts = ["x₁ : List α\nh : 12345 < xs.length\n⊢ xs ≠ []\n:::\n", "simp [List.map_append]", "日本 a   b\r\n\t", ""]

    def make(self):
        return tokenizer.train(tokenizer.count_pieces((t, 5) for t in self.texts), 300)

    def test_text_survives(self):
        tok = self.make()
        for text in self.texts + ["never seen: ∀ ε > 0, 🙂"]:
            self.assertEqual(tok.decode(tok.encode(text)), text)

    def test_ids_as_deepseek_v3_has_them(self):
        vocab = self.make().vocab
        self.assertEqual([vocab[t] for t in tokenizer.CONTROL] + [vocab["!"], vocab["0"]], [0, 1, 2, 3, 18])

    def test_pieces_of_deepseek_v3(self):
        self.assertEqual(list(tokenizer.pieces("1234567890 (x a   b")),
                         ["123", "456", "789", "0", " (", "x", " a", "  ", " b"])

    def test_control_tokens_never_come_from_text(self):
        ids = self.make().encode("".join(tokenizer.CONTROL))
        self.assertGreater(min(ids), tokenizer.PAD)

    def test_training_is_deterministic_and_files_keep_it(self):
        a, b = self.make(), self.make()
        self.assertEqual(a.merges, b.merges)
        with tempfile.TemporaryDirectory() as folder:
            a.save(folder)
            c = tokenizer.Tokenizer.load(folder)
        self.assertEqual((a.vocab, a.merges), (c.vocab, c.merges))


@unittest.skipIf(torch is None, "no torch")
class CheckpointTest(unittest.TestCase):
    def test_e4m3_values_round_to_themselves_and_have_their_bytes(self):
        import fp8

        every = torch.tensor([b for b in range(256) if b & 127 != 127], dtype=torch.uint8)
        values = fp8.from_bytes(every)
        self.assertTrue(torch.equal(fp8.round_e4m3(values), values))
        self.assertTrue(torch.equal(fp8.to_bytes(values), every))
        self.assertEqual(float(values.max()), 448.0)

    def test_rounding_is_to_the_nearest_value(self):
        import fp8

        values = fp8.from_bytes(torch.arange(127, dtype=torch.uint8))
        x = torch.rand(4096, generator=torch.Generator().manual_seed(1)) * 448 * torch.tensor([1.0, 1e-1, 1e-3, 1e-5]).repeat(1024)
        nearest = (x[:, None] - values[None, :]).abs().min(1).values
        self.assertTrue(torch.allclose((fp8.round_e4m3(x) - x).abs(), nearest, rtol=0, atol=1e-12))

    def test_a_written_checkpoint_is_the_rounded_model(self):
        import checkpoint
        import fp8
        import model
        import shape

        s = shape.Shape.parse("vocab=256,hidden=128,heads=2,layers=2,experts=4,per_token=2,dense=200")
        m = model.Model(s, seed=3)
        values = {n: t.detach().clone() for n, t in model.tensors(m).items()}
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "model.safetensors")
            checkpoint.save(path, checkpoint.stored(values, s))
            read_back = checkpoint.load(path)
        self.assertEqual(sorted(read_back), sorted(n for n, *_ in shape.tensors(s)))
        for name, _, _, kind in shape.tensors(s):
            expected = fp8.rounded(values[name]) if kind == "fp8" else values[name].to(torch.bfloat16).float()
            self.assertTrue(torch.equal(read_back[name], expected), name)
        other = model.Model(s, seed=4)
        model.load_tensors(other, read_back)
        again = checkpoint.stored(model.tensors(other), s)
        for name, (value, _) in again.items():  # what was rounded once stays
            if name in read_back and name + "_scale_inv" not in again:
                self.assertTrue(torch.equal(value.to(torch.bfloat16).float(), read_back[name]), name)

    def test_padding_and_neighbours_change_nothing(self):
        import model
        import shape

        s = shape.Shape.parse("vocab=256,hidden=128,heads=2,layers=2,experts=4,per_token=2,dense=128")
        m = model.Model(s, seed=3).eval()
        a, b = torch.randint(3, 256, (1, 9)), torch.randint(3, 256, (1, 14))
        both = torch.full((2, 16), 2)
        both[0, :9], both[1, :14] = a[0], b[0]
        with torch.no_grad():
            alone, together = m(a)[0], m(both)[0, :9]
        self.assertLess(float((alone - together).abs().max()), 1e-4)


@unittest.skipIf(ENGINE is None or torch is None, "no prover program given, or no torch")
class EngineTest(unittest.TestCase):
    def test_the_engine_reads_what_we_write(self):
        """A random model: the engine's samples have the tokens' log-probabilities that model.py gives them."""
        import checkpoint
        import model
        import shape

        tok = tokenizer.train(tokenizer.count_pieces((t, 5) for t in TokenizerTest.texts), 300)
        s = shape.Shape.parse("vocab=384,hidden=128,heads=2,layers=2,experts=4,per_token=2,dense=128")
        m = model.Model(s, seed=3).eval()
        with tempfile.TemporaryDirectory() as folder:
            tok.save(folder)
            path = os.path.join(folder, "model.safetensors")
            checkpoint.save(path, checkpoint.stored(model.tensors(m), s))
            with open(os.path.join(folder, "config.json"), "w", encoding="utf8") as file:
                json.dump(shape.config(s, 0, 1, 2), file)
            model.load_tensors(m, checkpoint.load(path))
            text = TokenizerTest.texts[0]
            done = subprocess.run([ENGINE, "complete", folder, text, "--json", "--max-tokens", "8", "--device", "cpu"],
                                  capture_output=True, text=True, check=True)
        sample, ids = json.loads(done.stdout.splitlines()[0]), [tokenizer.BOS] + tok.encode(text)
        self.assertIn(f"after a prompt of {len(ids)} ", done.stderr)
        with torch.no_grad():
            logprobs = m(torch.tensor([ids + sample["tokens"]]))[0].log_softmax(-1)
        for i, (token, theirs) in enumerate(zip(sample["tokens"], sample["logprobs"])):
            self.assertAlmostEqual(float(logprobs[len(ids) - 1 + i, token]), theirs, delta=2e-2)


if __name__ == "__main__":
    unittest.main()
