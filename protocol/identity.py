"""Ways into an account: proofs of an e-mail address, passwords, second factors, providers."""

from typing import Annotated, Literal

import msgspec

from protocol.accounts import Email, Password, SignedIn, TwoFactorCode, User
from protocol.operation import Operation
from protocol.records import Body, Empty, Timestamp

Provider = Literal["google", "apple"]
Url = Annotated[str, msgspec.Meta(min_length=1, max_length=2000)]
AuthorizationCode = Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]
State = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class VerifyEmail(Body, frozen=True):
    """`token` is what stands behind `#` in the link of the message."""

    token: str


class Verified(Body, frozen=True):
    user: User


class ForgotPassword(Body, frozen=True):
    email: Email


class ResetPassword(Body, frozen=True):
    """`token` is what stands behind `#` in the link of the message; the password has to be as for
    registering."""

    token: str
    password: Password


class ChangePassword(Body, frozen=True):
    current_password: Password
    new_password: Password


class ChangeEmail(Body, frozen=True):
    password: Password
    email: Email


class EnableTwoFactor(Body, frozen=True):
    password: Password


class TwoFactorSecret(Body, frozen=True):
    """`uri` is what an authenticator reads from a QR code; `secret` is for typing it in."""

    secret: str
    uri: str


class ConfirmTwoFactor(Body, frozen=True):
    """`code` is of the authenticator that has the new secret."""

    code: TwoFactorCode


class RecoveryCodes(Body, frozen=True):
    """Each stands in for a code of the authenticator, once. They are not shown again."""

    recovery_codes: list[str]


class DisableTwoFactor(Body, frozen=True):
    password: Password
    code: TwoFactorCode


class Providers(Body, frozen=True):
    """The providers that are set up on this server."""

    providers: list[Provider]


class StartOAuth(Body, frozen=True):
    """`redirect_uri` is where the app waits for `code`: a page of an allowed origin, or an address
    that the operator has listed."""

    redirect_uri: Url


class StartedOAuth(Body, frozen=True):
    """Open `url`, and keep `state` where the page that is returned to finds it. It is not the
    `state` in the addresses, and never in one: it proves that whoever ends the sign-in began it.
    Both are good for ten minutes, once."""

    url: str
    state: str


class ProviderName(Body, frozen=True):
    first_name: Annotated[str, msgspec.Meta(max_length=100)] | None = None
    last_name: Annotated[str, msgspec.Meta(max_length=100)] | None = None


class ProviderUser(Body, frozen=True):
    """What Apple says of somebody, on the first sign-in alone."""

    name: ProviderName | None = None


class FinishOAuth(Body, frozen=True):
    """`code`, and `user` if it is there (JSON, to be parsed), are parameters of the address that
    the provider returned to; `state` is the one that the start answered with. An account with
    two-factor on refuses with `two_factor_required`: send the same with `two_factor_code`."""

    code: AuthorizationCode
    redirect_uri: Url
    state: State
    two_factor_code: TwoFactorCode | None = None
    user: ProviderUser | None = None


class OAuthSignedIn(SignedIn, frozen=True):
    is_new_user: bool


class Identity(Body, frozen=True):
    """A provider that the account may be signed in to with. `email` is the provider's."""

    provider: Provider
    email: str | None
    created_at: Timestamp
    last_used_at: Timestamp | None


class Identities(Body, frozen=True):
    """All ways into the account. `recovery_codes_left` is 0 without two-factor."""

    identities: list[Identity]
    has_password: bool
    two_factor: bool
    recovery_codes_left: int


class LinkIdentity(Body, frozen=True):
    """The fields are those of signing in with a provider."""

    provider: Provider
    code: AuthorizationCode
    redirect_uri: Url
    state: State


class UnlinkIdentity(Body, frozen=True):
    provider: Provider


class DeleteAccount(Body, frozen=True):
    """`password` is the account's. One that has none gives the `code` of the message that
    `account.sendDeletionCode` sends; one with two-factor on gives, beside its password, the `code`
    of the authenticator."""

    password: Password | None = None
    code: TwoFactorCode | None = None


ACCOUNT_SEND_VERIFICATION = Operation(
    "account.sendVerification",
    Empty,
    Empty,
    None,
    "Send the message with the link that proves the e-mail address again; at most once a minute.",
)
ACCOUNT_CHANGE_PASSWORD = Operation(
    "account.changePassword",
    ChangePassword,
    Empty,
    None,
    "Change the password. All other sessions of the account end.",
)
ACCOUNT_CHANGE_EMAIL = Operation(
    "account.changeEmail",
    ChangeEmail,
    Empty,
    None,
    "Send a link to a new e-mail address, which becomes the account's when the link is followed.",
)
ACCOUNT_ENABLE_TWO_FACTOR = Operation(
    "account.enableTwoFactor",
    EnableTwoFactor,
    TwoFactorSecret,
    None,
    "A new secret for an authenticator. It is asked for once `account.confirmTwoFactor` has seen"
    " a code of it.",
)
ACCOUNT_CONFIRM_TWO_FACTOR = Operation(
    "account.confirmTwoFactor",
    ConfirmTwoFactor,
    RecoveryCodes,
    None,
    "Turn two-factor on: from now on signing in asks for a code.",
)
ACCOUNT_DISABLE_TWO_FACTOR = Operation(
    "account.disableTwoFactor",
    DisableTwoFactor,
    Empty,
    None,
    "Turn two-factor off.",
)
ACCOUNT_IDENTITIES = Operation(
    "account.identities",
    Empty,
    Identities,
    None,
    "The ways into the account: providers, password, two-factor.",
)
ACCOUNT_LINK = Operation(
    "account.link",
    LinkIdentity,
    Identities,
    None,
    "Link a provider to the account, to sign in with from now on.",
)
ACCOUNT_UNLINK = Operation(
    "account.unlink",
    UnlinkIdentity,
    Identities,
    None,
    "Take a provider away again. The last way into the account stays.",
)
ACCOUNT_SEND_DELETION_CODE = Operation(
    "account.sendDeletionCode",
    Empty,
    Empty,
    None,
    "Send the code that `account.delete` asks for of an account without a password, to its e-mail"
    " address; at most once a minute.",
)
ACCOUNT_DELETE = Operation(
    "account.delete",
    DeleteAccount,
    Empty,
    None,
    "Delete the account at once, for good: its sessions end, its memories go with all that is in"
    " them, also for those they are shared with, and so do its files. Messages that it wrote in"
    " others' memories stay, as nobody's.",
)
