"""What a file is, as its first bytes tell. Its name and what a client says of it are not asked."""

import codecs
import re

import filetype

HEAD_BYTES = 64 << 10
BINARY = "application/octet-stream"
TEXT = "text/plain"

_NOT_TEXT = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_MARKUP = (
    (re.compile(r"<svg[\s>]", re.IGNORECASE), "image/svg+xml"),
    (
        re.compile(r"<!doctype\s+html|<(html|head|body|script|iframe)[\s>]", re.IGNORECASE),
        "text/html",
    ),
    (re.compile(r"\s*<\?xml\s"), "application/xml"),
)
# What a text may well begin with is believed of bytes that are none; of texts, only these.
_TEXTUAL = frozenset({"application/pdf", "application/postscript", "application/rtf"})
_MEDIA_BRANDS = {
    b"3g2": "video/3gpp2",
    b"3gp": "video/3gpp",
    b"iso": "video/mp4",
    b"das": "video/mp4",
    b"msd": "video/mp4",
    b"avc": "video/mp4",
}

# What browsers show without running any of it, each under its own type.
_SHOWN = frozenset(
    {
        "application/pdf",
        "image/avif",
        "image/bmp",
        "image/gif",
        "image/heic",
        "image/jpeg",
        "image/png",
        "image/webp",
        "image/x-icon",
    }
)


def sniff(head: bytes) -> str:
    """The media type of what begins with `head`, `application/octet-stream` when nobody knows."""
    if not head:
        return BINARY
    known: str | None = filetype.guess_mime(head)
    if _is_text(head):
        return known if known in _TEXTUAL else _text_type(head)
    if known is None and head[4:8] == b"ftyp":
        known = _MEDIA_BRANDS.get(head[8:11])
    return known or BINARY


def is_image(file_type: str) -> bool:
    """Whether it is a picture that a thumbnail can be made of."""
    return file_type.startswith("image/") and file_type != "image/svg+xml"


def is_shown(file_type: str) -> bool:
    """Whether a browser may show it in place, rather than save it."""
    return file_type in _SHOWN or file_type.startswith(("audio/", "video/"))


def _is_text(head: bytes) -> bool:
    if _NOT_TEXT.search(head):
        return False
    try:
        # The last character may be cut off.
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return True


def _text_type(head: bytes) -> str:
    start = head[:4096].decode("utf-8", "replace").lstrip("\ufeff")
    for pattern, file_type in _MARKUP:
        found = pattern.search(start) if "<" in start[:512].lstrip()[:1] else None
        if found:
            return file_type
    return TEXT
