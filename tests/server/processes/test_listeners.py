"""The sockets of one port."""

import socket
import sys

import pytest

from server.processes.listeners import Listeners

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux spreads connections")


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def test_nobody_is_let_in_before_it_is_open() -> None:
    with Listeners("127.0.0.1", 0, 2) as listeners:
        with pytest.raises(ConnectionRefusedError):
            connect(listeners.port)
        listeners.open()
        connect(listeners.port).close()


@linux
def test_connections_are_spread_over_the_sockets() -> None:
    with Listeners("127.0.0.1", 0, 3) as listeners:
        listeners.open()
        clients = [connect(listeners.port) for _ in range(90)]
        counts = [waiting(listeners[number]) for number in range(3)]
        assert sum(counts) == 90
        assert min(counts) >= 10
        for client in clients:
            client.close()


@linux
def test_who_comes_to_a_withdrawn_socket_goes_to_the_others() -> None:
    with Listeners("127.0.0.1", 0, 2) as listeners:
        listeners.open()
        listeners.withdraw(0)
        listeners.withdraw(0)  # once more is harmless
        clients = [connect(listeners.port) for _ in range(20)]
        assert waiting(listeners[1]) == 20
        # A worker that listens on it takes part again.
        listeners[0].listen()
        clients += [connect(listeners.port) for _ in range(60)]
        assert waiting(listeners[0]) >= 10
        for client in clients:
            client.close()


def waiting(listener: socket.socket) -> int:
    """How many connections wait to be accepted."""
    listener.setblocking(False)
    count = 0
    while True:
        try:
            listener.accept()[0].close()
        except BlockingIOError:
            return count
        count += 1


@pytest.mark.parametrize("count", [1, 2])
def test_a_port_is_not_shared_with_another_server(count: int) -> None:
    with Listeners("127.0.0.1", 0, 2) as first:
        first.open()
        with pytest.raises(OSError, match="in use"):
            Listeners("127.0.0.1", first.port, count)
