"""`memo doctor`: what the server needs, each thing found well or with what to do about it."""

import errno
import shutil
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import httpx

from protocol.errors import MemoError
from server import app, serving
from server.config import ConfigError, Settings
from server.database import opened
from server.identity.places import Places
from server.identity.providers import providers
from server.mail.transport import reachable
from server.tokens import read_key
from storage.keys import SigningKeys
from storage.postgres import DatabaseUnavailable, SchemaError, pending_migrations
from storage.redis import RedisBroker, RedisUnusable, place

FREE_BYTES = 1024**3


class Finding(NamedTuple):
    """What was found about `subject`; when not `ok`, `text` says what to do."""

    subject: str
    ok: bool
    text: str


async def examine(settings: Settings) -> AsyncIterator[Finding]:
    """Look at everything, one finding each. Changes nothing but to make DATA_DIR."""
    yield Finding("Python", True, sys.version.split()[0])
    yield _data_directory(settings.data_directory)
    yield await _port(settings)
    async for finding in _database(settings):
        yield finding
    if settings.redis_url is not None:
        yield await _redis(settings.redis_url)
    if settings.jwt_private_key is not None:
        yield _signing_key(settings.jwt_private_key)
    if settings.geoip_database is not None:
        yield _places(settings.geoip_database)
    yield _encryption(settings)
    yield await _mail(settings)
    yield await _providers(settings)
    yield _console(app.CONSOLE)


def _data_directory(directory: Path) -> Finding:
    subject = f"DATA_DIR {directory}"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
        free = shutil.disk_usage(directory).free
    except OSError as error:
        return Finding(subject, False, f"{error.strerror}; make it writable, or set another one")
    if free < FREE_BYTES:
        return Finding(subject, False, f"{free / 1024**2:.0f} MB are free; make room for 1 GB")
    return Finding(subject, True, f"writable, {free / 1024**3:.0f} GB free")


async def _port(settings: Settings) -> Finding:
    subject = f"PORT {settings.port}"
    try:
        serving.listen(settings.host, settings.port).close()
    except socket.gaierror:
        return Finding(subject, False, f"HOST {settings.host} is no address that is known")
    except OSError as error:
        if await is_served(settings.url_at(settings.port)):
            return Finding(subject, True, "this server is running there")
        return Finding(subject, False, cannot_listen(settings, error))
    return Finding(subject, True, "free")


def cannot_listen(settings: Settings, error: OSError) -> str:
    """Why the server cannot listen on HOST and PORT, and what to do about it."""
    match error.errno:
        case errno.EADDRINUSE:
            return (
                f"PORT {settings.port} on {settings.host} is in use; stop what runs there, "
                "or set another PORT"
            )
        case errno.EACCES:
            return f"PORT {settings.port} needs rights you lack; set PORT to 1024 or more"
        case errno.EADDRNOTAVAIL:
            return f"HOST {settings.host} is not an address of this machine; set another HOST"
        case _:
            return f"cannot listen on {settings.host}, port {settings.port}: {error.strerror}"


async def is_served(url: str) -> bool:
    """Whether a server like this one answers at `url`."""
    try:
        async with httpx.AsyncClient(timeout=5) as client:
            body = (await client.get(f"{url}/ready")).json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError):
        return False
    return isinstance(body, dict) and body.get("status") == "ready"


async def _database(settings: Settings) -> AsyncIterator[Finding]:
    if settings.database_url is None and not (settings.data_directory / "postgres").exists():
        yield Finding("database", True, "an embedded PostgreSQL is made at the first start")
        return
    try:
        async with opened(settings, beside_server=True, wait=1) as pool:
            server = await pool.fetchval("SHOW server_version")
            pending = await pending_migrations(pool)
            text = f"PostgreSQL {server}, "
            if pending:
                text += f"the next start applies {', '.join(pending)}"
            else:
                text += "its schema is up to date"
            yield Finding("database", True, text)
            if settings.jwt_private_key is None and not pending:
                keys = len(await SigningKeys(pool).current())
                text = f"{keys} in the database" if keys else "made at the first start"
                yield Finding("signing keys", True, text)
    except (DatabaseUnavailable, SchemaError) as error:
        yield Finding("database", False, str(error))


async def _redis(url: str) -> Finding:
    subject = f"Redis at {place(url)}"
    try:
        async with RedisBroker.connected(url) as broker:
            if broker.up:
                return Finding(subject, True, "answers")
    except RedisUnusable as error:
        return Finding(subject, False, str(error))
    return Finding(
        subject,
        False,
        "cannot be reached; start it, or correct REDIS_URL (until then nodes learn of each "
        "other by polling the database)",
    )


def _signing_key(value: str) -> Finding:
    try:
        read_key(value)
    except ConfigError as error:
        return Finding("signing key", False, str(error))
    return Finding("signing key", True, "the one of JWT_PRIVATE_KEY")


def _places(file: Path) -> Finding:
    try:
        Places(file)
    except ConfigError as error:
        return Finding("places", False, str(error))
    return Finding("places", True, f"addresses are looked up in {file}")


def _encryption(settings: Settings) -> Finding:
    if settings.encryption_keys:
        return Finding("encryption", True, "secrets at rest are encrypted by ENCRYPTION_KEY")
    return Finding(
        "encryption",
        True,
        "ENCRYPTION_KEY is not set: signing keys and secrets of two-factor are kept as they are",
    )


async def _mail(settings: Settings) -> Finding:
    if settings.smtp_url is not None:
        problem = await reachable(settings.smtp_url)
        found = problem or "SMTP_URL answers"
        return Finding("mail", problem is None, found)
    if settings.sendgrid_api_key is not None:
        return Finding("mail", True, "through SendGrid")
    return Finding("mail", True, "SMTP_URL is not set: messages are written to the server's log")


async def _providers(settings: Settings) -> Finding:
    try:
        make = providers(settings)
    except ConfigError as error:
        return Finding("sign-in providers", False, str(error))
    async with httpx.AsyncClient() as http:
        found = make(http)
        for provider in found.values():
            try:
                await provider.discover()
            except MemoError as error:
                return Finding("sign-in providers", False, error.message)
    return Finding("sign-in providers", True, ", ".join(found) or "none is set up")


def _console(directory: Path) -> Finding:
    if (directory / "index.html").is_file():
        return Finding("web console", True, "built")
    return Finding("web console", False, "not built; install Node.js 20 or later and run: make run")
