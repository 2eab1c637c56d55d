#!/usr/bin/env python3
"""Writes what torchvision's nets compute, for the trainer's nets to be held against.

Usage: fixtures.py FOLDER. For each net, FOLDER gets NAME.pth, a state dict of seeded random
weights and running statistics, and NAME.safetensors with `input` and `output` in evaluation mode.
That the numbers are random does not matter, nor that another release may draw others: the files
hold them.
"""

import ctypes
import json
import struct
import sys
from pathlib import Path

import torch
import torchvision

NETS = ["resnet18", "resnet50", "efficientnet_b2"]
IMAGES = 2


def randomise(net):
    """Statistics and affine parameters that differ by channel, so that none can be mixed up."""
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0.0, 0.2)
            module.running_var.uniform_(0.5, 1.5)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0.0, 0.2)
    for name, parameter in net.named_parameters():
        if name.endswith("bias") and parameter.ndim == 1:
            parameter.add_(torch.randn_like(parameter) * 0.1)


def save_safetensors(path, tensors):
    header, parts, offset = {}, [], 0
    for name, tensor in tensors.items():
        tensor = tensor.detach().to(torch.float32).contiguous()
        size = tensor.numel() * 4
        parts.append(ctypes.string_at(tensor.data_ptr(), size))
        header[name] = {
            "dtype": "F32", "shape": list(tensor.shape), "data_offsets": [offset, offset + size],
        }
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(parts))


def main():
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        for seed, name in enumerate(NETS):
            torch.manual_seed(seed)
            net = torchvision.models.get_model(name, weights=None)
            randomise(net)
            net.eval()
            images = torch.randn(IMAGES, 3, 224, 224)
            tensors = {"input": images, "output": net(images)}
            torch.save(net.state_dict(), folder / f"{name}.pth")
            save_safetensors(folder / f"{name}.safetensors", tensors)
            print(f"parity: {name} of torchvision {torchvision.__version__} computed", flush=True)
    (folder / "versions").write_text(f"{torch.__version__} {torchvision.__version__}\n")


if __name__ == "__main__":
    main()
