"""Model: deepseek_v3 for training. Latent attention in its naive form; every expert is computed for every token, masked by
the router's weights: at these sizes one wide product is faster than sorting tokens. Experts of a layer lie in one matrix
(experts * width rows), which tensors() cuts into the checkpoint's names.

Dropout, when on, acts on what a block adds to the stream and on the embedding."""
import math

import torch
import torch.nn.functional as F
from torch import nn

import fp8


class Norm(nn.Module):
    def __init__(self, size, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x):
        wide = x.float()
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)
        return (self.weight.float() * wide).to(x.dtype)


class Matrix(nn.Module):
    """A linear layer without bias; `fake` rounds its weight to FP8 blocks on the way (gradients go straight through)."""

    fake = False  # for all at once: set on the class

    def __init__(self, cols, rows, std):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(rows, cols).normal_(0, std))

    def value(self):
        return fp8.Straight.apply(self.weight) if Matrix.fake else self.weight

    def forward(self, x):
        return F.linear(x, self.value())


def rope_tables(s, length, device):
    """cos, sin [length, rope / 2], float32."""
    j = torch.arange(0, s.rope, 2, dtype=torch.float64)
    freq = (s.theta ** (-j / s.rope)).float()
    angle = torch.arange(length).float()[:, None] * freq[None, :]
    return angle.cos().to(device), angle.sin().to(device)


def rotate(x, cos, sin):
    """Interleaved pairs (2j, 2j + 1); x [..., length, rope]."""
    wide = x.float()
    even, odd = wide[..., 0::2], wide[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2).to(x.dtype)


def attend(q, k, v, scale):
    """Causal attention; padding is at the end, so no mask is needed for it. [batch, heads, length, size]"""
    if hasattr(F, "scaled_dot_product_attention"):
        # The fused kernels want one size for all three; zeros change nothing.
        wide = F.pad(v, (0, q.shape[-1] - v.shape[-1])) if q.is_cuda else v
        return F.scaled_dot_product_attention(q, k, wide, is_causal=True, scale=scale)[..., :v.shape[-1]]
    score = (q @ k.transpose(-1, -2)).float() * scale
    length = q.shape[-2]
    score = score.masked_fill(torch.ones(length, length, dtype=torch.bool, device=q.device).triu(1), -math.inf)
    return score.softmax(-1).to(v.dtype) @ v


class Attention(nn.Module):
    def __init__(self, s, std, out_std):
        super().__init__()
        self.s = s
        self.q_proj = Matrix(s.hidden, s.heads * s.head, std)
        self.kv_a_proj_with_mqa = Matrix(s.hidden, s.kv_rank + s.rope, std)
        self.kv_a_layernorm = Norm(s.kv_rank, s.eps)
        self.kv_b_proj = Matrix(s.kv_rank, s.heads * (s.nope + s.v), std)
        self.o_proj = Matrix(s.heads * s.v, s.hidden, out_std)

    def forward(self, x, cos, sin):
        s = self.s
        n, length, _ = x.shape
        q = self.q_proj(x).view(n, length, s.heads, s.head).transpose(1, 2)
        latent, k_rope = self.kv_a_proj_with_mqa(x).split([s.kv_rank, s.rope], -1)
        kv = self.kv_b_proj(self.kv_a_layernorm(latent)).view(n, length, s.heads, s.nope + s.v).transpose(1, 2)
        k_nope, v = kv.split([s.nope, s.v], -1)
        q_nope, q_rope = q.split([s.nope, s.rope], -1)
        k_rope = rotate(k_rope.unsqueeze(1), cos, sin).expand(n, s.heads, length, s.rope)
        q = torch.cat((q_nope, rotate(q_rope, cos, sin)), -1)
        k = torch.cat((k_nope, k_rope), -1)
        out = attend(q, k, v, s.head**-0.5)
        return self.o_proj(out.transpose(1, 2).reshape(n, length, s.heads * s.v))


class Mlp(nn.Module):
    def __init__(self, s, width, std, out_std):
        super().__init__()
        self.gate_proj = Matrix(s.hidden, width, std)
        self.up_proj = Matrix(s.hidden, width, std)
        self.down_proj = Matrix(width, s.hidden, out_std)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Router(nn.Module):
    """Sigmoid scores; a bias steers the choice only, and is moved by load instead of a loss."""

    def __init__(self, s, std):
        super().__init__()
        self.s = s
        self.weight = nn.Parameter(torch.empty(s.experts, s.hidden).normal_(0, std))
        self.register_buffer("e_score_correction_bias", torch.zeros(s.experts))
        self.register_buffer("load", torch.zeros(s.experts), persistent=False)

    def forward(self, x, real):
        """Weights [tokens, experts], zero for experts that were not chosen. `real`: 1 for tokens, 0 for padding."""
        with torch.autocast(x.device.type, enabled=False):
            score = F.linear(x.float(), self.weight.float()).sigmoid()
            chosen = (score.detach() + self.e_score_correction_bias).topk(self.s.per_token, -1).indices
            mask = torch.zeros_like(score).scatter_(-1, chosen, 1.0)
            if self.training:
                self.load += (mask * real[:, None]).sum(0)
            weight = score * mask
            return weight / (weight.sum(-1, keepdim=True) + 1e-20) * self.s.scale

    @torch.no_grad()
    def balance(self, step):
        """Moves the bias towards equal loads; gives the largest load as a multiple of the mean."""
        mean = self.load.mean().clamp(min=1e-9)
        self.e_score_correction_bias += step * torch.sign(mean - self.load)
        self.e_score_correction_bias -= self.e_score_correction_bias.mean()
        worst = self.load.max() / mean
        self.load.zero_()
        return worst


class Moe(nn.Module):
    def __init__(self, s, std, out_std):
        super().__init__()
        self.s = s
        self.gate = Router(s, std)
        self.experts = Mlp(s, s.experts * s.expert, std, out_std)
        self.shared_experts = Mlp(s, s.shared * s.expert, std, out_std)

    def forward(self, x, real):
        s = self.s
        flat = x.reshape(-1, s.hidden)
        weight = self.gate(flat, real.reshape(-1))
        inner = F.silu(self.experts.gate_proj(flat)) * self.experts.up_proj(flat)
        inner = (inner.view(-1, s.experts, s.expert) * weight.to(inner.dtype)[:, :, None]).view(-1, s.experts * s.expert)
        return (self.experts.down_proj(inner) + self.shared_experts(flat)).view_as(x)


class Layer(nn.Module):
    def __init__(self, s, index, std, out_std, dropout):
        super().__init__()
        self.input_layernorm = Norm(s.hidden, s.eps)
        self.self_attn = Attention(s, std, out_std)
        self.post_attention_layernorm = Norm(s.hidden, s.eps)
        self.moe = s.is_moe(index)
        self.mlp = Moe(s, std, out_std) if self.moe else Mlp(s, s.dense, std, out_std)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x, real, cos, sin):
        x = x + self.dropout(self.self_attn(self.input_layernorm(x), cos, sin))
        y = self.post_attention_layernorm(x)
        return x + self.dropout(self.mlp(y, real) if self.moe else self.mlp(y))


class Model(nn.Module):
    def __init__(self, s, dropout=0.0, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.s = s
        std = 0.02 * math.sqrt(1024 / s.hidden) if s.hidden < 1024 else 0.02
        out_std = std / math.sqrt(2 * s.layers)
        self.embed_tokens = nn.Embedding(s.vocab, s.hidden)
        nn.init.normal_(self.embed_tokens.weight, 0, 0.02)
        self.layers = nn.ModuleList(Layer(s, i, std, out_std, dropout) for i in range(s.layers))
        self.norm = Norm(s.hidden, s.eps)
        self.dropout = nn.Dropout(dropout)
        self.tables = None

    def rope(self, length, device):
        if self.tables is None or self.tables[0].shape[0] < length or self.tables[0].device != device:
            self.tables = rope_tables(self.s, max(length, 1024), device)
        return self.tables[0][:length], self.tables[1][:length]

    def forward(self, ids, real=None):
        """Logits [batch, length, vocab] of ids [batch, length]."""
        real = torch.ones_like(ids, dtype=torch.float32) if real is None else real.float()
        cos, sin = self.rope(ids.shape[1], ids.device)
        x = self.dropout(self.embed_tokens(ids))
        for layer in self.layers:
            x = layer(x, real, cos, sin)
        return F.linear(self.norm(x), self.embed_tokens.weight)

    def routers(self):
        return [layer.mlp.gate for layer in self.layers if layer.moe]


def tensors(model):
    """The checkpoint's tensors by name, as views of the parameters."""
    s, out = model.s, {}
    for name, value in model.state_dict().items():
        name = "model." + name
        if ".mlp.experts." not in name:
            out[name] = value
            continue
        before, part = name.split(".mlp.experts.")
        for e in range(s.experts):
            cut = slice(e * s.expert, (e + 1) * s.expert)
            out[f"{before}.mlp.experts.{e}.{part}"] = value[:, cut] if part.startswith("down") else value[cut]
    return out


def load_tensors(model, given):
    """The inverse of tensors(): fills the model's parameters from a checkpoint's float32 values."""
    with torch.no_grad():
        for name, view in tensors(model).items():
            view.copy_(given[name].to(view.dtype))
