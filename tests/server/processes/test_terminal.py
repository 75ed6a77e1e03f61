"""What SIGHUP means to a server, depending on where it was started."""

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.redisserver import RedisServer
from tests.serving import ServerProcess, free_port
from tests.workers import until


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_closed_terminal_stops_the_server_in_good_order(
    workers: str, data_directory: Path, database: str, redis: RedisServer
) -> None:
    ours, theirs = pty.openpty()
    log = data_directory / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "server"],
            env={
                **os.environ,
                "PORT": str(free_port()),
                "DATABASE_URL": database,
                "REDIS_URL": redis.url,
                "WORKERS": workers,
            },
            stdin=theirs,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    os.close(theirs)
    try:
        until(lambda: "Stop" in log.read_text(), "the banner")
        os.close(ours)
        # The system sends it only to whom the terminal controls, as a shell's jobs are.
        process.send_signal(signal.SIGHUP)
        assert process.wait(30) == 0
    finally:
        process.kill()


def test_a_single_process_goes_on(live_server: ServerProcess) -> None:
    os.kill(live_server.pid, signal.SIGHUP)
    until(lambda: "SIGHUP changes nothing" in live_server.log.read_text(), "the warning")
    assert live_server.stop() == 0
