#!/usr/bin/env python3
"""Checks which crates a crate of the workspace must never link, directly or through others.

`scalequest-core` decides and does nothing: no runtime, no client. `scalequest-engine` computes: no store, no table format, no cluster.
The programs that run in pods and the contract between them have no Kubernetes client. Exit status 1 and a line for each breach.

usage: tests/lint/walls.py
"""
import subprocess
import sys

FORBIDDEN = {
    "scalequest-crds": ["kube", "kube-client", "tokio", "reqwest"],
    "scalequest-core": ["kube", "kube-client", "tokio", "reqwest"],
    "scalequest-engine": ["kube", "kube-client", "kube-core", "object_store", "parquet", "reqwest", "scalequest-crds", "tokio"],
    "scalequest-worker": ["kube", "kube-client", "scalequest-core"],
    "scalequest-controller": ["candle-core", "scalequest-engine", "scalequest-runner", "scalequest-worker"],
    "scalequest-runner": ["candle-core", "kube", "kube-client", "scalequest-controller", "scalequest-engine", "scalequest-worker"],
}


def linked(package):
    """Returns the names of all crates that `package` links in a normal build."""
    command = ["cargo", "tree", "--locked", "--package", package, "--edges", "normal", "--prefix", "none"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return {line.split()[0] for line in lines if line.strip()}


def main():
    breaches = []
    for package, forbidden in FORBIDDEN.items():
        breaches += [f"walls: {package} links {name}" for name in sorted(linked(package).intersection(forbidden))]
    print("\n".join(breaches), end="\n" if breaches else "")
    return bool(breaches)


if __name__ == "__main__":
    sys.exit(main())
