"""What brings images to training: decoding, torchvision beside ours, waiting, the index."""

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

from bench_figure import Unmeasured, figure, run
from bench_torch import CACHE, torch_peer

PHOTOS = CACHE / "photographs"
PACKAGE = "opencv-doc"


def loader(autorep, *arguments):
    """Runs the trainer's example, which lies beside the binary's folder."""
    example = Path(autorep).parent / "examples" / "loader"
    out, _, _ = run([str(example), *map(str, arguments)])
    return json.loads(out)


def photographs():
    """A folder of JPEG files of 500 x 375 pixels, cut once out of Debian's `opencv-doc`."""
    folder = PHOTOS / "crops"
    if folder.is_dir():
        return folder
    shutil.rmtree(PHOTOS, ignore_errors=True)
    with tempfile.TemporaryDirectory() as place:
        try:
            subprocess.run(["apt-get", "download", "-q", PACKAGE], cwd=place, check=True, capture_output=True)
            package = next(Path(place).glob("*.deb"))
            subprocess.run(["dpkg-deb", "-x", package, place], check=True, capture_output=True)
        except (OSError, StopIteration, subprocess.CalledProcessError) as error:
            raise Unmeasured(
                f"the photographs are in Debian's package {PACKAGE}, which could not be had ({error}): "
                "run `apt-get update` (as root), or put JPEG files of about 500 x 375 pixels into "
                f"{folder}"
            ) from error
        made = PHOTOS / "made"
        torch_peer("torchvision_input.py", "make", place, made)
        made.rename(folder)
    return folder


def speed(autorep):
    """In one run, by turns: a shared machine is another one every minute."""
    folder = photographs()
    command = "make bench ONLY=loader"
    pairs = []
    for _ in range(3):
        ours = loader(autorep, "speed", folder)
        theirs = torch_peer("torchvision_input.py", "measure", folder)
        best = min(theirs["tensor_ms"], theirs["pillow_ms"])
        pairs.append((best / ours["loader_ms"], ours["bare_ms"] / ours["loader_ms"], ours, theirs))
    pairs.sort(key=lambda pair: pair[0])
    over_torchvision, _, ours, theirs = pairs[1]
    over_bare = sorted(pair[1] for pair in pairs)[1]
    return [
        figure("loader.over_bare_decode", round(over_bare, 2), "x", 0.8, command, "higher"),
        figure("loader.over_torchvision", round(over_torchvision, 2), "x", 2, command, "higher"),
        figure("loader.image_ms", round(ours["loader_ms"], 3), "ms (one thread)", None, command),
        figure("loader.bare_decode_ms", round(ours["bare_ms"], 3), "ms (one thread)", None, command),
        figure("loader.torchvision_tensor_ms", round(theirs["tensor_ms"], 3), "ms (one thread)", None, command),
        figure("loader.torchvision_pillow_ms", round(theirs["pillow_ms"], 3), "ms (one thread)", None, command),
        figure("loader.libjpeg_turbo_ms", round(theirs["decode_ms"], 3), "ms (decode_jpeg)", None, command),
        figure("loader.file_kb", round(ours["mean_kb"], 1), "kB (mean)", None, command),
    ]


def wait(autorep):
    found = loader(autorep, "wait")
    command = "make bench ONLY=loader.wait"
    return [
        figure("loader.wait_share", round(found["wait_share"], 4), "share of time", 0.02, command),
        figure("loader.wait_memory_mb", round(found["memory_mb"], 1), "MB", None, command),
    ]


def index(autorep):
    found = loader(autorep, "index")
    command = "make bench ONLY=loader.index"
    return [
        figure("loader.index_s", round(found["index_s"], 3), "s", 2, command),
        figure("loader.index_order_mb", round(found["order_mb"], 1), "MB", 100, command),
        figure("loader.index_order_s", round(found["order_s"], 3), "s", None, command),
        figure("loader.index_process_mb", round(found["process_mb"], 1), "MB in all", None, command),
    ]


BENCHES = [
    (
        (
            "loader.over_bare_decode",
            "loader.over_torchvision",
            "loader.image_ms",
            "loader.bare_decode_ms",
            "loader.torchvision_tensor_ms",
            "loader.torchvision_pillow_ms",
            "loader.libjpeg_turbo_ms",
            "loader.file_kb",
        ),
        speed,
    ),
    (("loader.wait_share", "loader.wait_memory_mb"), wait),
    (
        ("loader.index_s", "loader.index_order_mb", "loader.index_order_s", "loader.index_process_mb"),
        index,
    ),
]
