"""Training speed of OLMo 2 models in PyTorch: the peer of the `cuda_train` benchmark, same arguments, same JSON lines.

    python gpu_train.py --device cuda:0 --size 190M,1B --sequence 4096 --micro-batch 2 --sequences 16 --compile no

SDPA attention, bfloat16 autocast over 32-bit parameters, fused AdamW, clipping at 1, z-loss 1e-5. `--compile yes` wraps
the model in `torch.compile`. FLOPs per token are counted as `cuda_train` counts them. Runs on a CPU too:
`--device cpu --size nano --sequence 256 --precision f32`.
"""

import argparse
import contextlib
import json
import statistics
import time

import torch
import torch.nn.functional as F
from torch import nn

# layers, width, heads, key/value heads, feed-forward width, vocabulary
SIZES = {
    "pico": (2, 64, 2, 2, 192, 512),
    "nano": (4, 128, 4, 4, 512, 4096),
    "micro": (6, 256, 8, 8, 1024, 4096),
    "190M": (12, 768, 12, 12, 3072, 100_352),
    "370M": (16, 1024, 16, 16, 4096, 100_352),
    "1B": (16, 2048, 16, 16, 8192, 100_352),
    "7B": (32, 4096, 32, 32, 11_008, 100_352),
}


class Norm(nn.Module):
    """RMSNorm in 32 bits."""

    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return F.rms_norm(x.float(), (x.shape[-1],), self.weight, 1e-6).to(x.dtype)


def rotate(x, cos, sin):
    """Rotary positions on halves, `x` of `[B, H, T, D]`."""
    first, second = x.float().chunk(2, -1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), -1).to(x.dtype)


class Block(nn.Module):
    """`h = x + norm(attention(x))`, `y = h + norm(feed_forward(h))`."""

    def __init__(self, d, heads, kv_heads, ff):
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = heads, kv_heads, d // heads
        kv = kv_heads * self.head_dim
        self.q, self.k, self.v, self.o = (nn.Linear(d, n, bias=False) for n in (d, kv, kv, d))
        self.q_norm, self.k_norm = Norm(d), Norm(kv)
        self.gate, self.up, self.down = nn.Linear(d, ff, bias=False), nn.Linear(d, ff, bias=False), nn.Linear(ff, d, bias=False)
        self.attention_norm, self.ff_norm = Norm(d), Norm(d)

    def forward(self, x, cos, sin):
        b, t, d = x.shape
        split = lambda y, heads: y.view(b, t, heads, self.head_dim).transpose(1, 2)
        q = rotate(split(self.q_norm(self.q(x)), self.heads), cos, sin)
        k = rotate(split(self.k_norm(self.k(x)), self.kv_heads), cos, sin)
        v = split(self.v(x), self.kv_heads)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=self.heads != self.kv_heads)
        x = x + self.attention_norm(self.o(y.transpose(1, 2).reshape(b, t, d)))
        return x + self.ff_norm(self.down(F.silu(self.gate(x)) * self.up(x)))


class Model(nn.Module):
    """Gives the sums of negative log-likelihoods and of squared log-partition functions."""

    def __init__(self, layers, d, heads, kv_heads, ff, vocab, length):
        super().__init__()
        self.embedding = nn.Embedding(vocab, d)
        self.blocks = nn.ModuleList(Block(d, heads, kv_heads, ff) for _ in range(layers))
        self.norm, self.head = Norm(d), nn.Linear(d, vocab, bias=False)
        half = d // heads // 2
        angle = torch.outer(torch.arange(length).float(), 500_000.0 ** (-torch.arange(half).float() / half))
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)
        for p in self.parameters():
            if p.dim() == 2:
                nn.init.trunc_normal_(p, std=0.02, a=-0.06, b=0.06)

    def forward(self, ids, targets):
        x = self.embedding(ids)
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        for block in self.blocks:
            x = block(x, self.cos, self.sin)
        logits = self.head(self.norm(x)).float().flatten(0, 1)
        targets = targets.flatten()
        lse = logits.logsumexp(-1)
        counts = targets >= 0
        nll = lse - logits.gather(1, targets.clamp(min=0)[:, None])[:, 0]
        return (nll * counts).sum(), (lse.square() * counts).sum()


def measure(args, size):
    """Trains `size` and gives the numbers of one JSON line."""
    torch.manual_seed(0)
    layers, d, heads, kv_heads, ff, vocab = SIZES[size]
    model = Model(*SIZES[size], args.sequence).to(args.device)
    n_parameters = sum(p.numel() for p in model.parameters())
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4, (0.9, 0.95), 1e-8, 0.1, fused=True)
    run = torch.compile(model) if args.compile == "yes" else model
    kind = args.device.split(":")[0]
    on_gpu = kind == "cuda"
    cast = torch.autocast(kind, torch.bfloat16) if args.precision == "bf16" else contextlib.nullcontext()
    n = args.sequence * args.sequences
    generator = torch.Generator().manual_seed(0)
    times, losses = [], []
    for _ in range(args.warmup + args.steps):
        ids = torch.randint(vocab, (args.sequences, args.sequence), generator=generator).to(args.device)
        targets = F.pad(ids[:, 1:], (0, 1), value=-1)
        divisor = args.sequences * (args.sequence - 1)
        if on_gpu:
            torch.cuda.synchronize()
        start = time.perf_counter()
        total = torch.zeros((), device=args.device)
        for piece, wanted in zip(ids.split(args.micro_batch), targets.split(args.micro_batch)):
            with cast:
                nll, squares = run(piece, wanted)
            ((nll + 1e-5 * squares) / divisor).backward()
            total += nll.detach() / divisor
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(total.item())
        if on_gpu:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    median = statistics.median(times[args.warmup :])
    matrices = layers * (2 * d * d + 2 * d * d * kv_heads // heads + 3 * d * ff) + vocab * d
    flops = 6 * matrices + 12 * layers * d * args.sequence
    return {
        "framework": "torch",
        "device": torch.cuda.get_device_name() if on_gpu else kind,
        "size": size,
        "parameters": n_parameters,
        "sequence": args.sequence,
        "micro_batch": args.micro_batch,
        "sequences": args.sequences,
        "precision": args.precision,
        "kernels": "compiled" if args.compile == "yes" else "eager",
        "steps": args.steps,
        "first_step_s": times[0],
        "step_ms": median * 1e3,
        "best_step_ms": min(times[args.warmup :]) * 1e3,
        "tokens_per_s": n / median,
        "flops_per_token": flops,
        "mfu": n / median * flops / args.peak_flops,
        "peak_memory_bytes": torch.cuda.max_memory_reserved() if on_gpu else 0,
        "first_loss": losses[0],
        "last_loss": losses[-1],
    }


def main():
    """Reads the arguments and prints one line per size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--size", default="190M,1B")
    parser.add_argument("--sequence", type=int, default=4096)
    parser.add_argument("--micro-batch", type=int, default=2)
    parser.add_argument("--sequences", type=int, default=16)
    parser.add_argument("--precision", choices=("bf16", "f32"), default="bf16")
    parser.add_argument("--compile", choices=("yes", "no"), default="no")
    parser.add_argument("--warmup", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--peak-flops", type=float, default=989.5e12)
    args = parser.parse_args()
    torch.set_float32_matmul_precision("high")
    for size in args.size.split(","):
        print(json.dumps(measure(args, size)), flush=True)


if __name__ == "__main__":
    main()
