"""Editing sessions are made of single characters, and end in the text that they say."""

import gzip
import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from pycrdt import Doc, Text

from bench.editing import generated, read
from bench.errors import BenchmarkFailed

TRACE: dict[str, Any] = {
    "startContent": "ab",
    "endContent": "xb",
    "txns": [{"patches": [[1, 0, "c"]]}, {"patches": [[0, 1, ""], [0, 1, "x"]]}],
}


def test_a_generated_session_has_so_many_updates_and_its_text() -> None:
    session = generated(3000, Random(1))
    assert len(session.updates) == 3000
    assert _replayed(session.updates) == session.text
    # It deletes about two of five; a text of nothing but typing would be 3,000 long.
    assert 500 < len(session.text) < 2500
    assert session.text.isascii()


def test_a_session_is_the_same_for_the_same_seed() -> None:
    assert generated(300, Random(1)) == generated(300, Random(1))
    assert generated(300, Random(1)).text != generated(300, Random(2)).text


def test_a_recorded_session_is_replayed(tmp_path: Path) -> None:
    session = read(_stored(tmp_path, TRACE))
    assert session.text == "xb"
    assert len(session.updates) == 4
    assert _replayed(session.updates) == "xb"


def test_a_recorded_session_that_does_not_end_in_its_text_is_refused(tmp_path: Path) -> None:
    path = _stored(tmp_path, {**TRACE, "endContent": "other"})
    with pytest.raises(BenchmarkFailed, match="does not end in its own text"):
        read(path)


@pytest.mark.parametrize(
    "content", [b"", b"no gzip", gzip.compress(b"no JSON", mtime=0), gzip.compress(b"{}", mtime=0)]
)
def test_a_file_that_is_no_session_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "trace.json.gz"
    path.write_bytes(content)
    with pytest.raises(BenchmarkFailed, match=r"^--trace .+ is no editing trace: .+$"):
        read(path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkFailed, match="is no editing trace"):
        read(tmp_path / "nothing")


def _stored(directory: Path, trace: dict[str, Any]) -> Path:
    path = directory / "trace.json.gz"
    path.write_bytes(gzip.compress(json.dumps(trace).encode()))
    return path


def _replayed(updates: list[bytes]) -> str:
    document: Doc[Text] = Doc()
    body = document.get("content", type=Text)
    for update in updates:
        document.apply_update(update)
    return str(body)
