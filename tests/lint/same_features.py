#!/usr/bin/env python3
"""Fails if a crate has other features in a build with tests than in one without them.

Cargo would compile that crate twice, and everything that depends on it: in a dependency of tokenizers or candle this costs
minutes. The cure is a dependency that turns the feature on in both, or off in the test's dependency.

usage: tests/lint/same_features.py
"""

import subprocess
import sys
from pathlib import Path


def features(selection, edges):
    """Returns the features of every crate of a build, by name and version."""
    command = ["cargo", "tree", "--locked", *selection, "--edges", edges, "--prefix", "none", "--format", "{p}|{f}"]
    root = Path(__file__).parents[2]
    lines = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout.splitlines()
    found = {}
    for line in lines:
        package, _, enabled = line.removesuffix(" (*)").partition("|")
        found.setdefault(package, set()).update(filter(None, enabled.split(",")))
    return found


def main():
    programs = features([], "normal,build")
    tests = features(["--workspace"], "normal,build,dev")
    differ = sorted(package for package in programs.keys() & tests.keys() if programs[package] != tests[package])
    for package in differ:
        only = ", ".join(sorted(programs[package] ^ tests[package]))
        print(f"same features: {package} has `{only}` either in the programs or with the tests only", file=sys.stderr)
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
