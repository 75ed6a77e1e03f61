"""How numbers and rows are written in the report."""

from collections.abc import Sequence


def row(*cells: str) -> str:
    """A row of a Markdown table."""
    return f"| {' | '.join(cells)} |\n"


def head(first: str, *others: str) -> str:
    """The head of a table, all but its first column aligned to the right."""
    return row(first, *others) + f"|---|{'--:|' * len(others)}\n"


def verdict(bound: str, *, holds: bool | None) -> str:
    """A bound, and whether it was kept."""
    if holds is None or not bound:
        return bound
    return f"{bound} ({'met' if holds else 'missed'})"


def microseconds(seconds: float) -> str:
    return f"{seconds * 1e6:.1f} µs"


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.2f} ms"


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest of the `ordered` values that at least a `share` of them do not exceed."""
    count = -int(-share * len(ordered) // 1)  # rounded up
    return ordered[max(count, 1) - 1]
