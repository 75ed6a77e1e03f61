"""Why a call was refused, as bodies say it."""

from typing import Any

from protocol.records import Body


class Refusal(Body, frozen=True, omit_defaults=True):
    """Why a call was refused. `details` maps a field's name to what is wrong with it."""

    code: str
    message: str
    details: dict[str, Any] | None = None
