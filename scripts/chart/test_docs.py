"""docs/kubernetes.md: the values in it install, and its Secrets have the keys that pods mount."""

import json
import re
import tempfile
import unittest

import yaml

from render import ROOT, named, parse, pods_of, template

PAGE = (ROOT / "docs" / "kubernetes.md").read_text()


def first_values():
    """The values of the page's installation, with its variables filled in."""
    text = re.search(r"^cat > values\.yaml <<VALUES\n(.*?)^VALUES$", PAGE, re.MULTILINE | re.DOTALL)[1]
    for name, value in re.findall(r"([A-Z]+)=(\S+)", re.search(r"```sh\n(export NS=.*?)```", PAGE, re.DOTALL)[1]):
        text = text.replace(f"${name}", value)
    assert "$" not in text, text
    return yaml.safe_load(text)


def rendered(*over):
    """What helm makes of the page's values with others over them."""
    files = []
    with tempfile.TemporaryDirectory() as folder:
        for index, values in enumerate((first_values(), *over)):
            path = f"{folder}/{index}.json"
            with open(path, "w", encoding="utf-8") as file:
                json.dump(values, file)
            files.append(path)
        return parse(template(files))


class Kubernetes(unittest.TestCase):
    def test_its_first_values_install(self):
        objects = rendered()
        images = {it["image"] for _, _, spec in pods_of(objects) for it in spec["containers"]}
        self.assertEqual(images, {"registry.example.org/team/autorep-coordinator:1",
                                  "registry.example.org/team/autorep-worker-cpu:1"})

    def test_each_of_its_other_values_install_over_the_first(self):
        blocks = re.findall(r"```yaml\n# values: (.*?)\n(.*?)```", PAGE, re.DOTALL)
        self.assertEqual([title for title, _ in blocks], ["a load balancer", "pools of GPUs", "autoscaling", "monitoring"])
        for title, text in blocks:
            objects = rendered(yaml.safe_load(text))
            wanted = {"a load balancer": ("Service", "autorep-coordinator"),
                      "pools of GPUs": ("Deployment", "autorep-worker-h100"),
                      "autoscaling": ("ScaledObject", "autorep-worker-cpu"),
                      "monitoring": ("ConfigMap", "autorep-dashboard")}[title]
            named(objects, *wanted)

    def test_its_secrets_have_the_keys_that_pods_mount(self):
        made = {"autorep-s3": {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}}
        for name, rest in re.findall(r"create secret generic (\S+)((?: \\\n|[^\n])*)", PAGE):
            for key, file in re.findall(r"--from-file=(?:([^=\s]+)=)?(\S+)", rest):
                made.setdefault(name, set()).add(key or file)
        used = {}
        mutual = {"tls": {"clientAuth": {"enabled": True, "clientSecret": "autorep-client"}}}
        for _, _, spec in pods_of(rendered(mutual)):
            for volume in spec["volumes"]:
                if "secret" in volume:
                    keys = {item["key"] for item in volume["secret"]["items"]}
                    used.setdefault(volume["secret"]["secretName"], set()).update(keys)
            for container in spec["containers"]:
                for variable in container.get("env", []):
                    ref = variable.get("valueFrom", {}).get("secretKeyRef")
                    if ref:
                        used.setdefault(ref["name"], set()).add(ref["key"])
        self.assertEqual(used, made)

    def test_the_names_that_its_commands_use_are_those_of_the_objects(self):
        names = {f"{it['kind'].lower()}/{it['metadata']['name']}" for it in rendered()}
        for used in re.findall(r"\b((?:service|deployment)/autorep-[a-z0-9-]+)", PAGE):
            if used != "deployment/autorep-worker-a100":
                self.assertIn(used, names)
        self.assertIn("DNS:autorep-coordinator.%s.svc,DNS:localhost", PAGE)

    def test_what_it_links_to_is_there(self):
        for link in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", PAGE):
            if not link.startswith("http"):
                self.assertTrue((ROOT / "docs" / link).exists(), link)


if __name__ == "__main__":
    unittest.main()
