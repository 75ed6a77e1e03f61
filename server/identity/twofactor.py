"""Two-factor: codes of an authenticator (RFC 6238), and recovery codes."""

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from uuid import UUID

import pyotp
import structlog

from protocol.errors import ErrorCode, MemoError
from server.identity.vault import Vault, VaultError
from storage.guesses import Guesses
from storage.twofactor import SecondFactors

ISSUER = "Memory App"
STEP_SECONDS = 30
DRIFT_STEPS = 1  # that an authenticator's clock may be off, either way
RECOVERY_CODES = 10
_RECOVERY_BYTES = 10

log = structlog.get_logger(__name__)


class TwoFactor:
    """The second step of signing in. `clock` gives Unix seconds."""

    def __init__(
        self,
        factors: SecondFactors,
        guesses: Guesses,
        vault: Vault,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._factors = factors
        self._guesses = guesses
        self._vault = vault
        self._clock = clock

    async def enabled(self, user_id: UUID) -> bool:
        """Whether signing in to the account asks for a code."""
        factor = await self._factors.of(user_id)
        return factor is not None and factor.confirmed

    async def recovery_codes_left(self, user_id: UUID) -> int:
        """How many recovery codes of the account are good."""
        return await self._factors.recovery_codes_left(user_id)

    async def check(self, user_id: UUID, code: str | None) -> None:
        """Go on only with a code that is right and was not used before; or if none is asked for.

        Who calls has made sure of the first factor: wrong codes are counted against the account.

        Raises:
            MemoError: `two_factor_required` without a code, `invalid_credentials` naming `code`
                when it is wrong or used, `rate_limited` after too many of those.
        """
        factor = await self._factors.of(user_id)
        if factor is None or not factor.confirmed:
            return
        if code is None:
            raise MemoError(ErrorCode.TWO_FACTOR_REQUIRED)
        await self._guesses.count(user_id, "code")
        if not await self._use(user_id, factor.secret, code):
            raise _wrong_code()
        await self._guesses.right(user_id, "code")

    async def propose(self, user_id: UUID, email: str) -> tuple[str, str]:
        """A secret for an authenticator and its address for a QR code. Nothing is asked for until
        it is confirmed; proposed again, the one before is void.

        Raises:
            MemoError: `conflict` when two-factor is on.
        """
        secret = pyotp.random_base32()
        if not await self._factors.propose(
            user_id, self._vault.seal(secret.encode(), _bound(user_id))
        ):
            raise _is_on()
        return secret, pyotp.TOTP(secret).provisioning_uri(name=email, issuer_name=ISSUER)

    async def confirm(self, user_id: UUID, code: str) -> list[str]:
        """Ask for codes from now on. Returns the recovery codes, which are shown this once.

        Raises:
            MemoError: `conflict` when two-factor is on, or none was proposed;
                `invalid_credentials` naming `code`; `rate_limited`.
        """
        factor = await self._factors.of(user_id)
        if factor is None:
            raise MemoError(ErrorCode.CONFLICT, "Call account.enableTwoFactor first.")
        if factor.confirmed:
            raise _is_on()
        await self._guesses.count(user_id, "code")
        step = self._matching_step(self._open(user_id, factor.secret), code)
        if step is None:
            raise _wrong_code()
        codes = [_recovery_code() for _ in range(RECOVERY_CODES)]
        hashes = [_digest(user_id, each) for each in codes]
        if not await self._factors.confirm(user_id, factor.secret, step, hashes):
            raise MemoError(
                ErrorCode.CONFLICT, "Another secret was proposed meanwhile; take its code."
            )
        await self._guesses.right(user_id, "code")
        return codes

    async def remove(self, user_id: UUID) -> bool:
        """Ask for no codes any more. False when none were asked for."""
        return await self._factors.remove(user_id)

    async def _use(self, user_id: UUID, sealed: bytes, code: str) -> bool:
        if len(_plain(code)) != 6:
            return await self._factors.use_recovery_code(user_id, _digest(user_id, code))
        secret = self._open(user_id, sealed)
        step = self._matching_step(secret, code)
        if step is None or not await self._factors.use_step(user_id, step):
            return False
        if self._vault.outdated(sealed):
            renewed = self._vault.seal(secret.encode(), _bound(user_id))
            await self._factors.reseal(user_id, sealed, renewed)
        return True

    def _matching_step(self, secret: str, code: str) -> int | None:
        """The time step, of the few around now, whose code this is."""
        totp = pyotp.TOTP(secret)
        now = int(self._clock()) // STEP_SECONDS
        given = _plain(code).encode()
        found = None
        for step in range(now - DRIFT_STEPS, now + DRIFT_STEPS + 1):
            if hmac.compare_digest(totp.generate_otp(step).encode(), given):
                found = step
        return found

    def _open(self, user_id: UUID, sealed: bytes) -> str:
        try:
            return self._vault.open(sealed, _bound(user_id)).decode()
        except VaultError as error:
            log.error("two_factor.unreadable", reason=str(error))  # noqa: TRY400 (one line)
            raise MemoError(
                ErrorCode.INTERNAL,
                "The server cannot check codes right now; a recovery code works.",
            ) from None


def _bound(user_id: UUID) -> bytes:
    return b"two-factor:" + user_id.bytes


def _recovery_code() -> str:
    text = base64.b32encode(secrets.token_bytes(_RECOVERY_BYTES)).decode().lower()
    return "-".join(text[start : start + 4] for start in range(0, len(text), 4))


def _plain(code: str) -> str:
    """A code without what people put between its characters."""
    return "".join(code.split()).replace("-", "").lower()


def _digest(user_id: UUID, code: str) -> bytes:
    # 80 random bits need no stretching; with the account in it, equal codes are not seen to be.
    return hashlib.sha256(user_id.bytes + _plain(code).encode()).digest()


def _wrong_code() -> MemoError:
    return MemoError(
        ErrorCode.INVALID_CREDENTIALS,
        "The code is wrong, or was used before.",
        details={"code": "is wrong, or was used before; wait for the next one"},
    )


def _is_on() -> MemoError:
    return MemoError(ErrorCode.CONFLICT, "Two-factor is on already; turn it off first.")
