"""Values: each is documented, in the schema and in the README; what cannot work is refused in words."""

import json
import re
import unittest

import yaml

import readme
from render import CHART, DEFAULT, Refused, at_once, named, pods_of, template, variables, with_values

TEXT = (CHART / "values.yaml").read_text()
VALUES = yaml.safe_load(TEXT)
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
# Maps whose keys are the user's, or Kubernetes' own.
OPEN = {
    "global", "commonLabels", "extraObjects[]", "store.env", "coordinator.owners", "workerPools",
    "externalSecrets.secrets", "externalSecrets.secrets.*", "networkPolicy.clients[]",
    "networkPolicy.metricsFrom[]", "networkPolicy.storePeers[]", "networkPolicy.extraEgress[]",
    "coordinator.service.annotations", "coordinator.serviceAccount.annotations",
    "workerServiceAccount.annotations", "monitoring.serviceMonitor.labels", "monitoring.podMonitor.labels",
    "monitoring.prometheusRule.labels", "monitoring.dashboard.labels", "monitoring.dashboard.annotations",
} | {
    f"{at}.{key}" for at in ("coordinator", "workers") for key in (
        "extraEnv[].valueFrom", "extraVolumes[]", "extraVolumeMounts[]", "nodeSelector", "tolerations[]",
        "affinity", "podLabels", "podAnnotations", "podSecurityContext", "securityContext",
        "resources.requests", "resources.limits", "resources.claims[]")
} | {"workers.labels", "workers.data.volume", "workers.topologySpreadConstraints[]"}


def resolved(node):
    if "$ref" in node:
        node = SCHEMA["definitions"][node["$ref"].rsplit("/", 1)[1]]
    if "anyOf" in node:
        node = next(resolved(it) for it in node["anyOf"] if it.get("type") != "null")
    return node


def is_object(node):
    return node.get("type") == "object" or "object" in (node.get("type") or [])


def objects_in(node, path=""):
    """(path, schema) of every map that the schema describes."""
    node = resolved(node)
    if is_object(node):
        yield path, node
        for key, child in node.get("properties", {}).items():
            yield from objects_in(child, f"{path}.{key}".lstrip("."))
        if isinstance(node.get("additionalProperties"), dict):
            yield from objects_in(node["additionalProperties"], f"{path}.*")
    elif node.get("type") == "array" and "items" in node:
        yield from objects_in(node["items"], f"{path}[]")


class Documentation(unittest.TestCase):
    def test_every_value_has_a_comment_that_the_readme_repeats(self):
        page = (CHART / "README.md").read_text()
        self.assertEqual(page, readme.renewed(page, TEXT), "run: scripts/chart/readme.py (with PyYAML)")
        described = {path for path, _ in readme.documented(TEXT)}

        def leaves(values, path=()):
            if path in described or not isinstance(values, dict) or not values:
                yield path
                return
            for key, value in values.items():
                yield from leaves(value, path + (key,))
        missing = [".".join(path) for path in leaves(VALUES) if path not in described]
        self.assertEqual(missing, [])
        self.assertGreater(len(described), 150)

    def test_descriptions_are_sentences(self):
        for path, text in readme.documented(TEXT):
            self.assertTrue(text[0].isupper() or not text[0].isalpha() or text.startswith("emptyDir"), path)
            self.assertTrue(text.endswith((".", ":")), f"{'.'.join(path)}: {text}")

    def test_no_line_of_values_is_commented_out(self):
        for number, line in enumerate(TEXT.splitlines(), 1):
            self.assertIsNone(re.match(r"^ *# *[a-z][A-Za-z]*:( |$)", line), f"line {number}")


class Schema(unittest.TestCase):
    def test_values_and_schema_have_the_same_keys(self):
        def keys(values, node, path):
            node = resolved(node)
            if "properties" in node:
                wanted = set(node["properties"]) - {"global"}
                # Kubernetes' own that no default needs.
                wanted -= {"limits", "requests", "claims", "digest"} - set(values)
                self.assertEqual(set(values), wanted, path)
                for key, value in values.items():
                    if isinstance(value, dict):
                        keys(value, node["properties"][key], f"{path}.{key}")
        keys(VALUES, SCHEMA, "values")

    def test_every_map_is_closed_but_those_whose_keys_are_the_users(self):
        found_open = set()
        for path, node in objects_in(SCHEMA):
            # The pools' own maps are those of `workers`.
            if path.startswith("workerPools.*"):
                continue
            if node.get("additionalProperties") is not False:
                found_open.add(path)
        self.assertEqual(found_open, OPEN)

    def test_a_key_that_is_misspelt_is_refused_wherever_it_is(self):
        for values, said in (
            ({"stores": {}}, "additional properties 'stores' not allowed"),
            ({"workerPools": {"cpu": {"gpu": 1}}}, "at '/workerPools/cpu': additional properties 'gpu' not allowed"),
            ({"workers": {"data": {"claim": "x"}}}, "at '/workers/data': additional properties 'claim' not allowed"),
            ({"coordinator": {"owners": {"a": {"caps": 1}}}}, "additional properties 'caps' not allowed"),
        ):
            with self.assertRaises(Refused) as refused:
                template([DEFAULT], values)
            self.assertIn(said, str(refused.exception))

    def test_values_of_the_wrong_kind_are_refused(self):
        cases = [(values, {}, "") for values in (
            {"coordinator": {"leaseTtl": 30}}, {"coordinator": {"leaseTtl": "30"}}, {"workers": {"replicas": -1}},
            {"workers": {"gpus": 1.5}}, {"workers": {"scratch": {"type": "hostPath"}}},
            {"workers": {"terminationGracePeriodSeconds": 59}}, {"image": {"pullPolicy": "Sometimes"}},
            {"coordinator": {"image": {"digest": "sha256:12"}}}, {"workerPools": {"CPU": {}}},
            {"workerPools": {"a-name-of-25-characters--x": {}}}, {"store": {"env": {"aws_region": "x"}}},
            {"workers": {"labels": {"a=b": "c"}}}, {"workers": {"labels": {"a": "b,c"}}},
            {"commonLabels": {"app.kubernetes.io/name": "x"}}, {"workers": {"podLabels": {"autorep/pool": "x"}}}, {"coordinator": {"service": {"port": 70000}}},
            {"telemetry": {"logFormat": "xml"}}, {"bindAddress": "::"}, {"insecure": "yes"},
        )]
        for (values, _, _), said in zip(cases, at_once(refusal, cases)):
            with self.subTest(values):
                self.assertIn("values don't meet the specifications of the schema", said)


INSECURE = {"insecure": True, "tls": {"existingSecret": ""}, "auth": {"existingSecret": ""}}
ELSEWHERE = {"coordinator": {"enabled": False}, "coordinatorUrl": "https://sweeps.example.org:7070"}


def pool(**values):
    return {"workerPools": {"cpu": values}}


# (values over ci/default-values.yaml, settings of the render, what is said)
REFUSALS = [
    ({"store": {"url": ""}}, {},
     'store.url: expected s3://BUCKET/PREFIX, found "": name a bucket that creates objects only once '
     "(docs/operations.md), and a prefix for this installation"),
    ({"store": {"url": "/srv/store"}}, {}, 'store.url: expected s3://BUCKET/PREFIX, found "/srv/store": '),
    ({"store": {"endpoint": "http://10.0.0.5:8333"}}, {},
     'store.endpoint: expected https://, found "http://10.0.0.5:8333": set store.allowHttp: true if keys and '
     "data may cross the network in the clear"),
    ({"store": {"webIdentity": {"roleArn": "arn:aws:iam::1:role/x"}}}, {},
     "store: expected one of existingSecret, credentialsSecret and webIdentity.roleArn, found 2: leave the others "
     "empty"),
    ({"store": {"env": {"AWS_SECRET_ACCESS_KEY": "x"}}}, {},
     "store.env.AWS_SECRET_ACCESS_KEY: expected no secret, found a name of one: values are kept in a ConfigMap; "
     "put it into a Secret and name that in store.existingSecret or in extraEnv"),
    ({"store": {"env": {"AWS_SSE_CUSTOMER_KEY_BASE64": "x"}}}, {},
     "store.env.AWS_SSE_CUSTOMER_KEY_BASE64: expected no secret, "),
    ({"store": {"region": "eu-west-1", "env": {"AWS_REGION": "eu-west-2"}}}, {},
     "store.env.AWS_REGION: expected a variable that no other value stands for, found store.region set, too: keep one "
     "of the two"),
    ({"tls": {"certManager": {"enabled": True}}}, {},
     "tls: expected one certificate, found tls.existingSecret and tls.certManager.enabled: keep one"),
    ({"tls": {"existingSecret": ""}}, {},
     "tls: expected a certificate for the coordinator, found none: set tls.existingSecret or "
     "tls.certManager.enabled: true; or insecure: true if nobody else's machines reach the port"),
    ({"tls": {"existingSecret": ""}}, {},
     "auth: expected TLS where tokens are used, found none: whoever listens on the network would read them; set "
     "insecure: true if nobody else can"),
    (ELSEWHERE | {"coordinatorUrl": "http://sweeps.example.org:7070", "tls": {"existingSecret": ""}}, {},
     "auth: expected TLS where tokens are used, found none: "),
    ({"tls": {"existingSecret": "", "certManager": {"enabled": True, "serviceNames": False}}}, {},
     "coordinatorUrl: expected a name that is in the certificate, found none: with "
     "tls.certManager.serviceNames: false workers cannot use the service's"),
    (INSECURE | {"tls": {"existingSecret": "", "clientAuth": {"enabled": True, "clientSecret": "x"}}}, {},
     "tls.clientAuth: expected TLS below mutual TLS, found none: set tls.existingSecret or "
     "tls.certManager.enabled: true"),
    ({"tls": {"clientAuth": {"enabled": True}}}, {},
     "tls.clientAuth.clientSecret: expected a Secret with the certificate that workers show, found none: name "
     "one, or let cert-manager make it"),
    ({"tls": {"systemRoots": True, "clientAuth": {"enabled": True, "clientSecret": "x"}}}, {},
     "tls.clientAuth.caSecret: expected the authority of clients' certificates, found none: a public authority's "
     "Secret has no ca.crt that would do"),
    (ELSEWHERE | {"tls": {"existingSecret": ""}}, {},
     "tls.existingSecret: expected a Secret with ca.crt, the authority of the coordinator at coordinatorUrl, found "
     "none: name one, or set tls.systemRoots: true"),
    ({"auth": {"existingSecret": ""}}, {},
     "auth.existingSecret: expected a Secret with the tokens' list, found none: make tokens with `autorep token "
     "new` and name the Secret; or set insecure: true if whoever reaches the port may do everything"),
    ({"auth": {"existingSecret": ""}, "tls": {"clientAuth": {"enabled": True, "clientSecret": "x"}}}, {},
     "auth.existingSecret: expected a Secret with the tokens' list beside mutual TLS, found none: certificates say who "
     "may connect, tokens who may do what; make tokens with `autorep token new` and name the Secret, or set insecure: "
     "true if whoever has a certificate may do everything"),
    ({"coordinator": {"enabled": False}}, {},
     'coordinatorUrl: expected https://HOST:7070 of a coordinator elsewhere, found "": with '
     "coordinator.enabled: false workers need one"),
    (ELSEWHERE | pool() | {"workerPools": {"cpu": None}}, {},
     "workerPools: expected a coordinator or workers, found neither: set coordinator.enabled: true or add a pool"),
    ({"coordinator": {"standby": True, "podDisruptionBudget": {"enabled": True}}}, {},
     "coordinator.podDisruptionBudget: expected none with coordinator.standby, found it enabled: the one that waits "
     "is never ready, so no node with the other could ever be drained"),
    ({"coordinator": {"service": {"type": "LoadBalancer"}}}, {},
     "networkPolicy.clients: expected who may connect from outside, found nobody although coordinator.service.type "
     "is LoadBalancer: add peers such as {ipBlock: {cidr: 10.0.0.0/8}}"),
    ({"coordinator": {"service": {"externalTrafficPolicy": "Local"}}}, {},
     "coordinator.service.externalTrafficPolicy: expected a service that is reached from outside, found ClusterIP: set "
     "coordinator.service.type to NodePort or LoadBalancer, or leave this empty"),
    ({"coordinator": {"service": {"type": "NodePort", "loadBalancerClass": "example.org/lb"}}}, {},
     "coordinator.service.loadBalancerClass: expected a load balancer, found NodePort: set coordinator.service.type: "
     "LoadBalancer, or leave this empty"),
    ({"coordinator": {"service": {"type": "LoadBalancer", "loadBalancerClass": "example.org/lb"}}}, {"kube": "1.21.0"},
     'coordinator.service.loadBalancerClass: expected none on Kubernetes v1.21.0, found "example.org/lb": classes of '
     "load balancers need 1.22"),
    ({"monitoring": {"serviceMonitor": {"enabled": True}}}, {"operators": ()},
     "monitoring.serviceMonitor.enabled: expected a cluster that offers monitoring.coreos.com/v1, found none: install "
     "the Prometheus Operator first or set it to false (without a cluster: helm template --api-versions "
     "monitoring.coreos.com/v1)"),
    ({"monitoring": {"podMonitor": {"enabled": True}}}, {"operators": ()}, "monitoring.podMonitor.enabled: expected"),
    ({"monitoring": {"prometheusRule": {"enabled": True}}}, {"operators": ()},
     "monitoring.prometheusRule.enabled: expected a cluster that offers monitoring.coreos.com/v1"),
    ({"tls": {"existingSecret": "", "certManager": {"enabled": True}}}, {"operators": ()},
     "tls.certManager.enabled: expected a cluster that offers cert-manager.io/v1, found none: install cert-manager "),
    (pool(autoscaling={"enabled": True, "prometheusUrl": "http://prometheus:9090"}), {"operators": ()},
     "workerPools.cpu.autoscaling.enabled: expected a cluster that offers keda.sh/v1alpha1, found none: install KEDA "),
    ({"externalSecrets": {"secretStoreRef": {"name": "vault"}, "secrets": {"a": {"b": {"key": "c"}}}}},
     {"operators": ()},
     "externalSecrets.secrets: expected a cluster that offers external-secrets.io/v1, found none: install "
     "external-secrets first or leave it empty (without a cluster: helm template --api-versions "
     "external-secrets.io/v1)"),
    ({"externalSecrets": {"secrets": {"a": {"b": {"key": "c"}}}}}, {},
     "externalSecrets.secretStoreRef.name: expected the store that holds the secrets, found none: name a SecretStore "
     "or ClusterSecretStore"),
    (pool(gpus=2, ranks=4), {}, "workerPools.cpu.ranks: expected at most 2, one for each GPU, found 4"),
    (pool(data={"url": "s3://sets/a", "existingClaim": "b", "fetch": []}), {},
     "workerPools.cpu.data: expected one of url, existingClaim, hostPath and volume, found 2: keep one"),
    (pool(data={"fetch": []}), {},
     "workerPools.cpu.data: expected a place with data sets, found none: set url, existingClaim, hostPath or volume, "
     "or name in fetch what workers shall get"),
    (pool(data={"hostPath": "/srv/datasets"}), {},
     "workerPools.cpu.data.fetch: expected a claim or an empty folder to fetch into, found url, hostPath or volume: "
     "put the data there yourself (docs/data.md)"),
    (pool(gpus=1, image={"repository": "team/autorep-worker-cpu"}), {},
     'workerPools.cpu.image.repository: expected an image for GPUs with gpus: 1, found "team/autorep-worker-cpu": name '
     "one, leave it empty for autorep-worker, or set gpus: 0"),
    (pool(data={"url": "/srv", "fetch": []}), {},
     'workerPools.cpu.data.url: expected s3://BUCKET/PREFIX, gs://… or az://…, found "/srv"'),
    (pool(scratch={"type": "ephemeral"}), {"kube": "1.20.2"},
     "workerPools.cpu.scratch.type: expected emptyDir, found ephemeral on Kubernetes v1.20.2: such volumes need 1.21"),
    (pool(autoscaling={"enabled": True}), {},
     'workerPools.cpu.autoscaling.prometheusUrl: expected the URL of the Prometheus that scrapes the coordinator, '
     'found ""'),
    (pool(autoscaling={"enabled": True, "prometheusUrl": "http://p", "minReplicas": 9}), {},
     "workerPools.cpu.autoscaling.minReplicas: expected at most maxReplicas, which is 8, found 9"),
    ({"test": {"manifest": "kind: Sweep"}}, {},
     "test.manifest: expected a sweep with metadata.name, found none: see docs/manifest.md"),
]


def refusal(case):
    """What is said of a case; nothing if it is taken."""
    values, settings, _ = case
    try:
        template([DEFAULT], values, **settings)
    except Refused as refused:
        return str(refused)
    return ""


class Refusals(unittest.TestCase):
    def test_values_that_cannot_work_are_refused_with_a_sentence(self):
        for (_, _, sentence), said in zip(REFUSALS, at_once(refusal, REFUSALS)):
            with self.subTest(sentence):
                self.assertIn("\n- " + sentence, said)

    def test_every_sentence_of_the_chart_is_tried(self):
        source = (CHART / "templates" / "_validations.tpl").read_text()
        lines = re.findall(r"^- (.*)$", source, re.MULTILINE)
        self.assertGreater(len(lines), 25)
        for line in lines:
            pattern = ".*".join(re.escape(part) for part in re.split(r"\{\{.*?\}\}", line))
            # A sentence that is tried in part ends where the case ends.
            self.assertTrue(
                any(re.match(pattern, sentence) or re.match(re.escape(sentence[:40]), line)
                    for _, _, sentence in REFUSALS), line)

    def test_whatever_the_chart_says_in_variables_cannot_be_said_again_in_the_stores(self):
        full = {
            "store": {"region": "eu-west-1", "endpoint": "http://s3.example.org", "allowHttp": True,
                      "virtualHostedStyle": True, "caConfigMap": "our-ca"},
            "telemetry": {"logFilter": "info", "otlpEndpoint": "http://collector:4317", "otlpHeadersSecret": "otlp"},
        }
        ways = ({}, {"existingSecret": "", "credentialsSecret": "autorep-aws"},
                {"existingSecret": "", "webIdentity": {"roleArn": "arn:aws:iam::1:role/x"}})
        tried = set()
        for way in ways:
            values = full | {"store": full["store"] | way}
            objects = with_values(values)
            names = set(named(objects, "ConfigMap", "autorep-config")["data"])
            for where, _, spec in pods_of(objects):
                if where == "Deployment/autorep-coordinator":
                    names |= set(variables(spec["containers"][0])) - {"HOME", "TMPDIR"}
            tried |= names
            said = refusal((values | {"store": values["store"] | {"env": dict.fromkeys(names, "x")}}, {}, ""))
            for name in names:
                self.assertIn(f"\n- store.env.{name}: expected ", said)
        self.assertGreater(len(tried), 12)

    def test_all_problems_are_told_at_once(self):
        with self.assertRaises(Refused) as refused:
            template()
        said = str(refused.exception)
        self.assertEqual(said.count("\n- "), 3, said)

    def test_what_the_cluster_lacks_is_asked_for_only_by_values_that_need_it(self):
        # It would raise.
        self.assertIn("kind: Deployment", template([DEFAULT], operators=()))


if __name__ == "__main__":
    unittest.main()
