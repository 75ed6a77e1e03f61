"""The composition root: builds every part, hands each what it needs, starts and stops them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import asyncpg
import httpx
import structlog
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from protocol import operations
from protocol.errors import ErrorCode, MemoError
from protocol.identity import Provider
from protocol.operations import OPERATIONS
from server import console, limits, links, reference, rest, security
from server.admin import Admin
from server.auth import Auth, normalize_email
from server.config import Features, Settings
from server.connection import Connection, ConnectionCall, Lobby
from server.database import address, pooled
from server.dispatch import Binding, Dispatcher
from server.documents import Documents
from server.files import parts as filing
from server.files.operations import Files
from server.health import Health
from server.identity.calls import Identity
from server.identity.deletion import Confirmation, Deletion
from server.identity.guard import Guard
from server.identity.oauth import OAuth
from server.identity.openid import OpenIdProvider
from server.identity.places import Places
from server.identity.profile import Profile
from server.identity.providers import providers, site
from server.identity.sessions import Sessions
from server.identity.twofactor import TwoFactor
from server.identity.vault import Vault
from server.identity.verification import Verification
from server.limits import Limiter, Lockout
from server.mail.post import Post
from server.mail.transport import Transport, transport
from server.metrics import HTTPMetrics, Metrics
from server.observer import MetricsObserver
from server.passwords import Passwords
from server.proxies import Proxies
from server.roster import Roster
from server.takeout.exports import Exports
from server.takeout.imports import Imports
from server.takeout.parts import Takeout
from server.tokens import Tokens, generate_key, read_key
from server.websocket import Endpoint, Sockets, Visit, WebSocket
from server.yjs import Porch, YjsConnection
from storage import feed as feed_rows
from storage.accounts import Accounts
from storage.categories import CategoryRows
from storage.claim import Claim
from storage.commit import CommitConnection
from storage.counters import LocalCounters, SharedCounters
from storage.departures import Departures
from storage.guesses import Guesses
from storage.history import HistoryRows
from storage.identities import Attempts, Identities
from storage.installation import Installation
from storage.invitations import Invitations
from storage.keys import SigningKey, SigningKeys
from storage.mail import OutgoingMail
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
from storage.twofactor import SecondFactors
from storage.updates import UpdateLog
from storage.verification import EmailTokens
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
            metrics = Metrics()
            observer = MetricsObserver(metrics)
            broker = await stack.enter_async_context(_broker(settings))

            passwords = Passwords()
            stack.callback(passwords.close)
            tokens = await _tokens(given_key, SigningKeys(pool), settings.features)
            limiter = await stack.enter_async_context(_limiter(settings, metrics))
            notices = Notices(broker)

            accounts = Accounts(pool)
            http = await stack.enter_async_context(httpx.AsyncClient())
            auth, identity, post, confirmation = _door(
                settings,
                pool=pool,
                accounts=accounts,
                tokens=tokens,
                passwords=passwords,
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
                filing.Filing.opened(settings, pool, auth, tokens, notices=notices, metrics=metrics)
            )

            takeout = await stack.enter_async_context(
                Takeout.opened(
                    pool, memory_rows, store, auth=auth, notices=notices, metrics=metrics
                )
            )

            roster = Roster(broker, accounts, feed)
            checks = [roster.check_news, roster.check_sessions, access.check]
            watch = Watch(hub, log, broker, observer, checks)
            lobby = Lobby(auth, feed, roster, metrics, version("memory-app"))
            porch = Porch(auth, hub, workers, roster, metrics)
            lobby.dispatcher = _dispatcher(
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


def _session_ender(notices: Notices) -> Callable[[UUID], Awaitable[None]]:
    """What tells every node that a session has ended."""

    async def end_session(session_id: UUID) -> None:
        notices.session_ended(session_id)

    return end_session


def _watch(metrics: Metrics, broker: Broker, hub: Hub, sockets: Sockets) -> None:
    """Have the gauges read what they show when they are asked for it."""
    metrics.broker_up.set_function(lambda: broker.up)
    metrics.broker_dropped.set_function(lambda: broker.dropped)
    metrics.rooms.set_function(lambda: len(hub.rooms))
    metrics.subscriptions.set_function(lambda: hub.subscriptions)
    metrics.outbox_bytes.set_function(lambda: sockets.outbox_bytes)


class _Door(NamedTuple):
    """What lets people in."""

    auth: Auth
    identity: Identity
    post: Post
    confirmation: Confirmation


def _door(
    settings: Settings,
    *,
    pool: asyncpg.Pool,
    accounts: Accounts,
    tokens: Tokens,
    passwords: Passwords,
    known: Mapping[Provider, OpenIdProvider],
    transport: Transport,
    metrics: Metrics,
    notices: Notices,
) -> _Door:
    session_ended = _session_ender(notices)
    vault = Vault(settings.encryption_keys)
    if not vault.encrypts:
        logger.info("ENCRYPTION_KEY is not set: secrets of two-factor are kept unencrypted")
    guesses, email_tokens, identities = Guesses(pool), EmailTokens(pool), Identities(pool, accounts)
    guard = Guard(email_tokens, passwords, guesses)
    post = Post(OutgoingMail(pool), email_tokens, vault, transport, metrics, url=settings.url)
    verification = Verification(
        accounts,
        email_tokens,
        passwords=passwords,
        guard=guard,
        post=post,
        session_ended=session_ended,
        account_changed=notices.account_changed,
    )
    two_factor = TwoFactor(SecondFactors(pool), guesses, vault)
    auth = Auth(
        accounts,
        tokens,
        passwords,
        session_ended,
        registered=verification.registered,
        second_factor=two_factor.check,
    )
    oauth = OAuth(
        known,
        site(settings),
        attempts=Attempts(pool),
        identities=identities,
        accounts=accounts,
        auth=auth,
        two_factor=two_factor,
        post=post,
    )
    identity = Identity(
        verification=verification,
        two_factor=two_factor,
        oauth=oauth,
        guard=guard,
        accounts=accounts,
        identities=identities,
        tokens=email_tokens,
        post=post,
    )
    confirmation = Confirmation(
        accounts, email_tokens, guard=guard, two_factor=two_factor, guesses=guesses, post=post
    )
    return _Door(auth, identity, post, confirmation)


def _dispatcher(
    metrics: Metrics,
    limiter: Limiter,
    *,
    documents: Documents,
    memories: Memories,
    search: Search,
    messages: Messages,
    history: History,
    trash: Trash,
    bulk: Bulk,
    categories: Categories,
    sharing: Sharing,
    feed: Feed,
    files: Files,
    sessions: Sessions,
    profile: Profile,
    admin: Admin,
    identity: Identity,
    exports: Exports,
    imports: Imports,
    deletion: Deletion,
) -> Dispatcher[ConnectionCall]:
    """Every operation, bound to the method that carries it out."""
    bindings: tuple[Binding[ConnectionCall, Any, Any], ...] = (
        Binding(operations.DOCUMENTS_OPEN, documents.open),
        Binding(operations.DOCUMENTS_CLOSE, documents.close),
        Binding(operations.DOCUMENTS_TOKEN, documents.token),
        Binding(operations.FEED_CHANGES, feed.changes),
        Binding(operations.MEMORIES_CREATE, memories.create),
        Binding(operations.MEMORIES_GET, memories.get),
        Binding(operations.MEMORIES_LIST, memories.list),
        Binding(operations.MEMORIES_UPDATE, memories.update),
        Binding(operations.MEMORIES_DELETE, memories.delete),
        Binding(operations.SEARCH_QUERY, search.query),
        Binding(operations.FILES_LIST, files.list),
        Binding(operations.FILES_GET, files.get),
        Binding(operations.FILES_UPDATE, files.update),
        Binding(operations.FILES_DELETE, files.delete),
        Binding(operations.FILES_URL, files.url),
        Binding(operations.FILES_USAGE, files.usage),
        Binding(operations.MESSAGES_LIST, messages.list),
        Binding(operations.MESSAGES_CREATE, messages.create),
        Binding(operations.MESSAGES_UPDATE, messages.update),
        Binding(operations.MESSAGES_DELETE, messages.delete),
        Binding(operations.MESSAGES_MARK_READ, messages.mark_read),
        Binding(operations.HISTORY_LIST, history.list),
        Binding(operations.HISTORY_GET, history.get),
        Binding(operations.HISTORY_SAVE, history.save),
        Binding(operations.HISTORY_RENAME, history.rename),
        Binding(operations.HISTORY_DELETE, history.delete),
        Binding(operations.HISTORY_RESTORE, history.restore),
        Binding(operations.HISTORY_BLAME, history.blame),
        Binding(operations.MEMORIES_RESTORE, trash.restore),
        Binding(operations.MEMORIES_PURGE, trash.purge),
        Binding(operations.MEMORIES_BULK, bulk.change),
        Binding(operations.CATEGORIES_LIST, categories.list),
        Binding(operations.CATEGORIES_CREATE, categories.create),
        Binding(operations.CATEGORIES_UPDATE, categories.update),
        Binding(operations.CATEGORIES_REORDER, categories.reorder),
        Binding(operations.CATEGORIES_DELETE, categories.delete),
        Binding(operations.SHARING_MEMBERS, sharing.members),
        Binding(operations.SHARING_INVITE, sharing.invite),
        Binding(operations.SHARING_LINK, sharing.link),
        Binding(operations.SHARING_REVOKE, sharing.revoke),
        Binding(operations.SHARING_INVITATIONS, sharing.invitations),
        Binding(operations.SHARING_ACCEPT, sharing.accept),
        Binding(operations.SHARING_DECLINE, sharing.decline),
        Binding(operations.SHARING_SET_ROLE, sharing.set_role),
        Binding(operations.SHARING_REMOVE, sharing.remove),
        Binding(operations.SHARING_LEAVE, sharing.leave),
        Binding(operations.SHARING_TRANSFER, sharing.transfer),
        Binding(operations.SESSION_RENEW, sessions.renew),
        Binding(operations.ACCOUNT_ME, sessions.me),
        Binding(operations.ACCOUNT_SEND_VERIFICATION, identity.send_verification),
        Binding(operations.ACCOUNT_CHANGE_PASSWORD, identity.change_password),
        Binding(operations.ACCOUNT_CHANGE_EMAIL, identity.change_email),
        Binding(operations.ACCOUNT_ENABLE_TWO_FACTOR, identity.enable_two_factor),
        Binding(operations.ACCOUNT_CONFIRM_TWO_FACTOR, identity.confirm_two_factor),
        Binding(operations.ACCOUNT_DISABLE_TWO_FACTOR, identity.disable_two_factor),
        Binding(operations.ACCOUNT_IDENTITIES, identity.identities),
        Binding(operations.ACCOUNT_LINK, identity.link),
        Binding(operations.ACCOUNT_UNLINK, identity.unlink),
        Binding(operations.ACCOUNT_UPDATE, profile.update),
        Binding(operations.ACCOUNT_SEND_DELETION_CODE, deletion.send_code),
        Binding(operations.ACCOUNT_DELETE, deletion.delete),
        Binding(operations.ACCOUNT_EXPORT, exports.start),
        Binding(operations.ACCOUNT_EXPORTS, exports.list),
        Binding(operations.ACCOUNT_IMPORT, imports.start),
        Binding(operations.ACCOUNT_IMPORTS, imports.list),
        Binding(operations.SESSIONS_LIST, sessions.list),
        Binding(operations.SESSIONS_END, sessions.end),
        Binding(operations.ADMIN_USERS, admin.users),
        Binding(operations.ADMIN_SET_ROLE, admin.set_role),
        Binding(operations.ADMIN_DISABLE, admin.disable),
        Binding(operations.ADMIN_ENABLE, admin.enable),
        Binding(operations.ADMIN_STATS, admin.stats),
    )
    return Dispatcher(OPERATIONS, bindings, metrics, limiter)


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


async def _tokens(given: SigningKey | None, keys: SigningKeys, features: Features) -> Tokens:
    if given is not None:
        return Tokens([given], features=features)
    return Tokens(await keys.ensure(generate_key), keys.current, features=features)
