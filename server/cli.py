"""The command `memo`: serve, and look after an installation."""

import argparse
import asyncio
import getpass
import os
import secrets
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import uvloop

from protocol.accounts import Register, User
from protocol.errors import MemoError
from server import backups, demo, doctor, logs, serving
from server.auth import Auth
from server.config import ConfigError, Settings
from server.database import opened
from server.identity.vault import Vault
from server.keyring import Keyring
from server.passwords import Passwords
from server.processes import supervisor, worker
from server.processes.listeners import Listeners
from server.processes.supervisor import WorkersFailed
from server.takeout import command as takeout
from server.tokens import DOCUMENT_SECONDS, Tokens
from storage.accounts import Accounts
from storage.archive import BackupError
from storage.keys import SigningKeys
from storage.postgres import DatabaseUnavailable, SchemaError, migrate
from storage.redis import RedisUnusable
from storage.twofactor import SecondFactors
from storage.verification import EmailTokens

USAGE = 2  # the exit code for what was asked wrongly, the environment included
FAILURE = 1
WORKER = "worker"
INTERRUPTED = 130

T = TypeVar("T")
Command = Callable[[Settings, argparse.Namespace], Coroutine[Any, Any, int]]


class CommandError(Exception):
    """The command cannot go on; the message is one line for whoever called it."""


_FAILURES = (
    BackupError,
    CommandError,
    DatabaseUnavailable,
    RedisUnusable,
    SchemaError,
    WorkersFailed,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `memo` with `arguments` (those of the process); returns the exit code.

    What an operator can mend is one line on standard error, never a traceback.
    """
    given = sys.argv[1:] if arguments is None else arguments
    # A worker is for the supervisor alone, and no command of the list.
    parser = _worker_parser() if list(given[:1]) == [WORKER] else _parser()
    options = parser.parse_args(given)
    command: Command = options.command
    try:
        settings = Settings.read(os.environ)
        # A command's output is its answer; only a server tells what it does meanwhile.
        serves = command in (_serve, _worker)
        logs.set_up(settings.log_level if serves else "warning", settings.log_format)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(command(settings, options))
    except ConfigError as error:
        return _complain(error, USAGE)
    except MemoError as error:
        return _complain(_reason(error), FAILURE)
    except _FAILURES as error:
        return _complain(error, FAILURE)
    except KeyboardInterrupt:
        return INTERRUPTED


def _reason(error: MemoError) -> str:
    """The message, unless what is said of the fields says more."""
    problems = [f"{field}: {problem}" for field, problem in (error.details or {}).items()]
    if len(problems) > 1 or (problems and error.message == error.code.meaning):
        return "; ".join(problems)
    return error.message


def _complain(error: Exception | str, code: int) -> int:
    print(f"memo: {error}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="memo",
        description="A realtime sync server for a personal memory app.",
        epilog="Settings are environment variables: see docs/operations.md.",
    )
    parser.add_argument("--version", action="version", version=f"memo {version('memory-app')}")
    parser.set_defaults(command=_serve)
    commands = parser.add_subparsers(metavar="command", title="commands")

    def add(name: str, command: Command, summary: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=summary, description=summary)
        made.set_defaults(command=command)
        return made

    add("serve", _serve, "Serve until Ctrl-C (this is what happens without a command).")
    add("migrate", _migrate, "Bring the database's schema up to date.")
    add("doctor", _doctor, "Check what the server needs, and say what to do about what it lacks.")
    add("demo", _demo, f"Make the account {demo.EMAIL} and fill it with memories to look at.")
    backups.add_commands(add)
    takeout.add_commands(add)
    _add_user_commands(commands.add_parser("user", help="Look after accounts."))
    summary = "Sign tokens with a new key from now on."
    rotate = add("rotate-keys", _rotate_keys, summary)
    rotate.add_argument(
        "--leaked", action="store_true", help="believe no token that another key has signed"
    )
    return parser


def _worker_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="memo", description="One process of several.")
    parser.add_argument(WORKER, choices=(WORKER,))
    parser.set_defaults(command=_worker)
    worker.Seat.add_arguments(parser)
    return parser


def called(program: str) -> str:
    """How to call this command again, as whoever calls it now did: `program` is what was called."""
    path = Path(program)
    if path.name == "__main__.py":
        return f"{sys.executable} -m {path.parent.name}"
    found = shutil.which(path.name)
    return path.name if found and path.exists() and path.samefile(found) else program


def _add_user_commands(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(metavar="command", title="commands", required=True)
    create = commands.add_parser(
        "create",
        help="Make an account.",
        description="Make an account. The password is asked for, or read from standard input.",
    )
    create.set_defaults(command=_create_user)
    create.add_argument("email")
    create.add_argument("--first-name", required=True)
    create.add_argument("--last-name", required=True)
    create.add_argument("--username")
    create.add_argument("--role", choices=("user", "premium", "admin"), default="user")
    create.add_argument(
        "--random-password", action="store_true", help="make a password and print it"
    )
    commands.add_parser("list", help="List the accounts.").set_defaults(command=_list_users)
    for name, command, summary in (
        ("disable", _disable_user, "Close an account to its owner, and end its sessions."),
        ("enable", _enable_user, "Open an account again."),
        (
            "two-factor-off",
            _turn_two_factor_off,
            "Have an account ask for no codes any more, whose owner has lost theirs.",
        ),
    ):
        made = commands.add_parser(name, help=summary, description=summary)
        made.set_defaults(command=command)
        made.add_argument("email")
    role = commands.add_parser(
        "role", help="Give an account another role.", description="Give an account another role."
    )
    role.set_defaults(command=_set_role)
    role.add_argument("email")
    role.add_argument("role", choices=("user", "premium", "admin"))


# Serving.


async def _serve(settings: Settings, _: argparse.Namespace) -> int:
    def ready(port: int) -> None:
        print(banner(settings, port), flush=True)

    if settings.workers == 1:
        await serving.serve(settings, listener=_listening(settings, serving.listen), ready=ready)
        return 0
    with _listening(settings, partial(Listeners, count=settings.workers)) as listeners:
        await supervisor.serve(settings, os.environ, listeners, ready=ready)
    return 0


async def _worker(settings: Settings, options: argparse.Namespace) -> int:
    seat = worker.Seat.of(options)
    link = worker.Link(seat.link)
    try:
        await worker.serve(settings, seat, link)
    except (ConfigError, *_FAILURES) as error:
        # The supervisor says it, once for all workers.
        link.tell(str(error).encode())
        return USAGE if isinstance(error, ConfigError) else FAILURE
    return 0


def banner(settings: Settings, port: int) -> str:
    """What someone who has just started the server wants to know."""
    if settings.database_url is None:
        data = f"{settings.data_directory.absolute()} (with an embedded PostgreSQL)"
    else:
        data = "the database of DATABASE_URL"
    return (
        f"\nMemory App {version('memory-app')} is running.\n\n"
        f"  Open   {settings.url_at(port)}\n"
        f"  Data   {data}\n"
        f"  Stop   Ctrl-C\n"
    )


def _listening(settings: Settings, listen: Callable[[str, int], T]) -> T:
    try:
        return listen(settings.host, settings.port)
    except socket.gaierror:
        raise ConfigError(f"HOST is {settings.host!r}, which is no address that is known") from None
    except OSError as error:
        raise CommandError(doctor.cannot_listen(settings, error)) from None


async def _migrate(settings: Settings, _: argparse.Namespace) -> int:
    async with opened(settings, beside_server=True) as pool:
        applied = await migrate(pool)
    for name in applied:
        print(f"applied {name}")
    if not applied:
        print("the schema is up to date")
    return 0


async def _doctor(settings: Settings, _: argparse.Namespace) -> int:
    healthy = True
    async for finding in doctor.examine(settings):
        print(f"{'ok     ' if finding.ok else 'PROBLEM'}  {finding.subject}: {finding.text}")
        healthy = healthy and finding.ok
    return 0 if healthy else FAILURE


async def _rotate_keys(settings: Settings, options: argparse.Namespace) -> int:
    if settings.jwt_private_key:
        raise CommandError("JWT_PRIVATE_KEY signs tokens; put another key there and restart")
    keep = timedelta() if options.leaked else timedelta(seconds=DOCUMENT_SECONDS)
    async with opened(settings, beside_server=True) as pool:
        await migrate(pool)
        keyring = Keyring(SigningKeys(pool), Vault(settings.encryption_keys))
        known = await keyring.rotate(keep)
    print("a new key signs from now on, on every node within a minute")
    older = "no other key" if known == 1 else f"older keys ({known - 1})"
    print(f"{older} will do for tokens that were signed before")
    return 0


# Accounts.


class _Desk(NamedTuple):
    """What the commands about accounts work with."""

    auth: Auth
    accounts: Accounts
    passwords: Passwords


@asynccontextmanager
async def _desk(settings: Settings) -> AsyncIterator[_Desk]:
    async with opened(settings, beside_server=True) as pool:
        await migrate(pool)
        passwords = Passwords()
        try:
            keyring = Keyring(SigningKeys(pool), Vault(settings.encryption_keys))
            tokens = Tokens(await keyring.ensure())
            accounts = Accounts(pool)
            yield _Desk(Auth(accounts, tokens, passwords, _nobody_to_tell), accounts, passwords)
        finally:
            passwords.close()


async def _nobody_to_tell(_: UUID) -> None:
    """The connections of an ended session are another process's; see `_disable_user`."""


async def _create_user(settings: Settings, options: argparse.Namespace) -> int:
    password = random_password() if options.random_password else _ask_password()
    request = Register(
        email=options.email,
        password=password,
        first_name=options.first_name,
        last_name=options.last_name,
        username=options.username,
    )
    async with _desk(settings) as desk:
        user = await desk.auth.create_user(request, role=options.role)
    print(f"made the account {user.email} ({user.id})")
    if options.random_password:
        print(f"its password is {password}")
    return 0


def random_password() -> str:
    """A password that nobody guesses, with a character of every kind that is asked for."""
    return f"{secrets.token_urlsafe(12)}-aA1!"


def _ask_password() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    try:
        password = getpass.getpass("Password: ")
        if password != getpass.getpass("Again: "):
            raise CommandError("the two passwords differ; nothing was done")
    except EOFError:
        raise CommandError("no password was given; nothing was done") from None
    return password


async def _list_users(settings: Settings, _: argparse.Namespace) -> int:
    async with _desk(settings) as desk:
        users = await desk.auth.list_users()
    for user in users:
        print(_line(user))
    if not users:
        print(f"there are no accounts; make one with: {called(sys.argv[0])} user create")
    return 0


def _line(user: User) -> str:
    name = f"{user.first_name or ''} {user.last_name or ''}".strip()
    state = "" if user.is_active else "  disabled"
    return f"{user.id}  {user.created_at[:10]}  {user.role:7}  {user.email}  {name}{state}"


async def _disable_user(settings: Settings, options: argparse.Namespace) -> int:
    async with _desk(settings) as desk:
        user = await desk.auth.disable_user(options.email)
    print(f"disabled {user.email}")
    print("what is connected now is cut off at once")
    return 0


async def _enable_user(settings: Settings, options: argparse.Namespace) -> int:
    async with _desk(settings) as desk:
        user = await desk.auth.enable_user(options.email)
    print(f"enabled {user.email}")
    return 0


async def _set_role(settings: Settings, options: argparse.Namespace) -> int:
    async with _desk(settings) as desk:
        user = await desk.auth.set_role(options.email, options.role)
    print(f"{user.email} is now: {user.role}")
    return 0


async def _turn_two_factor_off(settings: Settings, options: argparse.Namespace) -> int:
    async with opened(settings, beside_server=True) as pool:
        await migrate(pool)
        account = await EmailTokens(pool).recipient(options.email)
        if account is None:
            raise CommandError("there is no active account with this e-mail address")
        removed = await SecondFactors(pool).remove(account.user_id)
    print(f"two-factor of {account.email} {'is off now' if removed else 'was off already'}")
    return 0


# The demo.


async def _demo(settings: Settings, _: argparse.Namespace) -> int:
    password = random_password()
    async with _desk(settings) as desk:
        await demo.ensure_account(desk.auth, desk.accounts, desk.passwords, password)
    served = await doctor.is_served(settings.url)
    if served:
        made = await demo.fill(settings.url, password)
    else:
        async with _served_for_a_moment(settings) as url:
            made = await demo.fill(url, password)
    print(f"{demo.EMAIL} has {made} memories to look at.\n")
    if not served:
        print(f"  Start     {called(sys.argv[0])} serve")
    print(f"  Open      {settings.url}")
    print(f"  E-mail    {demo.EMAIL}")
    print(f"  Password  {password}")
    return 0


@asynccontextmanager
async def _served_for_a_moment(settings: Settings) -> AsyncIterator[str]:
    """The address of a server of our own, on a free port of this machine."""
    listener = serving.listen("127.0.0.1", 0)
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(serving.serve(settings, listener=listener, ready=port.set_result))
    try:
        await asyncio.wait((task, port), timeout=60, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        if not port.done():
            raise CommandError("the server was not ready within 60 s")
        yield f"http://127.0.0.1:{port.result()}"
    finally:
        if port.done() and not task.done():
            signal.raise_signal(signal.SIGTERM)  # which it takes as it would an operator's
        else:
            task.cancel()
        await asyncio.wait([task])
