"""The texts: every kind of message, and what it says."""

from collections.abc import Callable, Mapping
from enum import Enum

from protocol.identity import Provider
from server.mail.message import Link, Message, one_line

Values = Mapping[str, str]


class Kind(Enum):
    """What a message is about."""

    VERIFICATION = "verification"
    RESET = "reset"
    SECURITY = "security"
    INVITATION = "invitation"
    DELETION = "deletion"


class Notice(Enum):
    """What changed about how somebody signs in: the sentence that says so."""

    RESET = "The password of your account was changed."
    EMAIL_CHANGED = "The e-mail address of your account was changed to another one."
    TWO_FACTOR_ON = "Two-factor was turned on: signing in to your account now asks for a code."
    TWO_FACTOR_OFF = "Two-factor was turned off: signing in to your account asks for no code."
    GOOGLE_LINKED = "Signing in to your account with Google is possible now."
    APPLE_LINKED = "Signing in to your account with Apple is possible now."
    GOOGLE_UNLINKED = "Signing in to your account with Google is no longer possible."
    APPLE_UNLINKED = "Signing in to your account with Apple is no longer possible."


LINKED: Mapping[Provider, Notice] = {
    "google": Notice.GOOGLE_LINKED,
    "apple": Notice.APPLE_LINKED,
}
UNLINKED: Mapping[Provider, Notice] = {
    "google": Notice.GOOGLE_UNLINKED,
    "apple": Notice.APPLE_UNLINKED,
}


def write(kind: Kind, to: str, values: Values) -> Message:
    """The message of a kind, with its values.

    Raises:
        KeyError: a value is missing.
    """
    return _WRITERS[kind](to, values)


def _verification(to: str, values: Values) -> Message:
    return Message(
        to,
        "Confirm your e-mail address",
        [
            "Hello,",
            "please confirm that this is your e-mail address.",
            Link("Confirm the address", values["url"]),
            (
                "The link works for a day. If you did not ask for this, do not follow it: it would"
                " give the account of whoever did to this address."
            ),
        ],
    )


def _reset(to: str, values: Values) -> Message:
    return Message(
        to,
        "Set a new password",
        [
            "Hello,",
            "somebody asked for a new password for your account. If it was you, set one here.",
            Link("Set a new password", values["url"]),
            (
                "The link works once, for an hour. If it was not you, ignore this message: your"
                " password stays as it is."
            ),
        ],
    )


def _security(to: str, values: Values) -> Message:
    return Message(
        to,
        "Your account was changed",
        [
            "Hello,",
            Notice[values["notice"]].value,
            (
                "If it was you, all is well. If not, set a new password at once: that signs"
                " everybody else out."
            ),
            Link("Open the app", values["url"]),
        ],
    )


def _invitation(to: str, values: Values) -> Message:
    inviter = one_line(values["inviter"]) or "Somebody"
    title = one_line(values["title"]) or "a memory"
    return Message(
        to,
        f"{inviter} shares “{title}” with you",
        [
            "Hello,",
            f"{inviter} invites you to the memory “{title}”.",
            Link("Open the invitation", values["url"]),
            "If you do not know who that is, ignore this message.",
        ],
    )


def _deletion(to: str, values: Values) -> Message:
    return Message(
        to,
        "Delete your account",
        [
            "Hello,",
            "somebody asked to delete your account. If it was you, this is the code to do it with:",
            values["code"],
            (
                "It works for an hour. Everything in the account goes at once, and does not come"
                " back. If it was not you, ignore this message."
            ),
        ],
    )


_WRITERS: Mapping[Kind, Callable[[str, Values], Message]] = {
    Kind.VERIFICATION: _verification,
    Kind.RESET: _reset,
    Kind.SECURITY: _security,
    Kind.INVITATION: _invitation,
    Kind.DELETION: _deletion,
}
