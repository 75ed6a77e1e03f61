"""The scenarios, in the order of the report."""

from bench.scenarios.idle import Idle
from bench.scenarios.joins import Joins
from bench.scenarios.mix import Mix
from bench.scenarios.overwrites import Overwrites
from bench.scenarios.presence import Presence
from bench.scenarios.reconnect import Reconnect
from bench.scenarios.scenario import Scenario
from bench.scenarios.soak import Soak

SCENARIOS: tuple[Scenario, ...] = (
    Presence(),
    Joins(),
    Idle(),
    Reconnect(),
    Overwrites(),
    Mix(),
    Soak(),
)
