"""Shape: the sizes of the model, its config.json, and its bytes as stored."""
from dataclasses import asdict, dataclass

BLOCK = 128


@dataclass
class Shape:
    vocab: int = 4096
    hidden: int = 384
    layers: int = 6
    heads: int = 6
    nope: int = 64
    rope: int = 32
    v: int = 64
    kv_rank: int = 128
    dense: int = 1024  # width of the dense layers
    first_dense: int = 1
    experts: int = 16
    per_token: int = 4
    expert: int = 128  # width of an expert
    shared: int = 1
    scale: float = 2.0  # routed_scaling_factor
    theta: float = 10000.0
    eps: float = 1e-6
    positions: int = 4096

    @property
    def head(self):
        return self.nope + self.rope

    def is_moe(self, layer):
        return layer >= self.first_dense

    @staticmethod
    def parse(text):
        """From "hidden=512,layers=6": defaults for the rest."""
        shape = Shape()
        for part in filter(None, text.split(",")):
            name, value = part.split("=")
            if not hasattr(shape, name):
                raise ValueError(f"--shape: no size is called {name}")
            setattr(shape, name, type(getattr(shape, name))(value))
        return shape


def tensors(s):
    """What the checkpoint holds: (name, rows, columns, kind), kind fp8, bf16 or f32; rows 0: a vector."""
    yield "model.embed_tokens.weight", s.vocab, s.hidden, "bf16"
    for i in range(s.layers):
        at = f"model.layers.{i}."
        yield at + "input_layernorm.weight", 0, s.hidden, "bf16"
        yield at + "self_attn.q_proj.weight", s.heads * s.head, s.hidden, "fp8"
        yield at + "self_attn.kv_a_proj_with_mqa.weight", s.kv_rank + s.rope, s.hidden, "fp8"
        yield at + "self_attn.kv_a_layernorm.weight", 0, s.kv_rank, "bf16"
        yield at + "self_attn.kv_b_proj.weight", s.heads * (s.nope + s.v), s.kv_rank, "fp8"
        yield at + "self_attn.o_proj.weight", s.hidden, s.heads * s.v, "fp8"
        yield at + "post_attention_layernorm.weight", 0, s.hidden, "bf16"
        parts = [("mlp.", s.dense)]
        if s.is_moe(i):
            yield at + "mlp.gate.weight", s.experts, s.hidden, "bf16"
            yield at + "mlp.gate.e_score_correction_bias", 0, s.experts, "f32"
            parts = [(f"mlp.experts.{e}.", s.expert) for e in range(s.experts)]
            parts.append(("mlp.shared_experts.", s.shared * s.expert))
        for prefix, width in parts:
            yield at + prefix + "gate_proj.weight", width, s.hidden, "fp8"
            yield at + prefix + "up_proj.weight", width, s.hidden, "fp8"
            yield at + prefix + "down_proj.weight", s.hidden, width, "fp8"
    yield "model.norm.weight", 0, s.hidden, "bf16"


def blocks(n):
    return -(-n // BLOCK)


def stored_bytes(s):
    """Bytes of model.safetensors, header included (an estimate of 110 bytes an entry)."""
    total = 0
    for _, rows, cols, kind in tensors(s):
        values = max(rows, 1) * cols
        total += values * {"fp8": 1, "bf16": 2, "f32": 4}[kind] + 110
        total += 110 + 4 * blocks(rows) * blocks(cols) if kind == "fp8" else 0
    return total


def active(s):
    """Parameters that a token's step multiplies with, the head included."""
    total = s.vocab * s.hidden
    for name, rows, cols, kind in tensors(s):
        if rows == 0 or "embed_tokens" in name:
            continue
        share = s.per_token / s.experts if ".experts." in name else 1
        total += rows * cols * share
    return int(total)


def config(s, bos, eos, pad, dtype="bfloat16", fp8=True):
    """config.json as published DeepSeek checkpoints have it."""
    out = dict(
        architectures=["DeepseekV3ForCausalLM"], model_type="deepseek_v3", vocab_size=s.vocab, hidden_size=s.hidden,
        intermediate_size=s.dense, moe_intermediate_size=s.expert, num_hidden_layers=s.layers,
        num_attention_heads=s.heads, num_key_value_heads=s.heads, n_shared_experts=s.shared, n_routed_experts=s.experts,
        num_experts_per_tok=s.per_token, routed_scaling_factor=s.scale, kv_lora_rank=s.kv_rank, q_lora_rank=None,
        qk_rope_head_dim=s.rope, qk_nope_head_dim=s.nope, v_head_dim=s.v, n_group=1, topk_group=1,
        first_k_dense_replace=s.first_dense, moe_layer_freq=1, norm_topk_prob=True, scoring_func="sigmoid",
        topk_method="noaux_tc", hidden_act="silu", max_position_embeddings=s.positions, rms_norm_eps=s.eps,
        rope_theta=s.theta, rope_scaling=None, rope_interleave=True, tie_word_embeddings=True, attention_bias=False,
        attention_dropout=0.0, initializer_range=0.02, use_cache=True, bos_token_id=bos, eos_token_id=eos,
        pad_token_id=pad, torch_dtype=dtype)
    if fp8:
        out["quantization_config"] = dict(activation_scheme="dynamic", fmt="e4m3", quant_method="fp8",
                                          weight_block_size=[BLOCK, BLOCK])
    return out


if __name__ == "__main__":
    import sys

    s = Shape.parse(sys.argv[1] if len(sys.argv) > 1 else "")
    values = sum(max(r, 1) * c for _, r, c, _ in tensors(s))
    print(asdict(s))
    print(f"{values / 1e6:.2f} M parameters, {active(s) / 1e6:.2f} M a token, {stored_bytes(s) / 1e6:.2f} MB stored")
