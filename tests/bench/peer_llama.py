"""llama.cpp built for this machine, as a peer: `peer_llama.py MODEL.gguf THREADS`. It uses the library's batches."""

import llama_cpp as llama
import numpy

from peer import serve, tokens

ROWS, TOKENS = 32, 8192


def load(path, threads):
    llama.llama_backend_init()
    model = llama.llama_model_load_from_file(path.encode(), llama.llama_model_default_params())
    settings = llama.llama_context_default_params()
    settings.n_ctx, settings.n_batch, settings.n_ubatch, settings.n_seq_max = TOKENS, 2048, 512, ROWS
    settings.n_threads = settings.n_threads_batch = threads
    settings.kv_unified = True
    context = llama.llama_init_from_model(model, settings)
    memory = llama.llama_get_memory(context)
    vocabulary = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(model))
    batch = llama.llama_batch_init(2048, 0, 1)

    def add(token, position, row, wanted):
        place = batch.n_tokens
        batch.token[place], batch.pos[place] = token, position
        batch.n_seq_id[place], batch.seq_id[place][0], batch.logits[place] = 1, row, wanted
        batch.n_tokens += 1

    def flush():
        if batch.n_tokens:
            assert llama.llama_decode(context, batch) == 0
            batch.n_tokens = 0

    def likeliest(place):
        logits = llama.llama_get_logits_ith(context, place)
        return int(numpy.ctypeslib.as_array(logits, shape=(vocabulary,)).argmax())

    def prefill(prompts):
        """The likeliest token after each prompt."""
        llama.llama_memory_clear(memory, True)
        next, ends = [], []
        batch.n_tokens = 0

        def take():
            flush()
            next.extend(likeliest(place) for place in ends)
            ends.clear()

        for row, prompt in enumerate(prompts):
            if batch.n_tokens + len(prompt) > 2048:
                take()
            for place, token in enumerate(prompt):
                add(token, place, row, place + 1 == len(prompt))
            ends.append(batch.n_tokens - 1)
        take()
        return next

    def decode(next, position, count):
        for step in range(count):
            for row, token in enumerate(next):
                add(token, position + step, row, True)
            flush()
            next = [likeliest(row) for row in range(len(next))]

    def prompts(rows, length):
        return [tokens(row, length, vocabulary) for row in range(rows)]

    def samples(rows, length, count, shared):
        prompt = tokens(0, length, vocabulary)
        next = prefill([prompt] * (1 if shared else rows))
        if shared:
            for row in range(1, rows):
                llama.llama_memory_seq_cp(memory, 0, row, -1, -1)
            next = next * rows
        decode(next, length, count - 1)

    def run(case):
        kind = case["case"]
        if kind == "prefill":
            all = prompts(case["rows"], case["prompt"])
            return case["rows"] * case["prompt"], lambda: prefill(all)
        if kind == "decode":
            next = prefill(prompts(case["rows"], case["prompt"]))
            return case["rows"] * case["tokens"], lambda: decode(next, case["prompt"], case["tokens"])
        if kind == "samples":
            count = case["rows"] * case["tokens"]
            return count, lambda: samples(case["rows"], case["prompt"], case["tokens"], case["shared"])
        if kind == "scoring":
            all = [tokens(row, length, vocabulary) for row, length in enumerate(case["lengths"])]
            return sum(case["lengths"]), lambda: prefill(all)
        raise ValueError(kind)

    return run


serve(load)
