#!/usr/bin/env python3
"""Checks that the modules of each crate form no circles.

Modules beside each other form a circle if each names something of the other, directly or through further ones: whoever reads one must
then read all, and none can become a crate of its own. Every path that begins with `crate::` or `super::` is followed through re-exports
(`pub use`) to the module that defines what it names; it makes the ancestor of the one that names depend on the ancestor of the other, where the two
lie beside each other. What a `mod.rs` defines for its children, and test code, make no dependency.

    tests/lint/module_circles.py [--edges] [CRATE-DIRECTORY ...]

Without directories: every crate of the workspace. Exit code 1 if there is a circle; each is printed with the lines that close it.
"""

import argparse
import collections
import os
import pathlib
import re
import sys
import tomllib

COMMENT_OR_TEXT = re.compile(r"""//[^\n]*|/\*.*?\*/|\bb?r(#*)".*?"\1|b?"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])'""", re.DOTALL)
VISIBLE = r"(?:pub(?:\s*\([^)]*\))?\s+)?"
DECLARED = re.compile(rf"(#\[cfg\(test\)\]\s*)?((?:#\[[^\]]*\]\s*)*)\b{VISIBLE}mod\s+(\w+)\s*([;{{])")
REEXPORTED = re.compile(r"\bpub(?:\s*\([^)]*\))?\s+use\s+([^;]+);")
PATH = re.compile(r"(?<![:\w])(crate|super)\s*::")


def code(text):
    """Returns Rust source with comments, strings and characters blanked, every line in its place."""
    return COMMENT_OR_TEXT.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)


def block_end(text, start):
    """Returns the offset after the block whose `{` is at `start`."""
    depth = 0
    for match in re.compile(r"[{}]").finditer(text, start):
        depth += 1 if match[0] == "{" else -1
        if depth == 0:
            return match.end()
    return len(text)


def paths(text, start):
    """Yields the paths of the use tree or expression path at `start`, as lists of (segment, offset)."""
    token = re.compile(r"\s*(::|\w+|[{},*])")

    def tree(offset, prefix):
        while True:
            match = token.match(text, offset)
            if match is None or match[1] in ("}", ",", "::"):
                return offset, [prefix]
            if match[1] == "{":
                found, offset = [], match.end()
                while True:
                    match = token.match(text, offset)
                    if match is None or match[1] == "}":
                        return (offset if match is None else match.end()), found
                    if match[1] == ",":
                        offset = match.end()
                        continue
                    offset, inner = tree(offset, prefix)
                    found += inner
            prefix = prefix + [(match[1], match.start(1))]
            offset = match.end()
            match = token.match(text, offset)
            if match is None or match[1] != "::":
                return offset, [prefix]
            offset = match.end()

    return tree(start, [])[1]


class Module:
    """A module: its file, its code without what lies in inline modules, its children and what it re-exports."""

    def __init__(self, path, file, text, first):
        self.path, self.file, self.first = path, file, first
        self.children, self.exports = {}, {}
        self.text = text


class Crate:
    """The modules of a crate, and which of those beside each other depend on which."""

    def __init__(self, source):
        self.modules = {}
        root = source / "lib.rs" if (source / "lib.rs").exists() else source / "main.rs"
        self.load((), root, code(root.read_text()), source, 0)
        for module in self.modules.values():
            self.read_exports(module)
        # (parent, child, other child) -> places
        self.edges = collections.defaultdict(list)
        for module in self.modules.values():
            self.read_paths(module)

    def load(self, path, file, text, folder, first):
        """Loads a module and its children. `folder` is where its children's files lie, `first` its text's offset in lines."""
        module = self.modules[path] = Module(path, file, text, first)
        offset = 0
        while match := DECLARED.search(module.text, offset):
            test, attributes, name, opening = match.groups()
            offset = match.end()
            if opening == "{":
                end = block_end(module.text, match.end() - 1)
                inner = module.text[match.end() : end - 1]
                line = first + module.text.count("\n", 0, match.end())
                blank = re.sub(r"[^\n]", " ", module.text[match.start() : end])
                module.text = module.text[: match.start()] + blank + module.text[end:]
                if not test:
                    module.children[name] = path + (name,)
                    self.load(path + (name,), file, inner, folder / name, line)
                continue
            if test or "#[path" in attributes:
                continue
            single, nested = folder / f"{name}.rs", folder / name / "mod.rs"
            found = single if single.exists() else nested
            module.children[name] = path + (name,)
            self.load(path + (name,), found, code(found.read_text()), folder / name, 0)

    def read_exports(self, module):
        """Notes what a module re-exports and from where."""
        for match in REEXPORTED.finditer(module.text):
            for path in paths(module.text, match.start(1)):
                names = [name for name, _ in path]
                renamed = re.match(r"\s+as\s+(\w+)", module.text[path[-1][1] + len(names[-1]) :])
                module.exports[renamed[1] if renamed else names[-1]] = names

    def resolve(self, origin, names, depth=0):
        """Returns the module that a path leads to, as seen from the module `origin`; None if it leads out of the crate."""
        here = origin
        for place, name in enumerate(names):
            module = self.modules[here]
            if name == "crate":
                here = ()
            elif name == "self":
                continue
            elif name == "super":
                here = here[:-1]
            elif name in module.children:
                here = module.children[name]
            elif name in module.exports and depth < 16:
                target = self.resolve(here, module.exports[name], depth + 1)
                return here if target is None else target
            elif place == 0:
                return None
            else:
                break
        return here

    def read_paths(self, module):
        """Notes the dependencies of one module."""
        for match in PATH.finditer(module.text):
            for path in paths(module.text, match.start(1)):
                target = self.resolve(module.path, [name for name, _ in path])
                if target is None:
                    continue
                shared = 0
                while shared < min(len(module.path), len(target)) and module.path[shared] == target[shared]:
                    shared += 1
                if shared < len(module.path) and shared < len(target):
                    line = module.first + module.text.count("\n", 0, path[-1][1]) + 1
                    key = (module.path[:shared], module.path[shared], target[shared])
                    self.edges[key].append(f"{module.file}:{line}")

    def circles(self):
        """Yields the circles: the parent, and the names of its children that reach each other."""
        for parent in sorted({parent for parent, _, _ in self.edges}):
            edges = collections.defaultdict(set)
            for other, source, target in self.edges:
                if other == parent:
                    edges[source].add(target)
            reached = {name: reachable(edges, name) for name in list(edges)}
            left = set(edges)
            while left:
                name = min(left)
                circle = {other for other in reached[name] if name in reached.get(other, ())}
                left -= circle | {name}
                if circle:
                    yield parent, sorted(circle)


def reachable(edges, start):
    """Returns what can be reached from a node by at least one edge."""
    found, open_ends = set(), [start]
    while open_ends:
        for target in edges.get(open_ends.pop(), ()):
            if target not in found:
                found.add(target)
                open_ends.append(target)
    return found


def main():
    parser = argparse.ArgumentParser(description="Checks that the modules of each crate form no circles.")
    parser.add_argument("--edges", action="store_true", help="print every dependency and how often it is named")
    parser.add_argument("crates", nargs="*", type=pathlib.Path, help="directories of crates (default: the workspace's)")
    given = parser.parse_args()
    root = pathlib.Path(__file__).resolve().parents[2]
    members = tomllib.loads((root / "Cargo.toml").read_text())["workspace"]["members"]
    count = 0
    os.chdir(root)
    for directory in given.crates or map(pathlib.Path, members):
        source = directory / "src"
        if not ((source / "lib.rs").exists() or (source / "main.rs").exists()):
            continue
        crate = Crate(source)
        named = lambda parent: "::".join((str(directory), *parent))
        if given.edges:
            for (parent, source, target), places in sorted(crate.edges.items()):
                print(f"{named(parent)}: {source} -> {target} ({len(places)})")
        for parent, circle in crate.circles():
            count += 1
            print(f"{named(parent)}: a circle of {', '.join(circle)}")
            for (other, source, target), places in sorted(crate.edges.items(), key=lambda edge: (len(edge[1]), edge[0])):
                if other == parent and source in circle and target in circle:
                    more = f" and {len(places) - 4} more" if len(places) > 4 else ""
                    print(f"    {source} -> {target}: {', '.join(places[:4])}{more}")
    return int(count > 0)


if __name__ == "__main__":
    sys.exit(main())
