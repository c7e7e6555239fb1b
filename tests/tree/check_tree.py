#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Checks one rule of the tree and lists what breaks it. Rules: see RULES at the end."""

import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PRODUCT = ["ecc", "blockdev", "net", "mirror"]
FOLDERS = PRODUCT + ["tools", "tests", "benchmarks"]
# Lowest first; tests and benchmarks sit on top and see everything.
LAYERS = PRODUCT + ["tools"]

HEADER_LINES_MAX = 280
SOURCE_LINES_MAX = 600
FUNCTION_LINES_MAX = 70

# What the seam keeps out of product code, which must run unchanged in the simulator.
OUTSIDE = re.compile(
    r"#include <(thread|mutex|condition_variable|shared_mutex|future|random|chrono|ctime|fstream"
    r"|filesystem|liburing\.h|unistd\.h|fcntl\.h|poll\.h|sys/[a-z_]+\.h|linux/[a-z_/]+\.h"
    r"|netinet/[a-z_]+\.h|arpa/[a-z_]+\.h|netdb\.h|pthread\.h)>"
    r"|\bstd::(rand|thread|random_device|chrono)\b|\bthread_local\b|[^a-z_:.]rand\(\)")
# The seam's kernel side, the front ends that are kernel interfaces themselves, and who maps memory.
KERNEL_SIDE = re.compile(
    r"blockdev/(uring_|process|fuse_|ublk_|loop_device|nbd_device|memory_device|buffer_pool)")


def files(extensions, folders=FOLDERS):
    for folder in folders:
        for base, folders_below, names in os.walk(os.path.join(ROOT, folder)):
            folders_below[:] = sorted(f for f in folders_below if f != "__pycache__")
            for name in sorted(names):
                if name.endswith(extensions):
                    yield os.path.relpath(os.path.join(base, name), ROOT)


def lines_of(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read().splitlines()


def check_includes():
    """Includes go down only, and are written from the root."""
    for path in files((".h", ".cc")):
        folder = path.split("/")[0]
        for number, line in enumerate(lines_of(path), 1):
            match = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
            if not match:
                continue
            target = match.group(1)
            if not os.path.exists(os.path.join(ROOT, target)):
                yield f"{path}:{number}: {target} is not a path from the root"
                continue
            below = target.split("/")[0]
            if folder in LAYERS and below not in LAYERS[: LAYERS.index(folder) + 1]:
                yield f"{path}:{number}: {folder} may not include {target}"


def check_seam():
    """Product code reaches the outside through the seam only."""
    for path in files((".h", ".cc"), PRODUCT):
        if KERNEL_SIDE.match(path):
            continue
        for number, line in enumerate(lines_of(path), 1):
            if OUTSIDE.search(line.split("//")[0]):
                yield f"{path}:{number}: goes round the seam: {line.strip()}"


def check_text():
    """A licence line on top; no dead text."""
    dead = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b|\bDISAB" + r"LED_")
    scripts = ["dev", ".ci/run", "CMakeLists.txt"]
    sources = list(files((".h", ".cc", ".py", ".sh", ".fio", "CMakeLists.txt")))
    cmake = ["cmake/" + name for name in sorted(os.listdir(os.path.join(ROOT, "cmake")))]
    for path in sources + scripts + cmake:
        lines = lines_of(path)
        if not any("SPDX-License-Identifier: Apache-2.0" in line for line in lines[:2]):
            yield f"{path}:1: the licence line is missing"
        if path.endswith(".h") and "#pragma once" not in lines:
            yield f"{path}:1: #pragma once is missing"
        for number, line in enumerate(lines, 1):
            if dead.search(line):
                yield f"{path}:{number}: dead text: {line.strip()}"
            if line != line.rstrip() or "\t" in line:
                yield f"{path}:{number}: trailing blank or tab"


def functions(lines):
    """Yields (first line number, length) of what stands in braces at the left margin."""
    start = None
    for number, line in enumerate(lines, 1):
        if start is None and line.endswith("{") and not line.startswith((" ", "#", "//")):
            start = number
            if re.match(r"(inline )?namespace|extern|struct|class|enum|union|template|const", line):
                start = None
        elif start is not None and line.startswith("}"):
            yield start, number - start + 1
            start = None
        elif start is None and line.startswith("    ") and line.endswith(") {"):
            # The last line of a parameter list that did not fit on one.
            previous = lines[number - 2]
            if re.match(r"[A-Za-z].*[(,]$", previous):
                start = number - 1


def check_sizes():
    """Small files, small functions."""
    for path in files((".h", ".cc", ".py")):
        lines = lines_of(path)
        limit = HEADER_LINES_MAX if path.endswith(".h") else SOURCE_LINES_MAX
        if len(lines) > limit:
            yield f"{path}: {len(lines)} lines, at most {limit}"
        if path.endswith(".cc"):
            for number, length in functions(lines):
                if length > FUNCTION_LINES_MAX:
                    yield f"{path}:{number}: a function of {length} lines"


def check_format():
    """clang-format has nothing to say."""
    result = subprocess.run(
        ["clang-format-19", "--dry-run", "-Werror", *files((".h", ".cc"))],
        cwd=ROOT, capture_output=True, text=True, check=False)
    for line in result.stderr.splitlines():
        if "error:" in line:
            yield line.split(" error:")[0] + " run ./dev format"
    if result.returncode != 0 and "error:" not in result.stderr:
        yield result.stderr


def check_links():
    """Links between the pages lead somewhere."""
    pages = [name for name in sorted(os.listdir(ROOT)) if name.endswith(".md")]
    for path in pages + list(files((".md",), FOLDERS + ["docs"])):
        for number, line in enumerate(lines_of(path), 1):
            for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", line):
                if "://" in target:
                    continue
                if not os.path.exists(os.path.join(ROOT, os.path.dirname(path), target)):
                    yield f"{path}:{number}: no such file: {target}"


RULES = {
    "includes": check_includes,
    "seam": check_seam,
    "text": check_text,
    "sizes": check_sizes,
    "format": check_format,
    "links": check_links,
}


def main():
    if len(sys.argv) != 2 or sys.argv[1] not in RULES:
        sys.exit(f"usage: check_tree.py {'|'.join(RULES)}")
    broken = list(RULES[sys.argv[1]]())
    for line in broken:
        print(line)
    if broken:
        sys.exit(f"{len(broken)} places break the rule: {RULES[sys.argv[1]].__doc__}")


if __name__ == "__main__":
    main()
