"""The memory that a server's processes hold."""

from pathlib import Path

import psutil

from bench.cpu import LINUX
from bench.errors import BenchmarkFailed


class Resident:
    """The resident bytes of the process `pid`, and of its worker processes."""

    def __init__(self, pid: int) -> None:
        self._main = psutil.Process(pid)

    @property
    def main(self) -> int:
        """Of the process that holds the sockets."""
        return int(self._main.memory_info().rss)

    @property
    def workers(self) -> int:
        """Of the processes for heavy document work, together."""
        children = self._main.children(recursive=True)
        return sum(
            child.memory_info().rss for child in children if not child.name().startswith("postgres")
        )


class Peak:
    """The most that one process holds from here on.

    Raises:
        BenchmarkFailed: the system does not tell (it is not Linux).
    """

    def __init__(self, pid: int) -> None:
        if not LINUX:
            raise BenchmarkFailed("a peak of memory is only known on Linux")
        self._process = Path(f"/proc/{pid}")
        (self._process / "clear_refs").write_text("5")  # the peak so far is forgotten

    @property
    def size(self) -> int:
        """In bytes."""
        status = (self._process / "status").read_text()
        [line] = [line for line in status.splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) * 1024
