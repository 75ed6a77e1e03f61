"""What calls count against: each limit is set by a variable of its name."""

from enum import Enum


class Limit(Enum):
    """How often a call may be made is set by `RATE_LIMIT_AUTH` and so on.

    AUTH counts by address, guesses at a password also by the account tried. SOCKET counts every
    operation of a user, besides what else it counts against. HELLO counts the hellos that fail, by
    address. The others count by user, or by address where nobody has signed in.
    """

    AUTH = "auth"
    API = "api"
    UPLOAD = "upload"
    AI = "ai"
    INVITE = "invite"
    SOCKET = "socket"
    HELLO = "hello"
