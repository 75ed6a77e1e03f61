"""A message: plain text and the same as simple HTML, from one list of paragraphs."""

from collections.abc import Sequence
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate, make_msgid, parseaddr
from html import escape

import msgspec

_PAGE = """<!doctype html>
<html lang="en">
<body style="margin:0;padding:32px 16px;font:16px/1.6 system-ui,sans-serif;color:#1f2937">
<div style="max-width:34rem;margin:0 auto">
{paragraphs}
</div>
</body>
</html>
"""
_BUTTON = (
    '<p><a href="{url}" style="display:inline-block;padding:10px 18px;border-radius:8px;'
    'background:#1f6b52;color:#ffffff;text-decoration:none">{label}</a></p>\n'
    '<p style="font-size:13px;color:#6b7280;word-break:break-all">{url}</p>'
)


class Link(msgspec.Struct, frozen=True):
    """A paragraph that leads somewhere."""

    label: str
    url: str


class Message(msgspec.Struct, frozen=True):
    """What is sent to one person."""

    to: str
    subject: str
    paragraphs: Sequence[str | Link]

    @property
    def text(self) -> str:
        """The message as plain text."""
        parts = (
            f"{part.label}:\n{part.url}" if isinstance(part, Link) else part
            for part in self.paragraphs
        )
        return "\n\n".join(parts) + "\n"

    @property
    def html(self) -> str:
        """The message as HTML."""
        parts = (
            _BUTTON.format(url=escape(part.url), label=escape(part.label))
            if isinstance(part, Link)
            else f"<p>{escape(part)}</p>"
            for part in self.paragraphs
        )
        return _PAGE.format(paragraphs="\n".join(parts))


def one_line(text: str, limit: int = 100) -> str:
    """`text` for a subject or within a sentence: on one line, without control characters."""
    plain = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return plain if len(plain) <= limit else plain[: limit - 1].rstrip() + "…"


def sender(mail_from: str) -> tuple[str, str]:
    """The name (which may be empty) and the address of MAIL_FROM."""
    return parseaddr(mail_from)


def mime(message: Message, mail_from: str) -> EmailMessage:
    """The message as it is handed to an SMTP server.

    Raises:
        ValueError: the address cannot stand in a header.
    """
    name, address = sender(mail_from)
    made = EmailMessage(policy=SMTP.clone(raise_on_defect=True))
    # The structured headers refuse line breaks, and encode what is not ASCII.
    made["From"] = Address(name, addr_spec=address)
    made["To"] = _address(message.to)
    made["Subject"] = one_line(message.subject)
    made["Date"] = formatdate(usegmt=True)
    made["Message-ID"] = make_msgid(domain=address.rpartition("@")[2])
    # Out-of-office replies to it help nobody (RFC 3834).
    made["Auto-Submitted"] = "auto-generated"
    made.set_content(message.text)
    made.add_alternative(message.html, subtype="html")
    return made


def _address(text: str) -> Address:
    local, _, domain = text.rpartition("@")
    if not text.isprintable():
        raise ValueError("the address has control characters")
    return Address(username=local, domain=domain.encode("idna").decode())
