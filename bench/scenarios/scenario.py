"""What a scenario is, and what it finds."""

from collections.abc import Sequence
from math import ceil
from typing import NamedTuple, Protocol


class Figure(NamedTuple):
    """A number with its unit, what it must reach and what it aims at. `holds` says whether it
    reaches what it must; None where nothing is asked of it."""

    name: str
    value: str
    must: str = ""
    aim: str = ""
    holds: bool | None = None

    @classmethod
    def at_most(cls, name: str, value: float, must: float, aim: float, unit: str = "") -> "Figure":
        """A figure of which less is better."""
        return cls(
            name, _shown(value, unit), _shown(must, unit), _shown(aim, unit), holds=value <= must
        )

    @classmethod
    def at_least(cls, name: str, value: float, must: float, unit: str = "") -> "Figure":
        """A figure of which more is better."""
        return cls(name, _shown(value, unit), _shown(must, unit), holds=value >= must)

    @classmethod
    def stated(cls, name: str, value: float, unit: str = "") -> "Figure":
        """A figure of which nothing is asked."""
        return cls(name, _shown(value, unit))


class Finding(NamedTuple):
    """The figures of one run; `note` says how they were come by, for who reads the table."""

    rows: list[Figure]
    note: str


class Scenario(Protocol):
    """A situation that a server is put in. `title` is a heading, `name` what it is asked for by."""

    @property
    def name(self) -> str: ...

    @property
    def title(self) -> str: ...

    def run(self, share: float) -> Finding:
        """Put a server of its own in the situation, at `share` of its full size.

        Raises:
            BenchmarkFailed: the server did not start, refused something or did not keep up.
            TimeoutError: an answer did not come.
        """


def scaled(full: int, share: float, least: int) -> int:
    """`share` of a number, but not less than `least`."""
    return max(least, round(full * share))


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of the values, in any order, that at least `share` of them do not exceed."""
    return sorted(values)[max(0, ceil(share * len(values)) - 1)]


def _shown(value: float, unit: str) -> str:
    if value != 0 and abs(value) < 10:
        number = f"{value:.2g}" if abs(value) < 1 else f"{value:.3g}"
    else:
        number = f"{value:,.0f}"
    return f"{number} {unit}".strip()
