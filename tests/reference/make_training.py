"""Makes the reference values of training, from the models that `make_fixtures.py` wrote: the losses, gradient norms and
first optimizer step of question fine-tuning, DPO and regression, as PyTorch computes them. See README.md beside
this file.

    python make_training.py [DIRECTORY]
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

# Not the padding token, whose embedding PyTorch gives no gradient.
PREFIX = [257, 117, 30]
QUESTIONS = [[5, 17, 200, 43, 99, 258], [77, 12, 180, 44, 44, 230, 6, 150, 258], [3, 1, 4, 1, 5, 9, 2, 258]]
PAIRS = [(0, 1), (2, 0)]
BETA = 0.1
TARGETS = [0.25, -1.5, 0.75]
ADAMW = {"lr": 1e-3, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.01}
LARGEST_NORM = 1.0


def log_probability(model, question):
    """Of the question's tokens after the prefix, its end included."""
    ids = torch.tensor([PREFIX + question])
    logits = model(input_ids=ids).logits[0].log_softmax(-1)
    return sum(logits[i - 1, ids[0, i]] for i in range(len(PREFIX), ids.shape[1]))


def norms(model):
    return {name: parameter.grad.norm().item() for name, parameter in sorted(model.named_parameters())}


def question_modelling(directory):
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    loss = -sum(log_probability(model, q) for q in QUESTIONS) / sum(len(q) for q in QUESTIONS)
    loss.backward()
    facts = {"loss": loss.item(), "gradient_norms": norms(model)}
    facts["global_norm"] = torch.nn.utils.clip_grad_norm_(model.parameters(), LARGEST_NORM).item()
    optimizer = torch.optim.AdamW(model.parameters(), lr=ADAMW["lr"], betas=tuple(ADAMW["betas"]),
                                  eps=ADAMW["eps"], weight_decay=ADAMW["weight_decay"])
    optimizer.step()
    after = {f"after.{name}": parameter.detach().clone() for name, parameter in sorted(model.named_parameters())}
    return facts, after


def preference(directory, after):
    """The reference is the model itself; the policy is the model after the step above."""
    reference = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    policy = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    with torch.no_grad():
        kept = [log_probability(reference, q) for q in QUESTIONS]
        for name, parameter in policy.named_parameters():
            parameter.copy_(after[f"after.{name}"])
    gains = [log_probability(policy, q) - k for q, k in zip(QUESTIONS, kept)]
    margins = torch.stack([BETA * (gains[chosen] - gains[rejected]) for chosen, rejected in PAIRS])
    loss = -torch.nn.functional.logsigmoid(margins).mean()
    loss.backward()
    return {
        "beta": BETA,
        "pairs": PAIRS,
        "reference": [k.item() for k in kept],
        "loss": loss.item(),
        "margin": margins.mean().item(),
        "gradient_norms": norms(policy),
    }


def regression(directory):
    model = AutoModelForSequenceClassification.from_pretrained(directory, dtype=torch.float32).eval()
    predicted = torch.stack([model(input_ids=torch.tensor([PREFIX + q])).logits[0, 0] for q in QUESTIONS])
    loss = torch.nn.functional.mse_loss(predicted, torch.tensor(TARGETS))
    loss.backward()
    return {"targets": TARGETS, "predicted": predicted.tolist(), "loss": loss.item(), "gradient_norms": norms(model)}


def main():
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent / "fixtures")
    common = {"prefix": PREFIX, "questions": QUESTIONS}
    for name in ["qwen2_tied", "llama_untied"]:
        directory = root / name
        facts, after = question_modelling(directory)
        save_file(after, directory / "trained.safetensors")
        facts = common | {"adamw": ADAMW, "question_modelling": facts, "preference": preference(directory, after)}
        (directory / "training.json").write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n")
        print(name, facts["question_modelling"]["loss"], facts["preference"]["loss"])
    facts = common | {"regression": regression(root / "qwen2_scalar")}
    (root / "qwen2_scalar" / "training.json").write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n")
    print("qwen2_scalar", facts["regression"]["loss"])


main()
