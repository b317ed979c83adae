"""Checks that transformers loads models that the worker saved, with equal logits.

    cargo run --release -p scalequest-engine --example resave_model -- MODEL OUT
    python check_saved.py OUT [TOLERANCE]

The example writes OUT in the Hugging Face layout, and beside it `probe.safetensors`: the tokens that it fed
and the logits (or scores) that it computed.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer


def main():
    directory = Path(sys.argv[1])
    tolerance = float(sys.argv[2]) if len(sys.argv) > 2 else 1e-4
    kind = json.loads((directory / "config.json").read_text())["architectures"][0]
    auto = AutoModelForSequenceClassification if "Classification" in kind else AutoModelForCausalLM
    model, report = auto.from_pretrained(directory, dtype=torch.float32, output_loading_info=True)
    wrong = {key: sorted(value) for key, value in report.items() if value}
    assert not wrong, f"keys that do not fit: {wrong}"
    probe = load_file(directory / "probe.safetensors")
    with torch.no_grad():
        logits = model.eval()(input_ids=probe["ids"].long().unsqueeze(0)).logits[0]
    difference = (logits - probe["logits"]).abs().max().item()
    tokenizer = AutoTokenizer.from_pretrained(directory)
    rendered = tokenizer.apply_chat_template([{"role": "user", "content": "Why?"}], tokenize=False)
    print(f"{directory}: {kind}, largest difference {difference:.2e} of {logits.abs().max().item():.1f}; "
          f"chat template {rendered!r}")
    assert difference <= tolerance, f"logits differ by {difference}, more than {tolerance}"


main()
