"""A way to a server that can be made slow: it stands before one and passes on what comes."""

import contextlib
import socket
import threading

PIECE_BYTES = 1 << 16


class Way:
    """Passes on to a port of this machine, and holds up what clients say while it is slow."""

    def __init__(self, to):
        self.to = to
        self.hold_up_s = 0
        self.is_fast = threading.Event()
        self.is_fast.set()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def slow(self, seconds):
        """Every piece waits so long from now on."""
        self.hold_up_s = seconds
        self.is_fast.clear()

    def fast(self):
        """Pieces that wait go on at once, and no others wait."""
        self.is_fast.set()

    def accept(self):
        while True:
            client, _ = self.listener.accept()
            try:
                server = socket.create_connection(("127.0.0.1", self.to))
            except OSError:  # The server is not there: nor is this.
                client.close()
                continue
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for way in [(client, server, self.is_fast.wait), (server, client, lambda _: None)]:
                threading.Thread(target=self.carry, args=way, daemon=True).start()

    def carry(self, source, sink, hold_up):
        with contextlib.suppress(OSError):  # An end is gone.
            while piece := source.recv(PIECE_BYTES):
                hold_up(self.hold_up_s)
                sink.sendall(piece)
        for end, how in [(sink, socket.SHUT_WR), (source, socket.SHUT_RD)]:
            with contextlib.suppress(OSError):  # It is shut already.
                end.shutdown(how)
