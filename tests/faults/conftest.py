"""What the runs came to, at the end of the test session's output."""

import msgspec
import pytest

from tests.faults.report import Report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    total = Report()
    for outcome in ("passed", "failed"):
        for test in terminalreporter.getreports(outcome):
            for name, value in test.user_properties:
                if name == "faults":
                    total.add(msgspec.json.decode(str(value), type=Report))
    if total.runs:
        terminalreporter.section("faults")
        for line in total.lines():
            terminalreporter.write_line(line)
