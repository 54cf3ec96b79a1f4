"""A stretch of network between two real processes that can be cut or go silent."""

import contextlib
import selectors
import socket
import threading


class Wire:
    """Forwards TCP connections from a port of its own to another one."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self._peers: dict[socket.socket, socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._lock = threading.Lock()
        self._state = "whole"
        self._thread = threading.Thread(target=self._forward_until_closed, daemon=True)
        self._thread.start()

    def cut(self) -> None:
        """Reset every connection and refuse new ones, as when the other side's process is gone."""
        with self._lock:
            self._state = "cut"
            self._drop_all()

    def silence(self) -> None:
        """Keep every connection and answer nothing, as when the other side hangs."""
        with self._lock:
            self._state = "silent"

    def mend(self) -> None:
        """Forward again."""
        with self._lock:
            self._state = "whole"

    def close(self) -> None:
        with self._lock:
            self._state = "closed"
        self._thread.join()
        self._drop_all()
        self._listener.close()
        self._selector.close()

    def _forward_until_closed(self) -> None:
        while self._state != "closed":
            for key, _ in self._selector.select(0.05):
                with self._lock:
                    if self._state == "silent":
                        threading.Event().wait(0.01)
                    elif key.fileobj is self._listener:
                        self._accept()
                    elif key.fileobj in self._peers:
                        assert isinstance(key.fileobj, socket.socket)
                        self._forward(key.fileobj)

    def _accept(self) -> None:
        near, _ = self._listener.accept()
        if self._state == "cut":
            near.close()
            return
        far = socket.create_connection(("127.0.0.1", self._target))
        for one, other in ((near, far), (far, near)):
            self._peers[one] = other
            self._selector.register(one, selectors.EVENT_READ)

    def _forward(self, source: socket.socket) -> None:
        try:
            data = source.recv(65_536)
            if data:
                self._peers[source].sendall(data)
                return
        except OSError:
            pass
        self._drop(source)

    def _drop(self, one: socket.socket) -> None:
        for end in (one, self._peers[one]):
            with contextlib.suppress(KeyError):
                self._selector.unregister(end)
            self._peers.pop(end, None)
            end.close()

    def _drop_all(self) -> None:
        while self._peers:
            self._drop(next(iter(self._peers)))
