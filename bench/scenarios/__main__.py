"""`python -m bench.scenarios NAME`: put a server in one situation, and print what was found."""

import argparse
import signal
import sys
from collections.abc import Sequence
from math import isfinite

from bench.errors import BenchmarkFailed
from bench.scenarios.all import SCENARIOS
from bench.scenarios.scenario import Figure, Finding

_HOLDS = {True: "yes", False: "NO", None: ""}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the scenario that `arguments` (those of the process) name; returns the exit code."""
    options = _parser().parse_args(arguments)
    # As Ctrl-C does: the server that was started must not stay behind.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    [scenario] = [each for each in SCENARIOS if each.name == options.name]
    try:
        finding = scenario.run(options.share)
    except (BenchmarkFailed, TimeoutError) as error:
        reason = str(error) or "the server did not answer in time"
        print(f"bench.scenarios: {scenario.name}: {reason}", file=sys.stderr)
        return 1
    print(f"{scenario.title}\n\n{table(finding)}\n{finding.note}")
    return 0


def table(finding: Finding) -> str:
    """The figures in columns, a line each."""
    heads = Figure("", "measured", "must", "aim")
    lines = [(*row[:4], _HOLDS[row.holds]) for row in (heads, *finding.rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        + "\n"
        for line in lines
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.scenarios", description=__doc__)
    parser.add_argument("name", choices=[scenario.name for scenario in SCENARIOS])
    parser.add_argument(
        "--share", type=_share, default=1.0, help="of the full size, as 0.1 (default: 1)"
    )
    return parser


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not (isfinite(share) and 0 < share <= 1):
        raise argparse.ArgumentTypeError(f"{text!r} is not more than 0 and at most 1")
    return share


if __name__ == "__main__":
    sys.exit(main())
