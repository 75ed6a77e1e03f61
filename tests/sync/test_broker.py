"""The broker of a single node. What every broker promises is in tests/contract."""

from sync.broker import LocalBroker


def test_what_is_published_is_received_before_the_call_returns() -> None:
    broker = LocalBroker()
    received: list[bytes] = []
    end = broker.subscribe("a", received.append)
    broker.publish("a", b"1")
    assert received == [b"1"]
    end()
    broker.publish("a", b"2")
    assert received == [b"1"]


def test_a_topic_nobody_subscribes_to_any_more_is_forgotten() -> None:
    broker = LocalBroker()
    ends = [broker.subscribe(f"account:{number % 3}", lambda _: None) for number in range(9)]
    for end in ends:
        end()
    assert broker._topics == {}
