"""The chart says to the programs what they understand: tried with the program that was built."""

import os
import re
import subprocess
import unittest

from render import CI, containers_of, objects_of, pods_of, variables

PROGRAM = os.environ.get("AUTOREP_PROGRAM", "")


def said(*arguments):
    """What `autorep ARGUMENTS --help` ends with and prints; --help comes last, so that whatever stands
    before it is read first, and nothing is started."""
    result = subprocess.run([PROGRAM, *arguments, "--help"], capture_output=True, text=True, check=False,
                            env={"PATH": os.environ["PATH"]}, timeout=60)
    return result.returncode, result.stdout, result.stderr


@unittest.skipUnless(PROGRAM, "autorep is not built: cargo build -p autorep-cli")
class Programs(unittest.TestCase):
    def every_call(self):
        for file in CI:
            for where, _, spec in pods_of(objects_of(file)):
                for container in containers_of(spec):
                    yield f"{file.name} {where} {container['name']}", container

    def test_every_argument_of_every_container_is_understood(self):
        tried = set()
        for where, container in self.every_call():
            args = tuple(container["args"])
            if args in tried:
                continue
            tried.add(args)
            code, _, err = said(*args)
            self.assertEqual((code, err), (0, ""), f"{where}: {' '.join(args)}")
        self.assertGreater(len(tried), 10)
        # An argument that nobody knows must be seen.
        self.assertNotEqual(said("coordinator", "--store=s3://a/b", "--no-such-flag")[0], 0)

    def test_every_variable_that_a_container_is_given_is_read_by_its_program(self):
        general = said()[1]
        for where, container in self.every_call():
            if container["name"].startswith("fetch-"):
                continue
            command = said(container["args"][0])[1]
            names = [it for it in variables(container) if it.startswith("AUTOREP_")]
            for name in names:
                found = re.search(rf"\b{name}\b", command + general)
                self.assertTrue(found, f"{where}: {name} is not in `autorep {container['args'][0]} --help`")


if __name__ == "__main__":
    unittest.main()
