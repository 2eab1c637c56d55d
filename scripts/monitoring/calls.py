"""Calls of a gRPC server by hand, over HTTP/2: what a client of the protocol would not do."""

import socket
import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS = 0, 1, 4
ACK = END_STREAM = 0x1
END_HEADERS = 0x4
# A frame that is longer needs the other side's consent.
FRAME_BYTES = 16_384
PATIENCE_S = 30


def frame(kind, flags, stream, payload=b""):
    if len(payload) > FRAME_BYTES:
        raise ValueError(f"expected at most {FRAME_BYTES} bytes in a frame, found {len(payload)}")
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def literal(text):
    """A string of a header, neither indexed nor compressed."""
    if len(text) > 126:
        raise ValueError(f"expected a header of at most 126 bytes, found {text!r}")
    return bytes([len(text)]) + text.encode()


def text_field(number, text):
    """A field of a protobuf message that has text in it."""
    length, rest = b"", len(text.encode())
    while rest > 0x7F:
        length, rest = length + bytes([rest & 0x7F | 0x80]), rest >> 7
    return bytes([number << 3 | 2]) + length + bytes([rest]) + text.encode()


class Call:
    """One call over a connection of its own, which leaving the block closes."""

    def __init__(self, port, method, token, body):
        headers = {
            ":method": "POST", ":scheme": "http", ":path": method, ":authority": f"127.0.0.1:{port}",
            "content-type": "application/grpc", "te": "trailers", "authorization": f"Bearer {token}",
        }
        block = b"".join(b"\0" + literal(name) + literal(value) for name, value in headers.items())
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
        self.socket.sendall(
            PREFACE + frame(SETTINGS, 0, 0) + frame(HEADERS, END_HEADERS, 1, block)
            + frame(DATA, END_STREAM, 1, struct.pack(">BI", 0, len(body)) + body)
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def exactly(self, count):
        read = b""
        while len(read) < count:
            piece = self.socket.recv(count - len(read))
            if not piece:
                raise OSError("expected an answer to a call, found that its connection was closed")
            read += piece
        return read

    def end(self):
        """Waits until the call has been answered, whatever the answer is."""
        while True:
            head = self.exactly(9)
            length = int.from_bytes(head[:3], "big")
            kind, flags, stream = struct.unpack(">BBI", head[3:])
            self.exactly(length)
            if kind == SETTINGS and not flags & ACK:
                self.socket.sendall(frame(SETTINGS, ACK, 0))
            if stream == 1 and kind in (DATA, HEADERS) and flags & END_STREAM:
                return
