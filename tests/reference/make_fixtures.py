"""Makes the reference values that the worker's tests compare with: tiny random models in the Hugging Face
layout, and what transformers and PyTorch compute with them. See README.md beside this file.

    python make_fixtures.py [DIRECTORY]
"""

import json
import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2ForSequenceClassification,
)

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<unused>"]
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SEQUENCES = [[5, 17, 200, 43, 99, 7, 250, 31, 31, 128, 64, 9], [77, 12, 180, 44, 44, 230, 6, 150, 2]]
ADAMW = {"lr": 1e-3, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.01}

SHAPE = dict(
    vocab_size=260,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=128,
    bos_token_id=256,
    eos_token_id=258,
    pad_token_id=256,
)

CASES = {
    "qwen2_tied": (Qwen2ForCausalLM, Qwen2Config(**SHAPE, tie_word_embeddings=True, rms_norm_eps=1e-6)),
    "llama_untied": (
        LlamaForCausalLM,
        # A head that is not hidden / heads wide, and another rotary base.
        LlamaConfig(**SHAPE, tie_word_embeddings=False, head_dim=16, rms_norm_eps=1e-5,
                    rope_parameters={"rope_type": "default", "rope_theta": 100000.0}),
    ),
    "llama3_rope": (
        LlamaForCausalLM,
        LlamaConfig(**SHAPE, tie_word_embeddings=True, rms_norm_eps=1e-5,
                    rope_parameters={"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0,
                                     "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                                     "original_max_position_embeddings": 32}),
    ),
    "qwen2_scalar": (Qwen2ForSequenceClassification, Qwen2Config(**SHAPE, num_labels=1)),
    "llama_classes": (LlamaForSequenceClassification, LlamaConfig(**SHAPE, num_labels=3)),
}
# One optimizer step is compared on these; the others keep the fixtures small.
TRAINED = {"qwen2_tied", "llama_untied"}


def randomise(model, seed):
    """Values large enough that every term of the computation shows in the result."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(1.0 + 0.1 * noise if "norm" in name else noise * (0.2 if "embed" not in name else 0.5))


def tokenizer():
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(SPECIAL)
    return tokenizer


def language_model(name, model):
    tensors, facts = {}, {}
    total, count = 0.0, 0
    for index, tokens in enumerate(SEQUENCES):
        ids = torch.tensor([tokens])
        logits = model(input_ids=ids).logits[0]
        tensors[f"logits.{index}"] = logits.detach().clone()
        total = total + torch.nn.functional.cross_entropy(logits[:-1], ids[0, 1:], reduction="sum")
        count += len(tokens) - 1
    loss = total / count
    loss.backward()
    facts["loss"] = loss.item()
    facts["gradient_norms"] = {n: p.grad.norm().item() for n, p in sorted(model.named_parameters())}
    if name in TRAINED:
        optimizer = torch.optim.AdamW(model.parameters(), lr=ADAMW["lr"], betas=tuple(ADAMW["betas"]),
                                      eps=ADAMW["eps"], weight_decay=ADAMW["weight_decay"])
        optimizer.step()
        facts["adamw"] = ADAMW
        tensors |= {f"after.{n}": p.detach().clone() for n, p in sorted(model.named_parameters())}
    return tensors, facts


def classifier(model):
    scores = [model(input_ids=torch.tensor([tokens])).logits[0].tolist() for tokens in SEQUENCES]
    return {}, {"scores": scores}


def main():
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent / "fixtures")
    for seed, (name, (kind, config)) in enumerate(CASES.items()):
        directory = root / name
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        model = kind(config).to(torch.float32).eval()
        randomise(model, seed + 1)
        model.save_pretrained(directory)
        tokenizer().save(str(directory / "tokenizer.json"))
        companion = {"eos_token": "<|im_end|>", "bos_token": "<|endoftext|>", "chat_template": CHAT_TEMPLATE}
        (directory / "tokenizer_config.json").write_text(json.dumps(companion, indent=1) + "\n")
        if "Classification" in kind.__name__:
            tensors, facts = classifier(model)
        else:
            tensors, facts = language_model(name, model)
        facts["sequences"] = SEQUENCES
        (directory / "expected.json").write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n")
        if tensors:
            save_file(tensors, directory / "expected.safetensors")
        print(name, facts.get("loss", facts.get("scores")))


main()
