"""Prompt: the exact texts of training, and prover.json, which makes the engine ask in the same form."""

BEFORE = ""
AFTER = "\n:::\n"  # between the goals and the tactic
STOP = "\n:::"  # never part of a tactic: a tactic may have lines, the end token closes it
NAME_OF = "\n:name:\n"  # a statement, then the theorem's name
STATEMENT_OF = "\n:statement:\n"  # a theorem's name, then its statement

PROVER_JSON = {"format": "state", "before": BEFORE, "after": AFTER, "stop": STOP, "samples": 16, "max_tokens": 64}


def tactic_prompt(state):
    return BEFORE + state + AFTER
