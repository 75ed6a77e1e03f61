"""Reading updates: small ones at once, large ones in a worker process, so that nobody waits."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable

from protocol.errors import ErrorCode, MemoError
from protocol.log import Standing
from sync.document import hold
from sync.refusals import closed, malformed
from sync.state import State, judge
from sync.submission import Judgement
from sync.subscription import Subscription
from sync.tasks import Tasks
from sync.update import MalformedUpdate, Update, scan
from sync.worker import WorkerPool

SCAN_INLINE_BYTES = 32 * 1024  # what is larger is scanned in a worker process,
VALIDATE_INLINE_RUNS = 10_000  # and what has more runs validated there: 32 KB cannot
LOAD_INLINE_BYTES = 256 * 1024  # of a tail; what is larger is read in a worker as a whole
TURN_SECONDS = 0.002  # that reading a tail may take before others have their turn

Read = Callable[[bytes], Awaitable[tuple[Update, Judgement | None]]]
Submit = Callable[[Subscription, int, bytes, Update, Judgement | None], None]
Refuse = Callable[[Subscription, int, int, MemoError], None]


class Scanning:
    """The connections of a room that have sent a large update. What one sends behind it waits, so
    that its updates are admitted in their order. `done` is called when one has nothing more."""

    def __init__(
        self,
        tasks: Tasks,
        *,
        read: Read,
        submit: Submit,
        refuse: Refuse,
        failed: Callable[[BaseException], None],
        done: Callable[[], None],
    ) -> None:
        self._tasks = tasks
        self._read = read
        self._submit = submit
        self._refuse = refuse
        self._failed = failed
        self._done = done
        self._waiting: dict[Subscription, deque[tuple[int, bytes]]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def takes(self, subscription: Subscription, client_seq: int, payload: bytes) -> bool:
        """Take an update that cannot be read at once. False: it can be."""
        waiting = self._waiting.get(subscription)
        if waiting is not None:
            waiting.append((client_seq, payload))
        elif len(payload) > SCAN_INLINE_BYTES:
            self._waiting[subscription] = deque([(client_seq, payload)])
            self._tasks.start(self._scan(subscription))
        else:
            return False
        return True

    async def _scan(self, subscription: Subscription) -> None:
        waiting = self._waiting[subscription]
        try:
            while waiting:
                client_seq, payload = waiting[0]
                try:
                    update, judgement = await self._read(payload)
                except MalformedUpdate as error:
                    self._refuse(subscription, client_seq, len(payload), malformed(error))
                except MemoError as error:
                    self._refuse(subscription, client_seq, len(payload), error)
                except Exception as error:  # noqa: BLE001 (an answer is owed for each update)
                    self._failed(error)
                    internal = MemoError(ErrorCode.INTERNAL)
                    self._refuse(subscription, client_seq, len(payload), internal)
                else:
                    if subscription.refusing:
                        self._refuse(subscription, client_seq, len(payload), closed())
                    else:
                        self._submit(subscription, client_seq, payload, update, judgement)
                waiting.popleft()
        finally:
            for _, payload in waiting:
                subscription.subscriber.released(len(payload))
            del self._waiting[subscription]
            self._done()


async def scan_anywhere(payload: bytes, workers: WorkerPool) -> Update:
    """Read an update, a large one in a worker.

    Raises:
        MalformedUpdate, MemoError: it is none; the workers are busy.
    """
    if len(payload) > SCAN_INLINE_BYTES:
        return await workers.run(scan, payload)
    return scan(payload)


async def judge_anywhere(
    update: Update, payload: bytes, state: State, workers: WorkerPool
) -> Judgement | None:
    """Have a worker validate an update that would hold the event loop for too long."""
    if len(update.runs) <= VALIDATE_INLINE_RUNS or state.missing(update):
        return None
    clocks = {client: state.clocks.get(client, 0) for client in update.structs}
    return Judgement(state, clocks, await workers.run(judge, state.encode(), payload))


async def load_state(standing: Standing, workers: WorkerPool) -> State:
    """What a document holds: the state stored with its snapshot, and its tail's updates. A usual
    tail is many small ones: they are read here, in turns with whatever else there is to do."""
    if sum(map(len, standing.tail)) > LOAD_INLINE_BYTES:
        return State.decode(await workers.run(hold, standing.state, list(standing.tail)))
    state = State.decode(standing.state) if standing.state is not None else State()
    until = time.perf_counter() + TURN_SECONDS
    for payload in standing.tail:
        state.add(await scan_anywhere(payload, workers))
        if time.perf_counter() > until:
            await asyncio.sleep(0)
            until = time.perf_counter() + TURN_SECONDS
    return state
