"""The TypeScript client and the stock y-websocket client, run by Node against a real server."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.serving import ServerProcess

PACKAGE = Path(__file__).parents[2] / "protocol" / "javascript"


def test_the_javascript_clients_converge_on_a_real_server(live_server: ServerProcess) -> None:
    npm = shutil.which("npm")
    if npm is None or not (PACKAGE / "node_modules").is_dir():
        pytest.fail("the JavaScript client is not installed: get Node 20+ and run `make setup`")
    run = subprocess.run(
        [npm, "run", "--silent", "test:live"],
        cwd=PACKAGE,
        env={**os.environ, "MEMO_URL": live_server.url},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "fail 0" in run.stdout
