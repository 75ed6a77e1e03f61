"""One node of the site, kept running as whatever supervises processes keeps it."""

import asyncio
import os
import re
import signal
import sys
from collections import Counter
from pathlib import Path

import httpx

from tests.faults.clocked import Clock
from tests.faults.patience import until
from tests.serving import UNLIMITED, free_port

RESTART_SECONDS = 0.5  # before a node that ended is started again
STOP_SECONDS = 30.0
_REPAIR = re.compile(r'memo_repair_duration_seconds_bucket\{le="([^"]+)"\} ([0-9.]+)')


class Node:
    """`memo serve` on a port of its own. `keep` runs it; everything it logs is in `log`."""

    def __init__(self, name: str, directory: Path, **environ: str) -> None:
        directory.mkdir()
        self.name = name
        self.port = free_port()
        self.clock = Clock(directory / "clock")
        self.log = directory / "server.log"
        self.starts = 0
        self.ends: list[int] = []  # how each process ended, as `subprocess` has it
        self.repairs: Counter[float] = Counter()  # by the bucket's bound, over restarts
        self._pause = RESTART_SECONDS
        self._process: asyncio.subprocess.Process | None = None
        self._environ = {
            **os.environ,
            "PORT": str(self.port),
            "DATA_DIR": str(directory),
            "LOG_FORMAT": "json",
            **UNLIMITED,
            **environ,
        }

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def socket_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws"

    async def keep(self) -> None:
        """Have it run, and start it again whenever it ends, until cancelled."""
        try:
            while True:
                await self._start()
                assert self._process is not None
                self.ends.append(await self._process.wait())
                self._process = None
                await asyncio.sleep(self._pause)
                self._pause = RESTART_SECONDS
        finally:
            await self._stop()

    async def _start(self) -> None:
        with self.log.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.faults.clocked", self.clock.path, "serve",
                env=self._environ,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )  # fmt: skip
        self.starts += 1

    async def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), STOP_SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()
            raise AssertionError(
                f"node {self.name} did not stop within {STOP_SECONDS:g} s"
            ) from None

    async def end(self, number: signal.Signals, down: float) -> None:
        """Send it SIGKILL or SIGTERM; it is started again `down` seconds after its end. Returns
        when it takes requests again.

        Raises:
            AssertionError: it was asked to end, and did not end well.
        """
        await self.count_repairs()
        process, starts = self._process, self.starts
        if process is None:
            await self.ready()  # it was on its way already
            return
        self._pause = down
        process.send_signal(number)
        await until(lambda: self.starts > starts, STOP_SECONDS + down)
        if number is signal.SIGTERM:
            assert self.ends[starts - 1] == 0, self.last_words()
        await self.ready()

    async def ready(self, timeout: float = 60.0) -> None:
        """Return when it takes requests.

        Raises:
            AssertionError: it does not within `timeout` seconds.
        """
        try:
            async with httpx.AsyncClient(timeout=5) as client:
                await until(lambda: self._answers(client), timeout)
        except TimeoutError:
            raise AssertionError(
                f"node {self.name} was not ready within {timeout:g} s:\n{self.last_words()}"
            ) from None

    async def _answers(self, client: httpx.AsyncClient) -> bool:
        try:
            return (await client.get(f"{self.url}/ready")).status_code == 200
        except httpx.TransportError:
            return False

    async def count_repairs(self) -> None:
        """Note what the node has told of its repairs since it was started; call it once before
        it ends."""
        try:
            async with httpx.AsyncClient(timeout=5) as client:
                text = (await client.get(f"{self.url}/metrics")).text
        except httpx.TransportError:
            return
        below = 0.0
        for bound, count in _REPAIR.findall(text):
            # What took longer than the last bound is counted as if it had taken twice as long.
            known = float(bound) if bound != "+Inf" else 2 * max(self.repairs)
            self.repairs[known] += round(float(count) - below)
            below = float(count)

    def has_logged(self, text: str) -> bool:
        """Whether its log has the text anywhere."""
        return text in self.log.read_text()

    def last_words(self) -> str:
        """The end of its log."""
        return self.log.read_text()[-3000:] if self.log.exists() else "(it has logged nothing)"
