"""What every pod of the chart is like, and that secrets are only ever named."""

import json
import re
import unittest

from render import CHART, CI, DEFAULT, NAMESPACE, containers_of, named, objects_of, of_kind, pods_of
from render import variables, with_values

# Kubernetes' Pod Security Standard "restricted": the volumes that it lets pods have.
RESTRICTED = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected",
    "secret",
}


def every_pod():
    """(which, metadata, spec) of all pods of all ci files."""
    for file in CI:
        for where, metadata, spec in pods_of(objects_of(file)):
            yield f"{file.name}: {where}", metadata, spec


def every_container():
    for where, _, spec in every_pod():
        for container in containers_of(spec):
            yield f"{where}: {container['name']}", container, spec


class Hardening(unittest.TestCase):
    def test_no_pod_and_no_service_account_mounts_a_token_of_kubernetes(self):
        for where, _, spec in every_pod():
            self.assertIs(spec["automountServiceAccountToken"], False, where)
        for file in CI:
            for it in of_kind(objects_of(file), "ServiceAccount"):
                self.assertIs(it["automountServiceAccountToken"], False, it["metadata"]["name"])

    def test_every_pod_runs_as_the_user_of_the_images_and_not_as_root(self):
        for where, _, spec in every_pod():
            context = spec["securityContext"]
            self.assertIs(context["runAsNonRoot"], True, where)
            self.assertEqual((context["runAsUser"], context["runAsGroup"], context["fsGroup"]),
                             (65532, 65532, 65532), where)
            self.assertEqual(context["seccompProfile"], {"type": "RuntimeDefault"}, where)

    def test_every_container_has_a_read_only_root_and_no_capabilities(self):
        for where, container, _ in every_container():
            self.assertEqual(
                container["securityContext"],
                {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
                 "capabilities": {"drop": ["ALL"]}},
                where,
            )

    def test_pods_have_restricted_volumes_alone_unless_a_pool_asks_for_others(self):
        asked = {"autorep-worker-one": "hostPath", "autorep-worker-nfs": "nfs"}
        for where, _, spec in every_pod():
            for volume in spec["volumes"]:
                (kind,) = set(volume) - {"name"}
                if kind in RESTRICTED:
                    continue
                pool = where.split("/")[-1]
                self.assertEqual((volume["name"], kind),
                                 ("data", asked.get(pool, "hostPath" if "small" in where else None)), where)

    def test_no_pod_shares_a_namespace_of_its_node_or_learns_of_other_services(self):
        for where, _, spec in every_pod():
            for key in ("hostNetwork", "hostPID", "hostIPC"):
                self.assertNotIn(key, spec, where)
            # Services named autorep-… would make variables AUTOREP_…, which the daemons read.
            self.assertIs(spec["enableServiceLinks"], False, where)

    def test_whatever_daemons_write_to_is_a_volume(self):
        for where, container, spec in every_container():
            mounted = {it["mountPath"]: it for it in container["volumeMounts"]}
            volumes = {it["name"]: it for it in spec["volumes"]}
            env = variables(container)
            written = [env[key] for key in ("TMPDIR", "HOME", "AUTOREP_SCRATCH") if key in env]
            self.assertTrue(written, where)
            for path in written:
                mount = mounted[path]
                self.assertNotIn("readOnly", mount, where)
                self.assertTrue({"emptyDir", "ephemeral"} & set(volumes[mount["name"]]), where)
            for key in ("XDG_CACHE_HOME", "AUTOREP_DATA_CACHE_FOLDER"):
                if key in env:
                    self.assertTrue(env[key].startswith("/scratch/"), where)

    def test_every_mount_has_a_volume_and_every_volume_a_mount(self):
        for where, _, spec in every_pod():
            mounted = {it["name"] for c in containers_of(spec) for it in c["volumeMounts"]}
            self.assertEqual(mounted, {it["name"] for it in spec["volumes"]}, where)

    def test_every_emptydir_has_a_limit(self):
        for where, _, spec in every_pod():
            for volume in spec["volumes"]:
                if "emptyDir" in volume:
                    self.assertIn("sizeLimit", volume["emptyDir"], f"{where} {volume['name']}")


class Labels(unittest.TestCase):
    def test_every_object_carries_the_recommended_labels(self):
        for file in CI:
            for it in objects_of(file):
                if it["metadata"]["name"] == "beside":
                    continue
                labels = it["metadata"]["labels"]
                self.assertLessEqual(
                    {"app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/version",
                     "app.kubernetes.io/managed-by", "app.kubernetes.io/part-of", "helm.sh/chart"},
                    set(labels), it["metadata"]["name"],
                )

    def test_every_object_is_in_the_namespace_of_the_release_but_a_dashboard_sent_elsewhere(self):
        for file in CI:
            for it in objects_of(file):
                wanted = NAMESPACE
                if it["metadata"]["name"] == "autorep-dashboard":
                    wanted = "monitoring"
                elif it["metadata"]["name"] == "beside":
                    continue
                self.assertEqual(it["metadata"]["namespace"], wanted, it["metadata"]["name"])

    def test_pods_have_no_version_in_their_labels_that_would_start_them_anew(self):
        for where, metadata, _ in every_pod():
            if "Deployment" in where:
                self.assertFalse({"app.kubernetes.io/version", "helm.sh/chart"} & set(metadata["labels"]), where)

    def test_selectors_choose_the_pods_of_one_workload_each(self):
        for file in CI:
            objects = objects_of(file)
            pods = [(where, metadata["labels"]) for where, metadata, _ in pods_of(objects)]
            for it in of_kind(objects, "Deployment") + of_kind(objects, "PodDisruptionBudget"):
                wanted = it["spec"]["selector"]["matchLabels"].items()
                chosen = [where for where, labels in pods if wanted <= labels.items()]
                self.assertEqual(chosen, [f"Deployment/{it['metadata']['name']}"], file.name)
            for it in of_kind(objects, "Service"):
                wanted = it["spec"]["selector"].items()
                chosen = [where for where, labels in pods if wanted <= labels.items()]
                self.assertEqual(chosen, ["Deployment/autorep-coordinator"], file.name)

    def test_common_labels_reach_objects_and_pods(self):
        objects = with_values({"commonLabels": {"team": "vision"}})
        for it in objects:
            self.assertEqual(it["metadata"]["labels"].get("team"), "vision", it["metadata"]["name"])
        for where, metadata, _ in pods_of(objects):
            self.assertEqual(metadata["labels"]["team"], "vision", where)


class Secrets(unittest.TestCase):
    def test_no_secret_is_made_and_none_is_written_into_anything(self):
        for file in CI:
            self.assertEqual(of_kind(objects_of(file), "Secret"), [], file.name)
        for where, container, _ in every_container():
            for name, value in variables(container).items():
                if re.search(r"SECRET|PASSWORD|ACCESS_KEY_ID|SESSION_TOKEN|HEADERS", name):
                    self.assertEqual(set(value), {"secretKeyRef"}, f"{where} {name}")

    def test_no_value_of_the_chart_takes_a_secret_itself(self):
        schema = json.loads((CHART / "values.schema.json").read_text())

        def leaves(node, path):
            if isinstance(node, dict):
                for key, child in node.get("properties", {}).items():
                    yield from leaves(child, path + [key])
                if "properties" not in node:
                    yield path
        names = [".".join(it) for it in leaves(schema, [])]
        self.assertGreater(len(names), 100)
        taken = [it for it in names if re.search(r"(?i)password|secret|token|accesskey", it.split(".")[-1])]
        # Names of Secrets and of keys in them: each of these holds no secret. A new one belongs here
        # only if it does not either.
        self.assertEqual(sorted(taken), [
            "auth.existingSecret", "auth.keys.tokens", "auth.testerSecret", "auth.workerSecret",
            "externalSecrets.secrets", "image.pullSecrets", "store.credentialsSecret", "store.existingSecret",
            "store.secretKeys.accessKeyId", "store.secretKeys.secretAccessKey",
            "store.secretKeys.sessionToken", "telemetry.otlpHeadersSecret", "tls.clientAuth.caSecret",
            "tls.clientAuth.clientSecret", "tls.existingSecret",
        ])

    def test_each_pod_mounts_the_one_key_of_the_tokens_that_is_its_own(self):
        wanted = {"Deployment/autorep-coordinator": {"tokens.yaml"},
                  "Deployment/autorep-worker-cpu": {"worker"}, "Pod/autorep-test": {"tester"}}
        found = {}
        for where, _, spec in pods_of(objects_of(DEFAULT)):
            found[where] = {
                item["key"] for volume in spec["volumes"]
                if volume.get("secret", {}).get("secretName") == "autorep-tokens"
                for item in volume["secret"]["items"]
            }
        self.assertEqual(found, wanted)

    def test_nobody_but_the_coordinator_mounts_its_private_key(self):
        for where, _, spec in every_pod():
            for volume in spec["volumes"]:
                secret = volume.get("secret", {})
                if secret.get("secretName") != "autorep-tls":
                    continue
                keys = {item["key"] for item in secret["items"]}
                if "coordinator" in where:
                    self.assertLessEqual(keys, {"tls.crt", "tls.key", "ca.crt"}, where)
                else:
                    self.assertEqual(keys, {"ca.crt"}, where)

    def test_secrets_are_mounted_as_folders_that_follow_their_changes_and_read_only(self):
        for where, container, spec in every_container():
            secret = {it["name"] for it in spec["volumes"] if "secret" in it or "projected" in it}
            for mount in container["volumeMounts"]:
                if mount["name"] in secret:
                    self.assertNotIn("subPath", mount, where)
                    self.assertIs(mount["readOnly"], True, where)

    def test_private_keys_and_tokens_can_be_read_by_owner_and_group_alone(self):
        for where, _, spec in every_pod():
            for volume in spec["volumes"]:
                private = {it["key"] for it in volume.get("secret", {}).get("items", [])} - {"ca.crt"}
                if private:
                    self.assertEqual(volume["secret"]["defaultMode"], 0o440, f"{where} {volume['name']}")

    def test_the_test_pod_has_no_keys_of_the_store(self):
        for where, container, _ in every_container():
            if "Pod/" in where:
                self.assertFalse([it for it in variables(container) if it.startswith("AWS_")], where)
                self.assertNotIn("envFrom", container, where)

    def test_a_changed_configuration_starts_pods_anew_and_a_changed_chart_alone_does_not(self):
        def sums(values):
            return {where: metadata["annotations"]["checksum/config"]
                    for where, metadata, _ in pods_of(with_values(values)) if "Deployment" in where}
        first = sums({})
        self.assertEqual(len(first), 2)
        changed = sums({"store": {"region": "eu-west-1"}})
        for where, checksum in first.items():
            self.assertNotEqual(checksum, changed[where], where)
        self.assertEqual(first, sums({"commonLabels": {"team": "vision"}}))

    def test_secrets_of_a_vault_are_made_under_the_names_that_pods_mount(self):
        objects = objects_of(CHART / "ci" / "cert-manager-values.yaml")
        it = named(objects, "ExternalSecret", "autorep-s3")
        self.assertEqual(it["spec"]["target"], {"name": "autorep-s3", "creationPolicy": "Owner"})
        self.assertEqual(it["spec"]["secretStoreRef"], {"name": "vault", "kind": "ClusterSecretStore"})
        self.assertIn({"secretKey": "AWS_ACCESS_KEY_ID",
                       "remoteRef": {"key": "prod/autorep", "property": "id"}}, it["spec"]["data"])


if __name__ == "__main__":
    unittest.main()
