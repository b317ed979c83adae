#!/usr/bin/env python3
"""Checks the question files that ship with the examples: their form, that no question stands twice, and that none of
the first file shares 13 words in a row with a later one. It does not check that answers are right.

usage: check_seeds.py SEEDS.jsonl [HELD_OUT.jsonl...]
"""

import collections
import json
import re
import sys

FIELDS = {
    "algebra", "arithmetic", "combinatorics", "fractions", "geometry", "logic", "money", "number theory", "percentages",
    "probability", "rates", "ratios", "sequences", "statistics", "time", "units",
}
LEVELS = {"easy", "medium", "hard"}
NGRAM = 13
NEAR = 0.75
"""Jaccard similarity of word sets from which two questions count as one question told twice."""


def words(text):
    """The words of a text, without case and punctuation."""
    return re.findall(r"\w+", text.lower())


def ngrams(text):
    """Every run of 13 words."""
    tokens = words(text)
    return {tuple(tokens[i:i + NGRAM]) for i in range(len(tokens) - NGRAM + 1)}


def read(path):
    """The questions of a file, with a sentence for each thing that is wrong with it."""
    rows, wrong = [], []
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            place = f"{path}:{number}"
            try:
                row = json.loads(line)
            except ValueError as error:
                wrong.append(f"{place}: not JSON: {error}")
                continue
            if list(row) != ["question", "field", "level", "answer"]:
                wrong.append(f"{place}: members are {list(row)}")
                continue
            if row["field"] not in FIELDS:
                wrong.append(f"{place}: unknown field {row['field']!r}")
            if row["level"] not in LEVELS:
                wrong.append(f"{place}: unknown level {row['level']!r}")
            if not row["answer"].strip() or len(row["answer"]) > 20:
                wrong.append(f"{place}: the answer is to be short, not {row['answer']!r}")
            if not 5 <= len(words(row["question"])) <= 80 or row["question"] != row["question"].strip():
                wrong.append(f"{place}: the question is to be 5 to 80 words, without space around it")
            if not row["question"].endswith(("?", ".")):
                wrong.append(f"{place}: the question does not end as a sentence")
            rows.append((place, row))
    return rows, wrong


def main(paths):
    if not paths:
        raise SystemExit(__doc__)
    files, wrong = [], []
    for path in paths:
        rows, complaints = read(path)
        files.append(rows)
        wrong += complaints
    everything = [(place, set(words(row["question"]))) for rows in files for place, row in rows]
    for i, (place, bag) in enumerate(everything):
        for other_place, other in everything[:i]:
            if len(bag & other) >= NEAR * len(bag | other):
                wrong.append(f"{place}: nearly the same question as {other_place}")
    held_out = {gram for rows in files[1:] for _, row in rows for gram in ngrams(row["question"])}
    for place, row in files[0]:
        if ngrams(row["question"]) & held_out:
            wrong.append(f"{place}: shares {NGRAM} words in a row with a held-out question")
    for sentence in wrong:
        print(sentence)
    levels = collections.Counter(row["level"] for rows in files for _, row in rows)
    print(f"{len(everything)} questions in {len(paths)} files, {dict(levels)}")
    print(f"seed questions: {len(everything)} passed, {len(wrong)} failed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
