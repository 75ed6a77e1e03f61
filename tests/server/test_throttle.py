"""How fast a connection may send."""

import pytest

from server import throttle as module
from server.throttle import BYTES_AT_ONCE, BYTES_PER_SECOND, FRAMES_AT_ONCE, FRAMES_PER_SECOND


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def test_what_a_device_brings_from_offline_passes_at_once(clock: Clock) -> None:
    throttle = module.Throttle()
    assert sum(throttle.take(1, 100) for _ in range(10_000)) == 0


def test_a_benchmarks_device_is_never_slowed(clock: Clock) -> None:
    throttle = module.Throttle()
    for _ in range(100_000):
        clock.now += 1 / 2000
        assert throttle.take(1, 300) == 0


@pytest.mark.parametrize(
    ("frames", "size", "seconds"),
    [
        (FRAMES_AT_ONCE + FRAMES_PER_SECOND, 0, 1.0),
        (1, BYTES_AT_ONCE + BYTES_PER_SECOND * 2, 2.0),
        (FRAMES_AT_ONCE, BYTES_AT_ONCE, 0.0),
    ],
)
def test_what_is_too_much_is_paid_for_in_time(
    clock: Clock, frames: int, size: int, seconds: float
) -> None:
    assert module.Throttle().take(frames, size) == pytest.approx(seconds)


def test_in_the_long_run_nobody_sends_faster_than_the_rate(clock: Clock) -> None:
    throttle = module.Throttle()
    began, sent = clock.now, 0
    while clock.now < began + 60:
        sent += 1000
        clock.now += throttle.take(1000, 0)
    assert sent == pytest.approx(FRAMES_AT_ONCE + 60 * FRAMES_PER_SECOND, rel=0.01)


def test_who_rests_may_send_as_much_at_once_again_and_no_more(clock: Clock) -> None:
    throttle = module.Throttle()
    assert throttle.take(FRAMES_AT_ONCE, 0) == 0
    clock.now += 3600
    assert throttle.take(FRAMES_AT_ONCE, 0) == 0
    assert throttle.take(1, 0) > 0
