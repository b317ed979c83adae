#!/usr/bin/env python3
"""Whether `bench` and `plan` say what a run then takes: measures the models, plans a spec, runs it in a workspace of its own, plans it again by
what that run has measured, and prints predicted and taken seconds stage by stage. Exit code 1 where the sums differ by more than 25%.

Bench and run must be made under the same load: leave the machine alone meanwhile.
"""

import argparse
import json
import pathlib
import re
import shutil
import subprocess
import sys
import time

LARGEST_DIFFERENCE = 0.25
STAGE = re.compile("[a-z]+")
STEPS = re.compile(r"model compute time .*seconds=([0-9.e-]+)")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", required=True, type=pathlib.Path, help="folder with scalequest and scalequest-worker")
    parser.add_argument("--spec", required=True, type=pathlib.Path, help="spec whose workspace and output lie in demo/")
    parser.add_argument("--model", required=True, action="append", type=pathlib.Path, help="a model of the spec; once for each")
    parser.add_argument("--out", required=True, type=pathlib.Path, help="folder for everything that is made; emptied first, rates excepted")
    parser.add_argument("--assume", action="append", default=[], help="as for plan, for the plan before the run")
    parser.add_argument("--keep-profiles", action="store_true", help="take rates that are in the folder already")
    parser.add_argument("--keep-run", action="store_true", help="do not run: compare with the run that is in the folder already")
    given = parser.parse_args()

    given.out.mkdir(parents=True, exist_ok=True)
    demo = given.out / "demo"
    if demo.exists() and not given.keep_run:
        shutil.rmtree(demo)
    spec = given.out / "run.yaml"
    spec.write_text(given.spec.read_text().replace("demo/", f"{demo}/"))

    rates = []
    for model in given.model:
        file = given.out / f"{model.stem}-profile.json"
        rates += ["--profile", str(file)]
        if not (given.keep_profiles and file.exists()):
            call(given.bin / "scalequest-worker", "bench", "--model", model, "--save", file)

    assumed = [word for text in given.assume for word in ("--assume", text)]
    program = given.bin / "scalequest"
    before = None if given.keep_run else planned(program, spec, rates + assumed)
    clock = given.out / "wall.json"
    if not given.keep_run:
        begun = time.monotonic()
        call(program, "run", "-f", spec, allowed=(0, 3))
        clock.write_text(json.dumps(time.monotonic() - begun))
    elif not clock.exists():
        sys.exit(f"{clock} is missing, so there is no whole run to compare with; leave out --keep-run")
    wall = json.loads(clock.read_text())
    after = planned(program, spec, rates)
    [record] = demo.glob("workspace/runs/*/record.json")
    taken = {stage: usage["workerMillis"] / 1000 for stage, usage in json.loads(record.read_text())["record"]["usage"].items()}

    inside = in_model(record.parent / "logs")
    print(f"\n{'stage':10}{'taken, s':>10}{'in model':>10}{'by plan':>10}{'':>8}{'before the run':>18}")
    total = [0.0, 0.0, 0.0]
    stages = list(dict.fromkeys([*after, *taken]))
    for stage in stages:
        row = [taken.get(stage, 0.0), after.get(stage, 0.0), (before or {}).get(stage, 0.0)]
        total = [a + b for a, b in zip(total, row)]
        print(line(stage, row, before, inside.get(stage)))
    print(line("total", total, before))
    found = {"taken": taken, "inModel": inside, "wall": wall, "planned": after, "before": before}
    (given.out / "plan.json").write_text(json.dumps(found, indent=1) + "\n")
    served = sum(taken[stage] for stage in inside)
    print(f"\nof the wall time of stages in which a model is asked, {100 * sum(inside.values()) / served:.0f}% was in the model's steps")
    difference = abs(total[1] / wall - 1)
    if before:
        print(f"the run took {wall:.0f} s; before it, with yields assumed, the plan said {total[2]:.0f} s")
    print(f"the run took {wall:.0f} s; with the funnel that it measured, the plan says {total[1]:.0f} s: they differ by {100 * difference:.0f}%")
    return int(difference > LARGEST_DIFFERENCE)


def planned(program, spec, more):
    """Seconds by stage, over all generators."""
    answer = json.loads(call(program, "plan", "-f", spec, "--output", "json", *more, capture=True))
    for source in answer["sources"]:
        print(f"plan: {source}")
    seconds = {}
    for stage in answer["stages"]:
        seconds[stage["stage"]] = seconds.get(stage["stage"], 0.0) + 3600 * stage["gpuHours"]
    return seconds


def in_model(logs):
    """Seconds by stage in which workers' models computed, as their logs say."""
    seconds = {}
    for log in logs.glob("*.log"):
        stage = STAGE.match(log.name)[0].capitalize()
        for found in STEPS.finditer(log.read_text(errors="replace")):
            seconds[stage] = seconds.get(stage, 0.0) + float(found[1])
    return seconds


def line(name, row, before, inside=None):
    taken, after, first = row
    ratio = f"{after / taken:.2f}" if taken >= 1 else ""
    share = f"{100 * inside / taken:.0f}%" if inside and taken else ""
    return f"{name:10}{taken:10.1f}{share:>10}{after:10.1f}{ratio:>8}" + (f"{first:18.1f}" if before else "")


def call(*words, allowed=(0,), capture=False):
    words = [str(word) for word in words]
    print("$", " ".join(words), flush=True)
    done = subprocess.run(words, stdout=subprocess.PIPE if capture else None, text=True)
    if done.returncode not in allowed:
        sys.exit(f"{words[0]} ended with {done.returncode}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
