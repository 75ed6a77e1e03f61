"""The roster: who is connected to this node, and what concerns them on any node."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Protocol
from uuid import UUID

import structlog

from protocol import frames
from protocol.errors import MemoError
from protocol.events import FEED_CHANGED
from protocol.feed import FeedChanged
from server.tokens import Principal
from sync.feed import account_topic, session_topic
from sync.interfaces import Broker

SESSIONS_SECONDS = 5.0  # between two looks whether sessions ended without a word
BATCH = 1000  # sessions or accounts asked for at once

logger = structlog.get_logger("roster")

Receive = Callable[[bytes], None]


class Sessions(Protocol):
    """Says which sessions speak for nobody any more."""

    async def ended(self, session_ids: Sequence[UUID]) -> Sequence[UUID]: ...


class News(Protocol):
    """Says who has news in the feed."""

    async def floor(self) -> int:
        """The oldest transaction that still runs."""

    async def changed(self, account_ids: Sequence[UUID], since: int) -> Sequence[UUID]:
        """The accounts for which something changed in a transaction from `since` on."""


class Roster:
    """Connections `enter` with what they want to be told. `run` it as one task."""

    def __init__(self, broker: Broker, sessions: Sessions, news: News) -> None:
        self._broker = broker
        self._sessions = sessions
        self._news = news
        self._present: dict[UUID, int] = {}  # sessions, and how many connections each has
        self._told: dict[UUID, list[Receive]] = {}  # accounts, and who forwards their events
        self._fresh: set[UUID] = set()  # accounts that came since the last look
        self._floors: tuple[int, int] | None = None

    def enter(
        self, principal: Principal, ended: Receive, told: Receive | None = None
    ) -> Callable[[], None]:
        """Have `ended` called when the session ends, and `told` with the account's events as
        frames. Returns the call that leaves."""
        account_id, session_id = principal.account_id, principal.session_id
        self._present[session_id] = self._present.get(session_id, 0) + 1
        ends = [self._broker.subscribe(session_topic(session_id), ended)]
        if told is not None:
            ends.append(self._broker.subscribe(account_topic(account_id), told))
            self._told.setdefault(account_id, []).append(told)
            self._fresh.add(account_id)

        def leave() -> None:
            for end in ends:
                end()
            self._present[session_id] -= 1
            if not self._present[session_id]:
                del self._present[session_id]
            if told is not None:
                self._told[account_id].remove(told)
                if not self._told[account_id]:
                    del self._told[account_id]

        return leave

    async def run(self) -> None:
        """Look for sessions that were ended behind the server's back, for ever: by a command,
        or on a node that could not say so."""
        while True:
            await asyncio.sleep(SESSIONS_SECONDS)
            try:
                await self.check_sessions()
            except (MemoError, OSError) as error:
                logger.debug("sessions not checked", error=str(error))
            except Exception:
                logger.exception("sessions not checked")

    async def check_sessions(self, missed: bool = True) -> None:
        """If messages were `missed`, end the connections of sessions that are over."""
        if not missed:
            return
        for batch in _batches(tuple(self._present)):
            for session_id in await self._sessions.ended(batch):
                self._broker.publish(session_topic(session_id), b"")

    async def check_news(self, missed: bool) -> None:
        """Remember the time; tell the devices with news if events were `missed`.

        A miss is noticed late, so what changed since the last look but one counts. Who has just
        come may have missed some before the subscription was in force.
        """
        floor = await self._news.floor()
        since, last = self._floors or (floor, floor)
        fresh, self._fresh = self._fresh, set()
        if whom := (self._told.keys() if missed else fresh & self._told.keys()):
            message = frames.encode(frames.Event(FEED_CHANGED.name, FeedChanged()))
            for batch in _batches(tuple(whom)):
                for account_id in await self._news.changed(batch, since):
                    for told in tuple(self._told.get(account_id, ())):
                        told(message)
        self._floors = last, floor


def _batches(ids: Iterable[UUID]) -> Iterable[list[UUID]]:
    left = iter(ids)
    while batch := list(islice(left, BATCH)):
        yield batch
