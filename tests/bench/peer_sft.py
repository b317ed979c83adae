"""Supervised fine-tuning by PyTorch, as a peer: `peer_sft.py MODEL.gguf THREADS`. Weights, gradients and moments are f32, products bf16 by
autocast, as is usual. The model has the file's shape and random weights: what a step takes does not depend on them."""

import torch
from gguf import GGUFReader
from transformers import LlamaConfig, LlamaForCausalLM

from peer import serve, tokens


def load(path, threads):
    torch.set_num_threads(threads)
    fields = GGUFReader(path).fields
    number = lambda name: fields[f"llama.{name}"].contents()
    vocabulary = len(fields["tokenizer.ggml.tokens"].contents())
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=number("embedding_length"),
        num_hidden_layers=number("block_count"),
        num_attention_heads=number("attention.head_count"),
        num_key_value_heads=number("attention.head_count_kv"),
        intermediate_size=number("feed_forward_length"),
        tie_word_embeddings=True,
    )
    model = LlamaForCausalLM(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, fused=True)

    def step(ids):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = model(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def run(case):
        rows, length = case["rows"], case["tokens"]
        ids = torch.tensor([tokens(row, length, vocabulary) for row in range(rows)])
        return ids.numel(), lambda: step(ids)

    return run


serve(load)
