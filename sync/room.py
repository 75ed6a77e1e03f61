"""A room: one document that is open on this node.

It admits updates (right, scan, dependencies, client ids) into its queue, hands the queue to the
node's committer, and shows what was committed, here or on another node, to its subscribers in
the order of the log (`Tail`). It keeps the document's `State`, not the document.

The state counts an update as known from its admission on, so that a device may have many in
flight that build on each other. Should the commit refuse one, the state is read from the log
again and what stood beside or behind it is admitted afresh.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from uuid import UUID

import msgspec

from protocol.errors import ErrorCode, MemoError
from protocol.log import Author, Committed, Outcome, Projection, Standing
from protocol.memories import Role
from sync import announcement
from sync.announcement import Arrival, Commit
from sync.holding import Holding
from sync.interfaces import Log, Observer, Subscriber, Wire
from sync.opening import Content
from sync.refusals import closed, malformed, missing_dependency, refused
from sync.relay import Relay
from sync.reservations import Reservations
from sync.scanning import (
    VALIDATE_INLINE_RUNS,
    Scanning,
    judge_anywhere,
    load_state,
    scan_anywhere,
)
from sync.state import State
from sync.submission import Delivery, Judgement, Submission
from sync.subscription import Subscription
from sync.tail import Tail
from sync.tasks import Shared, Tasks
from sync.update import MalformedUpdate, Update, scan
from sync.worker import WorkerPool

HOLD_SECONDS = 1.0  # how long an update waits for a part it builds on to come another way
ROW_WEIGHT = 32  # bytes that a row of the log weighs beside its payload
_FIRST_RETRY, _LAST_RETRY = 0.05, 5.0  # seconds between tries at a log that cannot be read


class Room:
    """Built by the hub with the document's `standing`. `wake` tells the committer that the
    queue has something; `channel` is the room's number on this node."""

    def __init__(
        self,
        document_id: UUID,
        channel: int,
        standing: Standing,
        state: State,
        *,
        log: Log,
        workers: WorkerPool,
        observer: Observer,
        tasks: Tasks,
        wake: "Callable[[Room], None]",
        committed: "Callable[[Room], None]",
        idle: "Callable[[Room], None]",
        hold_seconds: float = HOLD_SECONDS,
    ) -> None:
        self.document_id = document_id
        self.channel = channel
        self.epoch = standing.epoch
        self.tail = Tail(
            self,
            standing.epoch,
            standing.head,
            log=log,
            observer=observer,
            tasks=tasks,
        )
        self.snapshot_bytes = standing.snapshot_bytes
        self.tail_weight = sum(map(len, standing.tail)) + ROW_WEIGHT * len(standing.tail)
        self.log = log
        self.observer = observer
        self.tasks = tasks
        self.subscriptions: set[Subscription] = set()
        self.presence = Relay(channel, self.subscriptions, observer)
        self.writing = asyncio.Lock()  # one server-side write at a time: they share a client id
        self.pins = 0  # openings and server-side writes under way
        self.ended = False  # the document is gone
        self._state = state
        self._owners = dict(standing.clients)
        self._reservations = Reservations(
            document_id, standing.reserved, self, log=log, tasks=tasks, observer=observer
        )
        self._workers = workers
        self._wake = wake
        self._committed = committed
        self._idle = idle
        self._queue: deque[Submission] = deque()
        self._in_flight: Sequence[Submission] = ()
        self._held = Holding(hold_seconds, self._admit, self._rested)
        # Not None while the state is being read again: what arrives meanwhile.
        self._waiting: list[Submission] | None = None
        self._contents: dict[int, Shared[Content]] = {}
        self._setback = 0.0  # seconds to wait before the next try, after one of unknown outcome
        self._meanwhile: list[Update] = []  # and what other nodes wrote
        self._scanning = Scanning(
            tasks,
            read=self._read,
            submit=self._submit,
            refuse=self._answer_refusal,
            failed=lambda error: observer.failed("scan", document_id, error),
            done=self._rested,
        )

    @property
    def busy(self) -> bool:
        """Whether anything is under way that the room must live for."""
        return bool(
            self.subscriptions
            or self.pins
            or self._queue
            or self._in_flight
            or self._held
            or self._scanning
            or self._waiting is not None
            or not self.tail.complete
        )

    @property
    def head(self) -> int:
        """The offset up to which everything has been shown."""
        return self.tail.head

    @property
    def vector(self) -> bytes:
        """The Yjs state vector, as a stock client's sync step 1 wants it."""
        return self._state.vector()

    def compacted(self, snapshot_bytes: int, tail_weight: int) -> None:
        """A snapshot of so many bytes has taken in so much of the tail."""
        self.snapshot_bytes = snapshot_bytes
        self.tail_weight -= tail_weight

    # Other nodes

    def join_nodes(self, name: str, announce: Callable[[bytes], None]) -> None:
        """There may be other nodes: `announce` tells them, to whom this one is `name`."""
        self.tail.announce = announce
        self.presence.join_nodes(name, announce)

    def hear(self, message: bytes) -> None:
        """Take what another node announces."""
        try:
            heard = announcement.decode(message)
        except msgspec.DecodeError:
            self.observer.heard("malformed")
            return
        if isinstance(heard, Commit):
            self.tail.heard(heard)
        elif isinstance(heard, Arrival):
            self._reservations.seen_by(None)
            self.presence.arrived()
        else:
            self.presence.heard(heard)

    def close(self) -> None:
        """The room is let go."""
        self.tail.stop()
        self.presence.stop()

    # Who is here

    def subscribe(self, subscriber: Subscriber, role: Role, position: int) -> Subscription:
        """Add a connection that has everything up to `position`. What it had open ends."""
        for other in self.subscriptions:
            if other.subscriber is subscriber:
                other.close()
                break
        subscription = Subscription(self, subscriber, role, position)
        self.subscriptions.add(subscription)
        if position < self.head:
            subscription.fall_behind()
        self._reservations.seen_by(subscriber.author.account_id)
        self.presence.joined(subscription)
        return subscription

    def reserve(self, subscription: Subscription) -> bool:
        """Keep the Yjs client ids that a connection shows for its account; whether there are
        any."""
        clients = self.presence.clients_of(subscription)
        self._reservations.show(clients, subscription.subscriber.author.account_id)
        return bool(clients)

    def owner_known(self, client: int) -> bool:
        """Whether a Yjs client id is an account's already."""
        return client in self._owners

    def used(self, client: int) -> bool:
        """Whether something has been written with a Yjs client id."""
        return client in self._state.clocks

    def unsubscribe(self, subscription: Subscription) -> None:
        self.subscriptions.discard(subscription)
        self._reservations.withdraw(self.presence.clients_of(subscription))
        self.presence.left(subscription)
        if not self.busy:
            self._idle(self)

    def end(self, error: MemoError) -> None:
        """The document is gone: all channels end, nothing more is taken."""
        self.ended = True
        self.close()
        for subscription in list(self.subscriptions):
            subscription.subscriber.lost(self.channel, error)
            subscription.close()
        left = [*self._queue, *self._held.take(), *(self._waiting or ())]
        self._queue.clear()
        if self._waiting is not None:
            self._waiting.clear()
        for submission in left:
            self._refuse(submission, error)

    async def content(self, after: int) -> Content:
        """What brings a reader that has all up to `after` to where the log stands. Those who ask
        at once share what is read: a subscription catches up with what came since."""
        reading = self._contents.get(after)
        if reading is None:
            loop = asyncio.get_running_loop()
            reading = Shared(loop.create_task(self._read_content(after)))
            self._contents[after] = reading
        try:
            return await reading.result()
        finally:
            if reading.unwanted and self._contents.get(after) is reading:
                del self._contents[after]

    async def _read_content(self, after: int) -> Content:
        return Content(after, *await self.log.content(self.document_id, after))

    # Admission

    def submit(self, subscription: Subscription, client_seq: int, payload: bytes) -> None:
        """Take an update of a connection; its outcome reaches the subscription."""
        if subscription.refusing:
            self._answer_refusal(subscription, client_seq, len(payload), closed())
        elif not subscription.can_write:
            error = MemoError(ErrorCode.FORBIDDEN, "you may read this memory, not write in it")
            self._answer_refusal(subscription, client_seq, len(payload), error)
        elif not self._scanning.takes(subscription, client_seq, payload):
            try:
                update = scan(payload)
            except MalformedUpdate as error:
                self._answer_refusal(subscription, client_seq, len(payload), malformed(error))
                return
            self._submit(subscription, client_seq, payload, update)

    def _submit(
        self,
        subscription: Subscription,
        client_seq: int,
        payload: bytes,
        update: Update,
        judgement: Judgement | None = None,
    ) -> None:
        self._admit(
            Submission(
                subscription.subscriber.author,
                payload,
                update,
                subscription=subscription,
                client_seq=client_seq,
                judgement=judgement,
            )
        )

    async def write(self, author: Author, payload: bytes, projection: Projection, base: int) -> int:
        """Commit an update that the server made for `author`; its offset.

        Raises:
            MemoError: it was refused.
        """
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        update, judgement = await self._read(payload)
        self._admit(
            Submission(
                author,
                payload,
                update,
                done=done,
                projection=projection,
                base=base,
                judgement=judgement,
            )
        )
        return await done

    async def scan(self, payload: bytes) -> Update:
        """Read an update, a large one in a worker.

        Raises:
            MalformedUpdate, MemoError: it is none; the workers are busy.
        """
        return await scan_anywhere(payload, self._workers)

    async def _read(self, payload: bytes) -> tuple[Update, Judgement | None]:
        update = await self.scan(payload)
        return update, await judge_anywhere(update, payload, self._state, self._workers)

    def _validate(self, submission: Submission) -> None:
        update, judgement = submission.update, submission.judgement
        if judgement is not None and judgement.holds(self._state):
            self._state.trust(update, judgement.placed)
        elif len(update.runs) <= VALIDATE_INLINE_RUNS:
            self._state.validate(update)
        else:
            raise MemoError(
                ErrorCode.BUSY,
                "the document changed while this was checked; send it again",
                retry_after=1,
            )

    def _admit(self, submission: Submission) -> None:
        if self._waiting is not None:
            self._waiting.append(submission)
            return
        state, update = self._state, submission.update
        try:
            if missing := state.missing(update):
                if len(update.runs) > VALIDATE_INLINE_RUNS:
                    raise missing_dependency(missing)
                self._hold(submission, missing)
                return
            if not state.brings(update):
                submission.entry = None
                self._enqueue(submission)
                return
            self._validate(submission)
            claims = self._claims(submission)
        except MalformedUpdate as error:
            self._refuse(submission, malformed(error))
            return
        except MemoError as error:
            self._refuse(submission, error)
            return
        submission.make_entry(self.document_id, claims)
        state.add(update)
        self._enqueue(submission)
        if self._held:
            self._held.retry()

    def _claims(self, submission: Submission) -> tuple[tuple[int, UUID | None], ...]:
        """The Yjs client ids that this update is the first to use.

        Raises:
            MemoError: `client_id_taken`, when new clocks are another account's client's.
        """
        owner, owners = submission.owner, self._owners
        claims: tuple[tuple[int, UUID | None], ...] = ()
        for client, (_, end) in submission.update.structs.items():
            if client not in owners:
                if not self._reservations.permits(client, owner):
                    raise MemoError(ErrorCode.CLIENT_ID_TAKEN, details={"client": client})
                claims = (*claims, (client, owner))
            elif owners[client] != owner and end > self._state.clocks.get(client, 0):
                raise MemoError(ErrorCode.CLIENT_ID_TAKEN, details={"client": client})
        owners.update(claims)
        return claims

    def is_free(self, client: int, owner: UUID | None) -> bool:
        """Whether a Yjs client id is `owner`'s (None: the server's), or nobody's yet."""
        return self._owners.get(client, owner) == owner

    def _enqueue(self, submission: Submission) -> None:
        self._queue.append(submission)
        if not self._in_flight:
            self._wake(self)

    # Updates that build on what is not here

    def _hold(self, submission: Submission, missing: dict[int, int]) -> None:
        first = not submission.deadline
        if not self._held.keep(submission):
            self._refuse(submission, missing_dependency(missing))
        elif first:
            self.tasks.start(self._look_for_more())

    def _rested(self) -> None:
        if not self.busy:
            self._idle(self)

    async def _look_for_more(self) -> None:
        """Another node may have committed what is missing."""
        try:
            head = await self.log.head(self.document_id)
        except MemoError as error:
            self.observer.failed("look for more", self.document_id, error)
            return
        self.tail.know(head)

    # The commit

    def take(self) -> Sequence[Submission]:
        """The queue, for the committer, which answers with `settle`, `put_back` or `recover`."""
        if self._in_flight or self._waiting is not None or self.tail.overdue:
            return ()
        self._in_flight = tuple(self._queue)
        self._queue.clear()
        return self._in_flight

    def settle(self, outcomes: Sequence[Committed]) -> None:
        """What the commit made of the entries taken, in order."""
        taken, self._in_flight = self._in_flight, ()
        results = iter(outcomes)
        first, run = 0, list[Delivery]()
        rest: list[Submission] = []
        sound = True
        for submission in taken:
            if submission.entry is None:
                rest.append(submission)
                continue
            result = next(results)
            if result.offset is not None:
                if run and result.offset != first + len(run):
                    self.tail.landed(first, run)
                    run = []
                if not run:
                    first = result.offset
                    self._setback = 0.0
                run.append(Delivery(submission.payload, submission))
                continue
            sound = False
            if result.outcome in (Outcome.AGAIN, Outcome.LOCKED):
                rest.append(submission)
            else:
                self._refuse(submission, refused(result.outcome))
        if run:
            self.tail.landed(first, run)
        self.tail.advance()
        if not sound:
            # The state counts what never was committed.
            self._recover(rest)
            return
        if rest:
            self.observer.known(len(rest))
            for submission in rest:
                self._settle_known(submission)
        self.go_on()

    def put_back(self) -> None:
        """Nothing was committed and nothing refused: what was taken heads the queue again."""
        self._queue.extendleft(reversed(self._in_flight))
        self._in_flight = ()
        self.tail.advance()

    def recover(self) -> None:
        """It is unknown what became of what was taken: the log tells."""
        taken, self._in_flight = self._in_flight, ()
        # A database that reads and does not write would be asked again and again.
        self._setback = min(self._setback * 2 or _FIRST_RETRY, _LAST_RETRY)
        self._recover(list(taken))

    def go_on(self) -> None:
        """Commit what waits, or rest."""
        if self._queue:
            self._wake(self)
        elif not self.busy:
            self._idle(self)

    def _settle_known(self, submission: Submission) -> None:
        if submission.subscription is None:
            _finish(submission, self.head)
        else:
            submission.subscription.subscriber.released(len(submission.payload))
            submission.subscription.settle_known(submission.client_seq)

    def _refuse(self, submission: Submission, error: MemoError) -> None:
        if submission.subscription is not None:
            self._answer_refusal(
                submission.subscription, submission.client_seq, len(submission.payload), error
            )
        elif submission.done is not None and not submission.done.done():
            self.observer.refused(error.code.value)
            submission.done.set_exception(error)

    def _answer_refusal(
        self, subscription: Subscription, client_seq: int, size: int, error: MemoError
    ) -> None:
        self.observer.refused(error.code.value)
        subscription.subscriber.released(size)
        subscription.refuse(client_seq, error)

    # What the tail asks for

    @property
    def committing(self) -> bool:
        """Whether updates of this node are under way that the log may already have."""
        return bool(self._in_flight)

    def integrate(self, update: Update) -> None:
        """Count an update of another node as known."""
        if self._waiting is None:
            self._state.add(update)
        else:
            self._meanwhile.append(update)

    def show(self, first: int, deliveries: Sequence[Delivery]) -> None:
        """Show committed updates, the next of the log, to everyone who is here."""
        last = first + len(deliveries) - 1
        self.tail_weight += ROW_WEIGHT * len(deliveries) + sum(
            len(delivery.payload) for delivery in deliveries
        )
        ours = False
        writers: set[Subscription] = set()
        for offset, delivery in enumerate(deliveries, first):
            submission = delivery.submission
            if submission is None:
                if delivery.update is not None:
                    self.integrate(delivery.update)
                continue
            ours = True
            if submission.subscription is None:
                _finish(submission, offset)
            else:
                writers.add(submission.subscription)
                submission.subscription.subscriber.released(len(submission.payload))
        pushed = 0
        for subscription in writers:
            if subscription.open:
                pushed += subscription.offer(first, deliveries)
        pushed += self._push(first, last, [delivery.payload for delivery in deliveries])
        self.observer.delivered(pushed)
        if ours:
            self._committed(self)
        if self._held and self._waiting is None:
            self._held.retry()

    def _push(self, first: int, last: int, payloads: Sequence[bytes]) -> int:
        """Write updates to everyone whose next they are; how many were written. Here a node spends
        its time: what is done for each receiver counts."""
        receivers = 0
        messages: dict[Wire, bytes] = {}
        wire, message, previous = None, b"", first - 1
        for subscription in self.subscriptions:
            if subscription.position != previous or subscription.subscriber.congested:
                if subscription.position < last:
                    subscription.fall_behind()
            elif not subscription.lagging:
                subscription.position = last
                if subscription.wire is not wire:
                    wire = subscription.wire
                    if wire not in messages:
                        messages[wire] = wire.push(self.channel, first, payloads)
                    message = messages[wire]
                subscription.send(message)
                receivers += 1
        return receivers * len(payloads)

    def passed(self, offset: int, submission: Submission) -> None:
        """An update of this node was shown as if it were another's: answer its sender."""
        if submission.subscription is None:
            _finish(submission, offset)
        else:
            submission.subscription.subscriber.released(len(submission.payload))
            submission.subscription.settle(submission.client_seq, offset)

    def skip(self) -> None:
        """Rows that were not shown are trimmed: a snapshot has them, which an opening brings."""
        for subscription in tuple(self.subscriptions):
            subscription.lose()
        if self._waiting is None:
            self._recover([])

    # Starting over from the log

    def _recover(self, submissions: Sequence[Submission]) -> None:
        """Read the state again, then admit these and the queue afresh."""
        again = [*submissions, *self._queue]
        self._queue.clear()
        if self._waiting is not None:
            self._waiting[:0] = again
            return
        self._waiting = []
        self.tasks.start(self._restore(again))

    async def _restore(self, again: Sequence[Submission]) -> None:
        if self._setback:
            await asyncio.sleep(self._setback)
        delay = _FIRST_RETRY
        while True:
            try:
                self._meanwhile.clear()
                standing = await self.log.standing(self.document_id)
                if standing is not None and not standing.deleted:
                    state = await load_state(standing, self._workers)
                    await self.tail.reach(standing.head)
                break
            except Exception as error:  # noqa: BLE001 (whatever it is, acks are owed)
                # The database is away, most likely. The devices wait for their acks; so does the
                # room.
                self.observer.failed("reload", self.document_id, error)
                await asyncio.sleep(delay)
                delay = min(delay * 2, _LAST_RETRY)
        again, self._waiting = [*again, *(self._waiting or ())], None
        if standing is None or standing.deleted:
            gone = MemoError(ErrorCode.GONE, "this memory has been deleted")
            for submission in again:
                self._refuse(submission, gone)
            self.end(gone)
        else:
            self._state, self._owners = state, dict(standing.clients)
            for update in self._meanwhile:
                state.add(update)
            if again:
                # Some of these may be in the log, and no one has said so.
                self.tail.announce_head()
                self._committed(self)
            for submission in again:
                if submission.subscription is not None and submission.subscription.refusing:
                    self._refuse(submission, closed())
                else:
                    self._admit(submission)
            self._held.retry()
        self._meanwhile.clear()
        self.go_on()
        self.tail.advance()


def _finish(submission: Submission, offset: int) -> None:
    """A server-side write is committed: who waits for it may go on."""
    if submission.done is not None and not submission.done.done():
        submission.done.set_result(offset)
