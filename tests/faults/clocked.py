"""Runs `memo` under a wall clock that a test sets while it runs.

    python -m tests.faults.clocked FILE serve

FILE holds one double: seconds that `time.time` is ahead. What measures time by other clocks is not
touched, as it is not when an administrator sets the time; nor is `datetime.now`, which only stamps
reports here. Debian's libfaketime 0.9.10 is no way to do this: told to leave the monotonic clock
alone, it makes `time.sleep` fail in Python 3.11.
"""

import mmap
import struct
import sys
import time
from pathlib import Path


class Clock:
    """The file, from the side of the test."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.set(0.0)

    def set(self, seconds: float) -> None:
        """Show the server a wall clock that is so many seconds ahead of the real one."""
        self.path.write_bytes(struct.pack("d", seconds))


def main() -> int:
    with Path(sys.argv[1]).open("rb") as file:
        shown = mmap.mmap(file.fileno(), 8, prot=mmap.PROT_READ)
    real = time.time

    def wrong() -> float:
        seconds: float = struct.unpack_from("d", shown)[0]
        return real() + seconds

    time.time = wrong
    # Only now: what takes `time.time` as a default takes this one.
    from server import cli  # noqa: PLC0415

    return cli.main(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
