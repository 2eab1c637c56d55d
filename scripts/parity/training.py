"""Repeats twenty steps of four searches in plain PyTorch and compares them with the trainer's.

Usage: training.py FOLDER, where `replace_trace FOLDER` wrote what the trainer did.

Written from the formulas in docs/method.md, sharing no code with the trainer: the
net, the polynomials' start, the masked activation with its straight-through gradient, hysteresis,
SNL's mixture and its growing penalty, the loss, the schedules, Lookahead. The optimizers are
torch.optim's: SGD with momentum or Adam for weights and polynomials, Adam for latents.
Every quantity has to agree to 1e-4 relative; anything else ends with exit code 1.
"""

import json
import math
import struct
import sys
from pathlib import Path

import torch
import torch.nn.functional as F

TOLERANCE = 1e-4


def read_tensors(folder):
    """The tensors of a safetensors file (https://github.com/huggingface/safetensors)."""
    raw = (folder / "tensors.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    kinds = {"F32": torch.float32, "U8": torch.uint8}
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        values = torch.frombuffer(bytearray(raw[begin:end]), dtype=kinds[entry["dtype"]])
        tensors[name] = values.reshape(entry["shape"])
    return tensors


def bits(packed, count):
    """Zeros and ones out of bytes, the lowest bit first."""
    places = torch.arange(8, dtype=torch.uint8)
    spread = (packed.reshape(-1, 1) >> places) & 1
    return spread.reshape(-1)[:count].float()


class Keep(torch.autograd.Function):
    """The indicator m as a function of its latent w, with the derivative softplus(w)."""

    @staticmethod
    def forward(ctx, latent, indicator):
        ctx.save_for_backward(latent)
        return indicator.clone()

    @staticmethod
    def backward(ctx, gradient):
        (latent,) = ctx.saved_tensors
        return gradient * torch.log1p(torch.exp(latent)), None


class Student:
    """A ResNet-9 whose activations are given by the caller, site by site."""

    BLOCKS = ["layer1.0", "layer2.0", "layer3.0", "layer4.0"]

    def __init__(self, tensors):
        self.tensors = tensors

    def norm(self, x, name, training):
        part = lambda key: self.tensors[f"{name}.{key}"]
        if training is None:
            return F.batch_norm(x, None, None, part("weight"), part("bias"), True, 0.1, 1e-5)
        mean, variance = part("running_mean"), part("running_var")
        return F.batch_norm(x, mean, variance, part("weight"), part("bias"), training, 0.1, 1e-5)

    def conv(self, x, name, stride):
        kernel = self.tensors[f"{name}.weight"]
        return F.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2)

    def forward(self, x, activate, training):
        x = self.norm(self.conv(x, "conv1", 1), "bn1", training)
        for index, block in enumerate(self.BLOCKS):
            stride = 1 if index == 0 else 2
            y = self.norm(self.conv(x, f"{block}.conv1", stride), f"{block}.bn1", training)
            y = activate(f"{block}.act1", y)
            y = self.norm(self.conv(y, f"{block}.conv2", 1), f"{block}.bn2", training)
            if f"{block}.downsample.0.weight" in self.tensors:
                x = self.conv(x, f"{block}.downsample.0", stride)
                x = self.norm(x, f"{block}.downsample.1", training)
            x = activate(f"{block}.act2", y + x)
        return F.linear(x.mean((2, 3)), self.tensors["fc.weight"], self.tensors["fc.bias"])


def closed_form(mean, sigma):
    """The quadratic of least expected squared error to ReLU under a normal distribution."""
    a = mean / sigma
    density = torch.exp(-a * a / 2) / math.sqrt(2 * math.pi)
    below = 0.5 * torch.erfc(-a / math.sqrt(2))
    return torch.stack([sigma / 2 * (1 + a * a) * density, below - a * density, density / (2 * sigma)])


def polynomial_start(student, batches):
    """Coefficients by site, from exact moments over the batches."""
    seen = {}

    def watch(site, x):
        seen.setdefault(site, []).append(x.double().transpose(0, 1).flatten(1))
        return F.relu(x)

    with torch.no_grad():
        for images in batches:
            student.forward(images, watch, None)
    moments = {site: torch.cat(parts, 1) for site, parts in seen.items()}
    return {
        site: closed_form(values.mean(1), values.std(1, unbiased=False).clamp_min(1e-2)).float()
        for site, values in moments.items()
    }


class Running:
    """The released code's start: averages with momentum 0.1, the variance in sigma's place."""

    def __init__(self, recipe, sites, coefficients):
        self.recipe, self.coefficients = recipe, coefficients
        channels = {site: coefficients[site].shape[1] for site in sites}
        self.mean = {site: torch.zeros(count) for site, count in channels.items()}
        self.variance = {site: torch.ones(count) for site, count in channels.items()}

    @torch.no_grad()
    def watch(self, site, x, step):
        """Looks at what a site sees in this step, counted from 1, before its polynomial is used."""
        if step > self.recipe["refresh_until"]:
            return
        self.mean[site].lerp_(x.mean((0, 2, 3)), 0.1)
        self.variance[site].lerp_(x.var((0, 2, 3), unbiased=True), 0.1)
        if step % self.recipe["refresh_every"] == 0:
            c0, c1, c2 = closed_form(self.mean[site], self.variance[site].clamp_min(0.5))
            damped = [self.recipe["c0_damping"] * c0, c1, self.recipe["c2_damping"] * c2]
            self.coefficients[site].copy_(torch.stack(damped))


class Lookahead:
    """Every so many steps the slow values go a part of the way, and the fast ones start there."""

    def __init__(self, recipe, tensors):
        self.every, self.alpha = recipe["lookahead_steps"], recipe["lookahead_alpha"]
        self.pairs = [(fast, fast.detach().clone()) for fast in tensors]

    @torch.no_grad()
    def step(self, done):
        if self.every and done % self.every == 0:
            for fast, slow in self.pairs:
                slow.add_(fast - slow, alpha=self.alpha)
                fast.copy_(slow)


def allowed(trace, done):
    """ReLUs allowed in the step after `done` steps."""
    total, budget = trace["total"], trace["budget"]
    if trace["recipe"]["budget_schedule"] == "constant":
        return budget
    share = done / (0.75 * trace["search_steps"])
    power = trace["recipe"].get("anneal_power", 1.0)
    return budget if share >= 1 else total * (budget / total) ** share**power


class Penalty:
    """The penalty per ReLU, and its growth at checks that find no new minimum, or too many (SNL)."""

    def __init__(self, trace):
        self.trace, self.recipe = trace, trace["recipe"]
        self.steps, self.lowest = trace["search_steps"], trace["total"]
        self.value = self.recipe["penalty"]

    def look(self, done, count):
        if self.recipe["penalty_schedule"] != "grow":
            return
        checks = self.recipe["penalty_checks"]
        number = done * checks // self.steps
        if number == (done - 1) * checks // self.steps:
            return
        slow = self.recipe["budget_schedule"] == "anneal" and count > allowed(self.trace, done)
        if (count >= self.lowest or slow) and number > self.recipe.get("penalty_grace", 0):
            self.value *= self.recipe["penalty_growth"]
        self.lowest = min(self.lowest, count)


def learning_rate(recipe, per_epoch, done):
    schedule = recipe["schedule"]
    total = schedule["epochs"] * per_epoch
    warmup = min(schedule["warmup_epochs"] * per_epoch, total)
    if done < warmup:
        return schedule["lr"] * min((done + 1) / warmup, 1)
    share = (done - warmup) / (total - warmup)
    return schedule["lr"] * 0.5 * (1 + math.cos(math.pi * share))


class Comparison:
    def __init__(self):
        self.failures, self.worst, self.compared = 0, 0.0, 0

    def __call__(self, what, ours, theirs):
        ours, theirs = torch.as_tensor(ours).double(), torch.as_tensor(theirs).double()
        assert ours.shape == theirs.shape, (what, ours.shape, theirs.shape)
        scale = theirs.norm().item()
        error = (ours - theirs).norm().item() / (scale if scale > 0 else 1)
        self.compared += 1
        self.worst = max(self.worst, error)
        if not error <= TOLERANCE:
            self.failures += 1
            print(f"{what}: {error:.2e} relative, expected at most {TOLERANCE:.0e}")


def search(folder):
    """Repeats the search of one folder; the number of quantities that differ too much."""
    compare = Comparison()
    trace = json.loads((folder / "trace.json").read_text())
    recipe = trace["recipe"]
    snl, running = recipe["method"] == "snl", None
    start, end = read_tensors(folder / "start"), read_tensors(folder / "end")
    batches = read_tensors(folder / "batches")
    weights = {name[4:]: value for name, value in start.items() if name.startswith("net.")}
    sites = [name[5:-8] for name in start if name.startswith("site.") and name.endswith(".latents")]
    teacher = Student({name: value.clone() for name, value in weights.items()})
    statistics = ("running_mean", "running_var")
    for name, value in weights.items():
        value.requires_grad_(not name.endswith(statistics))
    student = Student(weights)
    latents = {site: start[f"site.{site}.latents"].clone().requires_grad_() for site in sites}
    kept = {site: torch.ones_like(latent) for site, latent in latents.items()}
    started = {site: start[f"site.{site}.coefficients"].clone() for site in sites}
    if snl or recipe["polynomial_start"] == "running":
        coefficients = started
        noise = 0 if snl else 1e-4
        for site, (c0, c1, *rest) in started.items():
            for row in [c0, c1 - 1, *rest]:
                assert row.min() >= 0 and row.max() <= noise, f"expected the identity at {site}"
    else:
        images = [batches[f"images.{step:02}"] for step in range(recipe["calibration_batches"])]
        coefficients = polynomial_start(student, images)
        for site in sites:
            compare(f"start of {site}", coefficients[site], started[site])
    for site in sites:
        coefficients[site].requires_grad_(not snl)
    if not snl and recipe["polynomial_start"] == "running":
        running = Running(recipe, sites, coefficients)
    if snl:
        for site in sites:
            assert (latents[site] == 1).all(), f"expected every share to start at 1 at {site}"

    trained = {name: value for name, value in weights.items() if value.requires_grad}
    is_weight = lambda name, value: value.dim() > 1
    schedule = recipe["schedule"]
    kind = torch.optim.SGD if schedule["optimizer"] == "sgd" else torch.optim.Adam
    optimizer = kind(
        [
            {
                "params": [value for name, value in trained.items() if is_weight(name, value)],
                "weight_decay": schedule["weight_decay"],
            },
            {
                "params": [value for name, value in trained.items() if not is_weight(name, value)]
                + [value for value in coefficients.values() if value.requires_grad],
            },
        ],
        lr=schedule["lr"],
        **({"momentum": schedule["momentum"]} if kind is torch.optim.SGD else {}),
    )
    searcher = torch.optim.Adam(list(latents.values()), lr=recipe["latent_lr"])
    moved = [value for group in optimizer.param_groups for value in group["params"]]
    lookahead = Lookahead(schedule, moved + list(latents.values()))
    penalty = Penalty(trace)

    terms = []
    for done, wanted in enumerate(trace["steps"]):
        images, labels = batches[f"images.{done:02}"], batches[f"labels.{done:02}"].long()
        keep = lambda site: latents[site] if snl else Keep.apply(latents[site], kept[site])
        indicators = {site: keep(site) for site in sites}

        def masked(site, x):
            if running:
                running.watch(site, x, done + 1)
            c0, c1, *rest = (row.view(1, -1, 1, 1) for row in coefficients[site].clone())
            polynomial = c0 + c1 * x
            for c2 in rest:
                polynomial = polynomial + recipe["quadratic_scale"] * c2 * x * x
            return torch.lerp(polynomial, F.relu(x), indicators[site])

        logits = student.forward(images, masked, True)
        with torch.no_grad():
            lesson = teacher.forward(images, lambda site, x: F.relu(x), False)
        distillation = recipe["distillation"]
        tau = distillation["temperature"]
        soft, target = F.log_softmax(logits / tau, 1), F.log_softmax(lesson / tau, 1)
        ours = distillation["ce_weight"] * F.cross_entropy(logits, labels)
        divergence = F.kl_div(soft, target, reduction="batchmean", log_target=True)
        theirs = distillation["kd_weight"] * tau * tau * divergence
        if snl:
            pull = penalty.value * sum(share.abs().sum() for share in indicators.values())
        else:
            count = sum(indicator.sum() for indicator in indicators.values())
            pull = penalty.value * F.relu(count - allowed(trace, done))
        loss = ours + theirs + pull
        terms.append([ours.item(), theirs.item(), pull.item()])
        if done == 0:
            # Beside the penalty's gradient this one would not be seen.
            task = torch.autograd.grad(ours + theirs, list(latents.values()), retain_graph=True)
            wanted_task = read_tensors(folder / "pull")["latents"]
            parts = wanted_task.split([gradient.numel() for gradient in task])
            for site, gradient, part in zip(latents, task, parts):
                compare(f"task gradient of {site}'s latents", gradient.flatten(), part)
        optimizer.zero_grad()
        searcher.zero_grad()
        loss.backward()
        rate = learning_rate(recipe, trace["steps_per_epoch"], done)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        searcher.step()
        lookahead.step(done + 1)
        band = recipe["hysteresis"]
        for site in sites:
            latent = latents[site].detach()
            # SNL counts a share of its ReLU above one in a hundred.
            stays, returns = (latent > 0.01,) * 2 if snl else (latent > -band, latent > band)
            kept[site] = torch.where(kept[site] > 0, stays, returns).float()
        compare(f"loss of step {done}", loss.item(), wanted["loss"])
        relus = int(sum(indicator.sum() for indicator in kept.values()))
        compare(f"ReLUs after step {done}", relus, wanted["relus"])
        penalty.look(done + 1, relus)
        compare(f"penalty after step {done}", penalty.value, wanted["penalty"])

    per_epoch = trace["steps_per_epoch"]
    for index, epoch in enumerate(trace["epochs"]):
        means = torch.tensor(terms[index * per_epoch : (index + 1) * per_epoch]).double().mean(0)
        for mean, term in zip(means, ["ce", "kd", "penalty"]):
            compare(f"term {term} in epoch {index + 1}", mean, epoch[f"loss_{term}"])
    for name, value in weights.items():
        compare(name, value.detach(), end[f"net.{name}"])
    for site in sites:
        packed = end[f"site.{site}.indicators"]
        compare(f"indicators of {site}", kept[site].flatten(), bits(packed, kept[site].numel()))
        compare(f"latents of {site}", latents[site].detach(), end[f"site.{site}.latents"])
        compare(f"polynomials of {site}", coefficients[site].detach(), end[f"site.{site}.coefficients"])
        if running:
            averages = torch.stack([running.mean[site], running.variance[site]])
            compare(f"running averages of {site}", averages, end[f"running.{site}"])

    penalties = [step["penalty"] for step in trace["steps"]]
    if snl and recipe["budget_schedule"] == "constant":
        steady = [one == next for one, next in zip(penalties[-7:], penalties[-6:])]
        assert penalties[0] < penalties[-7], "expected a penalty that grows while nothing falls"
        assert all(steady), "expected a penalty that stays while the count falls"
    relus = [step["relus"] for step in trace["steps"]]
    assert relus[-1] < relus[0], "expected a search that gives up ReLUs"
    print(
        f"{folder.name}: {compare.compared} quantities over {len(relus)} steps, ReLUs from {trace['total']} to"
        f" {relus[-1]}: largest difference {compare.worst:.1e} relative, {compare.failures} too large"
    )
    return compare.failures


def main(folder):
    torch.set_num_threads(1)
    searches = sorted(path.parent for path in folder.glob("*/trace.json"))
    assert len(searches) == 4, f"expected four searches in {folder}, found {len(searches)}"
    return 1 if sum(map(search, searches)) else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
