"""What the signals of the operating system do, for as long as a server runs."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def handled(stop: Callable[[], None], hang_up: Callable[[], None]) -> Iterator[None]:
    """Until the block ends, have the event loop call `stop` when the process is asked to end, and
    `hang_up` on SIGHUP."""
    handlers = {signal.SIGINT: stop, signal.SIGTERM: stop, signal.SIGHUP: hang_up}
    loop = asyncio.get_running_loop()
    for number, handler in handlers.items():
        loop.add_signal_handler(number, handler)
    try:
        yield
    finally:
        for number in handlers:
            loop.remove_signal_handler(number)
