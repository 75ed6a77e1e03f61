"""Logs: one line an event, in either style, without secrets.

In a process of its own: a process has one set-up for its logs, and pytest has that of this one.
"""

import json
import re
import subprocess
import sys
from typing import Any

import pytest

PROGRAM = """
import logging, sys, structlog
from server.logs import set_up
set_up("info", sys.argv[1])
log = structlog.get_logger("sync.room")
{statements}
"""


def logged(style: str, statements: str) -> list[str]:
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(statements=statements), style],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout == ""
    return result.stderr.splitlines()


def logged_as_json(statements: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in logged("json", statements)]


def test_an_event_is_an_object_with_its_time_level_and_logger() -> None:
    [event] = logged_as_json('log.info("room.opened", room=7, where=b"here", what=object)')
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", event.pop("timestamp"))
    assert event == {
        "level": "info",
        "logger": "sync.room",
        "event": "room.opened",
        "room": 7,
        "where": "here",
        "what": "<class 'object'>",
    }


def test_what_is_below_the_level_is_not_logged() -> None:
    assert logged("json", 'log.debug("no"); logging.getLogger("other").debug("no")') == []


def test_the_libraries_events_go_the_same_way() -> None:
    [event] = logged_as_json('logging.getLogger("uvicorn.error").warning("slow %s", "client")')
    assert (event["event"], event["logger"]) == ("slow client", "uvicorn.error")


def test_a_failure_keeps_to_one_line() -> None:
    [event] = logged_as_json("try: 1 / 0\nexcept Exception: log.exception('failed')")
    assert event["event"] == "failed"
    assert "ZeroDivisionError" in event["exception"]


@pytest.mark.parametrize(
    "statement",
    [
        'log.info("opened", url="/yjs/1?token=SECRET&x=1")',
        'log.info("opened", access_token="SECRET", deeper={"password": "SECRET"})',
        'log.info("opened", items=["?access_token=SECRET", ("token=SECRET",)])',
        'log.info("connecting to postgresql://me:SECRET@host/memo")',
        'log.info("header", value="Bearer SECRET")',
        'logging.getLogger("library").info("GET %s", "/yjs/1?token=SECRET")',
        'try: raise ValueError("?token=SECRET")\nexcept Exception: log.exception("failed")',
    ],
)
@pytest.mark.parametrize("style", ["json", "console"])
def test_no_secret_is_logged(style: str, statement: str) -> None:
    text = "\n".join(logged(style, statement))
    assert "[redacted]" in text
    # The source line in a traceback is the program's own.
    assert "SECRET" not in text.replace(statement.splitlines()[0], "")


def test_what_is_no_secret_stays() -> None:
    [event] = logged_as_json('log.info("opened", url="/yjs/1?token=abc&page=2", tokens=3)')
    assert event["url"] == "/yjs/1?token=[redacted]&page=2"
    assert event["tokens"] == 3
