"""Makes the reference values that the worker's tests compare with: tiny random models in the Hugging Face
layout, and what transformers and PyTorch compute with them. See README.md beside this file.

    python make_fixtures.py [DIRECTORY [CASE...]]

Without cases all are made. A case's numbers follow from its place in the table, so new ones come last.
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
    MistralConfig,
    MistralForCausalLM,
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

# The token at which InternLM2's reward models are read: `<unused>`.
REWARD_TOKEN = 259

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
    # A window that most places of both sequences feel.
    "mistral_window": (MistralForCausalLM, MistralConfig(**SHAPE, tie_word_embeddings=False, sliding_window=5)),
    # One layer that sees everything and one with a window.
    "qwen2_window": (
        Qwen2ForCausalLM,
        Qwen2Config(**SHAPE, tie_word_embeddings=True, use_sliding_window=True, sliding_window=4, max_window_layers=1),
    ),
    "llama_linear": (
        LlamaForCausalLM,
        LlamaConfig(**SHAPE, tie_word_embeddings=True,
                    rope_parameters={"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}),
    ),
    # transformers has no InternLM2. It computes what Llama computes with biases on all of attention's projections, so Llama's
    # numbers are the reference and only names and the fused tensor are InternLM2's: see `as_internlm2`.
    "internlm2": (
        LlamaForCausalLM,
        LlamaConfig(**SHAPE, tie_word_embeddings=False, attention_bias=True, rms_norm_eps=1e-5,
                    rope_parameters={"rope_type": "dynamic", "rope_theta": 1000000.0, "factor": 2.0}),
    ),
    "internlm2_reward": (
        LlamaForSequenceClassification,
        LlamaConfig(**SHAPE, num_labels=1, rope_parameters={"rope_type": "dynamic", "rope_theta": 1000000.0, "factor": 2.0}),
    ),
    "qwen2_reward": (Qwen2ForSequenceClassification, Qwen2Config(**SHAPE, num_labels=1)),
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


def classifier(model, sequences):
    scores = [model(input_ids=torch.tensor([tokens])).logits[0].tolist() for tokens in sequences]
    return {}, {"scores": scores}


def two_layers(hidden):
    """The head of Qwen2.5-Math-RM, which is code of that model's repository: two linear maps, a ReLU between them."""
    return torch.nn.Sequential(torch.nn.Linear(hidden, hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, 1))


def edit_config(directory, **fields):
    path = directory / "config.json"
    config = json.loads(path.read_text()) | fields
    path.write_text(json.dumps({k: v for k, v in config.items() if v is not None}, indent=2) + "\n")


def as_internlm2(directory, model):
    """Rewrites a saved Llama model in the layout of InternLM2's own code: other names, and queries, keys and values in one tensor whose
    rows are, key head by key head, those of its query heads, its keys and its values."""
    config = model.config
    group = config.num_attention_heads // config.num_key_value_heads
    names = {
        "model.embed_tokens.weight": "model.tok_embeddings.weight", "lm_head.weight": "output.weight",
        "score.weight": "v_head.weight", "input_layernorm": "attention_norm", "post_attention_layernorm": "ffn_norm",
        "self_attn.o_proj": "attention.wo", "mlp.gate_proj": "feed_forward.w1", "mlp.up_proj": "feed_forward.w3",
        "mlp.down_proj": "feed_forward.w2",
    }
    found, tensors = dict(model.state_dict()), {}
    for name in list(found):
        if ".q_proj." in name:
            q, k, v = (found.pop(name.replace("q_proj", part)) for part in ("q_proj", "k_proj", "v_proj"))
            heads = lambda x: x.reshape(config.num_key_value_heads, -1, config.head_dim, *x.shape[1:])
            fused = torch.cat([heads(q), heads(k), heads(v)], dim=1)
            assert fused.shape[1] == group + 2
            tensors[name.replace("self_attn.q_proj", "attention.wqkv")] = fused.reshape(-1, *q.shape[1:]).contiguous()
    for name, tensor in found.items():
        if "_proj" in name and any(part in name for part in ("q_proj", "k_proj", "v_proj")):
            continue
        for old, new in names.items():
            name = name.replace(old, new)
        tensors[name] = tensor.contiguous()
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    reward = hasattr(model, "score")
    edit_config(
        directory, model_type="internlm2", bias=config.attention_bias, rope_theta=config.rope_parameters["rope_theta"],
        rope_scaling={"type": "dynamic", "factor": config.rope_parameters["factor"]}, rope_parameters=None,
        attention_bias=None, mlp_bias=None, head_dim=None, pretraining_tp=None, id2label=None, label2id=None,
        architectures=["InternLM2ForRewardModel" if reward else "InternLM2ForCausalLM"],
        reward_token_id=REWARD_TOKEN if reward else None,
    )


def main():
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent / "fixtures")
    for seed, (name, (kind, config)) in enumerate(CASES.items()):
        if len(sys.argv) > 2 and name not in sys.argv[2:]:
            continue
        directory = root / name
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        model = kind(config).to(torch.float32).eval()
        if name == "qwen2_reward":
            model.score = two_layers(config.hidden_size)
        randomise(model, seed + 1)
        model.save_pretrained(directory)
        if name == "qwen2_reward":
            edit_config(directory, architectures=["Qwen2ForRewardModel"], id2label=None, label2id=None)
        if name.startswith("internlm2"):
            as_internlm2(directory, model)
        tokenizer().save(str(directory / "tokenizer.json"))
        companion = {"eos_token": "<|im_end|>", "bos_token": "<|endoftext|>", "chat_template": CHAT_TEMPLATE}
        (directory / "tokenizer_config.json").write_text(json.dumps(companion, indent=1) + "\n")
        # A conversation that an InternLM2 reward model reads ends with a token of its own.
        sequences = [tokens + [REWARD_TOKEN] * (name == "internlm2_reward") for tokens in SEQUENCES]
        if "Classification" in kind.__name__:
            tensors, facts = classifier(model, sequences)
        else:
            tensors, facts = language_model(name, model)
        facts["sequences"] = sequences
        (directory / "expected.json").write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n")
        if tensors:
            save_file(tensors, directory / "expected.safetensors")
        print(name, facts.get("loss", facts.get("scores")))


main()
