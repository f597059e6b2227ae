"""Saves small random models of every family in many spellings, each with what transformers computes for them.

Usage: make.py DIR. For each spelling NAME there are DIR/NAME (the checkpoint) and DIR/NAME.safetensors (input_ids, logits).
"""

import json
import pathlib
import sys

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

ROOT = pathlib.Path(sys.argv[1])
COMMON = dict(
    vocab_size=256, hidden_size=64, intermediate_size=96, num_hidden_layers=4, num_attention_heads=4,
    max_position_embeddings=128, pad_token_id=1, eos_token_id=0, rms_norm_eps=1e-6, attn_implementation="eager",
)
ROPE = {"rope_type": "default", "rope_theta": 500000.0}
EXPERTS = dict(intermediate_size=32, num_experts=8, num_experts_per_tok=2)


def build(family, **options):
    torch.manual_seed(0)
    options = {**COMMON, **options}
    if family == "olmo":
        options.pop("rms_norm_eps")
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **options)).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" in name:
                weight.copy_(1 + 0.3 * torch.randn_like(weight))
            elif weight.dim() >= 2:
                weight.mul_(4)
    return model


def expect(name, model):
    ids = torch.randint(2, 256, (2, 100), generator=torch.Generator().manual_seed(7))
    with torch.no_grad():
        logits = model(ids).logits.contiguous()
    save_file({"input_ids": ids, "logits": logits}, str(ROOT / f"{name}.safetensors"))


def load(folder):
    """In 32 bits from the start: casting a loaded model would keep its rounded rotary frequencies."""
    return AutoModelForCausalLM.from_pretrained(str(folder), attn_implementation="eager", dtype=torch.float32).eval()


def save(name, model, **options):
    model.save_pretrained(str(ROOT / name), **options)
    expect(name, model if model.dtype == torch.float32 else load(ROOT / name))


def edit(name, model, change, **options):
    """Saves, changes config.json, and lets transformers say what the changed folder means."""
    folder = ROOT / name
    model.save_pretrained(str(folder), **options)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))
    expect(name, load(folder))


def legacy(**fields):
    def change(config):
        config.pop("rope_parameters")
        config["torch_dtype"] = config.pop("dtype")
        config.update(fields)

    return change


def without(*names):
    def change(config):
        for name in names:
            config.pop(name, None)

    return change


GVA = dict(
    linear_num_key_heads=2, linear_num_value_heads=4, linear_key_head_dim=12, linear_value_head_dim=24,
    linear_allow_neg_eigval=False,
)

for family, extra in {
    "olmo": {}, "olmo2": {"rope_parameters": ROPE}, "olmo3": {"sliding_window": 16}, "olmo_hybrid": {},
    "olmoe": EXPERTS, "flex_olmo": EXPERTS,
}.items():
    model = build(family, **extra)
    save(f"{family}_original", model, save_original_format=True)
    save(f"{family}_plain", model, save_original_format=False)
    save(f"{family}_shards", model, max_shard_size="100KB")
    save(f"{family}_bf16", model.to(torch.bfloat16), max_shard_size="100KB")

save("olmo_clip", build("olmo", clip_qkv=0.5))
save("olmo_tied", build("olmo", tie_word_embeddings=True))
tied = build("olmo2", tie_word_embeddings=True, rope_parameters=ROPE)
tied.model.save_pretrained(str(ROOT / "olmo2_bare"))
expect("olmo2_bare", tied)
save("olmo2_f16", build("olmo2", rope_parameters=ROPE).to(torch.float16))
save("olmo2_head_dim", build("olmo2", head_dim=24, num_key_value_heads=2))
save("olmo2_one_kv_head", build("olmo2", num_key_value_heads=1))
save("olmo2_null_eos", build("olmo2", eos_token_id=None, pad_token_id=None))
save("olmo2_list_eos", build("olmo2", eos_token_id=[5, 6]))
edit("olmo2_defaults", build("olmo2"), without("rms_norm_eps", "num_key_value_heads", "rope_parameters", "eos_token_id"))
edit("olmo2_legacy", build("olmo2"), legacy(rope_theta=3000.0))
edit("olmo2_legacy_linear", build("olmo2"), legacy(rope_theta=3000.0, rope_scaling={"type": "linear", "factor": 4.0}))
edit("olmoe_legacy", build("olmoe", **EXPERTS), legacy(rope_theta=10000.0, rope_scaling=None))
edit("olmo3_legacy", build("olmo3", sliding_window=16), legacy(
    rope_theta=3000.0,
    rope_scaling={"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 32, "beta_fast": 32, "beta_slow": 1,
                  "attention_factor": 1.2079441541679836}))
edit("olmo3_default_layers", build("olmo3", sliding_window=16), without("layer_types"))
save("olmo3_odd_layers", build(
    "olmo3", sliding_window=16, num_key_value_heads=2,
    layer_types=["full_attention", "sliding_attention", "full_attention", "sliding_attention"]))
save("olmo3_all_full", build("olmo3", sliding_window=16, layer_types=["full_attention"] * 4))
save("olmoe_norm_clip", build("olmoe", norm_topk_prob=True, clip_qkv=1.0, **EXPERTS))
save("flex_olmo_norm", build("flex_olmo", norm_topk_prob=True, num_key_value_heads=2, **EXPERTS))
save("olmo_hybrid_gva", build("olmo_hybrid", **GVA), save_original_format=True)
save("olmo_hybrid_gva_plain", build("olmo_hybrid", **GVA), save_original_format=False)
save("olmo_hybrid_rope", build("olmo_hybrid", rope_parameters=ROPE, num_key_value_heads=2))
save("olmo_hybrid_nope", build("olmo_hybrid", rope_parameters={"rope_type": "default", "rope_theta": None}))
edit("olmo_hybrid_legacy_nope", build("olmo_hybrid"), legacy(rope_theta=None))
save("olmo_hybrid_odd_layers", build(
    "olmo_hybrid", layer_types=["full_attention", "linear_attention", "linear_attention", "full_attention"]))
edit("olmo_hybrid_short", build("olmo_hybrid", num_hidden_layers=3), without(
    "layer_types", "linear_num_key_heads", "linear_num_value_heads", "linear_key_head_dim", "linear_value_head_dim"))
edit("olmo_hybrid_two_key_heads", build("olmo_hybrid", linear_num_key_heads=2), without(
    "linear_num_value_heads", "linear_key_head_dim", "linear_value_head_dim"))

# As the converter of OLMo-core writes it: convolutions apart in their own lengths, the output projection and norm by other names.
save("olmo_hybrid_core", build("olmo_hybrid", **GVA), save_original_format=False)
path = ROOT / "olmo_hybrid_core" / "model.safetensors"
tensors = {}
for name, tensor in load_file(str(path)).items():
    if name.endswith("linear_attn.conv1d.weight"):
        for part, rows in zip("qkv", tensor.split([24, 24, 96])):
            tensors[name.replace("conv1d", f"{part}_conv1d")] = rows.contiguous()
    else:
        name = name.replace("linear_attn.o_proj", "linear_attn.out_proj").replace("linear_attn.o_norm", "linear_attn.norm")
        tensors[name] = tensor
save_file(tensors, str(path), metadata={"format": "pt"})
