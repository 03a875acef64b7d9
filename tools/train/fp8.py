"""FP8: blocks of 128 x 128 values with one float32 scale each, as DeepSeek's checkpoints store matrices."""
import torch

BLOCK = 128
LARGEST = 448.0  # of e4m3


def round_e4m3(x):
    """The nearest e4m3 value, ties to even; |x| at most 448."""
    exponent = torch.floor(torch.log2(x.abs().clamp(min=2.0**-9))).clamp(min=-6.0)
    # log2 may be off by one at powers of two: one step up where the mantissa left [1, 2).
    exponent = torch.where(x.abs() >= torch.exp2(exponent + 1), exponent + 1, exponent)
    exponent = torch.where((x.abs() < torch.exp2(exponent)) & (exponent > -6), exponent - 1, exponent)
    step = torch.exp2(exponent - 3)
    return torch.round(x / step) * step


def pad_to_blocks(w):
    rows, cols = w.shape
    return torch.nn.functional.pad(w, (0, -cols % BLOCK, 0, -rows % BLOCK))


def scales(w):
    """One scale a block, float32 [blocks of rows, blocks of columns]."""
    p = pad_to_blocks(w.float())
    grid = p.view(p.shape[0] // BLOCK, BLOCK, p.shape[1] // BLOCK, BLOCK)
    return grid.abs().amax(dim=(1, 3)).clamp(min=1e-4) / LARGEST


def spread(scale, rows, cols):
    return scale.repeat_interleave(BLOCK, 0)[:rows].repeat_interleave(BLOCK, 1)[:, :cols]


def quantise(w):
    """(e4m3 values as float32, scales): the matrix is the product of the two, block by block."""
    w = w.float()
    scale = scales(w)
    return round_e4m3((w / spread(scale, *w.shape)).clamp(-LARGEST, LARGEST)), scale


def rounded(w):
    """What a stored matrix stands for, in float32."""
    q, scale = quantise(w)
    return q * spread(scale, *w.shape)


class Straight(torch.autograd.Function):
    """Rounding to FP8 blocks whose gradient is that of the identity."""

    @staticmethod
    def forward(ctx, w):
        return rounded(w).to(w.dtype)

    @staticmethod
    def backward(ctx, grad):
        return grad


def to_bytes(q):
    """e4m3 values (float32) as their bytes, uint8."""
    magnitude = q.abs()
    exponent = torch.floor(torch.log2(magnitude.clamp(min=2.0**-9))).clamp(min=-6.0)
    normal = magnitude >= 2.0**-6
    mantissa = torch.where(normal, (magnitude / torch.exp2(exponent) - 1) * 8, magnitude * 2.0**9)
    bits = torch.where(normal, (exponent + 7) * 8 + mantissa, mantissa)
    sign = torch.signbit(q).to(torch.uint8) << 7
    return bits.round().to(torch.uint8) | sign


def from_bytes(b):
    """The values of e4m3 bytes, float32."""
    b = b.to(torch.int32)
    exponent, mantissa = (b >> 3) & 15, (b & 7).float()
    magnitude = torch.where(exponent == 0, mantissa * 2.0**-9,
                            (1 + mantissa / 8) * torch.exp2(exponent.float() - 7))
    return torch.where(b >= 128, -magnitude, magnitude)
