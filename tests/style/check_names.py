#!/usr/bin/env python3
"""Fails when a comment or a document names a file, or a comment a constant or a function, that is not there.

Looked at are comments of sources and scripts and the whole text of documents. A name is found if it is a path from
the root, from the folder of the file that names it, or the end of some file's path: `mmu/paging.cpp` and
`paging.cpp` both mean cpu/x86/mmu/paging.cpp. `deliver_{real,long}.cpp` stands for two files, `exec_*.cpp` for at
least one. Links in documents (`](x86/apic.md)`) must lead somewhere from where they stand. A constant (`kName`, `kName*`) or function (`name()`) in a comment of ours
must be a word of some source's code."""
import fnmatch
import itertools
import pathlib
import re
import sys

FOLDERS = ["core", "cpu", "devices", "docs", "frontends", "jit", "roms", "tests", ".ci"]
COMMENT = {
    ".hpp": re.compile(r"//(.*)$", re.M), ".cpp": re.compile(r"//(.*)$", re.M), ".inc": re.compile(r"//(.*)$", re.M),
    ".c": re.compile(r"//(.*)$|/\*(.*?)\*/", re.M | re.S), ".h": re.compile(r"//(.*)$|/\*(.*?)\*/", re.M | re.S),
    ".asm": re.compile(r";(.*)$", re.M),
    ".py": re.compile(r'(?:^|\s)#(.*)$|"""(.*?)"""', re.M | re.S), ".sh": re.compile(r"(?:^|\s)#(.*)$", re.M),
    ".build": re.compile(r"#(.*)$", re.M), ".toml": re.compile(r"^#(.*)$", re.M), ".md": re.compile(r"(.*)$", re.M),
}
NAME = re.compile(r"(?<![\w./$*{}<-])((?:[\w*./-]|\{[\w,]+\})+?\.(?:hpp|cpp|inc|asm|py|sh|md|asl|toml|c)|(?:[\w/-]+/)?meson\.build)(?![\w.*/-]*\w)")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
# Files of other programs, of guests, and placeholders.
ELSEWHERE = {"nested.c", "script.sh", "TEST.asm", "NAME.hpp", "NAME.cpp", "NAME.md", "NAME_test.cpp"}
FOREIGN_FUNCTIONS = {"setup_vmcs_config", "vmx_init_vmcs_config", "vmx_set_cpu_caps"}
SPOKEN = re.compile(r"\bk[A-Z]\w*\*?|\b[a-z]\w+(?=\(\))")


def words_of_code(files):
    words = set()
    for path in files:
        if path.suffix in {".hpp", ".cpp", ".inc", ".c", ".h", ".S", ".asm", ".py"}:
            text = path.read_text(encoding="utf-8", errors="replace")
            words |= set(re.findall(r"\w+", re.sub(r"//.*", "", text)))
    return words


def expand(name):
    """All names that `a{b,c}d` stands for."""
    parts = [part.split(",") if i % 2 else [part] for i, part in enumerate(re.split(r"\{([^}]*)\}", name))]
    return ["".join(chosen) for chosen in itertools.product(*parts)]


def main(root):
    files = [p for folder in FOLDERS for p in (root / folder).rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    files += [p for p in root.iterdir() if p.is_file()]
    known = {"/" + p.relative_to(root).as_posix() for p in files}

    def exists(name, folder):
        name = name.removeprefix("./")
        if "*" in name:
            return any(fnmatch.fnmatch(path, "*/" + name) for path in known)
        return (any(path.endswith("/" + name) for path in known) or (folder / name).exists())

    words = words_of_code(files)
    bad = 0
    for path in sorted(files):
        pattern = COMMENT.get(path.suffix)
        if pattern is None and path.name not in ("run",):
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        for comment in (pattern or COMMENT[".sh"]).finditer(text):
            said = next(group for group in comment.groups() if group is not None)
            names = [(m[1], m.start()) for m in NAME.finditer(said)]
            for name, offset in names:
                if name.split("/")[-1] in ELSEWHERE or "://" in said[max(0, offset - 60):offset]:
                    continue
                for one in expand(name):
                    if not exists(one, path.parent):
                        line = text.count("\n", 0, comment.start() + offset) + 1
                        print(f"{path.relative_to(root)}:{line}: there is no {one}")
                        bad += 1
            if path.suffix in {".hpp", ".cpp", ".inc"}:
                for spoken in SPOKEN.finditer(said):
                    word = spoken[0]
                    there = word in words if word[-1] != "*" else any(other.startswith(word[:-1]) for other in words)
                    if not there and word not in FOREIGN_FUNCTIONS:
                        line = text.count("\n", 0, comment.start() + spoken.start()) + 1
                        print(f"{path.relative_to(root)}:{line}: there is no {word}")
                        bad += 1
        if path.suffix == ".md":
            for link in LINK.finditer(text):
                if "://" not in link[1] and not (path.parent / link[1]).exists():
                    print(f"{path.relative_to(root)}:{text.count(chr(10), 0, link.start()) + 1}: the link leads nowhere: {link[1]}")
                    bad += 1
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1])))
