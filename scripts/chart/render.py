"""Renders the chart with helm, as the tests see it."""

import functools
import json
import os
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "autorep"
CI = sorted((CHART / "ci").glob("*-values.yaml"))
DEFAULT = CHART / "ci" / "default-values.yaml"
NAMESPACE = "sweeps"
# What a cluster offers whose operators the values ask for.
OPERATORS = (
    "monitoring.coreos.com/v1",
    "cert-manager.io/v1",
    "keda.sh/v1alpha1",
    "external-secrets.io/v1",
)
# Kubernetes knows their names alone; the tests assert what is in them.
CUSTOM = {
    "Certificate", "Issuer", "ExternalSecret", "PodMonitor", "PrometheusRule", "ScaledObject",
    "ServiceMonitor",
}


class Refused(Exception):
    """helm refused the values; the text is what it said."""


def helm(*arguments):
    """Runs helm without anything of the user's, and returns (exit code, stdout, stderr)."""
    folder = os.environ["AUTOREP_HELM"]
    with tempfile.TemporaryDirectory() as home:
        environment = {"HOME": home, "PATH": os.environ["PATH"]}
        result = subprocess.run(
            [os.path.join(folder, "helm"), *arguments],
            capture_output=True, text=True, env=environment, check=False, timeout=120,
        )
    return result.returncode, result.stdout, result.stderr


def template(files=(), values=None, kube="1.30.0", operators=OPERATORS, release="autorep"):
    """The rendered text of the chart with values files and, over them, a map of values."""
    arguments = ["template", release, str(CHART), "-n", NAMESPACE, "--kube-version", kube]
    for file in files:
        arguments += ["-f", str(file)]
    for api in operators:
        arguments += ["--api-versions", api]
    with tempfile.NamedTemporaryFile("w", suffix=".json") as own:
        if values is not None:
            json.dump(values, own)
            own.flush()
            arguments += ["-f", own.name]
        code, out, err = helm(*arguments)
    if code != 0:
        raise Refused(err)
    return out


@functools.lru_cache(maxsize=None)
def _rendered(file, kube):
    text = template([file], kube=kube)
    return text, parse(text)


def text_of(file, kube="1.30.0"):
    """The rendered text of one of the ci files; rendered once."""
    return _rendered(file, kube)[0]


def at_once(function, items):
    """What the function gives for each item, on all cores: it is helm that works."""
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        return list(pool.map(function, items))


def parse(text):
    """The objects of a rendered text."""
    return [it for it in yaml.load_all(text, Loader=yaml.CSafeLoader) if it]


def objects_of(file, kube="1.30.0"):
    """The objects of one of the ci files. They are shared: look, but change nothing."""
    return _rendered(file, kube)[1]


def with_values(values, file=DEFAULT, **others):
    """The objects of a ci file with a map of values over it."""
    return parse(template([file], values, **others))


def of_kind(objects, kind):
    return [it for it in objects if it["kind"] == kind]


def named(objects, kind, name):
    """The one object of that kind and name."""
    found = [it for it in of_kind(objects, kind) if it["metadata"]["name"] == name]
    assert len(found) == 1, f"expected one {kind} {name}, found {len(found)}"
    return found[0]


def pods_of(objects):
    """(where, metadata, spec) of every pod that the objects make."""
    for it in objects:
        where = f"{it['kind']}/{it['metadata']['name']}"
        if it["kind"] == "Deployment":
            template_ = it["spec"]["template"]
            yield where, template_["metadata"], template_["spec"]
        elif it["kind"] == "Pod":
            yield where, it["metadata"], it["spec"]


def containers_of(spec):
    return spec.get("initContainers", []) + spec["containers"]


def variables(container):
    """Name → value or valueFrom of a container's variables."""
    return {it["name"]: it.get("value", it.get("valueFrom")) for it in container.get("env", [])}
