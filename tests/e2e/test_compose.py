"""What `deploy/compose.yaml` says agrees with itself, with nginx's file and with the server."""

import re
from pathlib import Path

from server.config import Settings
from server.serving import DRAIN_SECONDS

DEPLOY = Path(__file__).parents[2] / "deploy"
COMPOSE = (DEPLOY / "compose.yaml").read_text()
NGINX = (DEPLOY / "nginx.conf").read_text()


def test_nodes_have_the_time_to_drain() -> None:
    [node] = re.findall(r"^x-node: &node\n(.*?)^services:", COMPOSE, re.DOTALL | re.MULTILINE)
    [seconds] = re.findall(r"stop_grace_period: (\d+)s", node)
    # Beside the drain, connections to the database are given 10 s to end.
    assert int(seconds) >= DRAIN_SECONDS + 20


def test_nodes_are_where_nginx_looks_for_them_and_trust_it_alone() -> None:
    addresses = dict(
        re.findall(
            r"^  (\w+):\n(?:    .*\n|\n)*?        ipv4_address: ([\d.]+)", COMPOSE, re.MULTILINE
        )
    )
    hosts = dict(re.findall(r'- "(node\d):([\d.]+)"', COMPOSE))
    assert hosts == {name: place for name, place in addresses.items() if name != "nginx"}
    assert sorted(hosts) == re.findall(r"server (node\d):8000", NGINX)
    [trusted] = re.findall(r"TRUSTED_PROXIES: (.*)", COMPOSE)
    assert trusted == addresses["nginx"]


def _filled(name: str, default: str | None) -> str:
    if default is not None:
        return default
    return "https://memo.example.com" if "URL" in name else "1"


def test_what_the_nodes_are_told_can_be_used() -> None:
    [environment] = re.findall(r"^  environment:\n((?:    .*\n)+)", COMPOSE, re.MULTILINE)
    given = dict(re.findall(r"^    ([A-Z_]+): (.*)$", environment, re.MULTILINE))
    filled = {
        name: re.sub(
            r"\$\{(\w+)(?::-(\w*)|:\?[^}]*)\}",
            lambda match: _filled(match[1], match[2]),
            value,
        )
        for name, value in given.items()
    }
    filled["LOG_LEVEL"] = "info"
    settings = Settings.read(filled)
    assert settings.database_url == "postgresql://memo:1@postgres:5432/memo"
    assert settings.redis_url == "redis://:1@redis:6379/0"
    assert settings.blob_url == "file:///files"
    assert settings.public_url == "https://memo.example.com"


def test_the_nodes_share_what_is_uploaded() -> None:
    nodes = re.findall(r"^  node\d:\n((?:    .*\n)+)", COMPOSE, re.MULTILINE)
    assert len(nodes) == 2
    assert all("- files:/files\n" in node for node in nodes)


def test_it_holds_no_password_and_each_that_it_needs_is_in_the_example() -> None:
    needed = set(re.findall(r"\$\{(\w+):\?", COMPOSE))
    assert {"POSTGRES_PASSWORD", "REDIS_PASSWORD"} < needed
    example = (DEPLOY / "env.example").read_text()
    assert needed == set(re.findall(r"^(\w+)=$", example, re.MULTILINE))
    others = set(re.findall(r"\$\{(\w+):-", COMPOSE))
    assert others == set(re.findall(r"^# (\w+)=", example, re.MULTILINE))
    for line in COMPOSE.splitlines():
        if "PASSWORD" in line:
            assert "PASSWORD:?" in line


def test_nothing_but_nginx_is_published() -> None:
    services = COMPOSE.split("\nservices:\n")[1].split("\nnetworks:\n")[0]
    publishing = re.findall(r"^  (\w+):\n(?:    .*\n)*?    ports:", services, re.MULTILINE)
    assert publishing == ["nginx"]
