"""Training speed of the same model in PyTorch, for comparison with the `train_step` binary.

usage: train_step.py WIDTH LAYERS HEADS FFN VOCAB LENGTH SEQUENCES MICRO STEPS [eager|fused|bf16|forward|forward-bf16] [olmo2|olmo_hybrid|olmoe]

A model of `transformers` (OLMoE: eight experts of half FFN, two active), AdamW, clipping to norm 1. `eager`: single precision, PyTorch's default
AdamW; `fused`: its fused AdamW; `bf16`: that under bf16 autocast; `forward`: loss only, without gradients. Set
GLIBC_TUNABLES=glibc.malloc.hugetlb=1 for huge pages and OMP_NUM_THREADS for the threads.
"""

import resource
import statistics
import sys
import time

import torch
from transformers import AutoConfig, AutoModelForCausalLM


def main() -> None:
    width, layers, heads, ffn, vocab, length, sequences, micro, steps = map(int, sys.argv[1:10])
    mode = sys.argv[10] if len(sys.argv) > 10 else "eager"
    torch.manual_seed(0)
    family = sys.argv[11] if len(sys.argv) > 11 else "olmo2"
    options = {"num_experts": 8, "num_experts_per_tok": 2, "intermediate_size": ffn // 2} if family == "olmoe" else {}
    config = AutoConfig.for_model(
        family,
        vocab_size=vocab,
        hidden_size=width,
        **({"intermediate_size": ffn} | options),
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=length,
        use_cache=False,
        tie_word_embeddings=False,
        pad_token_id=None,
    )
    model = AutoModelForCausalLM.from_config(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=mode in ("fused", "bf16"))
    autocast = torch.autocast("cpu", dtype=torch.bfloat16, enabled="bf16" in mode)
    forward_only = mode.startswith("forward")

    def loss_of(ids: torch.Tensor) -> torch.Tensor:
        with autocast:
            logits = model(ids).logits
        targets = ids[:, 1:].reshape(-1)
        return torch.nn.functional.cross_entropy(logits[:, :-1].reshape(-1, vocab).float(), targets)

    times, used = [], []
    for _ in range(steps):
        ids = torch.randint(vocab, (sequences, length))
        start, cpu = time.perf_counter(), time.process_time()
        if forward_only:
            with torch.no_grad():
                for piece in ids.split(micro):
                    loss_of(piece)
        else:
            for piece in ids.split(micro):
                (loss_of(piece) * len(piece) / sequences).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
        times.append(time.perf_counter() - start)
        used.append(time.process_time() - cpu)
    median, best = statistics.median(times[min(3, steps - 1) :]), min(times)
    rate = sequences * length / median
    per_cpu = sequences * length / statistics.mean(used[min(3, steps - 1) :])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"torch {torch.__version__} {family} {mode}, {torch.get_num_threads()} threads: {median * 1e3:.1f} ms per step "
        f"(best {best * 1e3:.1f}), {rate:.0f} tokens/s, {per_cpu:.0f} per second of processor time, peak {peak:.0f} MB"
    )


if __name__ == "__main__":
    main()
