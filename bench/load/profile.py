"""How many people use the server at which moment of a load test."""

from typing import NamedTuple


class Stage(NamedTuple):
    """A time in seconds, over which the number of people becomes `people` at an even rate."""

    seconds: float
    people: int


class Profile(NamedTuple):
    """Stages, one after the other, from nobody on. `thought` is how long people think between two
    actions, in seconds: the shortest and the longest time."""

    stages: tuple[Stage, ...]
    thought: tuple[float, float] = (0.5, 1.5)

    @property
    def seconds(self) -> float:
        """How long the test takes."""
        return sum(stage.seconds for stage in self.stages)

    def aim(self, elapsed: float) -> tuple[int, float] | None:
        """What the stage after `elapsed` seconds leads to: how many people, and how many come or
        go in a second. None when the test is over."""
        before = 0
        for stage in self.stages:
            if elapsed < stage.seconds:
                change = abs(stage.people - before)
                # Where nobody comes or goes any rate is true, but none is no rate.
                return stage.people, change / stage.seconds if change else 1.0
            elapsed -= stage.seconds
            before = stage.people
        return None


PROFILES = {
    "smoke": Profile((Stage(10, 10), Stage(25, 10), Stage(5, 0))),
    "plan": Profile(
        (Stage(120, 100), Stage(300, 100), Stage(120, 200), Stage(300, 200), Stage(120, 0))
    ),
    # Most of so many have the app open, and look at it now and then.
    "large": Profile((Stage(600, 2000), Stage(300, 2000), Stage(60, 0)), thought=(5, 15)),
}
