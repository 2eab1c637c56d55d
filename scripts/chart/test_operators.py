"""Objects of kinds that operators define: cert-manager, the Prometheus Operator, KEDA.

kubernetes-validate has no schemas of theirs, so what matters of them is asserted here.
"""

import json
import unittest

import yaml

from render import CHART, DEFAULT, named, objects_of, of_kind, with_values

MUTUAL = CHART / "ci" / "cert-manager-values.yaml"
PUBLIC = CHART / "ci" / "public-values.yaml"
REMOTE = CHART / "ci" / "workers-only-values.yaml"
WATCHED = CHART / "ci" / "monitoring-values.yaml"


class CertManager(unittest.TestCase):
    def test_without_an_issuer_the_chart_makes_an_authority_that_signs_all_others(self):
        objects = objects_of(MUTUAL)
        self.assertEqual(named(objects, "Issuer", "autorep-self-signed")["spec"], {"selfSigned": {}})
        authority = named(objects, "Certificate", "autorep-ca")["spec"]
        self.assertIs(authority["isCA"], True)
        self.assertEqual(authority["issuerRef"]["name"], "autorep-self-signed")
        self.assertEqual(named(objects, "Issuer", "autorep-ca")["spec"],
                         {"ca": {"secretName": authority["secretName"]}})
        for name in ("autorep-tls", "autorep-client-tls"):
            it = named(objects, "Certificate", name)["spec"]
            self.assertEqual(it["issuerRef"], {"name": "autorep-ca", "kind": "Issuer", "group": "cert-manager.io"})
            self.assertNotIn("isCA", it)

    def test_the_certificate_names_the_service_in_every_way_that_workers_may_call_it(self):
        spec = named(objects_of(MUTUAL), "Certificate", "autorep-tls")["spec"]
        self.assertEqual(spec["dnsNames"], [
            "autorep-coordinator", "autorep-coordinator.sweeps", "autorep-coordinator.sweeps.svc",
            "autorep-coordinator.sweeps.svc.cluster.local", "localhost", "sweeps.example.org",
        ])
        self.assertEqual(spec["ipAddresses"], ["10.96.7.7"])
        self.assertEqual(spec["usages"], ["digital signature", "server auth"])

    def test_pods_mount_the_secrets_that_the_certificates_fill(self):
        objects = objects_of(MUTUAL)
        made = {it["spec"]["secretName"] for it in of_kind(objects, "Certificate")}
        for name, wanted in (("coordinator", {"autorep-tls"}), ("worker-cpu", {"autorep-tls", "autorep-client-tls"})):
            volumes = named(objects, "Deployment", f"autorep-{name}")["spec"]["template"]["spec"]["volumes"]
            mounted = {it["secret"]["secretName"] for it in volumes if "secret" in it} & made
            self.assertEqual(mounted, wanted, name)

    def test_clients_get_a_certificate_for_clients(self):
        spec = named(objects_of(MUTUAL), "Certificate", "autorep-client-tls")["spec"]
        self.assertEqual(spec["usages"], ["digital signature", "client auth"])

    def test_with_an_issuer_of_ones_own_nothing_but_the_certificate_is_made(self):
        objects = objects_of(PUBLIC)
        self.assertEqual(of_kind(objects, "Issuer"), [])
        (it,) = of_kind(objects, "Certificate")
        self.assertEqual(it["spec"]["issuerRef"],
                         {"name": "letsencrypt", "kind": "ClusterIssuer", "group": "cert-manager.io"})
        # A public authority does not sign names of a cluster.
        self.assertEqual(it["spec"]["dnsNames"], ["sweeps.example.org"])


class Prometheus(unittest.TestCase):
    def test_monitors_choose_the_ports_of_coordinator_and_workers_and_are_chosen_by_their_labels(self):
        objects = objects_of(WATCHED)
        service = named(objects, "Service", "autorep-coordinator-metrics")
        monitor = named(objects, "ServiceMonitor", "autorep-coordinator")
        self.assertEqual(monitor["metadata"]["labels"]["release"], "kube-prometheus-stack")
        chosen = [it["metadata"]["name"] for it in of_kind(objects, "Service")
                  if monitor["spec"]["selector"]["matchLabels"].items() <= it["metadata"]["labels"].items()]
        self.assertEqual(chosen, ["autorep-coordinator-metrics"])
        self.assertEqual(monitor["spec"]["endpoints"][0]["port"], service["spec"]["ports"][0]["name"])

        pods = named(objects, "PodMonitor", "autorep-worker")
        self.assertEqual(pods["metadata"]["labels"]["release"], "kube-prometheus-stack")
        for name in ("cpu", "gpu"):
            worker = named(objects, "Deployment", f"autorep-worker-{name}")["spec"]["template"]
            self.assertLessEqual(pods["spec"]["selector"]["matchLabels"].items(),
                                 worker["metadata"]["labels"].items())
            ports = {it["name"] for it in worker["spec"]["containers"][0]["ports"]}
            self.assertIn(pods["spec"]["podMetricsEndpoints"][0]["port"], ports)

    def test_the_rules_are_those_of_the_file_that_promtool_tests(self):
        alerts = (CHART / "files" / "alerts.yaml").read_text()
        rule = named(objects_of(WATCHED), "PrometheusRule", "autorep")
        self.assertEqual(rule["spec"], yaml.safe_load(alerts))
        self.assertEqual(rule["metadata"]["labels"]["release"], "kube-prometheus-stack")
        self.assertGreater(sum(len(group["rules"]) for group in rule["spec"]["groups"]), 5)
        url = "https://wiki.example.org/autorep"
        moved = with_values({"monitoring": {"prometheusRule": {"enabled": True, "runbookUrl": url}}})
        self.assertEqual(named(moved, "PrometheusRule", "autorep")["spec"],
                         yaml.safe_load(alerts.replace("docs/runbook.md", url)))

    def test_the_dashboard_is_the_file_and_found_by_grafanas_sidecar(self):
        it = named(objects_of(WATCHED), "ConfigMap", "autorep-dashboard")
        (text,) = it["data"].values()
        self.assertEqual(json.loads(text), json.loads((CHART / "files" / "dashboard.json").read_text()))
        self.assertGreater(len(json.loads(text)["panels"]), 5)
        self.assertEqual(it["metadata"]["labels"]["grafana_dashboard"], "1")
        self.assertEqual(it["metadata"]["annotations"], {"grafana_folder": "autorep"})

    def test_metrics_may_be_read_from_where_prometheus_is_alone(self):
        wanted = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
        for name in ("coordinator", "worker"):
            rules = named(objects_of(WATCHED), "NetworkPolicy", f"autorep-{name}")["spec"]["ingress"]
            (metrics,) = [it for it in rules if it["ports"][0]["port"] == 9464]
            self.assertEqual(metrics["from"], wanted)

    def test_a_coordinator_that_is_elsewhere_is_not_missed_here(self):
        def alerts(file):
            rule = named(with_values({"monitoring": {"prometheusRule": {"enabled": True}}}, file), "PrometheusRule",
                         "autorep")
            return {it["alert"] for group in rule["spec"]["groups"] for it in group["rules"]}
        self.assertEqual(alerts(DEFAULT) - alerts(REMOTE), {"AutorepCoordinatorDown"})

    def test_nothing_of_operators_is_made_unless_it_is_asked_for(self):
        kinds = {it["kind"] for it in objects_of(DEFAULT)}
        self.assertEqual(kinds, {"ConfigMap", "Deployment", "NetworkPolicy", "Pod", "PodDisruptionBudget",
                                 "Service", "ServiceAccount"})


class Keda(unittest.TestCase):
    def query(self, pools, pool):
        scaling = {"enabled": True, "prometheusUrl": "http://prometheus:9090"}
        objects = with_values({"workers": {"autoscaling": scaling, "data": {"existingClaim": "datasets"}},
                               "workerPools": {"cpu": None} | pools})
        it = named(objects, "ScaledObject", f"autorep-worker-{pool}")
        return it["spec"]["triggers"][0]["metadata"]["query"]

    def wanted(self, *terms):
        series = " or ".join(
            f'autorep_wanted_workers{{namespace="sweeps", nodes="{nodes}", gpus=~"{gpus}"}}' for nodes, gpus in terms)
        return (f"sum(max by (gpus, nodes, gpu_type, needs) ({series})) "
                'or 0 * max(autorep_sweeps{namespace="sweeps", state="active"})')

    def test_a_pool_grows_for_tasks_that_fit_it_and_no_smaller_one(self):
        pools = {"none": {"gpus": 0}, "two": {"gpus": 2}, "four": {"gpus": 4}}
        self.assertEqual(self.query(pools, "none"), self.wanted((1, "0")))
        self.assertEqual(self.query(pools, "two"), self.wanted((1, "1|2")))
        self.assertEqual(self.query(pools, "four"), self.wanted((1, "3|4")))

    def test_a_pool_fits_what_its_workers_offer_which_is_their_ranks(self):
        pools = {"cpu": {"ranks": 1}, "four": {"gpus": 4, "ranks": 2}}
        self.assertEqual(self.query(pools, "cpu"), self.wanted((1, "0|1")))
        self.assertEqual(self.query(pools, "four"), self.wanted((1, "2")))

    def test_a_pool_alone_grows_for_all_that_fits_it(self):
        self.assertEqual(self.query({"two": {"gpus": 2}}, "two"), self.wanted((1, "0|1|2")))

    def test_a_pool_with_groups_grows_for_tasks_on_several_nodes_by_their_gpus_together(self):
        pools = {"one": {"gpus": 1}, "two": {"gpus": 2, "groups": True}}
        self.assertEqual(self.query(pools, "two"), self.wanted(*((n, str(2 * n)) for n in range(1, 9))))

    def test_one_pod_is_wanted_for_each_worker_and_the_replicas_are_kedas(self):
        objects = objects_of(WATCHED)
        it = named(objects, "ScaledObject", "autorep-worker-gpu")["spec"]
        self.assertEqual(it["scaleTargetRef"],
                         {"apiVersion": "apps/v1", "kind": "Deployment", "name": "autorep-worker-gpu"})
        self.assertEqual((it["minReplicaCount"], it["maxReplicaCount"]), (0, 16))
        (trigger,) = it["triggers"]
        self.assertEqual((trigger["type"], trigger["metricType"], trigger["metadata"]["threshold"]),
                         ("prometheus", "AverageValue", "1"))
        self.assertEqual(trigger["metadata"]["serverAddress"], "http://prometheus.monitoring:9090")
        self.assertEqual(trigger["authenticationRef"], {"name": "prometheus"})
        # A coordinator that is away must not end the pods that train.
        self.assertEqual(trigger["metadata"]["ignoreNullValues"], "false")
        # A number in the Deployment would undo KEDA's at each upgrade.
        self.assertNotIn("replicas", named(objects, "Deployment", "autorep-worker-gpu")["spec"])

    def test_a_query_of_ones_own_is_taken_as_it_is(self):
        it = named(objects_of(WATCHED), "ScaledObject", "autorep-worker-cpu")["spec"]
        self.assertEqual(it["triggers"][0]["metadata"]["query"], "vector(1)")


if __name__ == "__main__":
    unittest.main()
