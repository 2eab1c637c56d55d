#!/usr/bin/env python3
"""Steps of a search composed in eager PyTorch. usage: eager_step.py NET BATCH STEPS THREADS [DEVICE]

The mathematics of `autorep-trainer step-times` (docs/method.md) as a Python program writes it: a student
from torchvision with a masked activation at every site, y = g(x) + m (relu(x) - g(x)) with the polynomial
g of each channel, indicators with straight-through gradients softplus(w), hysteresis, the hinge on their
number, a teacher without gradients, distillation and cross-entropy, Adam for weights and polynomials and
Adam for latents. NET is resnet18 (for images of 32 x 32, without an activation behind the stem) or
efficientnet-b0 (with ReLU, for 224 x 224). Maps lie channels last, which is faster than planes here. On a
GPU convolutions are in bfloat16, by autocast.
Prints JSON: milliseconds of each step, of each step of the same net with ReLU everywhere and the same
teacher, and of those without a teacher, after two of each that are not counted.
"""

import json
import sys
import time

import torch
import torch.nn.functional as F
import torchvision
from torch import nn

TEMPERATURE = 4.0


class Indicator(torch.autograd.Function):
    """The indicator, with the derivative softplus(w) to its latent w."""

    @staticmethod
    def forward(ctx, latent, indicator):
        ctx.save_for_backward(latent)
        return indicator.clone()

    @staticmethod
    def backward(ctx, gradient):
        (latent,) = ctx.saved_tensors
        return gradient * F.softplus(latent), None


class Site(nn.Module):
    """An activation: ReLU until `search` makes a masked one of it."""

    def __init__(self):
        super().__init__()
        self.latent = None
        self.shape = None

    def forward(self, x):
        self.shape = x.shape[1:]
        if self.latent is None:
            return F.relu(x)
        c0, c1, c2 = self.coefficients
        g = (c2 * x + c1) * x + c0
        return g + self.kept * (F.relu(x) - g)

    def search(self):
        channels = self.shape[0]
        start = torch.tensor([0.199471, 0.5, 0.199471]).view(3, 1, 1, 1)
        self.coefficients = nn.Parameter(start.expand(3, channels, 1, 1).clone())
        self.latent = nn.Parameter(torch.full(self.shape, 0.5))
        self.indicator = torch.ones(self.shape)

    def prepare(self):
        """The indicators of this step, which the count shares."""
        with torch.no_grad():
            stays, returns = self.latent > -0.003, self.latent > 0.003
            self.indicator = torch.where(self.indicator > 0, stays, returns).float()
        self.kept = Indicator.apply(self.latent, self.indicator)
        return self.kept.sum()


class Block(nn.Module):
    """A basic block of torchvision's with an activation of its own at each of its two sites."""

    def __init__(self, block):
        super().__init__()
        self.block, self.first, self.second = block, Site(), Site()

    def forward(self, x):
        block = self.block
        y = self.first(block.bn1(block.conv1(x)))
        y = block.bn2(block.conv2(y))
        return self.second(y + (x if block.downsample is None else block.downsample(x)))


def resnet18():
    net = torchvision.models.resnet18(num_classes=10)
    net.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    net.relu, net.maxpool = nn.Identity(), nn.Identity()
    for layer in (net.layer1, net.layer2, net.layer3, net.layer4):
        for at, block in enumerate(layer):
            layer[at] = Block(block)
    return net, (3, 32, 32), 10


def efficientnet_b0():
    net = torchvision.models.efficientnet_b0(weights=None, dropout=0.0, stochastic_depth_prob=0.0)

    def sites(module):
        for name, child in module.named_children():
            if isinstance(child, nn.SiLU):
                setattr(module, name, Site())
            else:
                sites(child)

    sites(net)
    return net, (3, 224, 224), 1000


def main():
    name, batch, steps, threads = sys.argv[1], *map(int, sys.argv[2:5])
    device = torch.device(sys.argv[5] if len(sys.argv) > 5 else "cpu")
    make = {"resnet18": resnet18, "efficientnet-b0": efficientnet_b0}[name]
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    torch.set_default_device(device)
    (student, shape, classes), (teacher, _, _) = make(), make()
    student, teacher = (net.to(memory_format=torch.channels_last) for net in (student, teacher))
    teacher.eval()
    images = torch.randn(batch, *shape).to(memory_format=torch.channels_last)
    labels = torch.randint(classes, (batch,))
    with torch.no_grad():
        student(images)
    sites = [module for module in student.modules() if isinstance(module, Site)]
    for site in sites:
        site.search()
    latents = [site.latent for site in sites]
    own = {id(latent) for latent in latents}
    weights = [weight for weight in student.parameters() if id(weight) not in own]
    optimizers = [torch.optim.Adam(weights, lr=1e-3), torch.optim.Adam(latents, lr=1e-3)]
    budget = sum(latent.numel() for latent in latents) // 10

    def autocast():
        return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")

    def finished():
        if device.type == "cuda":
            torch.cuda.synchronize()

    def step(searches, distils):
        count = sum(site.prepare() for site in sites) if searches else None
        with autocast():
            logits = student(images).float()
        loss = F.cross_entropy(logits, labels)
        if distils:
            with torch.inference_mode(), autocast():
                wanted = teacher(images).float()
            soft = F.kl_div(
                F.log_softmax(logits / TEMPERATURE, 1),
                F.log_softmax(wanted / TEMPERATURE, 1),
                reduction="batchmean",
                log_target=True,
            )
            loss = loss + TEMPERATURE**2 * soft
        if searches:
            loss = loss + 1e-4 * F.relu(count - budget)
        used = optimizers if searches else optimizers[:1]
        for optimizer in used:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        for optimizer in used:
            optimizer.step()

    def timed(*form):
        times = []
        for _ in range(steps + 2):
            begun = time.perf_counter()
            step(*form)
            finished()
            times.append((time.perf_counter() - begun) * 1e3)
        return times[2:]

    relus = sum(latent.numel() for latent in latents)
    figures = {"relus": relus, "eager_ms": timed(True, True)}
    for site in sites:
        site.latent = None
    figures |= {"plain_ms": timed(False, True), "untaught_ms": timed(False, False)}
    print(json.dumps(figures))


main()
