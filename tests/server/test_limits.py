"""Limits: what each call counts against, what its caller is told, and who is never locked out."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from uuid import uuid4

import asyncpg
import httpx
import pytest
import uvicorn
from argon2 import PasswordHasher
from starlette.applications import Starlette
from starlette.requests import Request

from protocol.errors import ErrorCode, MemoError
from protocol.limits import Limit
from protocol.operations import OPERATIONS
from protocol.rest import ENDPOINTS
from server.auth import Auth
from server.config import Rate, Settings
from server.limits import Counters, Limiter, Lockout, RateLimited, guarded, origin
from server.metrics import Metrics
from server.passwords import Passwords
from server.rest import exception_handlers, routes
from server.tokens import Tokens, generate_key
from storage.accounts import Accounts
from storage.counters import LocalCounters, SharedCounters
from tests.redisserver import RedisServer

KEY = generate_key()
PASSWORD = "TestPassword123!"
RATES = {Limit.AUTH: Rate(3, 900), Limit.API: Rate(4, 900)}

Post = Callable[..., Awaitable[httpx.Response]]


@asynccontextmanager
async def node(
    pool: asyncpg.Pool, counters: Counters, rates: Mapping[Limit, Rate | None] = RATES
) -> AsyncIterator[Post]:
    """A server of the routes of accounts; the call posts to one of them, from an `address`."""

    async def ended(_: object) -> None:
        """Nobody is connected here."""

    passwords = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    tokens, accounts = Tokens([KEY]), Accounts(pool)
    limiter = Limiter(rates, counters)
    served = routes(
        Auth(accounts, tokens, passwords, ended), tokens, Lockout(limiter, accounts.familiar)
    )
    app = Starlette(
        routes=guarded(served, limiter, tokens), exception_handlers=exception_handlers()
    )
    config = uvicorn.Config(
        app, lifespan="off", ws="none", log_config=None, forwarded_allow_ips="*"
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        task = asyncio.create_task(server.serve([listening]))
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/api/auth/"
        async with httpx.AsyncClient(base_url=url, timeout=20) as client:

            async def post(
                path: str, body: object, address: str = "192.0.2.1", **headers: str
            ) -> httpx.Response:
                return await client.post(
                    path, json=body, headers={"X-Forwarded-For": address, **headers}
                )

            yield post
        server.should_exit = True
        await asyncio.wait_for(task, 10)
    passwords.close()


@pytest.fixture
async def post(pool: asyncpg.Pool) -> AsyncIterator[Post]:
    async with node(pool, LocalCounters()) as post:
        yield post


def person(name: str = "ada") -> dict[str, str]:
    return {
        "email": f"{name}@example.com",
        "password": PASSWORD,
        "firstName": "Ada",
        "lastName": "Lovelace",
    }


def right(name: str = "ada") -> dict[str, str]:
    return {"email": f"{name}@example.com", "password": PASSWORD}


def wrong(name: str = "ada") -> dict[str, str]:
    return {"email": f"{name}@example.com", "password": "WrongPassword123!"}


def refused(response: httpx.Response) -> bool:
    if response.status_code != 429:
        return False
    error = response.json()["error"]
    assert error["code"] == "rate_limited"
    assert 1 <= int(response.headers["retry-after"]) <= 900
    assert response.headers["ratelimit-remaining"] == "0"
    return True


# By address


async def test_sign_ups_of_one_address_are_limited_and_every_answer_says_where_it_stands(
    post: Post,
) -> None:
    for number, left in enumerate((2, 1, 0)):
        response = await post("register", person(f"p{number}"))
        assert response.status_code == 201
        headers = response.headers
        assert headers["ratelimit-policy"] == "3;w=900"
        assert (headers["ratelimit-limit"], headers["ratelimit-remaining"]) == ("3", str(left))
        assert 890 <= int(headers["ratelimit-reset"]) <= 900
        assert "retry-after" not in headers
    assert refused(await post("register", person("p3")))
    assert (await post("register", person("p3"), "192.0.2.2")).status_code == 201
    # Signing in counts by itself.
    assert (await post("login", right("p0"))).status_code == 200


async def test_signing_in_rightly_never_counts(post: Post) -> None:
    await post("register", person())
    for _ in range(5):
        response = await post("login", right())
        assert response.status_code == 200
        assert response.headers["ratelimit-remaining"] == "3"


async def test_many_names_do_not_get_round_the_limit_of_an_address(post: Post) -> None:
    for number in range(3):
        assert (await post("login", wrong(f"p{number}"))).status_code == 401
    assert refused(await post("login", wrong("p3")))
    # Not even a right one gets in, which would tell a guesser that it was right.
    await post("register", person())
    assert refused(await post("login", right()))


async def test_guesses_sent_all_at_once_are_not_more_than_one_after_another(post: Post) -> None:
    answers = await asyncio.gather(*(post("login", wrong()) for _ in range(12)))
    assert sorted(answer.status_code for answer in answers) == [401] * 3 + [429] * 9


async def test_signing_in_to_ones_own_account_does_not_win_back_guesses(post: Post) -> None:
    await post("register", person("mallory"))
    for _ in range(3):
        assert (await post("login", wrong())).status_code == 401
        await post("login", right("mallory"))
    assert refused(await post("login", wrong()))


# By account


async def test_many_addresses_do_not_get_round_the_limit_of_an_account(post: Post) -> None:
    await post("register", person(), "198.51.100.1")
    for number in range(3):
        assert (await post("login", wrong(), f"192.0.2.{number}")).status_code == 401
    assert (await post("login", wrong(), "192.0.2.77")).status_code == 429
    # In another case it is the same account.
    other = {**wrong(), "email": " ADA@example.com"}
    assert (await post("login", other, "192.0.2.78")).status_code == 429
    # Other accounts can be signed in to from there.
    await post("register", person("bob"), "192.0.2.77")
    assert (await post("login", right("bob"), "192.0.2.77")).status_code == 200


async def test_the_owner_is_not_kept_out_by_others_guesses(post: Post) -> None:
    home = "198.51.100.1"
    await post("register", person(), home)
    for number in range(4):
        await post("login", wrong(), f"192.0.2.{number}")
    assert (await post("login", right(), "192.0.2.99")).status_code == 429
    assert (await post("login", right(), home)).status_code == 200
    # And yet who guesses from there is limited as anyone is.
    for _ in range(3):
        assert (await post("login", wrong(), home)).status_code == 401
    assert refused(await post("login", wrong(), home))


async def test_an_account_that_is_not_there_is_limited_in_the_same_words(post: Post) -> None:
    await post("register", person(), "198.51.100.1")
    answers = []
    for name, net in (("ada", "192.0.2"), ("nobody", "203.0.113")):
        for number in range(3):
            await post("login", wrong(name), f"{net}.{number}")
        answers.append((await post("login", wrong(name), f"{net}.9")).json())
    assert answers[0]["error"]["code"] == answers[1]["error"]["code"] == "rate_limited"


async def test_a_failure_of_ours_is_nobodys_guess(pool: asyncpg.Pool, post: Post) -> None:
    await post("register", person())
    await pool.execute("ALTER TABLE users RENAME TO gone")
    for _ in range(4):
        assert (await post("login", right())).status_code == 500
    await pool.execute("ALTER TABLE gone RENAME TO users")
    assert (await post("login", right())).status_code == 200


async def test_who_knows_the_password_of_a_closed_account_has_guessed_nothing(
    pool: asyncpg.Pool, post: Post
) -> None:
    await post("register", person())
    await pool.execute("UPDATE users SET is_active = false")
    for _ in range(5):
        answer = await post("login", right())
        assert answer.json()["error"]["code"] == "account_disabled"
        assert answer.headers["ratelimit-remaining"] == "3"


# The others


async def test_refreshing_is_no_guess_but_made_up_tokens_are(post: Post) -> None:
    tokens = (await post("register", person())).json()
    for _ in range(6):
        answer = await post("refresh", {"refreshToken": tokens["refreshToken"]})
        assert answer.status_code == 200
        tokens = answer.json()
    for _ in range(4):
        assert (await post("refresh", {"refreshToken": "made up"})).status_code == 401
    assert refused(await post("refresh", {"refreshToken": "made up"}))
    assert refused(await post("logout", {"refreshToken": tokens["refreshToken"]}))
    # One who is signed in is counted as who they are, wherever they call from.
    bearer = {"Authorization": f"Bearer {tokens['accessToken']}"}
    assert (await post("logout", {}, **bearer)).status_code == 204


async def test_what_is_off_is_not_limited_and_says_nothing_of_limits(pool: asyncpg.Pool) -> None:
    async with node(pool, LocalCounters(), {Limit.AUTH: None}) as post:
        for _ in range(8):
            response = await post("login", wrong())
            assert response.status_code == 401
            assert not any(name.startswith("ratelimit") for name in response.headers)


async def test_two_nodes_share_a_count(pool: asyncpg.Pool, redis: RedisServer) -> None:
    address = f"2001:db8::{uuid4().hex[:4]}"
    async with (
        SharedCounters.connected(redis.url) as one,
        SharedCounters.connected(redis.url) as other,
        node(pool, one) as first,
        node(pool, other) as second,
    ):
        name = uuid4().hex
        for post in (first, second, first):
            assert (await post("login", wrong(name), address)).status_code == 401
        assert refused(await second("login", wrong(name), address))


async def test_while_redis_is_away_each_node_counts_for_itself(pool: asyncpg.Pool) -> None:
    redis = RedisServer()
    redis.start()
    try:
        async with (
            SharedCounters.connected(redis.url) as counters,
            node(pool, counters) as post,
        ):
            assert (await post("register", person())).status_code == 201
            redis.stop()
            for _ in range(3):
                assert (await post("login", wrong())).status_code == 401
            assert refused(await post("login", wrong()))
    finally:
        redis.stop()


# Where a call comes from


@pytest.mark.parametrize(
    ("host", "named"),
    [
        ("192.0.2.7", "address:192.0.2.7"),
        ("::ffff:192.0.2.7", "address:192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "address:2001:db8:1:2::"),
        ("2001:db8:1:2:ffff::", "address:2001:db8:1:2::"),
        ("2001:db8:1:3::", "address:2001:db8:1:3::"),
        ("testclient", "address:unknown"),
        (None, "address:unknown"),
    ],
)
def test_an_ipv6_network_is_one_place(host: str | None, named: str) -> None:
    client = (host, 1234) if host is not None else None
    assert origin(Request({"type": "http", "client": client, "headers": []})) == named


# Operations


def test_hellos_that_fail_are_counted_by_where_they_come_from() -> None:
    refused: list[Limit] = []
    limiter = Limiter({Limit.HELLO: Rate(2, 60)}, LocalCounters(), refused.append)
    bad, late = MemoError(ErrorCode.UNAUTHORIZED), MemoError(ErrorCode.TOKEN_EXPIRED)
    down = MemoError(ErrorCode.UNAVAILABLE)
    # What is no fault of the caller's is passed on, and does not count.
    assert [limiter.hello_failed("2001:db8::1", down) for _ in range(5)] == [down] * 5
    assert limiter.hello_failed("2001:db8::1", bad) is bad
    assert limiter.hello_failed("2001:db8::2", late) is late
    answer = limiter.hello_failed("2001:db8::3", late)
    assert isinstance(answer, RateLimited)
    assert answer.retry_after == 60
    assert limiter.hello_failed("2001:db8:0:1::1", bad) is bad
    assert limiter.hello_failed(None, bad) is bad
    assert limiter.hello_failed("2001:db8::1", down) is down
    assert refused == [Limit.HELLO]
    assert Limiter({}, LocalCounters()).hello_failed("::1", bad) is bad


async def test_every_operation_counts_and_some_count_twice() -> None:
    metrics = Metrics()
    settings = Settings.read({"RATE_LIMIT_SOCKET": "3/minute", "RATE_LIMIT_AI": "1/hour"})
    limiter = Limiter.of(settings, LocalCounters(), metrics)
    ada, bob = uuid4(), uuid4()
    await limiter.admit(Limit.AI, ada)
    with pytest.raises(RateLimited) as refusal:
        await limiter.admit(Limit.AI, ada)
    assert refusal.value.code is ErrorCode.RATE_LIMITED
    assert refusal.value.retry_after is not None
    assert 3500 <= refusal.value.retry_after <= 3600
    await limiter.admit(Limit.SOCKET, ada)
    with pytest.raises(RateLimited) as refusal:
        await limiter.admit(Limit.SOCKET, ada)
    assert refusal.value.retry_after is not None
    assert 50 <= refusal.value.retry_after <= 60
    await limiter.admit(Limit.SOCKET, bob)
    for limit in ("ai", "socket"):
        sample = metrics.registry.get_sample_value("memo_rate_limited_total", {"limit": limit})
        assert sample == 1


async def test_a_rate_that_is_set_anew_counts_anew() -> None:
    counters = LocalCounters()
    await Limiter({Limit.API: Rate(1, 86_400)}, counters).count(Limit.API, "ada")
    window = await Limiter({Limit.API: Rate(1, 60)}, counters).count(Limit.API, "ada")
    assert window is not None
    assert window.seconds_left <= 60


async def test_a_guess_that_is_interrupted_stays_counted() -> None:
    limiter = Limiter({Limit.AUTH: Rate(1, 60)}, LocalCounters())

    async def unfamiliar(account: str, address: str) -> bool:
        return False

    lockout = Lockout(limiter, unfamiliar)
    with pytest.raises(asyncio.CancelledError):
        async with lockout.at("ada@example.com", "192.0.2.1"):
            raise asyncio.CancelledError
    with pytest.raises(MemoError):
        async with lockout.at("ada@example.com", "192.0.2.1"):
            pass


def test_the_limits_of_the_plan_are_the_defaults() -> None:
    settings = Settings.read({})
    assert settings.rate_limit_auth == Rate(5, 15 * 60)
    assert settings.rate_limit_api == Rate(100, 15 * 60)
    assert settings.rate_limit_upload == Rate(10, 3600)
    assert settings.rate_limit_ai == Rate(50, 3600)


def test_what_anyone_may_call_without_a_token_is_limited_or_is_for_machines() -> None:
    unlimited = {
        endpoint.name
        for endpoint in ENDPOINTS
        if endpoint.limit is None and endpoint.permission is None
    }
    assert unlimited <= {"keys", "uploads", "health", "ready", "metrics"}
    assert all(operation.limit is not Limit.AUTH for operation in OPERATIONS)
