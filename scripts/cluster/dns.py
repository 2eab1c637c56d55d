#!/usr/bin/env python3
"""Names of services for the pods of the one-node cluster: NAME.NAMESPACE.svc.cluster.local.

usage: dns.py ADDRESS API-SERVER TOKEN-FILE

Answers by asking the API server for the service, so that nothing has to be kept up to date. Every
other name does not exist: the cluster's network leads nowhere else.
"""

import json
import socketserver
import ssl
import struct
import sys
import urllib.error
import urllib.request
from pathlib import Path

DOMAIN = ["svc", "cluster", "local"]
ADDRESS, ANY_CLASS = 1, 1
NO_ERROR, SERVER_FAILURE, NO_SUCH_NAME = 0, 2, 3
TTL_S = 1


def question(packet):
    """The labels of the first question, its type, and where it ends."""
    labels, at = [], 12
    while packet[at]:
        length = packet[at]
        labels.append(packet[at + 1 : at + 1 + length].decode("ascii").lower())
        at += 1 + length
    (kind,) = struct.unpack_from("!H", packet, at + 1)
    return labels, kind, at + 5


def reply(packet, end, code, address=None):
    """The answer to a question that ends at `end`: authoritative, with one address or none."""
    (identity, flags) = struct.unpack_from("!HH", packet)
    flags = 0x8400 | (flags & 0x0100) | code
    header = struct.pack("!HHHHHH", identity, flags, 1, 1 if address else 0, 0, 0)
    answer = b""
    if address:
        octets = bytes(int(octet) for octet in address.split("."))
        answer = struct.pack("!HHHIH", 0xC00C, ADDRESS, ANY_CLASS, TTL_S, 4) + octets
    return header + packet[12:end] + answer


class Names(socketserver.BaseRequestHandler):
    """One question by UDP."""

    def handle(self):
        packet, connection = self.request
        try:
            labels, kind, end = question(packet)
        except (IndexError, UnicodeDecodeError, struct.error):
            return
        code, address = self.look_up(labels)
        if kind != ADDRESS:
            address = None
        connection.sendto(reply(packet, end, code, address), self.client_address)

    def look_up(self, labels):
        if len(labels) != 5 or labels[2:] != DOMAIN:
            return NO_SUCH_NAME, None
        url = f"{self.server.api}/api/v1/namespaces/{labels[1]}/services/{labels[0]}"
        request = urllib.request.Request(url, headers={"Authorization": "Bearer " + self.server.token})
        try:
            with urllib.request.urlopen(request, timeout=5, context=self.server.trust) as answer:
                address = json.load(answer)["spec"].get("clusterIP")
                # A service without an address of its own says `None`.
                return NO_ERROR, None if address == "None" else address
        except urllib.error.HTTPError as error:
            return (NO_SUCH_NAME if error.code == 404 else SERVER_FAILURE), None
        except OSError:
            return SERVER_FAILURE, None


def main():
    address, api, token = sys.argv[1:]
    # The API server makes its own certificate; both live and end with this cluster.
    trust = ssl.create_default_context()
    trust.check_hostname = False
    trust.verify_mode = ssl.CERT_NONE
    with socketserver.ThreadingUDPServer((address, 53), Names) as server:
        server.daemon_threads = True
        server.api, server.token, server.trust = api, Path(token).read_text().strip(), trust
        server.serve_forever()


if __name__ == "__main__":
    main()
