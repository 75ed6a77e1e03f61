"""A document's place in its log, and its edits, without a server."""

from uuid import UUID

import pytest

from protocol.channel import MAX_AHEAD, MAX_FLIGHTS, MAX_WAITING, Channel, Edit, Phase
from protocol.documents import OpenedDocument
from protocol.errors import ErrorCode, MemoError
from protocol.frames import Ack, Push, Update

MEMORY = UUID(int=1)
LIMIT = 10_000


def merge(*updates: bytes) -> bytes:
    return b"+".join(updates)


def answer(offset: int = 0, epoch: str = "e", *, can_write: bool = True) -> OpenedDocument:
    return OpenedDocument(
        channel=3, epoch=epoch, offset=offset, format="yjs-v1", updates=[], can_write=can_write
    )


def live(offset: int = 0) -> Channel:
    channel = Channel(MEMORY, merge=merge)
    channel.opening()
    channel.opened(answer(offset))
    return channel


def edit(channel: Channel, *updates: bytes) -> None:
    for update in updates:
        channel.edited(Edit(range(0), update))


def sent(channel: Channel) -> list[Update]:
    return list(channel.outgoing(LIMIT))


def error(code: ErrorCode, retry_after: float | None = None) -> MemoError:
    return MemoError(code, retry_after=retry_after)


def code(channel: Channel) -> ErrorCode | None:
    return channel.error.code if channel.error else None


def phase(channel: Channel) -> Phase:
    return channel.phase


def owed(channel: Channel) -> int | None:
    return channel.awaited


def push(offset: int, count: int = 1) -> Push:
    return Push(3, offset, [b"%d" % (offset + number) for number in range(count)])


def test_pushes_and_acks_together_move_the_position() -> None:
    channel = live(5)
    edit(channel, b"mine")
    (update,) = sent(channel)
    assert channel.pushed(push(6, 2)) == [b"6", b"7"]
    assert channel.acked(Ack(3, update.client_seq, 8)) is not None
    assert channel.pushed(push(9)) == [b"9"]
    assert channel.offset == 9


def test_an_ack_ahead_of_late_pushes_counts_once_they_are_there() -> None:
    channel = live(5)
    edit(channel, b"mine")
    (update,) = sent(channel)
    channel.acked(Ack(3, update.client_seq, 8))
    assert (channel.offset, channel.unacked) == (5, 0)
    channel.pushed(push(6))
    assert channel.offset == 6
    channel.pushed(push(7))
    assert channel.offset == 8


def test_a_push_beyond_a_hole_is_applied_and_the_position_waits() -> None:
    channel = live(5)
    assert channel.pushed(push(8, 2)) == [b"8", b"9"]
    assert channel.offset == 5
    assert channel.pushed(push(6)) == [b"6"]
    assert channel.offset == 6
    channel.pushed(push(7))
    assert channel.offset == 9


def test_what_the_position_covers_is_not_applied_again() -> None:
    channel = live(5)
    assert channel.pushed(push(4, 2)) == []
    assert channel.pushed(push(4, 4)) == [b"6", b"7"]
    assert channel.pushed(push(6, 2)) == []
    assert channel.offset == 7


def test_an_ack_at_a_head_that_is_known_changes_nothing() -> None:
    channel = live(5)
    edit(channel, b"mine")
    (update,) = sent(channel)
    assert channel.acked(Ack(3, update.client_seq, 5)) is not None
    assert (channel.offset, channel.unacked) == (5, 0)


def test_too_many_offsets_beyond_a_hole_make_it_open_again() -> None:
    channel = live(0)
    channel.pushed(Push(3, 2, [b""] * MAX_AHEAD))
    assert phase(channel) is Phase.LIVE
    channel.pushed(Push(3, MAX_AHEAD + 2, [b""]))
    assert phase(channel) is Phase.STALE
    assert channel.opening().offset == 0


def test_reopening_asks_from_the_position() -> None:
    channel = live(5)
    channel.pushed(push(6))
    channel.detached()
    request = channel.opening()
    assert (request.epoch, request.offset) == ("e", 6)
    assert channel.opened(answer(9)) is False
    assert channel.offset == 9


def test_pushes_that_overtake_the_answer_are_not_forgotten() -> None:
    channel = live(5)
    edit(channel, b"mine")
    sent(channel)
    channel.refused(1, error(ErrorCode.BUSY))
    channel.opening()
    channel.pushed(push(6, 3))
    channel.opened(answer(7))
    assert channel.offset == 8


@pytest.mark.parametrize("found", [answer(9, "other"), answer(2, "e")], ids=["epoch", "past head"])
def test_another_log_asks_for_the_whole_state(found: OpenedDocument) -> None:
    channel = live(5)
    edit(channel, b"1", b"2")
    channel.detached()
    channel.opening()
    assert channel.opened(found) is True
    assert (channel.epoch, channel.offset) == (found.epoch, found.offset)
    channel.supersede(b"everything")
    assert [update.update for update in sent(channel)] == [b"everything"]


def test_a_first_open_never_asks_for_the_whole_state() -> None:
    channel = Channel(MEMORY, merge=merge, edits=[Edit(range(1, 2), b"1")])
    request = channel.opening()
    assert (request.epoch, request.offset) == (None, 0)
    assert channel.opened(answer(9)) is False
    assert [update.update for update in sent(channel)] == [b"1"]


def test_a_reader_is_not_asked_for_the_whole_state() -> None:
    channel = live(5)
    channel.detached()
    channel.opening()
    assert channel.opened(answer(9, "other", can_write=False)) is False


def test_edits_that_wait_are_merged_into_one() -> None:
    channel = Channel(MEMORY, merge=merge)
    for number in range(1, 4):
        channel.edited(Edit(range(number, number + 1), b"%d" % number))
    channel.opening()
    channel.opened(answer())
    (update,) = sent(channel)
    assert update.update == b"1+2+3"
    assert channel.acked(Ack(3, update.client_seq, 1)) == Edit(range(1, 4), b"1+2+3")


def test_flights_are_bounded_and_the_rest_is_merged_while_it_waits() -> None:
    channel = live()
    flights: list[Update] = []
    for number in range(MAX_FLIGHTS + 200):
        edit(channel, b"%d" % number)
        flights += sent(channel)
    assert len(flights) == MAX_FLIGHTS
    assert channel.unacked <= MAX_FLIGHTS + MAX_WAITING
    channel.acked(Ack(3, flights[0].client_seq, 1))
    (rest,) = sent(channel)
    assert rest.update.split(b"+") == [b"%d" % n for n in range(MAX_FLIGHTS, MAX_FLIGHTS + 200)]


def test_what_was_in_flight_is_sent_again_before_what_waited() -> None:
    channel = live()
    edit(channel, b"1")
    first = sent(channel)
    edit(channel, b"2")
    second = sent(channel)
    channel.detached()
    edit(channel, b"3")
    channel.opening()
    assert channel.opened(answer()) is False
    (again,) = sent(channel)
    assert again.update == b"1+2+3"
    assert again.client_seq not in {update.client_seq for update in first + second}


def test_a_late_ack_of_an_earlier_sending_settles_nothing() -> None:
    channel = live()
    edit(channel, b"1")
    (before,) = sent(channel)
    channel.refused(before.client_seq, error(ErrorCode.BUSY))
    channel.opening()
    channel.opened(answer())
    sent(channel)
    assert channel.acked(Ack(3, before.client_seq, 1)) is None
    assert channel.unacked == 1


def test_a_missing_dependency_is_answered_with_the_whole_state_once() -> None:
    channel = live(5)
    edit(channel, b"1")
    (update,) = sent(channel)
    assert channel.refused(update.client_seq, error(ErrorCode.MISSING_DEPENDENCY)) == 0.0
    assert phase(channel) is Phase.STALE
    channel.opening()
    assert channel.opened(answer(5)) is True
    channel.supersede(b"everything")
    (whole,) = sent(channel)
    assert channel.refused(whole.client_seq, error(ErrorCode.MISSING_DEPENDENCY)) is None
    assert code(channel) is ErrorCode.MISSING_DEPENDENCY
    edit(channel, b"2")
    assert sent(channel) == []


def test_a_whole_state_that_was_not_acked_is_due_again() -> None:
    channel = live(5)
    channel.detached()
    channel.opening()
    assert channel.opened(answer(1, "other")) is True
    channel.supersede(b"everything")
    sent(channel)
    channel.detached()
    channel.opening()
    assert channel.opened(answer(1, "other")) is True
    channel.supersede(b"everything and more")
    (update,) = sent(channel)
    assert update.update == b"everything and more"
    channel.acked(Ack(3, update.client_seq, 2))
    channel.detached()
    channel.opening()
    assert channel.opened(answer(2, "other")) is False


def test_a_whole_state_stands_for_all_recorded_edits() -> None:
    channel = Channel(
        MEMORY,
        epoch="e",
        offset=5,
        merge=merge,
        edits=[Edit(range(4, 5), b"1"), Edit(range(7, 8), b"2")],
    )
    channel.opening()
    assert channel.opened(answer(1, "other")) is True
    channel.supersede(b"everything")
    (update,) = sent(channel)
    assert channel.acked(Ack(3, update.client_seq, 2)) == Edit(range(4, 8), b"everything")


@pytest.mark.parametrize("reason", [reason for reason in ErrorCode if reason.temporary])
def test_a_temporary_refusal_is_tried_again_when_the_server_says(reason: ErrorCode) -> None:
    channel = live()
    edit(channel, b"1")
    (update,) = sent(channel)
    assert channel.refused(update.client_seq, error(reason, retry_after=7.0)) == 7.0
    assert (channel.phase, code(channel)) == (Phase.STALE, None)
    assert sent(channel) == []
    channel.opening()
    channel.opened(answer())
    assert [update.update for update in sent(channel)] == [b"1"]


def test_attempts_without_success_wait_longer_and_longer() -> None:
    channel = live()
    edit(channel, b"1")
    delays = []
    for _ in range(12):
        (update,) = sent(channel)
        delays.append(channel.refused(update.client_seq, error(ErrorCode.CHANNEL_CLOSED)))
        channel.opening()
        channel.opened(answer())
    assert all(delay is not None and 0.3 <= delay <= 30 for delay in delays)
    assert sum(delay or 0 for delay in delays) > 5


@pytest.mark.parametrize(
    "reason",
    [
        ErrorCode.CLIENT_ID_TAKEN,
        ErrorCode.FORBIDDEN,
        ErrorCode.GONE,
        ErrorCode.MALFORMED_UPDATE,
        ErrorCode.TOO_LARGE,
    ],
)
def test_a_refusal_for_good_stops_the_edits(reason: ErrorCode) -> None:
    channel = live(5)
    edit(channel, b"1")
    (update,) = sent(channel)
    assert channel.refused(update.client_seq, error(reason)) is None
    assert code(channel) is reason
    edit(channel, b"2")
    assert sent(channel) == []
    assert channel.pushed(push(6)) == [b"6"]


def test_refusals_of_updates_sent_behind_a_refused_one_say_nothing_new() -> None:
    channel = live()
    edit(channel, b"1")
    first = sent(channel)
    edit(channel, b"2")
    second = sent(channel)
    channel.refused(first[0].client_seq, error(ErrorCode.MISSING_DEPENDENCY))
    assert channel.refused(second[0].client_seq, error(ErrorCode.CHANNEL_CLOSED)) is None
    channel.opening()
    channel.opened(answer())
    channel.supersede(b"everything")
    sent(channel)
    assert channel.refused(second[0].client_seq, error(ErrorCode.GONE)) is None
    assert (channel.phase, channel.error) == (Phase.LIVE, None)


def test_a_refusal_of_the_channel_itself_counts_without_a_sequence_number() -> None:
    channel = live()
    channel.refused(None, error(ErrorCode.GONE))
    assert code(channel) is ErrorCode.GONE


def test_a_channel_that_the_server_closed_is_opened_again_even_if_edits_are_refused() -> None:
    channel = live(5)
    edit(channel, b"1")
    (update,) = sent(channel)
    channel.refused(update.client_seq, error(ErrorCode.MALFORMED_UPDATE))
    assert channel.refused(None, error(ErrorCode.CHANNEL_CLOSED, retry_after=1.0)) == 1.0
    assert phase(channel) is Phase.STALE
    channel.opening()
    channel.opened(answer(7))
    assert code(channel) is ErrorCode.MALFORMED_UPDATE
    assert sent(channel) == []


def test_a_reader_s_edits_stay_here() -> None:
    channel = Channel(MEMORY, merge=merge)
    channel.opening()
    channel.opened(answer(can_write=False))
    assert code(channel) is None
    edit(channel, b"1")
    assert code(channel) is ErrorCode.FORBIDDEN
    assert sent(channel) == []
    channel.detached()
    channel.opening()
    channel.opened(answer(can_write=True))
    assert code(channel) is None
    assert [update.update for update in sent(channel)] == [b"1"]


def test_a_role_that_changes_has_the_document_opened_again() -> None:
    channel = Channel(MEMORY, merge=merge)
    channel.opening()
    assert channel.granted(False) is None  # the answer will tell
    channel.opened(answer())
    assert channel.granted(True) is None
    edit(channel, b"1")
    (update,) = sent(channel)
    assert channel.granted(False) == 0.0
    assert phase(channel) is Phase.STALE
    # What was under way is refused, and stays here until the account may write again.
    assert channel.refused(update.client_seq, error(ErrorCode.FORBIDDEN)) is None
    channel.opening()
    channel.opened(answer(can_write=False))
    assert code(channel) is ErrorCode.FORBIDDEN
    assert channel.granted(True) == 0.0
    channel.opening()
    channel.opened(answer())
    assert [update.update for update in sent(channel)] == [b"1"]


def test_a_document_that_ended_for_this_account_may_be_asked_for_again() -> None:
    channel = Channel(MEMORY, merge=merge)
    channel.opening()
    channel.opened(answer())
    assert channel.refused(None, error(ErrorCode.FORBIDDEN)) is None
    assert code(channel) is ErrorCode.FORBIDDEN
    edit(channel, b"1")
    assert sent(channel) == []
    channel.opening()
    channel.opened(answer())
    assert code(channel) is None
    assert [update.update for update in sent(channel)] == [b"1"]


def test_a_document_that_could_not_be_opened_may_be_asked_for_again() -> None:
    channel = Channel(MEMORY, merge=merge)
    channel.opening()
    assert channel.unopened(error(ErrorCode.NOT_FOUND)) is None
    assert code(channel) is not None
    channel.opening()
    channel.opened(answer())
    assert code(channel) is None
    channel.detached()
    channel.opening()
    assert channel.unopened(error(ErrorCode.BUSY, retry_after=2.0)) == 2.0


def test_an_update_too_large_to_send_is_an_error() -> None:
    channel = live()
    edit(channel, bytes(LIMIT + 1))
    assert sent(channel) == []
    assert code(channel) is ErrorCode.TOO_LARGE


def test_without_a_merge_edits_travel_alone_and_their_number_is_bounded() -> None:
    channel = Channel(MEMORY)
    for _ in range(MAX_WAITING):
        edit(channel, b"1")
    with pytest.raises(MemoError) as caught:
        edit(channel, b"1")
    assert caught.value.code is ErrorCode.BUSY
    channel.opening()
    channel.opened(answer())
    assert len(sent(channel)) == MAX_FLIGHTS
    channel.refused(1, error(ErrorCode.MISSING_DEPENDENCY))
    assert code(channel) is not None


def test_what_the_server_owes_is_the_same_for_as_long_as_it_is_owed() -> None:
    channel = Channel(MEMORY, merge=merge)
    assert owed(channel) is None
    channel.opening()
    first_open = owed(channel)
    assert first_open is not None
    channel.opened(answer())
    assert owed(channel) is None
    edit(channel, b"1")
    (first,) = sent(channel)
    edit(channel, b"2")
    (second,) = sent(channel)
    assert owed(channel) == first.client_seq
    channel.acked(Ack(3, first.client_seq, 1))
    assert owed(channel) == second.client_seq
    channel.detached()
    channel.opening()
    assert owed(channel) not in (None, first_open)


def test_a_call_out_of_turn_is_a_mistake_of_the_caller() -> None:
    channel = Channel(MEMORY)
    with pytest.raises(RuntimeError, match="detached"):
        channel.opened(answer())
    channel.opening()
    with pytest.raises(RuntimeError, match="opening"):
        channel.opening()


def test_a_closed_channel_stays_closed() -> None:
    channel = live()
    channel.close()
    channel.detached()
    assert phase(channel) is Phase.CLOSED
    with pytest.raises(RuntimeError, match="closed"):
        channel.opening()
