"""Loads exported checkpoints with transformers and compares them with what transformers computed for their origin.

Usage: check.py DIR FIXTURES. DIR/FAMILY-VARIANT is an export of FIXTURES/FAMILY; VARIANT begins with its precision.
"""

import logging
import pathlib
import sys
import warnings

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

ROOT, FIXTURES = map(pathlib.Path, sys.argv[1:])
said = []


class Listener(logging.Handler):
    def emit(self, record):
        said.append(record.getMessage())


transformers_logging.set_verbosity_warning()
logging.getLogger("transformers").addHandler(Listener(logging.WARNING))
# Nothing to do with the checkpoint: what this machine lacks.
HARMLESS = ["fast path is not available", "flash-linear-attention", "causal-conv1d", "causal_conv1d"]


def load(folder):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        said.clear()
        model, info = AutoModelForCausalLM.from_pretrained(
            str(folder), output_loading_info=True, attn_implementation="eager", dtype="auto"
        )
    complaints = said + [str(w.message) for w in caught if "transformers" in (w.filename or "")]
    return model.eval(), info, [text for text in complaints if not any(part in text for part in HARMLESS)]


failures = []
for folder in sorted(path for path in ROOT.iterdir() if path.is_dir()):
    family, variant = folder.name.split("-", 1)
    expected = load_file(str(FIXTURES / family / "expected.safetensors"))
    model, info, complaints = load(folder)

    def check(what, fine):
        if not fine:
            failures.append(f"{folder.name}: {what}")

    for name, found in info.items():
        check(f"{name} {found}", not found)
    check(f"complaints {complaints}", not complaints)
    if variant.startswith("f32"):
        with torch.no_grad():
            logits = model(expected["input_ids"]).logits
        check(f"logits {(logits - expected['logits']).abs().max()}", (logits - expected["logits"]).abs().max() <= 1e-5)
        out = model.generate(expected["greedy_prompt"], max_new_tokens=48, do_sample=False)
        found = out[0, expected["greedy_prompt"].shape[1] :]
        check("greedy tokens", len(found) > 0 and torch.equal(found, expected["greedy_tokens"][: len(found)]))
    else:
        dtype = {"bf16": torch.bfloat16, "f16": torch.float16}[variant.split("-")[0]]
        origin, _, _ = load(FIXTURES / family)
        theirs = dict(origin.named_parameters())
        for name, ours in model.named_parameters():
            # transformers keeps decay rates in 32 bits whatever the rest has.
            kept = torch.float32 if name.endswith("A_log") else dtype
            check(f"{name} has type {ours.dtype}", ours.dtype == kept)
            check(f"{name} differs", torch.equal(ours, theirs[name].to(kept)))

print("\n".join(failures))
sys.exit(bool(failures))
