"""torchvision's way from JPEG files to a net's input, in one thread.

usage: torchvision_input.py make PHOTOS FOLDER   (re-encodes crops of photographs, 500 x 375)
       torchvision_input.py measure FOLDER       (milliseconds per file, the fastest of some rounds)

Both ways of its v2 transforms are measured: from tensors that `decode_jpeg` made, and from Pillow's
pictures. Prints a JSON object.
"""

import io
import json
import sys
import time
from pathlib import Path

import torch
from PIL import Image
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms import v2

ROUNDS = 9
SIZE = (500, 375)
# Colour photographs among OpenCV's samples.
PHOTOS = (
    "aero1 aero3 aloeL aloeR apple baboon board building fruits home left leuvenA leuvenB "
    "licenseplate_motion messi5 orange squirrel_cls starry_night stuff"
).split()


def make(photos, folder):
    """Two crops of each photograph, as large as ImageNet's pictures are, quality 95, 4:2:0."""
    folder.mkdir(parents=True)
    for name in PHOTOS:
        found = sorted(photos.rglob(f"{name}.jpg"), key=lambda path: path.stat().st_size)
        if not found:
            sys.exit(f"expected {name}.jpg below {photos}, found none")
        picture = Image.open(found[-1]).convert("RGB")
        width, height = (min(side, most) for side, most in zip(picture.size, SIZE))
        right, down = picture.size[0] - width, picture.size[1] - height
        for at, (x, y) in enumerate([(0, 0), (right, down)]):
            crop = picture.crop((x, y, x + width, y + height))
            crop.save(folder / f"{name}-{at}.jpg", quality=95, subsampling="4:2:0")
    return {"files": len(list(folder.iterdir()))}


def fastest(what, count):
    """Milliseconds for each of so many."""
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        what()
        times.append(time.perf_counter() - began)
    return min(times) * 1e3 / count


def measure(folder):
    torch.set_num_threads(1)
    files = [path.read_bytes() for path in sorted(folder.iterdir())]
    encoded = [torch.frombuffer(bytearray(data), dtype=torch.uint8) for data in files]
    before = [v2.RandomResizedCrop(224, antialias=True), v2.RandomHorizontalFlip()]
    after = [
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ]
    of_tensor = v2.Compose(before + after)
    of_picture = v2.Compose([*before, v2.PILToTensor(), *after])

    def decode():
        return [decode_jpeg(data, mode=ImageReadMode.RGB) for data in encoded]

    def tensors():
        return [of_tensor(decode_jpeg(data, mode=ImageReadMode.RGB)) for data in encoded]

    def pictures():
        return [of_picture(Image.open(io.BytesIO(data)).convert("RGB")) for data in files]

    count = len(files)
    return {
        "decode_ms": fastest(decode, count),
        "tensor_ms": fastest(tensors, count),
        "pillow_ms": fastest(pictures, count),
    }


if __name__ == "__main__":
    if sys.argv[1] == "make":
        found = make(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        found = measure(Path(sys.argv[2]))
    print(json.dumps(found))
