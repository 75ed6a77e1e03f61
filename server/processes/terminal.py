"""The terminal that a server may have been started from."""

import os


class Terminal:
    """Tells the two meanings of SIGHUP apart: an operator asks for something, or the terminal
    that the process was started from is gone."""

    def __init__(self) -> None:
        self._was_there = _is_there()

    @property
    def gone(self) -> bool:
        """Whether there was one, and it has been closed."""
        return self._was_there and not _is_there()


def _is_there() -> bool:
    return os.isatty(0)
