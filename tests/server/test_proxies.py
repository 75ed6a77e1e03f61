"""A client is whom the last trusted proxy saw, never whom it claims to be."""

import pytest

from server.proxies import Proxies

OURS = Proxies(["127.0.0.1", "10.0.0.0/8", "fd00::/8"])


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.7", [], "203.0.113.7"),
        ("203.0.113.7", ["198.51.100.1"], "203.0.113.7"),  # not one of ours: not believed
        ("127.0.0.1", [], "127.0.0.1"),
        ("127.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("127.0.0.1", ["1.1.1.1, 198.51.100.1"], "198.51.100.1"),  # the client's claim comes first
        ("127.0.0.1", ["1.1.1.1", "198.51.100.1"], "198.51.100.1"),
        ("127.0.0.1", ["198.51.100.1, 10.1.2.3"], "198.51.100.1"),  # through two of ours
        ("127.0.0.1", ["10.9.9.9, 10.1.2.3"], "10.9.9.9"),  # from within
        ("fd00::1", ["2001:DB8::0:5"], "2001:db8::5"),
        ("127.0.0.1", ["nonsense, 10.1.2.3"], "10.1.2.3"),
        ("127.0.0.1", [""], "127.0.0.1"),
        (None, ["198.51.100.1"], None),
        ("a name", ["198.51.100.1"], "a name"),
        ("::ffff:10.0.0.1", ["198.51.100.1"], "198.51.100.1"),  # 10.0.0.1 as IPv6 writes it
        ("::ffff:10.0.0.1", ["::ffff:198.51.100.1, ::ffff:10.1.2.3"], "198.51.100.1"),
        ("::ffff:203.0.113.7", ["198.51.100.1"], "203.0.113.7"),
    ],
)
def test_the_client_is_the_last_that_is_not_ours(
    peer: str | None, forwarded: list[str], client: str | None
) -> None:
    assert OURS.client(peer, forwarded) == client


def test_without_trusted_proxies_nobody_is_believed() -> None:
    assert Proxies([]).client("127.0.0.1", ["198.51.100.1"]) == "127.0.0.1"


@pytest.mark.parametrize("trusted", ["::ffff:10.0.0.0/104", "::/0"])
def test_a_trusted_network_may_be_written_as_ipv6(trusted: str) -> None:
    peer = "::ffff:10.0.0.1" if trusted != "::/0" else "2001:db8::1"
    assert Proxies([trusted]).client(peer, ["198.51.100.1"]) == "198.51.100.1"
