#!/usr/bin/env python3
"""Opens a published dataset the way its users will, in pyarrow, polars and datasets, without network, and checks that
everything it says of itself agrees: manifest, Parquet files, card and report page. It knows the published layout and
nothing of how it was made.

usage: check_dataset.py OUTPUT_DIR
"""

import collections
import hashlib
import html.parser
import json
import os
import pathlib
import re
import sys
import tempfile

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1", HF_DATASETS_DISABLE_PROGRESS_BARS="1")

import datasets  # noqa: E402  (reads its settings from the environment when it is imported)
import polars  # noqa: E402
import pyarrow.parquet  # noqa: E402
import yaml  # noqa: E402
from huggingface_hub import DatasetCard  # noqa: E402

FORMAT = "scalequest-dataset/2"
MESSAGES = "list<element: struct<role: string not null, content: string not null> not null>"
REJECTS = {
    "id": "int64", "stage": "string", "reason": "string", "detail": "string?", "question": "string",
    "question_tokens": "int32", "difficulty": "double?", "generator": "string", "wave": "int32", "response_count": "int32",
}
SCHEMAS = {
    "data": {
        "id": "int64", "question": "string", "response": "string", "messages": MESSAGES, "final_answer": "string?",
        "reward": "double?", "agreement": "int32", "difficulty": "double?", "question_tokens": "int32",
        "response_tokens": "int32", "generator": "string", "wave": "int32", "sample_index": "int32", "seed": "int64",
        "generator_digest": "string?", "responder_digest": "string?", "reward_digest": "string?",
        "compute_backends": "string",
    },
    "responses": {
        "question_id": "int64", "sample_index": "int32", "response": "string", "response_tokens": "int32",
        "finished": "bool", "final_answer": "string?", "reward": "double?", "chosen": "bool", "accepted": "bool",
        "generator": "string", "wave": "int32",
    },
    "rejects": REJECTS,
    "preferences": {"id": "int64", "generator": "string", "direction": "string", "chosen": "string", "rejected": "string"},
    "preference_rejects": REJECTS,
    "sft_questions": {"id": "int64", "generator": "string", "question": "string"},
}
"""Columns of each table in order; `?` marks one that may be null."""
REASONS = [
    "Empty", "Unfinished", "Language", "Contaminated", "ExactDuplicate", "NearDuplicate", "Unsolvable", "NoVerdict",
    "TooEasy", "PromptTooLong", "Refused", "NoFinalAnswer", "NoAgreement", "ShardRetriesExhausted",
]
"""Why a question may be missing from the dataset."""
PREFERENCE_REASONS = ["Empty", "Unfinished", "PromptTooLong", "Refused", "BadRewrite", "ShardRetriesExhausted"]
"""Why a sampled question may have given no preference pair."""


class Checks:
    """Counts what holds and prints what does not."""

    def __init__(self):
        self.passed = self.failed = 0

    def equal(self, what, found, expected):
        """`found` is `expected`."""
        self.holds(found == expected, f"{what}: found {found!r}, expected {expected!r}")

    def holds(self, condition, sentence):
        """The condition is true; otherwise the sentence says what is wrong."""
        if condition:
            self.passed += 1
        else:
            self.failed += 1
            print(f"FAILED {sentence}")


class TableRows(html.parser.HTMLParser):
    """The rows of all tables of a page, as lists of cells."""

    def __init__(self):
        super().__init__()
        self.rows, self.cell = [], None

    def handle_starttag(self, tag, attrs):
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th") and self.rows:
            self.cell = ""

    def handle_endtag(self, tag):
        if tag in ("td", "th") and self.cell is not None:
            self.rows[-1].append(" ".join(self.cell.split()))
            self.cell = None

    def handle_data(self, data):
        if self.cell is not None:
            self.cell += data


def cells_of_markdown(text):
    """The rows of all Markdown tables of a text, as lists of cells."""
    lines = [line.strip() for line in text.splitlines() if line.strip().startswith("|")]
    return [[cell.strip(" `*") for cell in line.strip("|").split("|")] for line in lines]


def cells_of_html(text):
    """The rows of all tables of a page."""
    parser = TableRows()
    parser.feed(text)
    return parser.rows


def as_count(cell):
    """The whole number that a cell begins with (grouped or not), or None."""
    match = re.match(r"(\d{1,3}(?:[,\u202f\u00a0 ]\d{3})+|\d+)\b(?![.\d%])", cell)
    return int(re.sub(r"\D", "", match[1])) if match else None


def states(rows, label, count):
    """Whether some row names the label in one cell and gives the count in a later one."""
    wanted = re.compile(rf"\b{label}\b", re.IGNORECASE)
    for row in rows:
        for place, cell in enumerate(row):
            if wanted.search(cell) and count in [as_count(later) for later in row[place + 1:]]:
                return True
    return False


def read_manifest(checks, output):
    """The manifest, its digest and the files it names."""
    manifest = json.loads((output / "manifest.json").read_text(encoding="utf-8"))
    checks.equal("format of manifest.json", manifest["format"], FORMAT)
    lines = ""
    for file in manifest["files"]:
        data = (output / file["path"]).read_bytes()
        checks.equal(f"size of {file['path']}", len(data), file["bytes"])
        checks.equal(f"SHA-256 of {file['path']}", hashlib.sha256(data).hexdigest(), file["sha256"])
        checks.holds(file["path"].startswith(f"{file['table']}/"), f"{file['path']} does not lie in {file['table']}/")
        lines += f"{file['table']} {file['rows']} {file['sha256']}\n"
    checks.equal("digest of the dataset", manifest["digest"], "sha256:" + hashlib.sha256(lines.encode()).hexdigest())
    named = {file["path"] for file in manifest["files"]} | set(manifest["documents"]) | {"manifest.json"}
    found = {path.relative_to(output).as_posix() for path in output.rglob("*") if path.is_file()}
    checks.equal("files in the output", found, named)
    return manifest


def files_of(manifest, output, table):
    """The Parquet files of a table, in row order."""
    return [output / file["path"] for file in manifest["files"] if file["table"] == table]


def check_schema(checks, table, schema):
    """The columns of a file, as pyarrow sees them."""
    found = {field.name: f"{field.type}{'?' if field.nullable else ''}" for field in schema}
    checks.equal(f"columns of {table}", list(found.items()), list(SCHEMAS[table].items()))


def check_with_pyarrow(checks, manifest, output):
    """Opens every file in pyarrow; returns the tables as lists of rows."""
    tables = {}
    for table in SCHEMAS:
        rows = []
        for file in (file for file in manifest["files"] if file["table"] == table):
            opened = pyarrow.parquet.read_table(output / file["path"], partitioning=None)
            check_schema(checks, table, opened.schema)
            checks.equal(f"rows of {file['path']} in pyarrow", opened.num_rows, file["rows"])
            rows += opened.to_pylist()
        if table in manifest["rows"]:
            checks.equal(f"rows of {table} in pyarrow", len(rows), manifest["rows"][table])
        tables[table] = rows
    return tables


def check_with_polars(checks, manifest, output, tables):
    """Opens every table in polars: the same rows as in pyarrow."""
    for table, rows in tables.items():
        if files := files_of(manifest, output, table):
            frame = polars.read_parquet(files)
            checks.holds(frame.to_dicts() == rows, f"{table} in polars differs from pyarrow")


def check_with_datasets(checks, output, tables, header):
    """Opens every configuration that the card declares in datasets, by the folder's name, as from the hub. A table without
    rows is not to be declared: datasets refuses to open one."""
    declared = {}
    for config in header.get("configs", []):
        paths = [path for entry in config["data_files"] for path in as_list(entry["path"])]
        [table] = {pathlib.PurePosixPath(path).parts[0] for path in paths}
        declared[table] = config["config_name"]
    checks.equal("tables that the card declares", set(declared), {table for table, rows in tables.items() if rows})
    with tempfile.TemporaryDirectory(prefix="scalequest-datasets-") as cache:
        for table in [table for table in declared if tables[table]]:
            split = datasets.load_dataset(str(output), declared[table], split="train", cache_dir=cache)
            checks.holds(split.to_list() == tables[table], f"{table} in datasets differs from pyarrow")


def as_list(value):
    """One path or several, as several."""
    return value if isinstance(value, list) else [value]


def check_funnel(checks, manifest, tables, card, report):
    """generated = accepted + sum of rejects by reason, in the manifest, the files, the card and the report."""
    funnel = manifest["funnel"]
    rejected = {reason: count for reason, count in funnel["rejected"].items() if count}
    checks.equal("generated", funnel["generated"], funnel["accepted"] + sum(rejected.values()))
    checks.equal("accepted pairs in data", len(tables["data"]), funnel["accepted"])
    by_reason = collections.Counter(row["reason"] for row in tables["rejects"])
    checks.equal("rejects by reason", dict(by_reason), rejected)
    checks.holds(set(rejected) <= set(REASONS), f"unknown reasons {sorted(set(rejected) - set(REASONS))}")
    odd = {row["reason"] for row in tables["preference_rejects"]} - set(PREFERENCE_REASONS)
    checks.holds(not odd, f"unknown reasons in preference_rejects: {sorted(odd)}")
    ids = [row["id"] for row in tables["data"]] + [row["id"] for row in tables["rejects"]]
    checks.equal("questions with an id of their own", len(set(ids)), funnel["generated"])
    total = sum(rejected.values())
    sentence = f"{funnel['generated']:,} generated = {funnel['accepted']:,} accepted + {total:,} rejected."
    for name, text, rows in [("README.md", card, cells_of_markdown(card)), ("report.html", report, cells_of_html(report))]:
        checks.holds(sentence in text, f"{name} does not say: {sentence}")
        for reason, count in rejected.items():
            checks.holds(states(rows, reason, count), f"no table of {name} gives {count} for {reason}")


def check_rows(checks, tables):
    """What every row of a table must be."""
    chosen = {row["question_id"]: row for row in tables["responses"] if row["chosen"]}
    for row in tables["data"]:
        place = f"data, question {row['id']}"
        checks.holds(row["question"].strip() and row["response"].strip(), f"{place}: empty text")
        turns = [{"role": "user", "content": row["question"]}, {"role": "assistant", "content": row["response"]}]
        checks.equal(f"{place}: messages", row["messages"], turns)
        kept = chosen.get(row["id"], {})
        for mine, theirs in [("response", "response"), ("reward", "reward"), ("final_answer", "final_answer"), ("sample_index", "sample_index")]:
            checks.equal(f"{place}: {mine} of the chosen response", kept.get(theirs), row[mine])
        checks.holds(row["agreement"] >= 1, f"{place}: agreement is {row['agreement']}")
    checks.equal("chosen responses", len(chosen), len(tables["data"]))
    accepted = {row["question_id"] for row in tables["responses"] if row["accepted"]}
    checks.equal("questions with accepted responses", accepted, {row["id"] for row in tables["data"]})
    for row in tables["preferences"]:
        checks.holds(row["chosen"] != row["rejected"], f"preferences, question {row['id']}: chosen and rejected are the same")
        checks.holds(row["direction"] in ("Solvability", "Difficulty"), f"preferences, question {row['id']}: direction {row['direction']}")


def check_card(checks, output, manifest):
    """The card's header is what the hub reads; returns it."""
    card = DatasetCard.load(output / "README.md")
    header = card.data.to_dict()
    for member in ["license", "language", "task_categories", "tags", "size_categories", "configs"]:
        checks.holds(header.get(member), f"the header of README.md has no {member}")
    defaults = [config for config in header.get("configs", []) if config.get("default")]
    checks.equal("default configurations of the card", len(defaults), 1 if manifest["rows"]["data"] else 0)
    spec = yaml.safe_load((output / "run.yaml").read_text(encoding="utf-8"))
    checks.equal("kind in run.yaml", spec["kind"], "SynthesisRun")
    checks.equal("name in run.yaml", spec["metadata"]["name"], manifest["name"])
    for model in spec["spec"]["models"]:
        checks.holds(model["name"] in card.text, f"README.md does not name the model {model['name']}")
    return header, card.text


def main(arguments):
    if len(arguments) != 1:
        raise SystemExit(__doc__)
    output = pathlib.Path(arguments[0])
    if not (output / "manifest.json").is_file():
        raise SystemExit(f"{output}/manifest.json is not there: {output} holds no published dataset")
    checks = Checks()
    manifest = read_manifest(checks, output)
    header, card = check_card(checks, output, manifest)
    tables = check_with_pyarrow(checks, manifest, output)
    check_with_polars(checks, manifest, output, tables)
    check_with_datasets(checks, output, tables, header)
    check_funnel(checks, manifest, tables, card, (output / "report.html").read_text(encoding="utf-8"))
    check_rows(checks, tables)
    print(f"{manifest['name']}: {manifest['rows']}, {manifest['digest']}")
    print(f"dataset: {checks.passed} passed, {checks.failed} failed")
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
