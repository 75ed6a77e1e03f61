"""What files are called, what they are, and which part of one is asked for."""

import pytest

from server.files.names import cleaned, disposition, kept
from server.files.ranges import Range, UnsatisfiableError, asked_for, unchanged
from server.files.types import is_image, is_shown, sniff


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("a.txt", "a.txt"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\a b.txt", "a b.txt"),
        ("evil\u202egnp.exe", "evilgnp.exe"),
        ("a\x00b\r\nc\u2028.txt", "abc.txt"),
        ("👩\u200d👧.png", "👩\u200d👧.png"),
        ("e\u0301.txt", "é.txt"),
        (".bashrc", "bashrc"),
        ("a.txt. . ", "a.txt"),
        ("..", "file"),
        ("", "file"),
        ("\ud800", "file"),
        ("x" * 300 + ".jpeg", "x" * 250 + ".jpeg"),
        ("x" * 300, "x" * 255),
        ("a." + "x" * 300, "a." + "x" * 253),
    ],
)
def test_a_name_is_nothing_but_a_name(given: str, name: str) -> None:
    assert cleaned(given) == name
    assert cleaned(name) == name


def test_the_name_that_was_sent_is_kept_as_far_as_can_be() -> None:
    assert kept("../a\x00") == "../a\ufffd"
    assert kept("") == "file"
    assert len(kept("x" * 1000)) == 255


def test_a_download_says_its_name_in_two_ways_where_one_does_not_do() -> None:
    assert disposition("a b.txt", inline=True) == 'inline; filename="a b.txt"'
    assert disposition('é"\\.txt', inline=False) == (
        "attachment; filename=\"___.txt\"; filename*=UTF-8''%C3%A9%22%5C.txt"
    )


@pytest.mark.parametrize(
    ("head", "file_type"),
    [
        (b"", "application/octet-stream"),
        (b"\x00\x01", "application/octet-stream"),
        (b"words", "text/plain"),
        ("wörter".encode()[:2], "text/plain"),
        (b"BM is how a bitmap begins", "text/plain"),
        (b"ID3 is how music begins", "text/plain"),
        (b"\xef\xbb\xbf<svg onload='x'>", "image/svg+xml"),
        (b"<?xml version='1.0'?><!-- --><svg>", "image/svg+xml"),
        (b"\n <HTML>", "text/html"),
        (b"<script>alert(1)</script>", "text/html"),
        (b"%PDF-1.4\n", "application/pdf"),
        (b"\xff\xd8\xff\xe0" + bytes(20), "image/jpeg"),
        (b"OggS\x00\x02" + bytes(40), "audio/ogg"),
        (b"\x00\x00\x00\x18ftyp3gp4" + bytes(20), "video/3gpp"),
        (b"\x00\x00\x00\x18ftypiso5" + bytes(20), "video/mp4"),
        (b"PK\x03\x04" + bytes(60), "application/zip"),
    ],
)
def test_bytes_tell_what_they_are(head: bytes, file_type: str) -> None:
    assert sniff(head) == file_type


def test_what_could_run_is_not_shown() -> None:
    shown = ["image/png", "audio/mpeg", "video/mp4", "application/pdf"]
    assert all(map(is_shown, shown))
    hidden = ["image/svg+xml", "text/html", "text/plain", "application/xml", "application/zip"]
    assert not any(map(is_shown, hidden))
    assert is_image("image/png")
    assert not is_image("image/svg+xml")


@pytest.mark.parametrize(
    ("header", "part"),
    [
        ("bytes=0-4", Range(0, 5)),
        ("bytes=5-", Range(5, 10)),
        ("bytes=-3", Range(7, 10)),
        ("bytes=-30", Range(0, 10)),
        ("bytes=8-99", Range(8, 10)),
        ("bytes= 1-2", Range(1, 3)),
        ("", None),
        ("bytes=-", None),
        ("bytes=4-3", None),
        ("bytes=0-1,3-4", None),
        ("bytes=٣-٤", None),
        ("items=0-1", None),
        ("bytes=" + "9" * 400 + "-", None),
    ],
)
def test_a_range_is_read(header: str, part: Range | None) -> None:
    assert asked_for({"range": header}, 10, '"x"') == part
    assert asked_for({"range": header, "if-range": '"x"'}, 10, '"x"') == part
    assert asked_for({"range": header, "if-range": 'W/"x"'}, 10, '"x"') is None


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=10-20", "bytes=-0"])
def test_a_range_without_a_byte_is_refused(header: str) -> None:
    with pytest.raises(UnsatisfiableError):
        asked_for({"range": header}, 10, '"x"')


def test_what_a_client_has_is_not_sent_again() -> None:
    assert unchanged({"if-none-match": '"a", W/"x"'}, '"x"')
    assert unchanged({"if-none-match": "*"}, '"x"')
    assert not unchanged({"if-none-match": '"y"'}, '"x"')
    assert not unchanged({}, '"x"')
