"""Names of files: what is kept of the one a client gives, and how a download says it."""

import re
import unicodedata
from urllib.parse import quote

MAX_CHARACTERS = 255
NAMELESS = "file"

_MAX_EXTENSION = 20
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_JOINERS = "\u200c\u200d"  # that some scripts and some emoji are written with
_NOT_PLAIN = re.compile(r"[^A-Za-z0-9 !#$&+.^_`|~()\[\]{}@,=-]")


def kept(name: str) -> str:
    """The name as it was given, as far as it can be kept at all."""
    return name.replace("\x00", "\ufffd")[:MAX_CHARACTERS] or NAMELESS


def cleaned(name: str) -> str:
    """A name that is nothing but a name: no directories, nothing that cannot be seen, and nothing
    that would change how the rest of it reads."""
    name = unicodedata.normalize("NFC", re.split(r"[/\\]", name)[-1])
    # Control characters, those that turn the direction of writing, halves of pairs.
    seen = "".join(c for c in name if c in _JOINERS or unicodedata.category(c) not in _UNSEEN)
    # Dots in front hide a file, and at the end other systems drop them, like spaces.
    seen = seen.strip(" ").lstrip(".").rstrip(" .")
    if len(seen) > MAX_CHARACTERS:
        stem, dot, extension = seen.rpartition(".")
        if dot and stem and len(extension) <= _MAX_EXTENSION:
            seen = f"{stem[: MAX_CHARACTERS - len(extension) - 1]}.{extension}"
    return seen[:MAX_CHARACTERS] or NAMELESS


def disposition(name: str, *, inline: bool) -> str:
    """The header Content-Disposition of RFC 6266, with a plain name beside the right one."""
    kind = "inline" if inline else "attachment"
    plain = _NOT_PLAIN.sub("_", name)
    header = f'{kind}; filename="{plain}"'
    return header if plain == name else f"{header}; filename*=UTF-8''{quote(name, safe='')}"
