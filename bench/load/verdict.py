"""Whether a load test held what is promised."""

from collections.abc import Sequence
from typing import NamedTuple

P99_MILLISECONDS = 1500
FAILED_SHARE = 0.001
# Of fewer times the 99th percentile would be the slowest one, whatever it was.
ENOUGH_REQUESTS = 100


class Outcome(NamedTuple):
    """One operation over the whole test: how often it was asked for and how often that failed,
    and the time that 99 of 100 took at most, in milliseconds."""

    name: str
    requests: int
    failures: int
    p99: float


def breaches(
    total: Outcome, operations: Sequence[Outcome], *, crashes: int = 0, missing: float = 0.0
) -> list[str]:
    """What did not hold, one line each; nothing when all did.

    The time is a promise of all requests together and of every operation that was asked for often
    enough, as many quick ones would hide a slow one. The failures are a promise of all together.
    `crashes` counts how often the test itself failed; `missing` is the time in seconds that it
    ended too early.
    """
    if not total.requests:
        return ["nothing was asked of the server"]
    often = [operation for operation in operations if operation.requests >= ENOUGH_REQUESTS]
    found = [
        f"{outcome.name}: p99 is {outcome.p99:,.0f} ms, and has to be under {P99_MILLISECONDS:,} ms"
        for outcome in (total, *often)
        if not outcome.p99 < P99_MILLISECONDS
    ]
    share = total.failures / total.requests
    if not share < FAILED_SHARE:
        found.append(
            f"{total.failures:,} of {total.requests:,} requests failed ({share:.2%}), and it has"
            f" to be under {FAILED_SHARE:.1%}"
        )
    if crashes:
        found.append(f"the test itself failed {crashes:,} times; its log says how")
    if missing > 0:
        found.append(f"the test ended {missing:,.0f} s early")
    return found
