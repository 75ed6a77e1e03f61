"""Updates that build on something that is not here: the missing part may be on its way."""

import asyncio
from collections.abc import Callable

from sync.submission import Submission

MAX_HELD = 256


class Holding:
    """Keeps submissions for `seconds` at most. `admit` judges one again: it comes back by `keep`
    as long as it still misses something. `expired` is called when the last one may be gone."""

    def __init__(
        self,
        seconds: float,
        admit: Callable[[Submission], None],
        expired: Callable[[], None],
    ) -> None:
        self._seconds = seconds
        self._admit = admit
        self._expired = expired
        self._held: list[Submission] = []
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._held)

    def keep(self, submission: Submission) -> bool:
        """Keep it for a later try. False: it has waited long enough, or too many wait."""
        loop = asyncio.get_running_loop()
        submission.deadline = submission.deadline or loop.time() + self._seconds
        if len(self._held) >= MAX_HELD or loop.time() >= submission.deadline:
            return False
        self._held.append(submission)
        if self._timer is None:
            self._timer = loop.call_at(submission.deadline, self._expire)
        return True

    def retry(self) -> None:
        """Something new is known: judge all that is held again."""
        for submission in self.take():
            self._admit(submission)

    def take(self) -> list[Submission]:
        """All that is held, which then is no more."""
        held, self._held = self._held, []
        return held

    def _expire(self) -> None:
        self._timer = None
        self.retry()
        if self._held and self._timer is None:
            earliest = min(submission.deadline for submission in self._held)
            self._timer = asyncio.get_running_loop().call_at(earliest, self._expire)
        self._expired()
