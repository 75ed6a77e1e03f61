"""The composition root: builds every part, hands each what it needs, starts and stops them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import structlog
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from protocol.errors import ErrorCode, MemoError
from server import console, limits, links, reference, rest, security
from server.admin import Admin
from server.auth import Auth, normalize_email
from server.bindings import dispatcher
from server.config import Features, Settings
from server.connection import Connection, Lobby
from server.database import address, pooled
from server.documents import Documents
from server.files.parts import Filing
from server.health import Health
from server.identity.deletion import Deletion
from server.identity.parts import Door
from server.identity.places import Places
from server.identity.profile import Profile
from server.identity.providers import providers
from server.identity.sessions import Sessions
from server.identity.vault import Vault
from server.keyring import Keyring
from server.limits import Limiter, Lockout
from server.mail.transport import transport
from server.metrics import HTTPMetrics, Metrics
from server.observer import MetricsObserver
from server.passwords import Passwords
from server.proxies import Proxies
from server.roster import Roster
from server.takeout.parts import Takeout
from server.tokens import Tokens, read_key
from server.websocket import Endpoint, Sockets, Visit, WebSocket
from server.yjs import Porch, YjsConnection
from storage import feed as feed_rows
from storage.accounts import Accounts
from storage.categories import CategoryRows
from storage.claim import Claim
from storage.commit import CommitConnection
from storage.counters import LocalCounters, SharedCounters
from storage.departures import Departures
from storage.history import HistoryRows
from storage.installation import Installation
from storage.invitations import Invitations
from storage.keys import SigningKey, SigningKeys
from storage.memberships import Memberships
from storage.memories import MemoryRows
from storage.messages import MessageRows
from storage.postgres import migrate
from storage.profiles import Profiles
from storage.redis import RedisBroker
from storage.search import SearchRows
from storage.sessions import SessionRows
from storage.texts import TextRows
from storage.trash import TrashRows
from storage.updates import UpdateLog
from storage.versions import VersionRows
from sync.access import Access
from sync.broker import LocalBroker
from sync.bulk import Bulk
from sync.categories import Categories
from sync.compaction import Compactor
from sync.feed import Feed, Notices
from sync.history import History
from sync.hub import Hub
from sync.indexing import Indexer
from sync.interfaces import Broker
from sync.memories import Memories
from sync.messages import Messages
from sync.projection import Projector
from sync.search import Search
from sync.sharing import Sharing
from sync.tasks import Tasks
from sync.trash import Trash
from sync.versions import Versions
from sync.watch import Watch
from sync.worker import WorkerPool

CONSOLE = Path(__file__).parent / "web" / "dist"
KEPT_CONNECTIONS = 4  # what a node at rest needs at once
READERS_NICENESS = 10
COMMIT_CONNECTIONS = 5  # the common commit, and those that go alone beside it

logger = structlog.get_logger("server")


class App:
    """One node. Use as `async with App.running(settings) as app`."""

    def __init__(self, asgi: ASGIApp, auth: Auth) -> None:
        self.asgi = asgi
        self.auth = auth

    @classmethod
    @asynccontextmanager
    async def running(  # noqa: PLR0915 (the one place where all parts meet)
        cls, settings: Settings
    ) -> AsyncIterator["App"]:
        """A node whose parts all run, and stop in the reverse order of their start.

        Raises:
            DatabaseUnavailable, SchemaError: the database cannot be used.
            ConfigError: a setting cannot be used.
        """
        # First of all: a key that cannot be used should not leave a new database behind.
        given_key = read_key(settings.jwt_private_key) if settings.jwt_private_key else None
        given_providers = providers(settings)
        async with AsyncExitStack() as stack:
            url = await stack.enter_async_context(address(settings))
            pool = await stack.enter_async_context(pooled(url, kept=KEPT_CONNECTIONS))
            # However many lists wait for a connection, no edit waits behind them.
            commits = await stack.enter_async_context(pooled(url, size=COMMIT_CONNECTIONS))
            claim = await stack.enter_async_context(
                Claim.held(url, shared=settings.redis_url is not None)
            )
            await migrate(pool)

            tasks = Tasks(lambda error: logger.error("a task failed", exc_info=error))
            workers = WorkerPool()
            stack.callback(workers.close)
            # What only reads a document has its own, which leave the processors to writes.
            readers = WorkerPool(niceness=READERS_NICENESS)
            stack.callback(readers.close)
            metrics = Metrics()
            observer = MetricsObserver(metrics)
            broker = await stack.enter_async_context(_broker(settings))

            vault = Vault(settings.encryption_keys)
            if not vault.encrypts:
                logger.info("ENCRYPTION_KEY is not set: secrets at rest are not encrypted")
            passwords = Passwords()
            stack.callback(passwords.close)
            tokens = await _tokens(given_key, Keyring(SigningKeys(pool), vault), settings.features)
            limiter = await stack.enter_async_context(_limiter(settings, metrics))
            notices = Notices(broker)

            accounts = Accounts(pool)
            http = await stack.enter_async_context(httpx.AsyncClient())
            auth, identity, post, confirmation = Door.built(
                settings,
                pool=pool,
                accounts=accounts,
                tokens=tokens,
                passwords=passwords,
                vault=vault,
                known=given_providers(http),
                transport=transport(settings, http),
                metrics=metrics,
                notices=notices,
            )
            memory_rows = MemoryRows(pool, settings.trash_retention_seconds)
            feed = feed_rows.Feed(pool)
            kept = await stack.enter_async_context(CommitConnection(commits))
            log = UpdateLog(pool, memory_rows, commits, kept)
            projector = Projector(
                log, memory_rows, workers, notices, observer=observer, tasks=tasks
            )
            indexer = Indexer(log, TextRows(pool), workers, observer=observer, tasks=tasks)
            compactor = Compactor(log, workers, observer, tasks, settings.update_retention_seconds)
            versions = Versions(
                log,
                VersionRows(pool),
                workers,
                observer=observer,
                tasks=tasks,
                retention_seconds=settings.history_retention_seconds,
            )
            hub = Hub(
                log,
                broker,
                workers,
                observer,
                tasks,
                on_commit=(projector.committed, compactor.committed, versions.committed),
                on_close=(compactor.let_go, versions.let_go),
            )
            history = History(
                HistoryRows(pool),
                versions,
                memory_rows,
                hub,
                projector,
                workers=workers,
                readers=readers,
                notices=notices,
            )
            access = Access(hub, log, broker, observer)
            stack.callback(access.stop)
            sharing = Sharing(
                Memberships(pool),
                Invitations(pool, verified_only=settings.sends_mail),
                memory_rows,
                access,
                notices,
                observer=observer,
                url=settings.url,
                normalize=normalize_email,
                mailer=post,
            )
            memories = Memories(memory_rows, hub, projector, workers, notices, privacy=sharing)
            trash = Trash(
                TrashRows(pool),
                memory_rows,
                hub,
                projector,
                notices,
                tombstones=feed,
                observer=observer,
                tasks=tasks,
                retention_seconds=settings.trash_retention_seconds,
                tombstone_seconds=feed_rows.TOMBSTONE_SECONDS,
            )

            store = await stack.enter_async_context(
                Filing.opened(settings, pool, auth, tokens, notices=notices, metrics=metrics)
            )

            takeout = await stack.enter_async_context(
                Takeout.opened(
                    pool,
                    memory_rows,
                    store,
                    project=projector.project,
                    auth=auth,
                    notices=notices,
                    metrics=metrics,
                )
            )

            roster = Roster(broker, accounts, feed)
            checks = [roster.check_news, roster.check_sessions, access.check]
            watch = Watch(hub, log, broker, observer, checks)
            lobby = Lobby(
                auth, limiter, feed, roster, metrics=metrics, version=version("memory-app")
            )
            porch = Porch(auth, limiter, hub, readers, roster=roster, metrics=metrics)
            lobby.dispatcher = dispatcher(
                metrics,
                limiter,
                documents=Documents(hub, log, tokens),
                memories=memories,
                search=Search(SearchRows(pool, memory_rows)),
                messages=Messages(
                    MessageRows(pool),
                    log,
                    hub=hub,
                    projector=projector,
                    workers=workers,
                    notices=notices,
                ),
                history=history,
                trash=trash,
                bulk=Bulk(memory_rows, trash, notices),
                categories=Categories(CategoryRows(pool), notices),
                sharing=sharing,
                feed=Feed(feed),
                files=store.files,
                sessions=Sessions(
                    auth, SessionRows(pool), Places(settings.geoip_database), notices.session_ended
                ),
                profile=Profile(accounts, Profiles(pool), notices),
                admin=Admin(accounts, Installation(pool), notices.session_ended),
                identity=identity,
                exports=takeout.exports,
                imports=takeout.imports,
                deletion=Deletion(
                    Departures(pool),
                    confirmation,
                    hub=hub,
                    notices=notices,
                    tasks=tasks,
                    end=notices.session_ended,
                ),
            )
            sockets = Sockets(_route(lobby, porch), Proxies(settings.trusted_proxies))
            _watch(metrics, broker, hub, sockets)

            await _warm_up(log, accounts, feed)
            stack.push_async_callback(tasks.cancel)
            stack.push_async_callback(lambda: compactor.finish(hub.rooms.values()))
            hub.start()
            stack.push_async_callback(hub.stop)
            for part in (projector, indexer, compactor, trash, versions):
                part.start()
            for lasting in (sockets, roster, access, watch, post):
                tasks.start(lasting.run())
            await claim.follow(roster.hear)

            routes: list[BaseRoute] = [
                *rest.routes(auth, tokens, Lockout(limiter, accounts.familiar)),
                *store.routes,
                *takeout.routes,
                *identity.routes(),
                *Health(pool, broker).routes(),
                *metrics.routes(),
                *reference.routes(),
                # The console's pages come first, where it is built.
                *console.routes(CONSOLE),
                *links.routes(),
                Route("/ws", _upgrade_required),
                Route("/yjs/{memory_id}", _upgrade_required),
            ]
            guarded = limits.guarded(routes, limiter, tokens)
            yield cls(_asgi(settings, metrics, sockets, guarded), auth)


def _watch(metrics: Metrics, broker: Broker, hub: Hub, sockets: Sockets) -> None:
    """Have the gauges read what they show when they are asked for it."""
    metrics.broker_up.set_function(lambda: broker.up)
    metrics.broker_dropped.set_function(lambda: broker.dropped)
    metrics.rooms.set_function(lambda: len(hub.rooms))
    metrics.subscriptions.set_function(lambda: hub.subscriptions)
    metrics.outbox_bytes.set_function(lambda: sockets.outbox_bytes)


def _route(lobby: Lobby, porch: Porch) -> Callable[[WebSocket, Visit], Endpoint | None]:
    """What speaks at which path."""

    def route(socket: WebSocket, visit: Visit) -> Endpoint | None:
        if visit.path == "/ws":
            return Connection(socket, visit, lobby)
        prefix, _, name = visit.path.rpartition("/")
        if prefix == "/yjs":
            try:
                return YjsConnection(socket, visit, UUID(name), porch)
            except ValueError:
                return None
        return None

    return route


def _asgi(
    settings: Settings, metrics: Metrics, sockets: Sockets, routes: Sequence[BaseRoute]
) -> ASGIApp:
    """REST and pages; the WebSockets are handed to uvicorn beside it, and find their `sockets`
    in the lifespan's state."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[Mapping[str, Any]]:
        yield {"sockets": sockets}

    middleware = [
        Middleware(HTTPMetrics, metrics=metrics),
        *security.cross_origin(settings),
    ]
    app = Starlette(
        routes=routes,
        middleware=middleware,
        exception_handlers=rest.exception_handlers(),
        lifespan=lifespan,
    )
    # It would redirect to whatever host the request names.
    app.router.redirect_slashes = False
    # Around all of it: what fails is answered further out than any middleware of Starlette's.
    return security.SecurityHeaders(app, settings)


async def _upgrade_required(request: Request) -> Response:
    """What a plain request meets where a WebSocket is spoken."""
    spoken = "memo.v1" if request.url.path == "/ws" else "y-websocket's protocol"
    return rest.error_response(
        MemoError(
            ErrorCode.INVALID_REQUEST, f"{request.url.path} is a WebSocket that speaks {spoken}."
        ),
        status=426,
        headers={"Upgrade": "websocket", "Connection": "Upgrade"},
    )


@asynccontextmanager
async def _broker(settings: Settings) -> AsyncIterator[Broker]:
    if settings.redis_url is None:
        yield LocalBroker()
        return
    async with RedisBroker.connected(settings.redis_url) as broker:
        yield broker


@asynccontextmanager
async def _limiter(settings: Settings, metrics: Metrics) -> AsyncIterator[Limiter]:
    if settings.redis_url is None:
        yield Limiter.of(settings, LocalCounters(), metrics)
        return
    async with SharedCounters.connected(settings.redis_url) as counters:
        yield Limiter.of(settings, counters, metrics)


async def _warm_up(log: UpdateLog, accounts: Accounts, feed: feed_rows.Feed) -> None:
    """Have the connections that are kept learn what a hello and an opening ask, so that the first
    device does not wait for it."""
    nobody = uuid4()

    async def ask() -> None:
        await accounts.standing(nobody)
        await feed.cursor()
        await log.role(nobody, nobody)
        await log.standing(nobody)
        await log.content(nobody, 0)

    await asyncio.gather(*(ask() for _ in range(KEPT_CONNECTIONS)))


async def _tokens(given: SigningKey | None, keyring: Keyring, features: Features) -> Tokens:
    if given is not None:
        return Tokens([given], features=features)
    return Tokens(await keyring.ensure(), keyring.current, features=features)
