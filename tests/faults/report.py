"""What came of the runs, in a few lines."""

from collections import Counter
from collections.abc import Sequence

import msgspec


class Report(msgspec.Struct):
    """Of one run, or of several together. Times are in seconds."""

    runs: int = 0
    faults: dict[str, int] = {}
    acked: int = 0
    lost: int = 0
    refusals: int = 0
    repairs: list[float] = []
    server_repairs: dict[float, int] = {}

    def add(self, other: "Report") -> None:
        """Count another one in."""
        self.runs += other.runs
        self.faults = dict(Counter(self.faults) + Counter(other.faults))
        self.acked += other.acked
        self.lost += other.lost
        self.refusals += other.refusals
        self.repairs += other.repairs
        self.server_repairs = dict(Counter(self.server_repairs) + Counter(other.server_repairs))

    def lines(self) -> list[str]:
        """As it is shown."""
        faults = ", ".join(f"{kind} {count}" for kind, count in sorted(self.faults.items()))
        repairs = sum(self.server_repairs.values())
        return [
            f"runs {self.runs}, faults {sum(self.faults.values())} ({faults})",
            f"updates acked {self.acked}, lost {self.lost}",
            f"tokens refused while a clock was off {self.refusals}; every device came back",
            (
                "from the end of a fault until all devices were current: "
                f"p50 {quantile(self.repairs, 0.5):.2f} s, p99 {quantile(self.repairs, 0.99):.2f} "
                f"s, longest {max(self.repairs, default=0):.2f} s"
            ),
            (
                f"memo_repair_duration_seconds: {repairs} repairs, "
                f"p50 at most {self._bound(0.5):g} s, p99 at most {self._bound(0.99):g} s"
            ),
        ]

    def _bound(self, share: float) -> float:
        counts = Counter(self.server_repairs)
        return quantile(sorted(counts.elements()), share)


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the values do not exceed; 0 of none."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else 0.0
