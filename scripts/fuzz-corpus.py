#!/usr/bin/env python3
"""Chooses the corpus of a fuzz target anew. usage: fuzz-corpus.py TARGET [KIB]

From fuzz/corpus and what runs have found (fuzz/work), libFuzzer's merge picks inputs that together
reach all that any of them does; of these the smaller ones are kept, up to KIB (default 36) and to
a number of files that does not fill a repository. Files
with names of their own (not a digest) were put there by people, and stay.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# The most inputs of a target.
FILES = 120


def program(target):
    build = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "fuzz" / "target"))
    found = sorted(build.glob(f"**/release/{target}"), key=lambda path: path.stat().st_mtime)
    if not found:
        sys.exit(f"no program {target} below {build}: run `make fuzz TARGET={target} SECONDS=10` first")
    return str(found[-1])


def main(target, limit):
    corpus = ROOT / "fuzz" / "corpus" / target
    work = ROOT / "fuzz" / "work" / target
    corpus.mkdir(parents=True, exist_ok=True)
    by_hand = [path for path in corpus.iterdir() if not re.fullmatch(r"[0-9a-f]{40}", path.name)]
    with tempfile.TemporaryDirectory() as chosen:
        folders = [str(folder) for folder in (corpus, work) if folder.is_dir()]
        merge = [program(target), "-set_cover_merge=1", "-max_len=32768", chosen, *folders]
        subprocess.run(merge, check=True, stderr=subprocess.DEVNULL)
        left = limit - sum(path.stat().st_size for path in by_hand)
        files = sorted(Path(chosen).iterdir(), key=lambda path: (path.stat().st_size, path.name))
        for path in set(corpus.iterdir()) - set(by_hand):
            path.unlink()
        small = []
        for path in files:
            left -= path.stat().st_size
            if left < 0:
                break
            small.append(path)
        # Of all sizes, where there are too many.
        kept = small[:: -(-len(small) // FILES) or 1]
        for path in kept:
            shutil.copy(path, corpus / path.name)
    print(f"{target}: {len(kept)} of {len(files)} inputs kept, {len(by_hand)} by hand")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2] if len(sys.argv) > 2 else 36) << 10)
