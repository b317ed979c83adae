"""transformers on PyTorch in bf16, as a peer: `peer_torch.py MODEL_DIRECTORY THREADS`."""

import torch
from transformers import AutoModelForCausalLM, DynamicCache

from peer import serve, tokens


def load(directory, threads):
    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.bfloat16).eval()
    vocabulary = model.config.vocab_size

    def step(ids, cache, mask=None):
        out = model(input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=cache is not None, logits_to_keep=1)
        return out.logits[:, -1].argmax(-1, keepdim=True)

    def prompts(rows, length):
        return torch.tensor([tokens(row, length, vocabulary) for row in range(rows)])

    def decode(next, cache, count):
        for _ in range(count):
            next = step(next, cache)

    def samples(rows, prompt, count, shared):
        cache = DynamicCache()
        next = step(prompts(1, prompt).repeat(1 if shared else rows, 1), cache)
        if shared:
            cache.batch_repeat_interleave(rows)
            next = next.repeat(rows, 1)
        decode(next, cache, count - 1)

    def score(lengths):
        # As it is usually done: sorted by length, in batches, padded on the left.
        lengths = sorted(lengths)
        for start in range(0, len(lengths), 8):
            batch = lengths[start : start + 8]
            longest = max(batch)
            ids = torch.tensor([[0] * (longest - n) + tokens(row, n, vocabulary) for row, n in enumerate(batch)])
            mask = torch.tensor([[0] * (longest - n) + [1] * n for n in batch])
            step(ids, None, mask)

    def run(case):
        kind = case["case"]
        if kind == "prefill":
            ids = prompts(case["rows"], case["prompt"])
            return ids.numel(), lambda: step(ids, DynamicCache())
        if kind == "decode":
            cache = DynamicCache()
            next = step(prompts(case["rows"], case["prompt"]), cache)
            return case["rows"] * case["tokens"], lambda: decode(next, cache, case["tokens"])
        if kind == "samples":
            count = case["rows"] * case["tokens"]
            return count, lambda: samples(case["rows"], case["prompt"], case["tokens"], case["shared"])
        if kind == "scoring":
            return sum(case["lengths"]), lambda: score(case["lengths"])
        raise ValueError(kind)

    return run


serve(load)
