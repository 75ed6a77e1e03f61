"""How long operations took, as the event loop saw them: from the call to the reply."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple

from protocol.errors import MemoError

Kind = Literal["REST", "socket"]


class Sample(NamedTuple):
    """One operation. `failure` is the code it was refused with."""

    kind: Kind
    name: str
    seconds: float
    failure: str | None = None


class Stopwatch:
    """Times operations, and keeps the samples until they are taken."""

    def __init__(self) -> None:
        self._samples: list[Sample] = []

    @contextmanager
    def timing(self, kind: Kind, name: str) -> Iterator[None]:
        """Time what is done within. Only what ends well or in a refusal gives a sample."""
        started = time.perf_counter()
        try:
            yield
        except MemoError as error:
            seconds = time.perf_counter() - started
            self._samples.append(Sample(kind, name, seconds, error.code.value))
            raise
        self._samples.append(Sample(kind, name, time.perf_counter() - started))

    def take(self) -> list[Sample]:
        """The samples since the last time."""
        taken, self._samples = self._samples, []
        return taken
