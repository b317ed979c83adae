"""Writes `greedy.json`: the first greedy tokens of a real model, saved by the worker from its GGUF file with dequantised
weights, as transformers generates them.

    cargo run --release -p scalequest-engine --example resave_model -- models/FILE.gguf OUT
    python make_greedy.py FILE.gguf OUT [FILE.gguf OUT ...]
"""

import json
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

QUESTION = "A baker makes 12 trays of 8 rolls and sells 75 of them. How many rolls are left?"


def greedy(directory):
    tokenizer = AutoTokenizer.from_pretrained(directory)
    text = tokenizer.apply_chat_template([{"role": "user", "content": QUESTION}], tokenize=False, add_generation_prompt=True)
    prompt = tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    with torch.no_grad():
        tokens = model.generate(prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=32, use_cache=True)
    return {"prompt": prompt[0].tolist(), "tokens": tokens[0, prompt.shape[1]:].tolist()}


def main():
    found = {"question": QUESTION}
    for name, directory in zip(sys.argv[1::2], sys.argv[2::2]):
        found[name] = greedy(directory)
    path = Path(__file__).parent / "greedy.json"
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in found.items())
    path.write_text("{\n" + lines + "\n}\n")


main()
