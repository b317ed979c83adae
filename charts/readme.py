#!/usr/bin/env python3
"""Writes the table of values into the chart's README.md from the comments of values.yaml, standard library only.

usage: charts/readme.py           write it
       charts/readme.py --check   fail if it is not what would be written
"""

import re
import sys
from pathlib import Path

CHART = Path(__file__).parent / "scalequest-operator"
BEGIN, END = "<!-- values: written by charts/readme.py -->", "<!-- end of values -->"


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


def main():
    readme = CHART / "README.md"
    old = readme.read_text()
    before, rest = old.split(BEGIN)
    after = rest.split(END)[1]
    new = f"{before}{BEGIN}\n{table((CHART / 'values.yaml').read_text())}\n{END}{after}"
    if sys.argv[1:] == ["--check"]:
        if new != old:
            sys.exit("charts/scalequest-operator/README.md is stale: run charts/readme.py")
    elif sys.argv[1:]:
        sys.exit(__doc__)
    else:
        readme.write_text(new)


main()
