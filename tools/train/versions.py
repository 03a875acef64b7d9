"""Versions of what training needs, printed; what is missing is said."""
import importlib
import os
import sys

print("python", sys.version.split()[0], "cores", os.cpu_count())
for name in ("torch", "numpy", "transformers", "tokenizers", "safetensors", "regex", "triton"):
    try:
        print(name, importlib.import_module(name).__version__)
    except Exception as error:
        print(name, "missing:", type(error).__name__, error)
