#!/usr/bin/env python3
"""Compares two finished runs of one spec, made by versions 0.1 and 0.2 of the programs: the same rows, under other names.

It reads what both runs published and what their workspaces keep:
- the rows of every table, column by column and in order, by an explicit map of renamed columns and words;
- the stages on record, with the row counts of their seals by table;
- the resolved spec, from the record and from run.yaml.

Prints `equal` or the first differences of each, and exits with 0 if all are equal. Run it by hand, in the Python
environment of `.ci/tools.sh python`:

    ~/.cache/scalequest/python/bin/python tests/compare/quickstart_rows.py BEFORE AFTER

BEFORE and AFTER are the directories in which the runs were started, with demo/dataset and demo/workspace, or those two
folders' parent. `--same` compares two runs of the same version, without the map.
"""

import argparse
import json
import sys
from pathlib import Path

import pyarrow
import pyarrow.parquet
import yaml

# Columns by table: the name before and the name after.
COLUMNS = {("data", "body"): "compute_backends"}
# Words by column name before: the value before and the value after.
WORDS = {
    "stage": {"scorer": "train-scorer", "rate": "score"},
    "reason": {"ShardGivenUp": "ShardRetriesExhausted"},
}
# Stages as records and seals name them.
STAGES = {"Scorer": "TrainScorer", "Rate": "Score"}
# Members of the spec, anywhere below `engine`.
SPEC = {"arithmetic": "dtype"}

# Differences that are printed of each comparison.
SHOWN = 5


def renamed_spec(value, below_engine=False):
    """Returns the spec with its members under their names of today."""
    if isinstance(value, dict):
        rename = SPEC if below_engine else {}
        return {rename.get(name, name): renamed_spec(member, name == "engine") for name, member in value.items()}
    if isinstance(value, list):
        return [renamed_spec(item, below_engine) for item in value]
    return value


class Run:
    """What a finished run left."""

    def __init__(self, directory, is_before):
        self.directory = directory / "demo" if (directory / "demo").is_dir() else directory
        self.dataset = self.directory / "dataset"
        self.is_before = is_before
        self.manifest = json.loads((self.dataset / "manifest.json").read_text())
        records = sorted((self.directory / "workspace" / "runs").glob("*/record.json"))
        if len(records) != 1:
            sys.exit(f"{self.directory}/workspace/runs: one run is wanted, not {len(records)}")
        self.record = json.loads(records[0].read_text())["record"]

    def tables(self):
        return sorted({file["table"] for file in self.manifest["files"]} | set(self.manifest["rows"]))

    def columns(self, table):
        """Returns the columns of a table by their names of today: lists of values, in row order."""
        files = [self.dataset / file["path"] for file in self.manifest["files"] if file["table"] == table]
        if not files:
            return {}
        rows = pyarrow.concat_tables([pyarrow.parquet.read_table(file, partitioning=None) for file in files])
        columns = {}
        for name in rows.column_names:
            values = rows.column(name).to_pylist()
            if self.is_before:
                words = WORDS.get(name, {})
                values = [words.get(value, value) if isinstance(value, str) else value for value in values]
                name = COLUMNS.get((table, name), name)
            columns[name] = values
        return columns

    def stage_name(self, name):
        return STAGES.get(name, name) if self.is_before else name

    def stages(self):
        """Returns the stages on record in order: stage, generator and wave, with what is counted of them."""
        found = {}
        for stage in self.record["stages"]:
            identity = stage.get("id", stage)
            name = self.stage_name(identity["stage"])
            seal = self.seal_of(stage["key"])
            place = " ".join(str(part) for part in (name, identity.get("generator"), identity.get("wave")) if part is not None)
            counts = dict(seal["counts"])
            reasons = WORDS["reason"] if self.is_before else {}
            counts["dropped"] = {reasons.get(reason, reason): count for reason, count in counts.get("dropped", {}).items()}
            found[place] = {"work": stage["work"], "rows": seal["rows"], "counts": counts}
        return found

    def seal_of(self, key):
        """Returns the seal of the stage with that content key; a publication has one of its own."""
        digits = key.removeprefix("sha256:")
        for path in (self.directory / "workspace" / "stages").glob(f"*{digits}*/sealed.json"):
            return json.loads(path.read_text())["content"]
        sys.exit(f"{self.directory}/workspace/stages: no seal of {key}")

    def spec(self):
        return renamed_spec(self.record["spec"]) if self.is_before else self.record["spec"]

    def run_yaml(self):
        spec = yaml.safe_load((self.dataset / "run.yaml").read_text())["spec"]
        return renamed_spec(spec) if self.is_before else spec


def differences(before, after, path=""):
    """Yields where two values of dicts, lists and scalars differ."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name in [*before, *(name for name in after if name not in before)]:
            at = f"{path}.{name}" if path else str(name)
            if name not in before:
                yield f"{at} is new: {after[name]!r:.200}"
            elif name not in after:
                yield f"{at} is gone: {before[name]!r:.200}"
            else:
                yield from differences(before[name], after[name], at)
    elif isinstance(before, list) and isinstance(after, list):
        if len(before) != len(after):
            yield f"{path}: {len(before)} before, {len(after)} after"
        for index, pair in enumerate(zip(before, after)):
            yield from differences(*pair, f"{path}[{index}]")
    elif type(before) is not type(after) or before != after:
        yield f"{path}: {before!r:.200} before, {after!r:.200} after"


def compare(what, before, after):
    """Prints whether two values are equal, or their first differences; returns whether they are."""
    found = list(differences(before, after))
    size = len(next(iter(before.values()), [])) if what.startswith("table") else len(before)
    print(f"{what}: equal ({size})" if not found else f"{what}: {len(found)} differences")
    for line in found[:SHOWN]:
        print(f"    {line}")
    return not found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--same", action="store_true", help="both runs are of the same version: nothing was renamed")
    given = parser.parse_args()
    before, after = Run(given.before, not given.same), Run(given.after, False)
    ok = compare("names of tables", before.tables(), after.tables())
    for table in sorted({*before.tables(), *after.tables()}):
        ok &= compare(f"table {table}", before.columns(table), after.columns(table))
    ok &= compare("stages and rows of their seals", before.stages(), after.stages())
    ok &= compare("order of stages", list(before.stages()), list(after.stages()))
    ok &= compare("resolved spec on record", before.spec(), after.spec())
    ok &= compare("resolved spec in run.yaml", before.run_yaml(), after.run_yaml())
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
