"""What helm makes of the chart: it is valid for every Kubernetes there is, and as it was."""

import difflib
import functools
import os
import unittest
from pathlib import Path

import kubernetes_validate.utils

from render import CHART, CI, CUSTOM, DEFAULT, ROOT, helm, objects_of, of_kind, parse, text_of
from render import template

# It reads its schemas from files for every object.
kubernetes_validate.utils.schema_contents = functools.lru_cache(maxsize=None)(
    kubernetes_validate.utils.schema_contents
)
SNAPSHOT = Path(__file__).with_name("default.snapshot.yaml")
VERSIONS = [f"1.{minor}" for minor in range(25, 38)]


class Rendering(unittest.TestCase):
    def test_helm_lint_finds_nothing_in_the_chart_with_any_of_the_ci_values(self):
        for file in CI:
            with self.subTest(file.name):
                code, out, err = helm("lint", "--strict", str(CHART), "-f", str(file))
                self.assertEqual(code, 0, out + err)

    def test_every_object_is_valid_for_each_kubernetes_from_1_25_to_1_37(self):
        kinds = set()
        for file in CI:
            # Between these two the chart decides nothing by the version, so each render counts for all.
            self.assertEqual(text_of(file, "1.25.0"), text_of(file, "1.37.0"), file.name)
            for it in objects_of(file, "1.37.0"):
                if it["kind"] in CUSTOM:
                    continue
                kinds.add(it["kind"])
                for version in VERSIONS:
                    with self.subTest(file=file.name, version=version, kind=it["kind"],
                                      name=it["metadata"]["name"]):
                        self.assertEqual(kubernetes_validate.validate(it, version, strict=True), version)
        self.assertEqual(kinds, {"ConfigMap", "Deployment", "NetworkPolicy", "Pod",
                                 "PodDisruptionBudget", "Service", "ServiceAccount"})

    def test_the_default_render_is_the_one_that_is_kept(self):
        now = text_of(DEFAULT)
        if os.environ.get("UPDATE"):
            SNAPSHOT.write_text(now)
        kept = SNAPSHOT.read_text()
        difference = "\n".join(difflib.unified_diff(
            kept.splitlines(), now.splitlines(), str(SNAPSHOT.relative_to(ROOT)), "now", n=2, lineterm=""
        ))
        self.assertEqual(difference, "", "if it shall be so: UPDATE=1 bash scripts/test-chart.sh")

    def test_what_is_rendered_twice_is_the_same_text(self):
        for file in CI:
            self.assertEqual(template([file]), text_of(file), file.name)

    def test_names_of_objects_are_unique_and_fit(self):
        for file in CI:
            # A release's name as long as helm lets it be must not make two objects one.
            for release in ("autorep", "a" * 53):
                seen = set()
                for it in parse(template([file], release=release)):
                    key = (it["kind"], it["metadata"]["name"])
                    self.assertNotIn(key, seen, file.name)
                    seen.add(key)
                    self.assertLessEqual(len(key[1]), 63, key)

    def test_disruption_budgets_are_of_the_version_that_the_cluster_has(self):
        for kube, api in (("1.20.2", "policy/v1beta1"), ("1.21.0", "policy/v1"), ("1.37.0", "policy/v1")):
            budgets = of_kind(objects_of(DEFAULT, kube), "PodDisruptionBudget")
            self.assertEqual([it["apiVersion"] for it in budgets], [api], kube)

    def test_objects_can_be_applied_on_the_servers_side_by_the_oldest_kubernetes(self):
        # Helm 4 does so, and 1.20 takes no port without a protocol and no number for a quantity.
        def check(node, path):
            if isinstance(node, dict):
                if path[-1] in ("limits", "requests"):
                    self.assertTrue(all(isinstance(it, str) for it in node.values()), path)
                for key, value in node.items():
                    check(value, path + (key,))
            elif isinstance(node, list):
                for value in node:
                    if path[-1] == "ports":
                        self.assertIn("protocol", value, path)
                    check(value, path)
        for file in CI:
            for it in objects_of(file):
                if it["kind"] not in CUSTOM:
                    check(it, (it["kind"],))

    def test_secrets_of_a_vault_are_asked_for_in_the_version_that_the_cluster_has(self):
        file = CHART / "ci" / "cert-manager-values.yaml"
        for api in ("external-secrets.io/v1", "external-secrets.io/v1beta1"):
            made = of_kind(parse(template([file], operators=("cert-manager.io/v1", api))), "ExternalSecret")
            self.assertEqual({it["apiVersion"] for it in made}, {api})
            self.assertEqual(len(made), 3)

    def test_the_chart_and_the_daemons_have_one_version(self):
        chart = parse((CHART / "Chart.yaml").read_text())[0]
        cargo = (ROOT / "Cargo.toml").read_text()
        version = cargo.split("[workspace.package]")[1].split('version = "')[1].split('"')[0]
        self.assertEqual((chart["version"], chart["appVersion"]), (version, version))


if __name__ == "__main__":
    unittest.main()
