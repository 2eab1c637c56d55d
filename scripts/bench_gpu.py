"""What a step of a search costs on a GPU, beside the same as in bench_step.py, and how much of the time
the GPU is busy. Without a GPU it says so and measures nothing."""

import json
import statistics
import subprocess
import sys
import threading
from pathlib import Path

from bench_figure import Unmeasured, figure, run
from bench_torch import PEERS

COMMAND = "make bench ONLY=gpu"
# Net, data set, images per step, suffix of its figures: enough images to fill a large GPU.
CASES = [("resnet18", "cifar-10", 512, ""), ("efficientnet-b0", "imagenet", 256, "_efficientnet")]
STEPS, PRECISION, DEVICE = 60, "bf16", "cuda:0"

FIND = """
import pathlib, torch
print(pathlib.Path(torch.__file__).parent / "lib" if torch.cuda.is_available() else "")
print(torch.__version__, torch.cuda.get_device_name(0) if torch.cuda.is_available() else "")
"""


def cuda_torch():
    """The `torch/lib` folder of the PyTorch with CUDA that python3 has, and the GPU's name; nothing
    where there is no GPU."""
    found = subprocess.run([sys.executable, "-c", FIND], capture_output=True, text=True, check=False)
    lines = found.stdout.splitlines()
    if found.returncode != 0 or len(lines) != 2 or not lines[0]:
        why = found.stderr.strip().splitlines()[-1:] or ["it finds no GPU"]
        print(
            f"gpu.*: NOT MEASURED: expected a GPU and a PyTorch 2.11 with CUDA in {sys.executable}, "
            f"found: {why[0]}",
            file=sys.stderr,
        )
        return None
    if not lines[1].startswith("2.11."):
        raise Unmeasured(f"expected PyTorch 2.11 in {sys.executable}, found {lines[1]}")
    print(f"gpu.*: on {lines[1].split(' ', 1)[1]}", file=sys.stderr)
    return lines[0]


def steps(autorep, lib, net, data, batch, *more):
    trainer = Path(autorep).with_name("autorep-trainer")
    options = ["--batch", batch, "--steps", STEPS, "--device", DEVICE, "--precision", PRECISION, *more]
    command = ["env", f"LD_LIBRARY_PATH={lib}", trainer, "step-times", net, data, *options]
    out, _, _ = run(list(map(str, command)))
    return json.loads(out)


class Utilisation:
    """Samples how busy the GPU is, in percent, until it is left."""

    def __enter__(self):
        query = ["nvidia-smi", "--id=0", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
        self.samples = []
        self.child = subprocess.Popen([*query, "--loop-ms=200"], stdout=subprocess.PIPE, text=True)
        self.reader = threading.Thread(target=lambda: self.samples.extend(map(float, self.child.stdout)))
        self.reader.start()
        return self

    def __exit__(self, *_):
        self.child.terminate()
        self.reader.join()


def gpu(autorep):
    lib = cuda_torch()
    if lib is None:
        return []
    figures = []
    for net, data, batch, suffix in CASES:
        both = steps(autorep, lib, net, data, batch)
        pairs = zip(both["replace_ms"], both["plain_ms"])
        over_plain = statistics.median(replace / plain for replace, plain in pairs)
        with Utilisation() as utilisation:
            ours = steps(autorep, lib, net, data, batch, "--only", "replace")["replace_ms"]
        peer = [sys.executable, PEERS / "eager_step.py", net, batch, STEPS, 1, DEVICE]
        out, _, _ = run(list(map(str, peer)))
        eager = json.loads(out)["eager_ms"]
        # Starting, and the first steps, are no training: the busiest half of the samples is.
        busiest = sorted(utilisation.samples)[len(utilisation.samples) // 2 :]
        faster = statistics.median(eager) / statistics.median(ours)
        figures += [
            figure(f"gpu.replace_over_plain{suffix}", round(over_plain, 3), "of a plain step", 1.15, COMMAND),
            figure(f"gpu.times_eager{suffix}", round(faster, 3), "x", 2, COMMAND, "higher"),
            figure(
                f"gpu.busy{suffix}",
                round(statistics.mean(busiest) / 100, 3) if busiest else 0.0,
                "share of time, by nvidia-smi",
                0.95,
                COMMAND,
                "higher",
            ),
        ]
    return figures


NAMES = ("gpu.replace_over_plain", "gpu.times_eager", "gpu.busy")
BENCHES = [(tuple(name + suffix for name in NAMES for *_, suffix in CASES), gpu)]
