#!/usr/bin/env python3
"""Fails when a knowing deviation from hardware is marked in the code (`QUIRK(name)`) and not told in docs/quirks.md
under a heading `## name`, or told there and marked nowhere."""
import pathlib
import re
import sys

FOLDERS = ["core", "cpu", "devices", "frontends", "jit", "roms"]


def main(root):
    marked = {}
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in {".hpp", ".cpp", ".inc", ".c", ".h", ".asl"}:
                text = path.read_text(encoding="utf-8")
                for mark in re.finditer(r"QUIRK\(([^)]*)\)", text):
                    line = text.count("\n", 0, mark.start()) + 1
                    marked.setdefault(mark[1], f"{path.relative_to(root)}:{line}")
    told = set(re.findall(r"^## (\S+)$", (root / "docs/quirks.md").read_text(encoding="utf-8"), re.M))
    for name in sorted(marked.keys() - told):
        print(f"{marked[name]}: QUIRK({name}) has no heading '## {name}' in docs/quirks.md")
    for name in sorted(told - marked.keys()):
        print(f"docs/quirks.md: '{name}' is marked nowhere in the code")
    if not marked:
        print("no QUIRK found: is this the root of the tree?")
    return 0 if marked and marked.keys() == told else 1


sys.exit(main(pathlib.Path(sys.argv[1])))
