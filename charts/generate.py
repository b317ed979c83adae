#!/usr/bin/env python3
"""Writes what the chart has from elsewhere: the table of values in README.md, from the comments of values.yaml, and the
CustomResourceDefinition, from crds/. Standard library only.

usage: charts/generate.py           write
       charts/generate.py --check   fail if something is not what would be written
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHART = ROOT / "charts/scalequest-operator"
CRD = "synthesisruns.scalequest.dev.yaml"
BEGIN, END = "<!-- values: written by charts/generate.py -->", "<!-- end of values -->"


def values(text):
    """The leaves of values.yaml in order: (path, default, description). A leaf's value stands on its own line."""
    parents, comment = [], []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            comment = []
        elif line.lstrip().startswith("#"):
            comment.append(line.strip().lstrip("#").strip())
        else:
            key = re.fullmatch(r"( *)(\w+):(?: (.+))?", line)
            if not key:
                sys.exit(f"values.yaml:{number}: neither a comment nor `key: value` on one line: {line}")
            depth = len(key[1]) // 2
            parents = parents[:depth] + [key[2]]
            if key[3] is not None:
                if not comment:
                    sys.exit(f"values.yaml:{number}: {'.'.join(parents)} has no comment")
                yield ".".join(parents), key[3], " ".join(comment)
            comment = []


def table(text):
    """The Markdown table."""
    cell = lambda text: text.replace("|", "\\|")
    rows = [f"| `{path}` | {cell(says)} | `{cell(default)}` |" for path, default, says in values(text)]
    return "\n".join(["| value | what it is | default |", "|---|---|---|", *rows])


def generated():
    """What the files should hold, by path."""
    readme = CHART / "README.md"
    before, rest = readme.read_text().split(BEGIN)
    after = rest.split(END)[1]
    values_yaml = (CHART / "values.yaml").read_text()
    yield readme, f"{before}{BEGIN}\n{table(values_yaml)}\n{END}{after}"
    yield CHART / "files" / CRD, (ROOT / "crds" / CRD).read_text()


def main():
    if sys.argv[1:] not in ([], ["--check"]):
        sys.exit(__doc__)
    for path, text in generated():
        is_current = path.exists() and path.read_text() == text
        if sys.argv[1:] and not is_current:
            sys.exit(f"{path.relative_to(ROOT)} is stale: run charts/generate.py")
        if not is_current:
            path.write_text(text)


main()
