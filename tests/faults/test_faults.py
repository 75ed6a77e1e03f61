"""Whatever stops, dies, loses or fills up: what was acked is kept, in order, by everyone."""

import os
from collections.abc import Callable

import msgspec
import pytest

from tests.faults.database import may_mount
from tests.faults.run import run

# Two seeds in a row, an even one first, have every kind of fault.
RUNS = int(os.environ.get("FAULT_RUNS", "2"))
FIRST = int(os.environ.get("FAULT_SEED", "0"))

# On a user's machine the other faults are had without; in CI that would go unnoticed.
MOUNT = "a database on a disk that fills up needs root, and the right to mount a tmpfs"


@pytest.fixture(scope="module")
def small_disk() -> bool:
    possible = may_mount()
    assert possible or "CI" not in os.environ, MOUNT
    return possible


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(FIRST, FIRST + RUNS))
async def test_nothing_acked_is_lost(
    seed: int, small_disk: bool, record_property: Callable[[str, object], None]
) -> None:
    try:
        report = await run(seed, small_disk=small_disk)
    except BaseException as error:
        error.add_note(f"to run it again: make faults RUNS=1 SEED={seed}")
        raise
    record_property("faults", msgspec.json.encode(report).decode())


def test_a_full_disk_is_among_the_faults(small_disk: bool) -> None:
    if not small_disk:
        pytest.skip(MOUNT)
