"""The load tests: many people at once, who use the server as the app does.

    make load PROFILE=plan

Locust says who comes and goes when (`bench/load/profile.py`), and keeps the times. It runs on
gevent, and the clients on asyncio: they have an event loop in a thread of its own, where the times
are taken. That takes a Python which gevent has not patched. Without `--host` a server is started
for the test. The exit status is 0 when the bounds of `bench/load/verdict.py` held, 1 when they did
not, and 2 when the test could not be made.
"""

import atexit
import logging
import signal
import sys
from argparse import ArgumentParser
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from random import Random, uniform
from typing import Any, ClassVar, NoReturn, TypeVar
from urllib.parse import urlsplit

import gevent
import gevent.event
import gevent.monkey
from locust import LoadTestShape, User, events
from locust.env import Environment
from locust.stats import StatsEntry

from bench.errors import BenchmarkFailed
from bench.load.account import Accounts
from bench.load.commits import read_commits
from bench.load.person import MIX, Action, Person
from bench.load.profile import PROFILES, Profile
from bench.load.thread import LoopThread
from bench.load.verdict import Outcome, breaches
from bench.server import running

LEAVE_SECONDS = 10.0
# How long one thread may keep the other waiting: Python's usual 5 ms would show in the times.
SWITCH_SECONDS = 0.0005

T = TypeVar("T")


class Crowd:
    """The people in this process: what they share, and how greenlets wait for what they do."""

    def __init__(self, thread: LoopThread) -> None:
        self._thread = thread
        self._accounts: Accounts | None = None
        self._finished: deque[gevent.event.Event] = deque()
        self._watcher = gevent.get_hub().loop.async_()  # what another thread may wake greenlets by
        self._watcher.start(self._wake)

    def newcomer(self, host: str) -> Person:
        """Somebody who has not arrived yet."""
        if self._accounts is None:
            self._accounts = Accounts(host)
        return Person(host, self._accounts, Random())

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """What the coroutine returns. It is cancelled when the greenlet is killed."""
        finished = gevent.event.Event()
        future = self._thread.submit(coroutine)

        def finish(_: object) -> None:
            self._finished.append(finished)
            self._watcher.send()

        future.add_done_callback(finish)
        try:
            finished.wait()
        except BaseException:
            future.cancel()
            raise
        return future.result()

    def close(self) -> None:
        """Let go of what they share."""
        if self._accounts is not None:
            self._thread.submit(self._accounts.close()).result(LEAVE_SECONDS)

    def _wake(self) -> None:
        while self._finished:
            self._finished.popleft().set()


class Device(User):
    """Locust's user: a person on one device, who thinks for a moment after each action."""

    crowd: ClassVar[Crowd]

    def wait_time(self) -> float:
        """How long to think, in seconds."""
        return uniform(*_profile(self.environment).thought)

    def on_start(self) -> None:
        assert self.host is not None
        self._person = self.crowd.newcomer(self.host)
        self._do(self._person.arrive())

    def on_stop(self) -> None:
        self._do(self._person.leave())

    def act(self, action: Action) -> None:
        """Do one thing, and tell Locust what it took."""
        self._do(action(self._person))

    def _do(self, coroutine: Coroutine[Any, Any, None]) -> None:
        try:
            self.crowd.run(coroutine)
        finally:
            for sample in self._person.samples():
                self.environment.events.request.fire(
                    request_type=sample.kind,
                    name=sample.name,
                    response_time=sample.seconds * 1000,
                    response_length=0,
                    exception=sample.failure,
                    context={},
                )


def _task(action: Action) -> Callable[[Device], None]:
    def perform(device: Device) -> None:
        device.act(action)

    perform.__name__ = action.__name__
    return perform


Device.tasks = [_task(action) for action, weight in MIX for _ in range(weight)]


class Ramp(LoadTestShape):
    """The profile that `--load` names."""

    def tick(self) -> tuple[int, float] | None:
        assert self.runner is not None
        return _profile(self.runner.environment).aim(self.get_run_time())


class Trial:
    """The test as a whole: the server, and in the end the verdict."""

    def __init__(self, environment: Environment, thread: LoopThread) -> None:
        self._environment = environment
        self._thread = thread
        self._host = environment.host or ""
        self._before = read_commits(self._host)
        self._lines: list[str] = []

    def conclude(self, environment: Environment, **_: object) -> None:
        """Set the exit status."""
        assert environment.runner is not None
        assert environment.shape_class is not None
        stats = environment.stats
        crashes = sum(int(crash["count"]) for crash in environment.runner.exceptions.values())
        found = breaches(
            _outcome("all requests", stats.total),
            [_outcome(entry.name, entry) for entry in stats.entries.values()],
            crashes=crashes,
            missing=_profile(environment).seconds - environment.shape_class.get_run_time(),
        )
        environment.process_exit_code = 1 if found else 0
        self._lines = [f"Not held: {line}" for line in found] or ["All bounds held."]
        after = read_commits(self._host)
        if after is not None and self._before is not None:
            commits = after.since(self._before)
            self._lines.append(
                f"The server's commits: {commits.number:,.0f},"
                f" {commits.mean * 1000:.2f} ms on average."
            )
        self._lines.append(
            f"What the load generator itself added to a time: {self._thread.latest * 1000:.0f} ms"
            " at most."
        )

    def tell(self, **_: object) -> None:
        """Print the verdict, below Locust's own tables."""
        print("\n".join(self._lines))


def _profile(environment: Environment) -> Profile:
    assert environment.parsed_options is not None
    return PROFILES[environment.parsed_options.load]


def _outcome(name: str, entry: StatsEntry) -> Outcome:
    # Locust rounds the times, but none from above the bound to below it.
    p99 = entry.get_response_time_percentile(0.99)
    return Outcome(name, entry.num_requests, entry.num_failures, p99)


def prepare(environment: Environment, **_: object) -> None:
    """Start what is needed, and see that it ends with the process."""
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs every request
    resources = ExitStack()
    atexit.register(resources.close)
    assert environment.runner is not None
    # Locust's own handler comes only after a test without its web page.
    gevent.signal_handler(signal.SIGTERM, environment.runner.quit)
    thread = resources.enter_context(LoopThread())
    sys.setswitchinterval(SWITCH_SECONDS)
    Device.crowd = Crowd(thread)
    resources.callback(Device.crowd.close)
    if environment.host is None:
        try:
            server = resources.enter_context(running(accounts=0))
        except BenchmarkFailed as error:
            _give_up(str(error))
        environment.host = f"http://127.0.0.1:{server.port}"
    environment.host = environment.host.rstrip("/")
    trial = Trial(environment, thread)
    environment.events.quitting.add_listener(trial.conclude)
    environment.events.quit.add_listener(trial.tell)


def add_options(parser: ArgumentParser) -> None:
    """Add what can be asked for beyond Locust's own options, and refuse what cannot be done. That
    is done before Locust acts on any of them."""
    parser.add_argument(
        "--load",
        choices=list(PROFILES),
        default="smoke",
        help="how many people come and go when: bench/load/profile.py",
    )
    options, _ = parser.parse_known_args()
    if options.host is not None and urlsplit(options.host).scheme not in ("http", "https"):
        _give_up(f"--host is {options.host!r}; it has to be like http://127.0.0.1:8000")
    if options.processes or options.master or options.worker:
        # Locust's master takes it for granted that gevent has patched Python.
        _give_up("the load comes from one process: leave out --processes, --master and --worker")


def _give_up(reason: str) -> NoReturn:
    print(f"load: {reason}", file=sys.stderr)
    sys.exit(2)


if gevent.monkey.is_anything_patched():
    _give_up("set LOCUST_SKIP_MONKEY_PATCH=1: asyncio does not run on patched sockets")
events.init_command_line_parser.add_listener(add_options)
events.init.add_listener(prepare)
