#!/usr/bin/env python3
"""Maps the field's terms to their definitions, and fails if one has none.

A reader who searches for a term of Kubernetes or of language models finds where it lives: for each term, DEFINITIONS names
the item (or the module, by its file) whose doc comment contains the term, as whole words on one line, where `git grep -w -i`
finds it. Prints term, place and item.

usage: tests/lint/terms.py [--all]      (with --all every item whose doc comment contains a term)
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

# The item that a term is defined by; a module is named by its file's stem, or its folder if the file is mod.rs.
DEFINITIONS = {
    "throttle": "parse_retry_after",
    "backoff": "backoff",
    "requeue": "requeue_after",
    "transient": "Transient",
    "prefix cache": "PrefixCache",
    "KV cache": "KeyValueCache",
    "continuous batching": "schedule",
    "prefill": "schedule",
    "gemm": "gemm",
    "preflight": "preflight",
    "termination message": "report",
    "sidecar": "server",
    "leader election": "leader_election",
    "expectations": "expectations",
    "content key": "content_key",
    "checkpoint": "Checkpoint",
    "reward head": "Scalar",
    "near duplicate": "NearDuplicate",
    "chat template": "ChatTemplate",
    "retry budget": "RetryBudget",
}

ITEM = re.compile(
    r"\s*(?:pub(?:\([^)]*\))?\s+)?(?:(?:async|unsafe|const|default|extern \"C\")\s+)*"
    r"(?:(?:fn|struct|enum|trait|mod|const|static|type|union|macro_rules!)\s+)?([A-Za-z_]\w*)"
)


def module_name(path):
    return path.parent.name if path.stem == "mod" else path.stem


def documented(path):
    """Yields (line, item, text) for each doc comment of a file; the module's own with the module's name."""
    lines = (ROOT / path).read_text().splitlines()
    inner = [line.strip()[3:].strip() for line in lines if line.startswith("//!")]
    if inner:
        yield 1, module_name(path), "\n".join(inner)
    text, first, depth = [], 0, 0
    for number, line in enumerate(lines, 1):
        stripped = line.strip()
        if stripped.startswith("///"):
            first = first or number
            text.append(stripped[3:].strip())
        elif text and (depth or stripped.startswith("#[")):
            # An attribute between the comment and its item, on one line or on several.
            depth += stripped.count("[") - stripped.count("]")
        elif text:
            item = ITEM.match(line)
            yield first, item[1] if item else "?", "\n".join(text)
            text, first = [], 0


def main():
    files = subprocess.run(["git", "ls-files", "*.rs"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    comments = [(path, *found) for path in map(Path, files.split()) for found in documented(path)]
    missing = []
    for term, wanted in DEFINITIONS.items():
        words = re.compile(rf"(?<!\w){re.escape(term)}(?!\w)", re.IGNORECASE)
        using = [(path, line, item) for path, line, item, text in comments if words.search(text)]
        found = using if "--all" in sys.argv else [place for place in using if place[2] == wanted]
        for path, line, item in found:
            print(f"{term}: {path}:{line} {item}")
        if not any(item == wanted for _, _, item in using):
            missing.append(term)
            others = ", ".join(sorted({item for _, _, item in using})[:8]) or "nothing"
            print(f"terms: the doc comment of `{wanted}` does not define `{term}` (named by {others})", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
