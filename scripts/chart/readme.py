#!/usr/bin/env python3
"""Writes the tables of values in the chart's README from the comments in values.yaml.

usage: readme.py   (a test holds the README to what this would write)
"""

import json
import re
from pathlib import Path

import yaml

CHART = Path(__file__).resolve().parents[2] / "charts" / "autorep"
KEY = re.compile(r"^( *)([A-Za-z][A-Za-z0-9]*):( |$)")
BEGIN, END = "<!-- values: made by scripts/chart/readme.py -->\n", "<!-- end of values -->\n"


def documented(text):
    """[(path, description)] of every key that has a `# --` comment, in the file's order."""
    found, path, comment = [], [], None
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("# -- "):
            assert comment is None, f"expected a key below its comment, found {line!r}"
            comment = stripped[5:]
            continue
        key = KEY.match(line)
        if key is None:
            assert comment is None or not stripped, f"expected a key, found {line!r}"
            continue
        depth = len(key[1]) // 2
        path = path[:depth] + [key[2]]
        if comment is not None:
            found.append((tuple(path), comment))
            comment = None
    return found


def at(values, path):
    for key in path:
        values = values[key]
    return values


def rows(section, entries, values):
    yield "| value | means | default |\n|---|---|---|"
    for path, text in entries:
        default = json.dumps(at(values, path), ensure_ascii=False)
        yield f"| `{'.'.join(path)}` | {text.replace('|', chr(92) + '|')} | `{default}` |"


def tables(text):
    """The Markdown of all values: one table for each key at the top that holds others."""
    values, entries = yaml.safe_load(text), documented(text)
    sections = {}
    for path, description in entries:
        sections.setdefault(path[0] if len(path) > 1 else "", []).append((path, description))
    parts = []
    for section, members in sections.items():
        title = f"### `{section}`" if section else "### The whole release"
        parts.append(title + "\n\n" + "\n".join(rows(section, members, values)) + "\n")
    return "\n".join(parts)


def renewed(readme, values_text):
    """The README with its tables made anew."""
    head, rest = readme.split(BEGIN)
    _, tail = rest.split(END)
    return head + BEGIN + "\n" + tables(values_text) + "\n" + END + tail


if __name__ == "__main__":
    page = CHART / "README.md"
    page.write_text(renewed(page.read_text(), (CHART / "values.yaml").read_text()))
