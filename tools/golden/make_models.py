#!/usr/bin/env python3
"""Makes the golden checkpoints of tests/golden/models: small random models, and what transformers computes with them.

usage: make_models.py OUT_DIR        (needs torch, transformers >= 5, safetensors; runs on a CPU in under a minute)

For every model NAME it writes OUT_DIR/NAME/
    config.json, generation_config.json, model.safetensors   a checkpoint as Hugging Face lays it out
    golden.json      {"prompt": ids, "greedy": ids}           greedy: 64 tokens continued from the prompt
    logits.f32       float32 logits at every position of the prompt, row-major [prompt, vocab]
The oracle computes in float32 from the stored weights (BF16 and FP8 widened exactly, FP8 times its block scales), so its
logits are what an engine that keeps its activations exact would give.
"""
import json
import math
import os
import shutil
import sys

os.environ["TQDM_DISABLE"] = os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, DeepseekV3Config, LlamaConfig

PROMPT, GREEDY, VOCAB = 24, 64, 64

DEEPSEEK = dict(
    vocab_size=VOCAB, hidden_size=32, intermediate_size=48, moe_intermediate_size=16, num_hidden_layers=3,
    num_attention_heads=2, num_key_value_heads=2, n_shared_experts=1, n_routed_experts=8, routed_scaling_factor=2.5,
    kv_lora_rank=16, q_lora_rank=24, qk_rope_head_dim=8, v_head_dim=16, qk_nope_head_dim=16, n_group=4, topk_group=2,
    num_experts_per_tok=3, first_k_dense_replace=1, norm_topk_prob=True, max_position_embeddings=256, rms_norm_eps=1e-6,
    rope_theta=10000.0, tie_word_embeddings=False, attention_bias=False, bos_token_id=0, eos_token_id=1)

LLAMA = dict(
    vocab_size=VOCAB, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=4, max_position_embeddings=256, rms_norm_eps=1e-6, rope_theta=10000.0, tie_word_embeddings=False,
    attention_bias=False, bos_token_id=0, eos_token_id=1)


def yarn(factor=40.0, **extra):
    return dict(rope_type="yarn", factor=factor, original_max_position_embeddings=64, beta_fast=32.0, beta_slow=1.0, **extra)


# name: (family, changes to the configuration, stored as)
MODELS = {
    "ds_plain": ("deepseek", {}, "f32"),
    "ds_no_q_lora": ("deepseek", dict(q_lora_rank=None), "f32"),
    "ds_two_shared": ("deepseek", dict(n_shared_experts=2), "f32"),
    "ds_all_dense": ("deepseek", dict(first_k_dense_replace=3), "f32"),
    "ds_no_dense": ("deepseek", dict(first_k_dense_replace=0, num_hidden_layers=2), "f32"),
    "ds_no_norm": ("deepseek", dict(norm_topk_prob=False, routed_scaling_factor=1.0), "f32"),
    "ds_yarn_1": ("deepseek", dict(rope_scaling=yarn(mscale=1.0, mscale_all_dim=1.0)), "f32"),
    "ds_yarn_707": ("deepseek", dict(rope_scaling=yarn(mscale=0.707, mscale_all_dim=0.707), q_lora_rank=None), "f32"),
    "ds_yarn_mixed": ("deepseek", dict(rope_scaling=yarn(mscale=1.0, mscale_all_dim=0.707)), "f32"),
    "ds_bf16": ("deepseek", dict(rope_scaling=yarn(mscale=1.0, mscale_all_dim=1.0)), "bf16"),
    "ds_fp8_ragged": ("deepseek", dict(hidden_size=136, intermediate_size=144, moe_intermediate_size=136, num_hidden_layers=2,
                                       n_routed_experts=4, n_group=2, topk_group=1, num_experts_per_tok=2, kv_lora_rank=132,
                                       q_lora_rank=130, num_attention_heads=4, num_key_value_heads=4), "fp8"),
    "ds_fp8_yarn": ("deepseek", dict(hidden_size=128, intermediate_size=128, moe_intermediate_size=128, num_hidden_layers=2,
                                     n_routed_experts=4, n_group=1, topk_group=1, num_experts_per_tok=2, kv_lora_rank=128,
                                     q_lora_rank=None, rope_scaling=yarn(mscale=1.0, mscale_all_dim=1.0)), "fp8"),
    "llama_mha": ("llama", {}, "f32"),
    "llama_gqa": ("llama", dict(num_attention_heads=8, num_key_value_heads=2), "f32"),
    "llama_head_dim": ("llama", dict(head_dim=32, num_key_value_heads=1), "f32"),
    "llama_linear": ("llama", dict(rope_scaling=dict(rope_type="linear", factor=4.0)), "f32"),
    "llama_llama3": ("llama", dict(rope_scaling=dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                                                     original_max_position_embeddings=64)), "f32"),
    "llama_yarn": ("llama", dict(rope_scaling=yarn(factor=16.0)), "f32"),
    "llama_yarn_mscale": ("llama", dict(rope_scaling=yarn(factor=16.0, mscale=1.0, mscale_all_dim=1.0)), "f32"),
    "llama_dynamic": ("llama", dict(rope_scaling=dict(rope_type="dynamic", factor=2.0)), "f32"),
    "llama_tied": ("llama", dict(tie_word_embeddings=True, num_key_value_heads=2), "f32"),
    "llama_bf16": ("llama", dict(num_key_value_heads=2), "bf16"),
}

# What DeepSeek stores in FP8: every linear layer but the router, the embedding and the head.
FP8_PARTS = ("q_proj", "q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
BLOCK = 128


def make_config(family, changes):
    if family == "deepseek":
        return DeepseekV3Config(**{**DEEPSEEK, **changes})
    return LlamaConfig(**{**LLAMA, **changes})


def spread(model, seed):
    """Weights wide enough that tokens, experts and positions matter, norms and router biases that are not constant."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in list(model.named_parameters()) + list(model.named_buffers()):
            if "inv_freq" in name:
                continue
            if "e_score_correction_bias" in name:
                p.copy_(torch.rand(p.shape, generator=g) * 0.1)
            elif p.dim() == 1:
                p.copy_(1 + 0.2 * torch.randn(p.shape, generator=g))
            elif "embed_tokens" in name:
                p.copy_(torch.randn(p.shape, generator=g))
            else:
                p.copy_(torch.randn(p.shape, generator=g) * (1.6 / math.sqrt(p.shape[-1])))


def quantise(w):
    """A matrix as (e4m3, scales): one float32 scale a 128 x 128 block, ragged edges cropped."""
    rows, cols = w.shape
    br, bc = -(-rows // BLOCK), -(-cols // BLOCK)
    q = torch.empty(rows, cols, dtype=torch.float8_e4m3fn)
    scale = torch.empty(br, bc, dtype=torch.float32)
    for i in range(br):
        for j in range(bc):
            block = w[i * BLOCK:(i + 1) * BLOCK, j * BLOCK:(j + 1) * BLOCK]
            s = block.abs().max().clamp(min=1e-4) / 448.0
            scale[i, j] = s
            q[i * BLOCK:(i + 1) * BLOCK, j * BLOCK:(j + 1) * BLOCK] = (block / s).to(torch.float8_e4m3fn)
    return q, scale


def widen(q, scale):
    grid = scale.repeat_interleave(BLOCK, 0)[:q.shape[0]].repeat_interleave(BLOCK, 1)[:, :q.shape[1]]
    return q.float() * grid


def store(tensors, how):
    """The tensors as stored, and the float32 values that they stand for."""
    stored, exact = {}, {}
    for name, t in tensors.items():
        t = t.float().contiguous()
        part = name.split(".")[-2] if name.endswith(".weight") else ""
        if how == "fp8" and part in FP8_PARTS:
            q, scale = quantise(t)
            stored[name], stored[name + "_scale_inv"] = q, scale
            exact[name] = widen(q, scale)
        elif how in ("bf16", "fp8") and not name.endswith("e_score_correction_bias"):
            stored[name] = t.to(torch.bfloat16)
            exact[name] = stored[name].float()
        else:
            stored[name] = exact[name] = t
    return stored, exact


def fix_config(path, how):
    """config.json as published checkpoints have it: rope_scaling beside rope_theta, quantization_config for FP8."""
    with open(path, encoding="utf8") as f:
        config = json.load(f)
    rope = config.pop("rope_parameters", None)
    if rope is not None and config["model_type"] == "llama" and rope["rope_type"] != "llama3":
        config["rope_parameters"] = rope  # the newer spelling, for half of the models
    elif rope is not None:
        config["rope_theta"] = rope.pop("rope_theta")
        kind = rope.pop("rope_type")
        config["rope_scaling"] = None if kind == "default" else {"type": kind, **rope}
    config["torch_dtype"] = {"f32": "float32", "bf16": "bfloat16", "fp8": "bfloat16"}[how]
    if how == "fp8":
        config["quantization_config"] = dict(activation_scheme="dynamic", fmt="e4m3", quant_method="fp8",
                                             weight_block_size=[BLOCK, BLOCK])
    with open(path, "w", encoding="utf8") as f:
        json.dump(config, f, indent=1, sort_keys=True)


def make(name, out, seed):
    family, changes, how = MODELS[name]
    config = make_config(family, changes)
    config._attn_implementation = "eager"
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config).float().eval()
    spread(model, seed)
    folder, scratch = os.path.join(out, name), os.path.join(out, name + ".tmp")
    os.makedirs(folder, exist_ok=True)
    model.save_pretrained(scratch)
    stored, exact = store(load_file(os.path.join(scratch, "model.safetensors")), how)
    # The oracle reads the exact values back through transformers' own loader.
    save_file(exact, os.path.join(scratch, "model.safetensors"), metadata={"format": "pt"})
    oracle = AutoModelForCausalLM.from_pretrained(scratch, dtype=torch.float32, attn_implementation="eager").eval()
    save_file(stored, os.path.join(folder, "model.safetensors"), metadata={"format": "pt"})
    for file in ("config.json", "generation_config.json"):
        shutil.copy(os.path.join(scratch, file), folder)
    shutil.rmtree(scratch)
    fix_config(os.path.join(folder, "config.json"), how)
    g = torch.Generator().manual_seed(seed + 1)
    prompt = torch.randint(2, VOCAB, (1, PROMPT), generator=g)
    ids = prompt
    with torch.no_grad():
        logits = oracle(prompt).logits[0].float()
        margin = math.inf
        for _ in range(GREEDY):
            last = oracle(ids).logits[0, -1]
            best = last.topk(2).values
            margin = min(margin, float(best[0] - best[1]))
            ids = torch.cat([ids, last.argmax().view(1, 1)], 1)
    logits.contiguous().numpy().tofile(os.path.join(folder, "logits.f32"))
    with open(os.path.join(folder, "golden.json"), "w", encoding="utf8") as f:
        json.dump({"prompt": prompt[0].tolist(), "greedy": ids[0, PROMPT:].tolist()}, f)
    size = sum(os.path.getsize(os.path.join(folder, x)) for x in os.listdir(folder))
    print(f"{name:20s} {size / 1024:8.1f} KiB  |logits| {float(logits.norm()):.3f}  smallest greedy margin {margin:.2e}")


def main():
    out = sys.argv[1]
    os.makedirs(out, exist_ok=True)
    for i, name in enumerate(MODELS):
        make(name, out, 1000 + 10 * i)


if __name__ == "__main__":
    main()
