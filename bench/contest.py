"""This server and its peers under the same loads, in turn."""

import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from bench.cpu import Cores
from bench.errors import BenchmarkFailed
from bench.generator import ContestRun, compete
from bench.host import OUR_WIRES, Contestant
from bench.loads import Contest
from bench.peers.installation import NotInstalled
from bench.peers.peer import Program, serving
from bench.server import running


class Field(NamedTuple):
    """Who takes part: `ours`, `peers`, and by their names the reasons why others do not."""

    ours: Sequence[Contestant]
    peers: Sequence[Contestant]
    absent: dict[str, str]


class Standing(NamedTuple):
    """A load's runs by the names of those under it, and why there are no more of some."""

    load: Contest
    runs: dict[str, list[ContestRun]]
    failed: dict[str, str]


@contextmanager
def field(programs: Sequence[Program]) -> Iterator[Field]:
    """This server, and those of the peers that can be had here, all running.

    Raises:
        BenchmarkFailed: this server did not start.
    """
    with ExitStack() as stack:
        server = stack.enter_context(running(0))
        ours = [Contestant(f"this server, {wire}", wire, server) for wire in OUR_WIRES]
        peers, absent = [], {}
        for program in programs:
            try:
                program.install()
                peer = stack.enter_context(serving(program))
            except (NotInstalled, BenchmarkFailed) as error:
                absent[program.name] = str(error)
            else:
                peers.append(Contestant(program.name, program.wire, peer))
        yield Field(ours, peers, absent)


def held(
    standings: Sequence[Standing],
    seed: int,
    entered: Field,
    generator: ProcessPoolExecutor,
    cores: Cores | None,
) -> None:
    """A round: each load once on everyone, noted in the standings. A peer that fails under one is
    left out of it from then on.

    Raises:
        BenchmarkFailed: this server refused something, or did not keep up.
    """
    for standing in standings:
        print(f"{standing.load.name}...", file=sys.stderr)
        for contestant in (*entered.ours, *entered.peers):
            if contestant.name in standing.failed:
                continue
            try:
                run = generator.submit(compete, standing.load, contestant, seed, cores).result()
            except (BenchmarkFailed, TimeoutError) as error:
                if contestant in entered.ours:
                    raise
                standing.failed[contestant.name] = str(error) or "no answer in time"
            else:
                standing.runs.setdefault(contestant.name, []).append(run)
