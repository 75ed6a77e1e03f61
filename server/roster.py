"""The roster: who is connected to this node, and what concerns them on any node."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
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
Grant = Callable[[str], None]  # told the role that its account has now


class Sessions(Protocol):
    """Says which sessions speak for nobody any more, and what role accounts have."""

    async def ended(self, session_ids: Sequence[UUID]) -> Sequence[UUID]: ...

    async def roles(self, user_ids: Sequence[UUID]) -> Mapping[UUID, str]: ...


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
        self._accounts: dict[UUID, UUID] = {}  # whose each of these sessions is
        self._granted: dict[UUID, list[Grant]] = {}  # accounts, and who is to know their role
        self._changed: set[UUID] = set()  # accounts to look at
        self._missed = False  # any of them may have changed
        self._wakened = asyncio.Event()
        self._told: dict[UUID, list[Receive]] = {}  # accounts, and who forwards their events
        self._fresh: set[UUID] = set()  # accounts that came since the last look
        self._floors: tuple[int, int] | None = None

    def enter(
        self,
        principal: Principal,
        ended: Receive,
        told: Receive | None = None,
        granted: Grant | None = None,
    ) -> Callable[[], None]:
        """Have `ended` called when the session ends, `told` with the account's events as frames,
        and `granted` with its role, changed or not. Returns the call that leaves."""
        account_id, session_id = principal.account_id, principal.session_id
        self._present[session_id] = self._present.get(session_id, 0) + 1
        self._accounts[session_id] = account_id
        ends = [self._broker.subscribe(session_topic(session_id), ended)]
        if told is not None:
            ends.append(self._broker.subscribe(account_topic(account_id), told))
            self._told.setdefault(account_id, []).append(told)
            self._fresh.add(account_id)
        if granted is not None:
            self._granted.setdefault(account_id, []).append(granted)
            # It may have changed since the token was checked.
            self._changed.add(account_id)

        def leave() -> None:
            for end in ends:
                end()
            self._present[session_id] -= 1
            if not self._present[session_id]:
                del self._present[session_id], self._accounts[session_id]
            if granted is not None:
                self._granted[account_id].remove(granted)
                if not self._granted[account_id]:
                    del self._granted[account_id]
            if told is not None:
                self._told[account_id].remove(told)
                if not self._told[account_id]:
                    del self._told[account_id]

        return leave

    def hear(self, notice: str | None) -> None:
        """Take what the database tells: `session ID` has ended, `account ID` has changed, or None:
        notices may have been missed."""
        if notice is None:
            self._missed = True
            self._wakened.set()
            return
        kind, _, name = notice.partition(" ")
        try:
            subject = UUID(name)
        except ValueError:
            return  # a newer node's, that this one does not know
        if kind == "session":
            if subject in self._present:
                self._broker.publish(session_topic(subject), b"")
        elif kind == "account":
            self._changed.add(subject)
            self._wakened.set()

    async def run(self) -> None:
        """Look for what notices tell of, and now and then for what they did not, for ever."""
        while True:
            woken = await self._rest()
            try:
                await self._look(woken)
            except (MemoError, OSError) as error:
                logger.debug("sessions not checked", error=str(error))
            except Exception:
                logger.exception("sessions not checked")

    async def _rest(self) -> bool:
        """Whether there is something to look at before the time is over."""
        try:
            async with asyncio.timeout(SESSIONS_SECONDS):
                await self._wakened.wait()
        except TimeoutError:
            return False
        self._wakened.clear()
        return True

    async def _look(self, woken: bool) -> None:
        changed, self._changed = self._changed, set()
        missed, self._missed = self._missed, False
        try:
            if missed or not woken:
                await self.check_sessions()
            else:
                whose = self._accounts.items()
                await self._end([session for session, account in whose if account in changed])
            await self._grant(self._granted.keys() if missed else changed & self._granted.keys())
        except BaseException:
            # The next look is to find it.
            self._changed |= changed
            self._missed = self._missed or missed
            raise

    async def check_sessions(self, missed: bool = True) -> None:
        """If messages were `missed`, end the connections of sessions that are over."""
        if missed:
            await self._end(tuple(self._present))

    async def _end(self, session_ids: Sequence[UUID]) -> None:
        """End the connections of those of the sessions that are over."""
        for batch in _batches(session_ids):
            for session_id in await self._sessions.ended(batch):
                self._broker.publish(session_topic(session_id), b"")

    async def _grant(self, account_ids: Iterable[UUID]) -> None:
        """Tell the connections of these accounts their role."""
        for batch in _batches(tuple(account_ids)):
            for account_id, role in (await self._sessions.roles(batch)).items():
                for granted in tuple(self._granted.get(account_id, ())):
                    granted(role)

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
