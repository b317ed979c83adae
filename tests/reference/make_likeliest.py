"""Writes `likeliest.json`: at every place of twenty short texts, the token that transformers finds likeliest on the dequantised weights of a
real GGUF file, its logit, and by how much it is ahead of the next one. Both read the same file: transformers dequantises with the
library gguf.

    python make_likeliest.py MODEL.gguf
"""

import json
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

TEXTS = [
    "Write a function that returns the largest of three numbers.",
    "What is 17 times 24? Let's think step by step. 17 times 24 is",
    "A train travels 60 miles in 1.5 hours. How fast does it go?",
    "def fibonacci(n):\n    if n < 2:\n        return n\n    return",
    "The capital of France is Paris, and the capital of Italy is Rome.",
    "import numpy as np\n\ndef mean(values):\n    return np.mean(values)\n",
    "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May.",
    "SELECT name, age FROM users WHERE age > 30 ORDER BY name;",
    "Solve for x: 3x + 7 = 22. Subtracting 7 from both sides gives 3x = 15.",
    "Die Sonne scheint, und die Kinder spielen im Garten.",
    "for (int i = 0; i < n; i++) { sum += values[i]; }",
    "Once upon a time there was a small village at the foot of a mountain.",
    "The area of a circle with radius 5 is 25 pi, which is about 78.54.",
    "class Stack:\n    def __init__(self):\n        self.items = []\n",
    "If a shirt costs 20 dollars and is discounted by 15 percent, it costs 17 dollars.",
    "Explain why the sum of two even numbers is even.",
    "fn main() {\n    println!(\"Hello, world!\");\n}\n",
    "Un triangle rectangle a des cotes de 3 et 4; son hypotenuse mesure 5.",
    "{\"name\": \"Ada\", \"born\": 1815, \"field\": \"mathematics\"}",
    "The probability of rolling a six twice in a row is 1/36.",
]


def main():
    path = Path(sys.argv[1])
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    model, report = AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32, output_loading_info=True)
    wrong = {key: sorted(value) for key, value in report.items() if value}
    assert not wrong, f"keys that do not fit: {wrong}"
    rows = []
    for text in TEXTS:
        tokens = tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids
        with torch.no_grad():
            logits = model.eval()(input_ids=tokens).logits[0]
        best = logits.topk(2, dim=-1)
        rows.append({
            "text": text,
            "tokens": tokens[0].tolist(),
            "likeliest": best.indices[:, 0].tolist(),
            "logits": [round(x, 4) for x in best.values[:, 0].tolist()],
            "ahead": [round(x, 4) for x in (best.values[:, 0] - best.values[:, 1]).tolist()],
        })
    out = {"model": path.name, "texts": rows}
    lines = ",\n".join(json.dumps(row) for row in rows)
    (Path(__file__).parent / "likeliest.json").write_text(f'{{"model": {json.dumps(out["model"])}, "texts": [\n{lines}\n]}}\n')
    print(sum(len(row["tokens"]) for row in rows), "places")


main()
