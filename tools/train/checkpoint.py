"""Checkpoint: safetensors files and the values that they stand for. Plain PyTorch, so that no other library is needed."""
import json
import os
import struct

import torch

import fp8
import shape

SIZES = {"F8_E4M3": 1, "BF16": 2, "F32": 4}


def raw_bytes(t, dtype):
    """The bytes of a float32 tensor as dtype (e4m3: the values are e4m3 values already)."""
    t = t.detach().cpu().float().contiguous()
    if dtype == "F8_E4M3":
        return fp8.to_bytes(t).numpy().tobytes()
    if dtype == "BF16":
        return t.to(torch.bfloat16).view(torch.int16).numpy().tobytes()
    return t.numpy().tobytes()


def save(path, tensors):
    """`tensors`: name -> (float32 tensor, dtype). Large ones first in name order, so that data stays aligned."""
    header, at = {"__metadata__": {"format": "pt"}}, 0
    names = sorted(tensors, key=lambda n: (-SIZES[tensors[n][1]], n))
    for name in names:
        t, dtype = tensors[name]
        size = t.numel() * SIZES[dtype]
        header[name] = {"dtype": dtype, "shape": list(t.shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name in names:
            file.write(raw_bytes(*tensors[name]))


def load(path):
    """name -> float32 tensor; FP8 matrices come with their scales multiplied in."""
    with open(path, "rb") as file:
        size = struct.unpack("<Q", file.read(8))[0]
        header = json.loads(file.read(size))
        data = bytearray(file.read())
    header.pop("__metadata__", None)
    out = {}
    for name, entry in header.items():
        cut = memoryview(data)[slice(*entry["data_offsets"])]
        if entry["dtype"] == "F8_E4M3":
            t = fp8.from_bytes(torch.frombuffer(cut, dtype=torch.uint8))
        elif entry["dtype"] == "BF16":
            t = torch.frombuffer(cut, dtype=torch.bfloat16).float()
        else:
            t = torch.frombuffer(cut, dtype=torch.float32).clone()
        out[name] = t.view(entry["shape"])
    for name in [n for n in out if n.endswith("_scale_inv")]:
        matrix = name.removesuffix("_scale_inv")
        out[matrix] = out[matrix] * fp8.spread(out.pop(name), *out[matrix].shape)
    return out


def stored(values, s):
    """What is written for float32 values by name: name -> (tensor, dtype)."""
    out = {}
    for name, rows, cols, kind in shape.tensors(s):
        value = values[name].detach().float().cpu()
        if tuple(value.shape) != ((rows, cols) if rows else (cols,)):
            raise ValueError(f"{name} has shape {tuple(value.shape)}, expected {rows} x {cols}")
        if kind == "fp8":
            q, scale = fp8.quantise(value)
            out[name], out[name + "_scale_inv"] = (q, "F8_E4M3"), (scale, "F32")
        else:
            out[name] = (value, "BF16" if kind == "bf16" else "F32")
    return out


def read_shape(folder):
    """The sizes of a checkpoint that export.py wrote."""
    with open(os.path.join(folder, "config.json"), encoding="utf8") as file:
        c = json.load(file)
    return shape.Shape(
        vocab=c["vocab_size"], hidden=c["hidden_size"], layers=c["num_hidden_layers"], heads=c["num_attention_heads"],
        nope=c["qk_nope_head_dim"], rope=c["qk_rope_head_dim"], v=c["v_head_dim"], kv_rank=c["kv_lora_rank"],
        dense=c["intermediate_size"], first_dense=c["first_k_dense_replace"], experts=c["n_routed_experts"],
        per_token=c["num_experts_per_tok"], expert=c["moe_intermediate_size"], shared=c["n_shared_experts"],
        scale=c["routed_scaling_factor"], theta=c["rope_theta"], eps=c["rms_norm_eps"],
        positions=c["max_position_embeddings"])
