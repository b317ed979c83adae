#!/usr/bin/env python3
"""Compares the engine with its peers: every case runs on each engine in turn, round after round, on the same weights, prompts
and number of threads; what counts are the ratios within a round, since a shared machine's rates change by the minute. What the machine can do (its
roofline) is measured in every round too: how much of it the engine reaches, and how many times as fast as the peer it would be at the roofline.
Prints them beside the goals, and writes engine.json and engine.svg.

    compare.py --worker BINARY --weights DIRECTORY --train MODEL.gguf --python PYTHON --out DIRECTORY [--rounds 5] [--peers llama.cpp,PyTorch]
"""

import argparse
import json
import os
import statistics
import subprocess
import time
from pathlib import Path

HERE = Path(__file__).parent
RAGGED = [17 + (place * 53) % 240 for place in range(24)]
DECODE = lambda rows, tokens: {"case": "decode", "rows": rows, "prompt": 64, "tokens": tokens}
PREFILL = {"case": "prefill", "rows": 8, "prompt": 64}
SAMPLES = lambda tokens, shared: {"case": "samples", "rows": 8, "prompt": 512, "tokens": tokens, "shared": shared}
SCORING = {"case": "scoring", "lengths": RAGGED}
PACKED = {"case": "prefill", "rows": 8, "prompt": round(sum(RAGGED) / 8)}

TRAIN = {"case": "train", "rows": 2, "tokens": 256}

# name, case, peer, the peer's case where it is another one, goal
ROWS = [
    ("decode, batch 1", DECODE(1, 24), "llama.cpp", None, 1.3),
    ("decode, batch 1", DECODE(1, 24), "PyTorch", None, None),
    ("decode, batch 8", DECODE(8, 12), "llama.cpp", None, 2.5),
    ("decode, batch 8", DECODE(8, 12), "PyTorch", None, 4.0),
    ("decode, batch 32", DECODE(32, 6), "llama.cpp", None, 1.9),
    ("decode, batch 32", DECODE(32, 6), "PyTorch", None, 3.4),
    ("prefill, batch 8", PREFILL, "llama.cpp", None, 1.6),
    ("prefill, batch 8", PREFILL, "PyTorch", None, 1.6),
    ("8 samples, 64 tokens", SAMPLES(64, True), "not shared", SAMPLES(64, False), 2.5),
    ("8 samples, 16 tokens", SAMPLES(16, True), "not shared", SAMPLES(16, False), 4.5),
    ("scoring, ragged", SCORING, "packed prefill", PACKED, 0.95),
    ("scoring, ragged", SCORING, "PyTorch", None, 2.0),
    ("SFT step, 2 x 256 tokens", TRAIN, "PyTorch SFT", None, 1.0),
    ("decode, batch 1, int8", DECODE(1, 24), "bf16", None, None),
    ("decode, batch 8, int8", DECODE(8, 12), "bf16", None, None),
    ("prefill, batch 8, int8", PREFILL, "bf16", None, None),
]


ROOF = "roofline"


class Engine:
    """A process that answers a case a line."""

    def __init__(self, name, command, environment):
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.name, self.load = name, self.read()["ready"]

    def read(self):
        while line := self.process.stdout.readline():
            if line.startswith("{"):
                return json.loads(line)
        raise SystemExit(f"{self.name} ended")

    def ask(self, case):
        print(json.dumps(case), file=self.process.stdin, flush=True)
        return self.read()

    def rate(self, case):
        answer = self.ask(case)
        return answer["tokens"] / answer["seconds"]

    def peak(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return 1024 * int(status.split("VmHWM:")[1].split()[0])


def start(options):
    threads = str(options.threads)
    # Pages stay with the process, as our own allocator has it.
    environment = dict(
        os.environ,
        RAYON_NUM_THREADS=threads,
        OMP_NUM_THREADS=threads,
        MALLOC_MMAP_THRESHOLD_=str(1 << 33),
        MALLOC_TRIM_THRESHOLD_=str(1 << 34),
        MALLOC_TOP_PAD_=str(1 << 26),
    )
    ours = [options.worker, "bench", "--cases", "--model", options.weights, "--dtype"]
    peers = {
        "llama.cpp": [options.python, HERE / "peer_llama.py", f"{options.weights}/model.gguf", threads],
        "PyTorch": [options.python, HERE / "peer_torch.py", options.weights, threads],
    }
    commands = {"bf16": [*ours, "bfloat16"], "int8": [*ours, "int8"]}
    commands |= {name: peers[name] for name in options.peers.split(",") if name}
    if options.train:
        commands["SFT"] = [options.worker, "bench", "--cases", "--model", options.train, "--dtype", "bfloat16"]
        commands["PyTorch SFT"] = [options.python, HERE / "peer_sft.py", options.train, threads]
    return {name: Engine(name, command, environment) for name, command in commands.items()}


def own_engine(name):
    """Which of our own processes has a row's case."""
    return "int8" if name.endswith("int8") else "SFT" if name.startswith("SFT") else "bf16"


def measure(engines, rounds):
    """The rates of every case on every engine, a list with one of each round."""
    rates = {}
    wanted = []
    for name, case, peer, other, _ in ROWS:
        own = own_engine(name)
        pairs = [(own, case), (peer if peer in engines else own, other or case)]
        if peer in engines or other:
            wanted += [pair for pair in pairs if pair not in wanted]
    for round in range(rounds + 1):
        begun = time.monotonic()
        for engine, case in wanted:
            rate = engines[engine].rate(case)
            # The first round warms up.
            if round > 0:
                rates.setdefault((engine, json.dumps(case)), []).append(rate)
        if round > 0:
            rates.setdefault(ROOF, []).append(engines["bf16"].ask({"case": "roofline"}))
        print(f"round {round} of {rounds}: {time.monotonic() - begun:.0f} s", flush=True)
    return rates


def roofs(case, facts, rates):
    """The most tokens a second that the machine allows for a case in bf16, by round; None where it is no question of these two limits. A step of
    decoding reads every weight once, and each takes two operations a row; a prompt's tokens are computed without the head. Attention is left out."""
    if case["case"] == "decode":
        bytes = facts["weightBytes"]
        return [min(roof["operations"] / bytes, case["rows"] * roof["bytes"] / bytes) for roof in rates[ROOF]]
    if case["case"] in ("prefill", "scoring"):
        return [roof["operations"] / facts["tokenFlops"] for roof in rates[ROOF]]
    return None


def ratios(rates, facts):
    rows = []
    for name, case, peer, other, goal in ROWS:
        own = own_engine(name)
        mine = rates.get((own, json.dumps(case)))
        theirs = rates.get((own if other else peer, json.dumps(other or case)))
        if mine is None or theirs is None:
            continue
        found = [a / b for a, b in zip(mine, theirs)]
        median = statistics.median(found)
        met = None if goal is None else median >= goal
        row = dict(name=name, peer=peer, median=median, min=min(found), max=max(found), goal=goal, met=met,
                   rate=statistics.median(mine), unit="times")
        most = roofs(case, facts, rates) if own == "bf16" else None
        if most:
            row["share"] = statistics.median(a / b for a, b in zip(mine, most))
            row["at_roof"] = statistics.median(a / b for a, b in zip(most, theirs))
        rows.append(row)
    return rows


def limits(engines, rates, facts):
    """Shares of what the machine can do, the sampler, loading, memory: rows without a peer."""
    bench = engines["bf16"]
    row = lambda name, values, unit, goal=None, below=False: dict(
        name=name, peer=None, median=statistics.median(values), min=min(values), max=max(values), goal=goal, unit=unit,
        met=None if goal is None else (statistics.median(values) <= goal) == below)
    share = lambda case: [a / b for a, b in zip(rates["bf16", json.dumps(case)], roofs(case, facts, rates))]
    sampler = [1e3 / bench.rate({"case": "sampler", "rows": 200}) for _ in range(5)]
    rows = [
        row("prefill, batch 8, share of the measured peak", share(PREFILL), "share", 0.85),
        row("decode, batch 1, share of the measured memory rate", share(DECODE(1, 24)), "share"),
        row("top-p over the vocabulary, a row", sampler, "ms", 0.3, below=True),
        row("roof: operations", [roof["operations"] / 1e9 for roof in rates[ROOF]], "GFLOP/s"),
        row("roof: memory", [roof["bytes"] / 1e9 for roof in rates[ROOF]], "GB/s"),
    ]
    for name, engine in engines.items():
        rows.append(row(f"loading, {name}", [engine.load], "s"))
        rows.append(row(f"peak memory, {name}", [engine.peak() / 2**30], "GiB"))
    return rows


def draw(rows, path):
    """Ratios as bars with their ranges, and the goals as marks."""
    rows = [row for row in rows if row["peer"]]
    scale, left, step = 90, 330, 26
    width = left + scale * max(max(row["max"], row["goal"] or 0) for row in rows) + 60
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{step * len(rows) + 40}" font-family="sans-serif" font-size="13">']
    out.append(f'<line x1="{left + scale}" y1="10" x2="{left + scale}" y2="{step * len(rows) + 14}" stroke="#999"/>')
    for place, row in enumerate(rows):
        y = 14 + step * place
        at = lambda value: left + scale * value
        colour = {True: "#2e7d32", False: "#c77700", None: "#5b7fa6"}[row["met"]]
        out.append(f'<text x="{left - 8}" y="{y + 14}" text-anchor="end">{row["name"]} : {row["peer"]}</text>')
        out.append(f'<rect x="{left}" y="{y + 3}" width="{scale * row["median"]:.1f}" height="14" fill="{colour}"/>')
        out.append(f'<line x1="{at(row["min"]):.1f}" y1="{y + 10}" x2="{at(row["max"]):.1f}" y2="{y + 10}" stroke="#222"/>')
        if row["goal"]:
            out.append(f'<line x1="{at(row["goal"]):.1f}" y1="{y}" x2="{at(row["goal"]):.1f}" y2="{y + 20}" stroke="#b00020" stroke-width="3"/>')
        out.append(f'<text x="{at(max(row["max"], row["goal"] or 0)) + 6:.1f}" y="{y + 14}">{row["median"]:.2f}</text>')
    out.append(f'<text x="{left}" y="{step * len(rows) + 34}">times as fast as the peer; line: range over rounds; red: goal</text></svg>')
    path.write_text("\n".join(out))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("worker", "weights", "python", "out"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--train", help="a model that is trained; left out, training is not compared")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--peers", default="llama.cpp,PyTorch")
    options = parser.parse_args()
    engines = start(options)
    rates = measure(engines, options.rounds)
    facts = engines["bf16"].ask({"case": "facts"})
    rows = ratios(rates, facts) + limits(engines, rates, facts)
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "engine.json").write_text(json.dumps({"rounds": options.rounds, "threads": options.threads, "rows": rows}, indent=1))
    draw(rows, out / "engine.svg")
    print(f"\n{'':52}{'median':>9}{'range':>18}{'at roofline':>13}{'of it':>7}{'goal':>8}")
    for row in rows:
        name = f"{row['name']} : {row['peer']}" if row["peer"] else row["name"]
        goal = "" if row["goal"] is None else f"{row['goal']:8.2f} {'met' if row['met'] else 'not met'}"
        roof = f"{row['at_roof']:13.2f}{100 * row['share']:6.0f}%" if "share" in row else " " * 20
        print(f"{name:52}{row['median']:9.2f}{row['min']:9.2f} -{row['max']:7.2f}{roof}{goal} {'' if row['peer'] else row['unit']}")
    print(f"\n{out / 'engine.json'}\n{out / 'engine.svg'}")


main()
