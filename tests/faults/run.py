"""One run: a site, the faults that its seed draws, and what must hold afterwards."""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Any
from uuid import UUID

import asyncpg

from sync.state import State
from tests.faults.device import Device, counts
from tests.faults.faults import FAULTS, SMALL_DISK, Fault
from tests.faults.patience import until
from tests.faults.report import Report
from tests.faults.site import BOUND_SECONDS, Site, kept

TOGETHER = 0.3  # how often a fault does not come alone
HUSHED = 0.5  # how often nobody writes any more when a fault is lifted
RESTLESS = 0.3  # how often a device is started again at a fault, and perhaps on another node


def drawn(seed: int, *, small_disk: bool) -> list[list[Fault]]:
    """The faults of a run, those of each step at once. An even seed and the next one have all
    kinds between them."""
    faults = [fault for fault in FAULTS if small_disk or fault.kind != SMALL_DISK]
    Random(seed // 2).shuffle(faults)
    half = len(faults) // 2
    random = Random(seed)
    steps = []
    for fault in faults[:half] if seed % 2 == 0 else faults[half:]:
        others = [other for other in FAULTS if other.part not in (fault.part, "database")]
        together = random.random() < TOGETHER
        steps.append([fault, random.choice(others)] if together else [fault])
    return steps


async def run(seed: int, *, small_disk: bool) -> Report:
    """What came of the run.

    Raises:
        AssertionError: something did not hold, or hangs; the message says what.
    """
    random = Random(seed)
    steps = drawn(seed, small_disk=small_disk)
    kinds = Counter(fault.kind for step in steps for fault in step)
    report = Report(runs=1, faults=dict(kinds))
    async with Site.running(random, small=SMALL_DISK in kinds) as site:
        for step in steps:
            site.hush, site.lasting = random.random() < HUSHED, len(step)
            async with asyncio.TaskGroup() as group:
                for device in site.devices:
                    if random.random() < RESTLESS:
                        device.move()
                        group.create_task(device.restart())
                for fault in step:
                    # Of its own: how often each draws depends on what happens.
                    group.create_task(fault.strike(site, Random(random.getrandbits(64))))
            ended = time.perf_counter()
            await site.settled()
            report.repairs.append(time.perf_counter() - ended)
            for device in site.devices:
                device.rest(False)
        await _check(site, random, report)
    return report


async def _check(site: Site, random: Random, report: Report) -> None:
    for device in site.devices:
        device.rest()
    await site.settled(all_saved=True)
    _check_equal(site.documents, site.devices)
    async with asyncio.TaskGroup() as group:
        for device in site.devices:
            group.create_task(device.restart())
    fresh = [site.device(f"fresh {node.name}", [node], random) for node in site.nodes]
    site.devices += fresh
    async with kept(*(device.keep() for device in fresh)):
        await site.settled(all_saved=True)
        _check_equal(site.documents, site.devices)
    for document_id in site.documents:
        report.lost += await site.ledger.compare(site.database.url, document_id)
        await _projected(site.database.url, document_id)
    report.acked += len(site.ledger.acks)
    report.refusals += site.ledger.refusals
    for node in site.nodes:
        await node.count_repairs()
        for bound, count in node.repairs.items():
            report.server_repairs[bound] = report.server_repairs.get(bound, 0) + count
    assert not site.ledger.wrong, "\n".join(site.ledger.wrong)
    for node in site.nodes:
        # Killed, drained, or not started for want of a database; by itself it does not end.
        assert set(node.ends) <= {-signal.SIGKILL, 0, 1}, f"{node.ends}: {node.last_words()}"
        # Whatever goes wrong around it, a part of the server reports it and goes on.
        assert not node.has_logged('"event":"a task failed"'), node.last_words()


def _check_equal(documents: Sequence[UUID], devices: Sequence[Device]) -> None:
    for document_id in documents:
        first, *others = devices
        for other in others:
            for what, one, two in zip(
                ("text", "edits", "clocks", "deletions"),
                _content(first, document_id),
                _content(other, document_id),
                strict=True,
            ):
                assert one == two, (
                    f"{first.name} and {other.name} differ in the {what} of {document_id}: "
                    f"{one!r} and {two!r}"
                )


def _content(device: Device, document_id: UUID) -> tuple[Any, ...]:
    document = device.documents[document_id]
    state = State.of([document.doc.get_update()])
    return str(document.text), counts(document).to_py(), state.clocks, state.deletes()


async def _projected(database: str, document_id: UUID) -> None:
    """Wait until the rows stand for the whole log."""
    connection = await asyncpg.connect(database)
    try:

        async def done() -> bool:
            return bool(
                await connection.fetchval(
                    "SELECT projected_offset = head FROM documents WHERE id = $1", document_id
                )
            )

        await until(done, BOUND_SECONDS)
    finally:
        await connection.close()
