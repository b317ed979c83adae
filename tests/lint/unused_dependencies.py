#!/usr/bin/env python3
"""Fails if a Cargo.toml of the workspace declares a dependency that the crate's code does not name.

A dependency must be named as a path (`name::`, `use name`) in the crate's src/ or build.rs; one that only tests or
benches name belongs to dev-dependencies, which may be named anywhere in the crate. An entry of the workspace's own
table must be inherited by a member. EXCEPTIONS lists what is declared without being named, each with its reason; an
exception that is no longer needed fails too.

usage: tests/lint/unused_dependencies.py [workspace]
"""

import re
import sys
import tomllib
from pathlib import Path

# (crate, dependency): why it is declared although nothing names it.
EXCEPTIONS = {
    ("scalequest-engine", "candle-transformers"): "gets its part when sentence embeddings measure diversity",
    ("scalequest-engine", "bit-set"): "keeps the features of a build with tests and of one without the same",
}


def code_of(*roots):
    """Returns the Rust code below the given paths, without line comments."""
    files = [file for root in roots for file in ([root] if root.is_file() else sorted(root.rglob("*.rs")))]
    return "\n".join(re.sub(r"//.*", "", file.read_text()) for file in files)


def is_named(dependency, code):
    """Whether the code names the dependency's crate as the first segment of a path."""
    name = re.escape(dependency.replace("-", "_"))
    return re.search(rf"(?<![:\w.]){name}\s*::|\b(?:use|extern crate)\s+{name}\b", code) is not None


def tables(manifest, kind):
    """Returns all dependencies of a kind, those of single targets too."""
    targets = manifest.get("target", {}).values()
    return [name for table in (manifest, *targets) for name in table.get(kind, {})]


def faults_of(manifest, folder, used_exceptions):
    """Yields a line for each dependency of a member that its code does not name."""
    crate = manifest["package"]["name"]
    own = code_of(folder / "src", folder / "build.rs") if (folder / "build.rs").exists() else code_of(folder / "src")
    everything = own + code_of(folder / "tests", folder / "benches", folder / "examples")
    for kind, code in (("dependencies", own), ("dev-dependencies", everything), ("build-dependencies", own)):
        for name in tables(manifest, kind):
            if is_named(name, code):
                continue
            if (crate, name) in EXCEPTIONS:
                used_exceptions.add((crate, name))
            elif is_named(name, everything):
                yield f"{crate}: only tests name `{name}`; declare it in dev-dependencies"
            else:
                yield f"{crate}: no code names `{name}` of [{kind}]"


def main():
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[2])
    workspace = tomllib.loads((root / "Cargo.toml").read_text())["workspace"]
    folders = [folder for member in workspace["members"] for folder in sorted(root.glob(member))]
    manifests = [(folder, tomllib.loads((folder / "Cargo.toml").read_text())) for folder in folders]
    used_exceptions, faults = set(), []
    for folder, manifest in manifests:
        faults += faults_of(manifest, folder, used_exceptions)
    kinds = ("dependencies", "dev-dependencies", "build-dependencies")
    inherited = {name for _, manifest in manifests for kind in kinds for name in tables(manifest, kind)}
    faults += [f"workspace: no member inherits `{name}`" for name in workspace["dependencies"] if name not in inherited]
    faults += [f"{crate}: `{name}` needs no exception" for crate, name in EXCEPTIONS.keys() - used_exceptions]
    for fault in faults:
        print(f"unused dependency: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
