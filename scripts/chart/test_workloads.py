"""Coordinator, workers, service, policies and the test: what each is told and who reaches whom."""

import unittest

import yaml

from render import CHART, CI, DEFAULT, containers_of, named, objects_of, of_kind, pods_of, variables
from render import helm, with_values

GPU = CHART / "ci" / "gpu-values.yaml"
PUBLIC = CHART / "ci" / "public-values.yaml"
MUTUAL = CHART / "ci" / "cert-manager-values.yaml"
REMOTE = CHART / "ci" / "workers-only-values.yaml"
SMALL = CHART / "ci" / "small-values.yaml"


def deployment(file, name):
    return named(objects_of(file), "Deployment", f"autorep-{name}")


def container(file, name):
    return deployment(file, name)["spec"]["template"]["spec"]["containers"][0]


def notes_of(*settings):
    """What helm says after an installation with the default ci values and these over them."""
    code, out, err = helm("install", "autorep", str(CHART), "-n", "sweeps", "-f", str(DEFAULT), "--dry-run=client",
                          *(it for setting in settings for it in ("--set", setting)))
    assert code == 0, err
    return out.split("NOTES:")[1]


class Coordinator(unittest.TestCase):
    def test_it_is_one_that_is_replaced_before_the_next_starts(self):
        spec = deployment(DEFAULT, "coordinator")["spec"]
        self.assertEqual((spec["replicas"], spec["strategy"]), (1, {"type": "Recreate"}))
        self.assertNotIn("progressDeadlineSeconds", spec)
        self.assertNotIn("--standby", container(DEFAULT, "coordinator")["args"])

    def test_with_a_standby_two_wait_for_each_other_and_neither_is_a_failed_roll_out(self):
        spec = deployment(PUBLIC, "coordinator")["spec"]
        self.assertEqual((spec["replicas"], spec["strategy"]), (2, {"type": "Recreate"}))
        self.assertEqual(spec["progressDeadlineSeconds"], 2**31 - 1)
        self.assertIn("--standby", container(PUBLIC, "coordinator")["args"])
        affinity = spec["template"]["spec"]["affinity"]["podAntiAffinity"]
        self.assertIn("preferredDuringSchedulingIgnoredDuringExecution", affinity)

    def test_it_listens_with_tls_and_tokens_and_never_insecurely_unless_told_so(self):
        args = container(DEFAULT, "coordinator")["args"]
        self.assertEqual(args[0], "coordinator")
        for wanted in ("--listen=0.0.0.0:7070", "--metrics-listen=0.0.0.0:9464",
                       "--tls-cert=/etc/autorep/tls/tls.crt", "--tls-key=/etc/autorep/tls/tls.key",
                       "--tokens=/etc/autorep/tokens/tokens.yaml"):
            self.assertIn(wanted, args)
        for file in CI:
            for where, _, spec in pods_of(objects_of(file)):
                for it in containers_of(spec):
                    said = "--insecure-listen" in it["args"]
                    self.assertEqual(said, file == SMALL and "coordinator" in where, f"{file.name} {where}")

    def test_mutual_tls_asks_for_certificates_and_workers_show_one(self):
        self.assertIn("--tls-client-ca=/etc/autorep/client-ca/ca.crt", container(MUTUAL, "coordinator")["args"])
        self.assertNotIn("--tls-client-ca", " ".join(container(DEFAULT, "coordinator")["args"]))
        env = variables(container(MUTUAL, "worker-cpu"))
        self.assertEqual(env["AUTOREP_CLIENT_CERT"], "/etc/autorep/client/tls.crt")
        self.assertEqual(env["AUTOREP_CLIENT_KEY"], "/etc/autorep/client/tls.key")

    def test_its_probes_are_livez_and_readyz_on_the_metrics_port(self):
        it = container(DEFAULT, "coordinator")
        ports = {port["name"]: port["containerPort"] for port in it["ports"]}
        self.assertEqual(ports, {"grpc": 7070, "metrics": 9464})
        paths = {probe: it[probe]["httpGet"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")}
        self.assertEqual(paths, {
            "startupProbe": {"path": "/livez", "port": "metrics"},
            "livenessProbe": {"path": "/livez", "port": "metrics"},
            "readinessProbe": {"path": "/readyz", "port": "metrics"},
        })

    def test_owners_terms_are_told_as_the_daemon_reads_them(self):
        args = container(GPU, "coordinator")["args"]
        self.assertIn("--owner=alice:cap=16,weight=2", args)
        self.assertIn("--owner=bob:weight=1", args)
        self.assertIn("--owner-cap=8", args)

    def test_it_leaves_a_lost_node_soon(self):
        spec = deployment(DEFAULT, "coordinator")["spec"]["template"]["spec"]
        self.assertEqual(
            {it["key"]: it["tolerationSeconds"] for it in spec["tolerations"]},
            {"node.kubernetes.io/not-ready": 30, "node.kubernetes.io/unreachable": 30},
        )

    def test_metrics_are_not_on_the_service_that_a_load_balancer_publishes(self):
        service = named(objects_of(PUBLIC), "Service", "autorep-coordinator")["spec"]
        self.assertEqual(service["type"], "LoadBalancer")
        self.assertEqual([it["name"] for it in service["ports"]], ["grpc"])
        self.assertEqual(service["loadBalancerSourceRanges"], ["10.0.0.0/8"])
        self.assertEqual(service["loadBalancerClass"], "service.k8s.aws/nlb")
        metrics = named(objects_of(PUBLIC), "Service", "autorep-coordinator-metrics")["spec"]
        self.assertEqual((metrics["clusterIP"], [it["name"] for it in metrics["ports"]]), ("None", ["metrics"]))

    def test_the_store_is_found_by_the_usual_variables(self):
        data = named(objects_of(SMALL), "ConfigMap", "autorep-config")["data"]
        self.assertEqual(data, {
            "AUTOREP_STORE": "s3://sweeps/try", "AUTOREP_LOG": "debug", "AUTOREP_LOG_FORMAT": "json",
            "AWS_REGION": "us-east-1", "AWS_ENDPOINT": "http://10.0.0.5:8333", "AWS_ALLOW_HTTP": "true",
        })
        self.assertEqual(
            named(objects_of(GPU), "ConfigMap", "autorep-config")["data"]["AWS_SERVER_SIDE_ENCRYPTION"], "AES256")

    def test_web_identity_projects_a_token_for_the_store_alone(self):
        for name in ("coordinator", "worker-gpu"):
            env = variables(container(PUBLIC, name))
            self.assertEqual(env["AWS_ROLE_ARN"], "arn:aws:iam::123456789012:role/sweeps")
            self.assertEqual(env["AWS_WEB_IDENTITY_TOKEN_FILE"], "/var/run/secrets/autorep/store/token")
            self.assertNotIn("AWS_ACCESS_KEY_ID", env)
            volumes = deployment(PUBLIC, name)["spec"]["template"]["spec"]["volumes"]
            (source,) = [it for it in volumes if it["name"] == "store-token"][0]["projected"]["sources"]
            self.assertEqual(source["serviceAccountToken"]["audience"], "sts.amazonaws.com")


    def test_a_file_of_credentials_and_an_authority_of_the_stores_are_mounted_in_place_of_keys(self):
        objects = objects_of(REMOTE)
        spec = named(objects, "Deployment", "autorep-worker-gpu")["spec"]["template"]["spec"]
        env = variables(spec["containers"][0])
        self.assertEqual(env["AWS_SHARED_CREDENTIALS_FILE"], "/etc/autorep/store/credentials")
        self.assertEqual(env["AWS_CA_BUNDLE"], "/etc/autorep/store-ca/ca.crt")
        self.assertNotIn("AWS_ACCESS_KEY_ID", env)
        volumes = {it["name"]: it for it in spec["volumes"]}
        self.assertEqual(volumes["store-credentials"]["secret"],
                         {"secretName": "autorep-aws", "defaultMode": 0o440,
                          "items": [{"key": "credentials", "path": "credentials"}]})
        self.assertEqual(volumes["store-ca"]["configMap"],
                         {"name": "our-ca", "items": [{"key": "ca.pem", "path": "ca.crt"}]})
        mounts = {it["name"]: it["mountPath"] for it in spec["containers"][0]["volumeMounts"]}
        self.assertEqual((mounts["store-credentials"], mounts["store-ca"]),
                         ("/etc/autorep/store", "/etc/autorep/store-ca"))


class Workers(unittest.TestCase):
    def test_a_pool_has_what_workers_has_and_its_own_values_over_it_even_zero_and_empty(self):
        names = {it["metadata"]["name"] for it in of_kind(objects_of(GPU), "Deployment")}
        self.assertEqual(names, {"autorep-coordinator", "autorep-worker-h100", "autorep-worker-half",
                                 "autorep-worker-one", "autorep-worker-nfs"})
        self.assertEqual(deployment(GPU, "worker-nfs")["spec"]["replicas"], 0)
        for name in ("h100", "half", "one", "nfs"):
            spec = deployment(GPU, f"worker-{name}")["spec"]["template"]["spec"]
            self.assertEqual(spec["priorityClassName"], "preemptible", name)
            self.assertIn("--label=site=north", spec["containers"][0]["args"])
            self.assertIn(f"--label=pool={name}", spec["containers"][0]["args"])
        self.assertEqual(variables(container(GPU, "worker-one"))["AUTOREP_DATA"], "/data")
        none = with_values({"workers": {"gpus": 1, "podDisruptionBudget": {"enabled": True}},
                            "workerPools": {"cpu": {"gpus": 0, "podDisruptionBudget": {"enabled": False}}}})
        self.assertIn("--device=cpu", named(none, "Deployment", "autorep-worker-cpu")
                      ["spec"]["template"]["spec"]["containers"][0]["args"])
        self.assertEqual(of_kind(none, "PodDisruptionBudget"), [])

    def test_gpus_are_a_limit_a_device_and_a_toleration_and_ranks_are_as_many(self):
        spec = deployment(GPU, "worker-h100")["spec"]["template"]["spec"]
        it = spec["containers"][0]
        self.assertEqual(it["resources"]["limits"], {"nvidia.com/gpu": "8", "memory": "512Gi"})
        self.assertEqual(it["resources"]["requests"], {"cpu": "64", "memory": "256Gi"})
        for wanted in ("--device=cuda:0", "--ranks=8", "--gpu-type=NVIDIA H100 80GB HBM3"):
            self.assertIn(wanted, it["args"])
        self.assertEqual([t["key"] for t in spec["tolerations"]], ["nvidia.com/gpu", "dedicated"])
        half = container(GPU, "worker-half")
        self.assertEqual(half["resources"]["limits"], {"nvidia.com/gpu": "4"})
        self.assertIn("--ranks=2", half["args"])
        self.assertNotIn("limits", container(DEFAULT, "worker-cpu")["resources"])

    def test_a_pool_without_gpus_offers_none_unless_it_says_how_many_ranks_stand_for_them(self):
        # A worker that is told its ranks is given tasks that ask for as many GPUs.
        self.assertFalse([it for it in container(DEFAULT, "worker-cpu")["args"] if it.startswith("--ranks")])
        told = with_values({"workerPools": {"cpu": {"ranks": 2}}})
        (spec,) = [spec for where, _, spec in pods_of(told) if where == "Deployment/autorep-worker-cpu"]
        self.assertIn("--ranks=2", spec["containers"][0]["args"])

    def test_threads_are_the_whole_cpus_that_a_pod_without_gpus_asks_for_shared_out_to_its_ranks(self):
        def told(**values):
            it = with_values({"workers": {"resources": {"requests": {"cpu": None}}}, "workerPools": {"cpu": values}})
            args = named(it, "Deployment", "autorep-worker-cpu")["spec"]["template"]["spec"]["containers"][0]["args"]
            (threads,) = [arg.removeprefix("--threads=") for arg in args if arg.startswith("--threads=")]
            return int(threads)

        def asks(requests, limits=None, **values):
            resources = {"requests": requests} | ({} if limits is None else {"limits": limits})
            return told(resources=resources, **values)
        for cpu, wanted in ((4, 4), ("4", 4), (2.5, 2), ("2.5", 2), ("3500m", 3), ("500m", 1), (0.5, 1), ("64", 64)):
            self.assertEqual(asks({"cpu": cpu}), wanted, cpu)
        self.assertEqual(asks({"cpu": 1}, {"cpu": "6"}), 6)
        self.assertEqual(asks({"memory": "1Gi"}, {"memory": "2Gi"}), 0)
        self.assertEqual(told(), 0)
        self.assertEqual(asks({"cpu": 8}, ranks=3), 2)
        self.assertEqual(asks({"cpu": 2}, ranks=3), 1)
        self.assertEqual(asks({"cpu": 8}, threads=5), 5)
        self.assertEqual(asks({"cpu": 8}, gpus=2), 0)
        self.assertIn("--threads=1", container(DEFAULT, "worker-cpu")["args"])

    def test_several_ranks_have_room_in_shared_memory(self):
        for name, wanted in (("h100", True), ("half", True), ("one", False)):
            mounts = {it["mountPath"] for it in container(GPU, f"worker-{name}")["volumeMounts"]}
            self.assertEqual("/dev/shm" in mounts, wanted, name)

    def test_images_are_named_by_registry_tag_and_digest_which_wins(self):
        self.assertEqual(container(DEFAULT, "coordinator")["image"], "autorep-coordinator:0.1.0")
        self.assertEqual(container(DEFAULT, "worker-cpu")["image"], "autorep-worker-cpu:0.1.0")
        self.assertEqual(container(GPU, "worker-one")["image"], "registry.example.org/team/autorep-worker:0.1.0")
        self.assertEqual(container(GPU, "worker-half")["image"],
                         "registry.example.org/team/our/worker@sha256:" + "0123456789abcdef" * 4)
        self.assertEqual(container(SMALL, "worker-cpu")["image"], "autorep-worker-cpu:dev")

    def test_a_worker_is_known_by_its_pod_and_node_and_reached_by_its_address(self):
        env = variables(container(DEFAULT, "worker-cpu"))
        fields = {key: env[key]["fieldRef"]["fieldPath"]
                  for key in ("AUTOREP_WORKER", "AUTOREP_MACHINE", "AUTOREP_ADVERTISE")}
        self.assertEqual(fields, {"AUTOREP_WORKER": "metadata.name", "AUTOREP_MACHINE": "spec.nodeName",
                                  "AUTOREP_ADVERTISE": "status.podIP"})
        self.assertEqual(env["AUTOREP_COORDINATOR"], "https://autorep-coordinator.sweeps.svc:7070")
        self.assertEqual(env["AUTOREP_CA"], "/etc/autorep/ca/ca.crt")
        self.assertEqual(env["AUTOREP_TOKEN_FILE"], "/etc/autorep/token/token")

    def test_workers_of_another_cluster_go_to_the_url_that_is_given(self):
        names = [it["metadata"]["name"] for it in of_kind(objects_of(REMOTE), "Deployment")]
        self.assertEqual(names, ["autorep-worker-gpu"])
        self.assertEqual(of_kind(objects_of(REMOTE), "Service"), [])
        env = variables(container(REMOTE, "worker-gpu"))
        self.assertEqual(env["AUTOREP_COORDINATOR"], "https://sweeps.example.org:7443")
        self.assertEqual(env["AUTOREP_CLIENT_CERT"], "/etc/autorep/client/tls.crt")

    def test_a_variable_of_ones_own_takes_the_place_of_the_charts(self):
        own = {"name": "AUTOREP_DATA_CACHE_FOLDER", "value": "/nvme/shards"}
        home = {"name": "HOME", "value": "/home/nonroot"}
        objects = with_values({"workers": {"extraEnv": [own]}, "coordinator": {"extraEnv": [home]}}, GPU)
        for name, wanted in (("worker-h100", own), ("coordinator", home)):
            it = named(objects, "Deployment", f"autorep-{name}")["spec"]["template"]["spec"]["containers"][0]
            self.assertEqual([env for env in it["env"] if env["name"] == wanted["name"]], [wanted])
        for file in CI:
            for where, _, spec in pods_of(objects_of(file)):
                for it in containers_of(spec):
                    names = [env["name"] for env in it["env"]]
                    self.assertEqual(len(names), len(set(names)), f"{file.name} {where}")

    def test_a_token_goes_over_plain_http_only_where_insecure_is_said(self):
        for file in CI:
            for where, _, spec in pods_of(objects_of(file)):
                for it in containers_of(spec):
                    self.assertNotIn("AUTOREP_PLAIN_TOKEN", variables(it), f"{file.name} {where}")
        plain = with_values({"auth": {"existingSecret": "tokens"}}, SMALL)
        for name in ("Deployment/autorep-worker-cpu", "Pod/autorep-test"):
            (spec,) = [spec for where, _, spec in pods_of(plain) if where == name]
            self.assertEqual(variables(spec["containers"][0])["AUTOREP_PLAIN_TOKEN"], "true", name)

    def test_workers_trust_the_system_where_the_certificate_is_of_a_public_authority(self):
        self.assertNotIn("AUTOREP_CA", variables(container(PUBLIC, "worker-gpu")))

    def test_they_have_time_for_a_checkpoint_before_they_are_killed(self):
        for file in CI:
            for it in of_kind(objects_of(file), "Deployment"):
                if "worker" in it["metadata"]["name"]:
                    spec = it["spec"]["template"]["spec"]
                    self.assertGreaterEqual(spec["terminationGracePeriodSeconds"], 60, file.name)
        self.assertEqual(deployment(DEFAULT, "worker-cpu")["spec"]["template"]["spec"]
                         ["terminationGracePeriodSeconds"], 600)
        # The trainer is not given all of it, so that what it wrote can be stored.
        self.assertEqual(variables(container(DEFAULT, "worker-cpu"))["AUTOREP_GRACE"], "300s")

    def test_a_roll_out_may_wait_for_as_long_as_workers_may_take_to_stop(self):
        for name, wanted in (("h100", 1800), ("one", 1200)):
            self.assertEqual(deployment(GPU, f"worker-{name}")["spec"]["progressDeadlineSeconds"], wanted)

    def test_an_upgrade_needs_no_gpus_beside_those_in_use(self):
        strategy = deployment(DEFAULT, "worker-cpu")["spec"]["strategy"]
        self.assertEqual(strategy["rollingUpdate"]["maxSurge"], 0)

    def test_their_probes_are_livez_and_readyz_on_the_metrics_port(self):
        it = container(DEFAULT, "worker-cpu")
        self.assertEqual(it["livenessProbe"]["httpGet"], {"path": "/livez", "port": "metrics"})
        self.assertEqual(it["startupProbe"]["httpGet"], {"path": "/livez", "port": "metrics"})
        self.assertEqual(it["readinessProbe"]["httpGet"], {"path": "/readyz", "port": "metrics"})
        self.assertIn("--metrics-listen=0.0.0.0:9464", it["args"])

    def test_data_lies_in_a_bucket_on_a_claim_on_the_node_elsewhere_or_is_fetched(self):
        def data(file, name):
            volumes = deployment(file, name)["spec"]["template"]["spec"]["volumes"]
            found = [it for it in volumes if it["name"] == "data"]
            return {k: v for k, v in found[0].items() if k != "name"} if found else None
        self.assertIsNone(data(GPU, "worker-h100"))
        env = variables(container(GPU, "worker-h100"))
        self.assertEqual(env["AUTOREP_DATA"], "s3://sets/shards")
        self.assertEqual(env["AUTOREP_DATA_CACHE"], "200GiB")
        self.assertEqual(data(GPU, "worker-half"),
                         {"persistentVolumeClaim": {"claimName": "datasets", "readOnly": True}})
        self.assertEqual(data(GPU, "worker-one"), {"hostPath": {"path": "/srv/datasets", "type": "Directory"}})
        self.assertEqual(data(GPU, "worker-nfs"),
                         {"nfs": {"server": "10.0.0.9", "path": "/datasets", "readOnly": True}})
        self.assertEqual(data(DEFAULT, "worker-cpu"), {"emptyDir": {"sizeLimit": "10Gi"}})
        spec = deployment(DEFAULT, "worker-cpu")["spec"]["template"]["spec"]
        (fetch,) = spec["initContainers"]
        self.assertEqual(fetch["args"], ["data", "fetch", "fashion-mnist", "--data=/data"])
        self.assertEqual(fetch["image"], spec["containers"][0]["image"])

    def test_data_sets_are_fetched_through_ones_own_proxy_and_authority_and_without_a_key(self):
        proxy = {"name": "https_proxy", "value": "http://proxy.example.org:3128"}
        mount = {"name": "certs", "mountPath": "/certs"}
        values = {
            "store": {"caConfigMap": "our-ca"},
            "workers": {"extraEnv": [proxy, {"name": "HOME", "value": "/scratch"}], "extraVolumeMounts": [mount],
                        "extraVolumes": [{"name": "certs", "configMap": {"name": "certs"}}]},
        }
        spec = named(with_values(values), "Deployment", "autorep-worker-cpu")["spec"]["template"]["spec"]
        (fetch,) = spec["initContainers"]
        self.assertEqual(variables(fetch), {"TMPDIR": "/scratch", "HOME": "/scratch", proxy["name"]: proxy["value"],
                                            "CURL_CA_BUNDLE": "/etc/autorep/store-ca/ca.crt"})
        self.assertIn(mount, fetch["volumeMounts"])
        authority = {"name": "store-ca", "mountPath": "/etc/autorep/store-ca", "readOnly": True}
        for it in (fetch, spec["containers"][0]):
            self.assertEqual([m for m in it["volumeMounts"] if m["name"] == "store-ca"], [authority], it["name"])
        (plain,) = deployment(DEFAULT, "worker-cpu")["spec"]["template"]["spec"]["initContainers"]
        self.assertEqual(set(variables(plain)), {"TMPDIR", "HOME"})

    def test_scratch_is_the_nodes_disk_or_a_claim_of_the_pod(self):
        def scratch(name):
            volumes = deployment(GPU, name)["spec"]["template"]["spec"]["volumes"]
            return [it for it in volumes if it["name"] == "scratch"][0]
        claim = scratch("worker-h100")["ephemeral"]["volumeClaimTemplate"]["spec"]
        self.assertEqual((claim["storageClassName"], claim["resources"]["requests"]["storage"]),
                         ("local-nvme", "500Gi"))
        self.assertEqual(scratch("worker-one")["emptyDir"], {"sizeLimit": "50Gi"})

    def test_kueue_finds_its_queue_on_the_pools_that_have_one(self):
        labels = deployment(GPU, "worker-h100")["metadata"]["labels"]
        self.assertEqual((labels["kueue.x-k8s.io/queue-name"], labels["kueue.x-k8s.io/priority-class"]),
                         ("sweeps", "low"))
        self.assertNotIn("kueue.x-k8s.io/queue-name", deployment(GPU, "worker-one")["metadata"]["labels"])


class Policies(unittest.TestCase):
    def policy(self, file, name):
        return named(objects_of(file), "NetworkPolicy", f"autorep-{name}")["spec"]

    def test_the_coordinators_api_is_for_workers_the_test_and_whoever_is_named(self):
        api = self.policy(CHART / "ci" / "monitoring-values.yaml", "coordinator")["ingress"][0]
        self.assertEqual(api["ports"], [{"port": 7070, "protocol": "TCP"}])
        first, second = api["from"]
        self.assertEqual(first["podSelector"]["matchExpressions"][0]["values"], ["worker", "test"])
        self.assertEqual(first["podSelector"]["matchLabels"]["app.kubernetes.io/instance"], "autorep")
        self.assertEqual(second["namespaceSelector"]["matchLabels"], {"kubernetes.io/metadata.name": "notebooks"})
        self.assertEqual(len(self.policy(DEFAULT, "coordinator")["ingress"][0]["from"]), 1)

    def test_callers_from_outside_are_seen_under_their_own_addresses_where_they_are_named(self):
        service = named(objects_of(PUBLIC), "Service", "autorep-coordinator")["spec"]
        self.assertEqual(service["externalTrafficPolicy"], "Local")
        (_, office) = self.policy(PUBLIC, "coordinator")["ingress"][0]["from"]
        self.assertEqual(office, {"ipBlock": {"cidr": "10.0.0.0/8"}})
        # Kubernetes refuses it on a service inside the cluster.
        self.assertNotIn("externalTrafficPolicy", named(objects_of(DEFAULT), "Service", "autorep-coordinator")["spec"])
        outside = ("coordinator.service.type=NodePort", "networkPolicy.clients[0].ipBlock.cidr=192.0.2.0/24")
        hint = "coordinator.service.externalTrafficPolicy"
        self.assertIn(hint, notes_of(*outside))
        self.assertNotIn(hint, notes_of(*outside, f"{hint}=Local"))
        self.assertNotIn(hint, notes_of(*outside, "networkPolicy.enabled=false"))
        self.assertNotIn(hint, notes_of())

    def test_no_rule_of_ingress_lets_everybody_in(self):
        for file in CI:
            for it in of_kind(objects_of(file), "NetworkPolicy"):
                self.assertEqual(set(it["spec"]["policyTypes"]), {"Ingress", "Egress"})
                for rule in it["spec"]["ingress"]:
                    self.assertTrue(rule.get("from"), it["metadata"]["name"])

    def test_workers_reach_the_coordinator_name_servers_and_the_store_alone(self):
        to, dns, store = self.policy(GPU, "worker")["egress"]
        self.assertEqual(to["to"][0]["podSelector"]["matchLabels"]["app.kubernetes.io/component"], "coordinator")
        self.assertEqual(to["ports"], [{"port": 7070, "protocol": "TCP"}])
        self.assertEqual({it["port"] for it in dns["ports"]}, {53})
        self.assertEqual(store, {"ports": [{"port": 443, "protocol": "TCP"}]})

    def test_the_stores_and_the_collectors_ports_and_addresses_are_taken_from_the_values(self):
        store = self.policy(PUBLIC, "coordinator")["egress"][1]
        self.assertEqual([it["port"] for it in store["ports"]], [4317, 443])
        self.assertEqual(store["to"], [{"ipBlock": {"cidr": "52.95.0.0/16"}}])
        here = {"networkPolicy": {"enabled": True, "clients": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}}
        store = named(with_values(here, SMALL), "NetworkPolicy", "autorep-worker")["spec"]["egress"][2]
        self.assertEqual([it["port"] for it in store["ports"]], [443, 8333])

    def test_metadata_services_are_reached_where_nothing_else_gives_the_stores_keys(self):
        def metadata(objects, name):
            rules = named(objects, "NetworkPolicy", f"autorep-{name}")["spec"]["egress"]
            return [it for it in rules if "169.254.169.254/32" in str(it)]
        node = with_values({"store": {"existingSecret": ""}})
        for name in ("coordinator", "worker"):
            (rule,) = metadata(node, name)
            self.assertEqual(rule["ports"], [{"port": 80, "protocol": "TCP"}])
            for file in (DEFAULT, PUBLIC):
                self.assertEqual(metadata(objects_of(file), name), [], file.name)

    def test_workers_reach_a_coordinator_elsewhere_and_where_data_sets_are_fetched_from(self):
        elsewhere = self.policy(REMOTE, "worker")["egress"][0]
        self.assertEqual(elsewhere, {"ports": [{"port": 7443, "protocol": "TCP"}]})
        fetching = self.policy(DEFAULT, "worker")["egress"][2]
        self.assertEqual({it["port"] for it in fetching["ports"]}, {80, 443})

    def test_pods_of_pools_with_groups_talk_to_each_other_and_no_others_do(self):
        groups = self.policy(GPU, "worker-groups")
        wanted = {"app.kubernetes.io/name": "autorep", "app.kubernetes.io/instance": "autorep",
                  "app.kubernetes.io/component": "worker", "autorep/groups": "true"}
        self.assertEqual(groups["podSelector"]["matchLabels"], wanted)
        for rule in (groups["ingress"][0]["from"], groups["egress"][0]["to"]):
            self.assertEqual(rule, [{"podSelector": {"matchLabels": wanted}}])
        marked = {where for where, metadata, _ in pods_of(objects_of(GPU)) if "autorep/groups" in metadata["labels"]}
        self.assertEqual(marked, {"Deployment/autorep-worker-h100"})
        names = [it["metadata"]["name"] for it in of_kind(objects_of(DEFAULT), "NetworkPolicy")]
        self.assertNotIn("autorep-worker-groups", names)

    def test_each_pod_is_under_a_policy_where_there_are_policies(self):
        for file in CI:
            policies = of_kind(objects_of(file), "NetworkPolicy")
            for where, metadata, _ in pods_of(objects_of(file)):
                over = [it for it in policies if it["spec"]["podSelector"]["matchLabels"].items()
                        <= metadata["labels"].items()]
                self.assertEqual(bool(over), file != SMALL, f"{file.name} {where}")


class HelmTest(unittest.TestCase):
    def test_it_sends_a_rehearsal_follows_it_and_reads_its_front_each_in_a_container(self):
        pod = named(objects_of(DEFAULT), "Pod", "autorep-test")
        self.assertEqual(pod["metadata"]["annotations"]["helm.sh/hook"], "test")
        steps = [it["args"] for it in containers_of(pod["spec"])]
        self.assertEqual(steps, [
            ["submit", "/etc/autorep/sweep/sweep.yaml", "--rehearse"],
            ["watch", "helm-test-rehearsal"],
            ["front", "helm-test-rehearsal", "--format=csv"],
        ])
        self.assertEqual(pod["spec"]["restartPolicy"], "Never")
        for it in containers_of(pod["spec"]):
            self.assertEqual(variables(it)["AUTOREP_TOKEN_FILE"], "/etc/autorep/token/token")

    def test_its_sweep_may_be_ones_own(self):
        pod = named(objects_of(SMALL), "Pod", "autorep-test")
        self.assertEqual(containers_of(pod["spec"])[1]["args"], ["watch", "mine-rehearsal"])
        sweep = yaml.safe_load(named(objects_of(SMALL), "ConfigMap", "autorep-test")["data"]["sweep.yaml"])
        self.assertEqual(sweep["metadata"], {"name": "mine", "owner": "me"})

    def test_there_is_none_without_a_coordinator_or_workers(self):
        self.assertEqual(of_kind(objects_of(REMOTE), "Pod"), [])
        # Fashion-MNIST cannot be read from a bucket.
        bucket = {"workers": {"data": {"url": "s3://sets/shards"}}, "workerPools": {"cpu": {"data": {"fetch": []}}}}
        for values in ({"test": {"enabled": False}}, {"workerPools": {"cpu": None}}, bucket):
            self.assertEqual(of_kind(with_values(values), "Pod"), [])
        own = bucket | {"test": {"manifest": "metadata: {name: mine}"}}
        self.assertEqual(len(of_kind(with_values(own), "Pod")), 1)

    def test_notes_name_what_a_callers_certificate_and_address_have_to_be(self):
        mutual = notes_of("tls.clientAuth.enabled=true", "tls.clientAuth.clientSecret=client")
        self.assertIn("AUTOREP_CLIENT_CERT", mutual)
        public = notes_of("tls.systemRoots=true", "coordinatorUrl=https://sweeps.example.org:7070")
        self.assertIn("AUTOREP_COORDINATOR=https://sweeps.example.org:7070\n", public)
        self.assertNotIn("localhost", public)

    def test_notes_count_their_steps_and_name_every_way_to_the_coordinator_once(self):
        def steps(notes):
            return [line.split(".")[0] for line in notes.splitlines() if line[:1].isdigit()]
        self.assertEqual(steps(notes_of()), ["1", "2", "3"])
        self.assertEqual(steps(notes_of("test.enabled=false")), ["1", "2"])
        balanced = notes_of("coordinator.service.type=LoadBalancer", "networkPolicy.clients[0].ipBlock.cidr=192.0.2.0/24")
        self.assertEqual(steps(balanced), ["1", "2", "3"])
        for wanted in ("port-forward service/autorep-coordinator", "get service autorep-coordinator"):
            self.assertEqual(balanced.count(wanted), 1, wanted)
        self.assertNotIn("get service autorep-coordinator", notes_of())
        elsewhere = notes_of("coordinator.enabled=false", "coordinator.standby=true",
                             "coordinatorUrl=https://sweeps.example.org:7070")
        self.assertEqual(steps(elsewhere), [])
        self.assertNotIn("--wait", elsewhere)

    def test_notes_warn_of_what_is_not_protected_and_of_nothing_else(self):
        self.assertNotIn("insecure", notes_of("insecure=true"))
        open_ = ("insecure=true", "auth.existingSecret=")
        self.assertIn("nobody is asked for a token. Whoever reaches the port may", notes_of(*open_))
        mutual = notes_of(*open_, "tls.clientAuth.enabled=true", "tls.clientAuth.clientSecret=client")
        self.assertIn("nobody is asked for a token. Whoever reaches the port with a certificate may", mutual)

    def test_notes_say_what_to_do_next_and_never_how_to_show_a_token(self):
        notes = notes_of()
        for wanted in ("helm test autorep -n sweeps", "port-forward service/autorep-coordinator", "autorep submit",
                       "docs/kubernetes.md", "Upgrades"):
            self.assertIn(wanted, notes)
        self.assertNotIn("insecure", notes)


if __name__ == "__main__":
    unittest.main()
