"""The relay that loses messages loses nothing else."""

import asyncio
from random import Random

import pytest
import redis.asyncio

from tests.faults.lossy import LossyRedis, reply_end
from tests.redisserver import RedisServer

PATIENCE = 30.0


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
async def test_a_share_of_the_messages_is_lost_and_the_rest_comes_in_order(
    redis: RedisServer, share: float
) -> None:
    count = 500
    async with LossyRedis(redis.port, Random(7)) as relay:
        relay.share = share
        async with redis_client(relay.url) as client, client.pubsub() as listener:
            await listener.subscribe("topic")
            pipeline = client.pipeline(transaction=False)
            for number in range(count):
                pipeline.publish("topic", number.to_bytes(2, "big") * 1000)
            assert await pipeline.execute() == [1] * count
            # Its answer comes the same way, behind all that was pushed before it.
            await listener.ping()
            received = []
            async with asyncio.timeout(PATIENCE):
                async for message in listener.listen():
                    if message["type"] == "pong":
                        break
                    if message["type"] == "message":
                        received.append(int.from_bytes(message["data"][:2], "big"))
        assert received == sorted(set(received))
        assert len(received) == count - relay.dropped
        assert relay.dropped == pytest.approx(share * count, abs=30 if 0 < share < 1 else 0)


async def test_a_redis_that_is_away_is_away_behind_the_relay_too() -> None:
    server = RedisServer()
    async with LossyRedis(server.port, Random(7)) as relay, redis_client(relay.url) as client:
        with pytest.raises(redis_errors):
            await client.ping()
        server.start()
        assert await client.ping()
        server.kill()
        with pytest.raises(redis_errors):
            await client.ping()


@pytest.mark.parametrize(
    "reply",
    [
        b"+PONG\r\n",
        b":12\r\n",
        b"$-1\r\n",
        b"$3\r\na\r\n\r\n",
        b"*0\r\n",
        b"*2\r\n:1\r\n$1\r\nx\r\n",
    ],
)
def test_a_reply_ends_where_it_ends_and_not_before(reply: bytes) -> None:
    data = bytearray(b"+OK\r\n" + reply + b"+OK\r\n")
    assert reply_end(data, 5) == 5 + len(reply)
    for size in range(len(reply)):
        assert reply_end(bytearray(reply[:size]), 0) is None


redis_errors = (redis.asyncio.ConnectionError, OSError)


def redis_client(url: str) -> "redis.asyncio.Redis":
    return redis.asyncio.Redis.from_url(url, protocol=2)
