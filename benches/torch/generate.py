"""Greedy decoding speed of small models with PyTorch and transformers: a plain loop with a cache, eager.

`python benches/torch/generate.py [WIDTH LAYERS HEADS FFN VOCAB PROMPT NEW] [--only FAMILY/THREADS/BATCH]`; one line of JSON
per family, batch and number of threads. `benches/src/bin/generate.rs` measures the same models.
GLIBC_TUNABLES=glibc.malloc.hugetlb=1 gives it huge pages, which the other has.
"""

import json
import sys
import time

import torch
from transformers import Olmo2Config, Olmo2ForCausalLM, OlmoeConfig, OlmoeForCausalLM

try:
    from transformers import OlmoHybridConfig, OlmoHybridForCausalLM
except ImportError:
    OlmoHybridConfig = None

REPEATS = 3


def models(d, layers, heads, ffn, vocab):
    common = dict(
        vocab_size=vocab, hidden_size=d, num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=heads,
        max_position_embeddings=4096, tie_word_embeddings=False, pad_token_id=1, eos_token_id=0, bos_token_id=None,
    )
    yield "olmo2", lambda: Olmo2ForCausalLM(Olmo2Config(intermediate_size=ffn, rms_norm_eps=1e-6, **common))
    if OlmoHybridConfig is not None:
        key = d // heads * 3 // 4
        kinds = ["full_attention" if i % 4 == 3 else "linear_attention" for i in range(layers)]
        yield "olmo_hybrid", lambda: OlmoHybridForCausalLM(OlmoHybridConfig(
            intermediate_size=ffn, rms_norm_eps=1e-6, layer_types=kinds, linear_num_key_heads=heads,
            linear_num_value_heads=heads, linear_key_head_dim=key, linear_value_head_dim=2 * key,
            linear_conv_kernel_dim=4, linear_allow_neg_eigval=True, **common))
    yield "olmoe", lambda: OlmoeForCausalLM(OlmoeConfig(
        intermediate_size=ffn // 2, num_experts=8, num_experts_per_tok=2, rms_norm_eps=1e-5, **common))


@torch.inference_mode()
def run(model, prompt, new):
    """Seconds for the prompt and for `new` tokens after its first one, and the processor time of the latter."""
    start = time.perf_counter()
    out = model(prompt, use_cache=True, logits_to_keep=1)
    token = out.logits[:, -1].argmax(-1, keepdim=True)
    first, cpu = time.perf_counter(), time.process_time()
    for _ in range(new):
        out = model(token, past_key_values=out.past_key_values, use_cache=True)
        token = out.logits[:, -1].argmax(-1, keepdim=True)
    return first - start, time.perf_counter() - first, time.process_time() - cpu


def main():
    defaults = [256, 4, 4, 1024, 8192, 64, 256]
    arguments, only = sys.argv[1:], None
    if "--only" in arguments:
        at = arguments.index("--only")
        arguments, only = arguments[:at], arguments[at + 1]
    given = [int(a) for a in arguments]
    d, layers, heads, ffn, vocab, length, new = given + defaults[len(given):]
    torch.manual_seed(0)
    for family, build in models(d, layers, heads, ffn, vocab):
        cases = [case for case in ((1, 1), (1, 16), (2, 1), (2, 16)) if only in (None, f"{family}/{case[0]}/{case[1]}")]
        if not cases:
            continue
        model = build().eval()
        for threads, batch in cases:
            torch.set_num_threads(threads)
            prompt = torch.randint(2, vocab, (batch, length))
            run(model, prompt, 8)
            times = [run(model, prompt, new) for _ in range(REPEATS)]
            prefill, decode, cpu = (min(column) for column in zip(*times))
            print(json.dumps({
                "program": f"torch {torch.__version__}", "family": family, "threads": threads, "batch": batch, "prompt": length,
                "new": new, "parameters": sum(p.numel() for p in model.parameters()),
                "prompt_tokens_per_s": round(batch * length / prefill), "tokens_per_s": round(batch * new / decode),
                "tokens_per_cpu_s": round(batch * new / cpu),
            }), flush=True)


if __name__ == "__main__":
    main()
