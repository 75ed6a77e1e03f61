"""A crowd in one document: everyone's cursor moves while someone writes."""

import asyncio
from random import Random

import msgspec
import uvloop

from bench.cpu import Meter
from bench.edits import keystrokes
from bench.errors import BenchmarkFailed
from bench.scenarios.device import Device, connected
from bench.scenarios.scenario import Figure, Finding, percentile, scaled
from bench.server import Server, running
from bench.websocket import masked
from protocol import frames
from sync.lib0 import read_bytes, read_uint, write_bytes, write_uint

CLIENTS = 1500
SECONDS = 20
EDITS_A_SECOND = 4
WATCHERS = 12  # clients that read what they get; of the others only the bytes are counted
FRESH_SECONDS = 2.0
WARM_UP_SECONDS = 3.0  # until everyone has moved, and a little longer
LATE_SECONDS = 30.0  # for the last edits to reach everyone
TICK_SECONDS = 0.01
_FIRST_CLIENT = 1 << 31  # Yjs client ids have up to 32 bits


class Presence:
    """`presence`: how old the cursors are that one sees, and how long an edit takes."""

    name = "presence"
    title = "1,500 clients in one document, each moving a cursor once a second"

    def run(self, share: float) -> Finding:
        with running(1) as server, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_measure(server, share))


async def _measure(server: Server, share: float) -> Finding:
    token = server.tokens[0]
    [memory_id] = await server.create_memories(1, token)
    devices = await connected(server.port, [token] * scaled(CLIENTS, share, 10))
    opened = [await device.open(memory_id) for device in devices]
    seconds = scaled(SECONDS, share, 3)
    edits = keystrokes(EDITS_A_SECOND * seconds, Random(1))
    crowd = Crowd(devices, opened[0].channel)
    writer = Typist(devices[0], opened[0].channel, edits)
    others = devices[1:]
    watchers = [
        Watcher(device, crowd, writer) for device in others[:: max(2, len(others) // WATCHERS)]
    ]
    counter = Counter()
    unread = set(others) - {watcher.device for watcher in watchers}
    for device in unread:
        device.socket.pour_into(counter)
    meter = Meter(server.pid)
    ages: list[float] = []
    moving = asyncio.ensure_future(crowd.move())
    try:
        await asyncio.sleep(WARM_UP_SECONDS)
        counter.bytes = 0
        usage = meter.read()
        typing = asyncio.ensure_future(writer.type())
        for _ in range(seconds):
            await asyncio.sleep(1)
            ages += [age for watcher in watchers for age in watcher.ages()]
        usage = meter.read() - usage
        sent = counter.bytes
        await typing
        async with asyncio.timeout(LATE_SECONDS):
            await asyncio.gather(*(watcher.has_all.wait() for watcher in watchers))
        for device in devices:
            if device.socket.lost.done():
                device.socket.lost.result()
    except TimeoutError:
        lost = max(len(edits) - len(watcher.offsets) for watcher in watchers)
        raise BenchmarkFailed(f"{lost} of {len(edits)} edits did not arrive") from None
    finally:
        moving.cancel()
        for device in devices:
            device.close()
    fresh = sum(age <= FRESH_SECONDS for age in ages) / len(ages)
    delays = [delay for watcher in watchers for delay in watcher.delays]
    lost = sum(len(edits) - len(watcher.offsets) for watcher in watchers)
    return Finding(
        [
            Figure.at_least("cursors no older than 2 s", 100 * fresh, 90, "%"),
            Figure.stated("age of a cursor, p99", percentile(ages, 0.99), "s"),
            Figure.at_most("edits lost", lost, 0, 0),
            Figure.at_most("edit to reader, p99", 1e3 * percentile(delays, 0.99), 250, 100, "ms"),
            Figure.stated("edit to reader, median", 1e3 * percentile(delays, 0.5), "ms"),
            Figure.stated("edit to ack, p99", 1e3 * percentile(writer.delays, 0.99), "ms"),
            Figure.stated("sent to a client", sent / len(unread) / usage.seconds / 1e3, "kB/s"),
            Figure.stated("server's process", 100 * usage.server / usage.seconds, "% of a core"),
            Figure.stated("clients' process", 100 * usage.generator / usage.seconds, "% of a core"),
        ],
        f"{len(devices)} sockets of one account, for {seconds} s; one of them also types "
        f"{EDITS_A_SECOND} characters a second. {len(watchers)} of them read what they are sent: "
        "once a second each looks how long ago every other's cursor, as shown there, was moved "
        "(one never seen counts as infinitely old). An edit's time is from when it was due.",
    )


class Crowd:
    """Cursors that move once a second, evenly spread over it. `moved` tells when which did."""

    def __init__(self, devices: list[Device], channel: int) -> None:
        self.moved: list[list[float]] = [[] for _ in devices]
        self.devices = devices
        self._channel = channel
        self._loop = asyncio.get_running_loop()

    async def move(self) -> None:
        """Move for ever."""
        began = self._loop.time()
        done = 0
        while True:
            due = int((self._loop.time() - began) * len(self.devices))
            for number in range(done, due):
                self._move(number % len(self.devices))
            done = due
            await asyncio.sleep(TICK_SECONDS)

    def _move(self, index: int) -> None:
        moved = self.moved[index]
        state = {
            "user": {"name": f"Device {index}", "color": "#30bced"},
            "cursor": {"anchor": len(moved), "head": len(moved)},
        }
        payload = bytearray(b"\x01")
        write_uint(payload, _FIRST_CLIENT + index)
        write_uint(payload, len(moved))
        write_bytes(payload, msgspec.json.encode(state))
        frame = frames.Awareness(self._channel, bytes(payload))
        self.devices[index].socket.write(masked(frames.encode(frame)))
        moved.append(self._loop.time())


class Typist:
    """Sends an edit every so often, whatever became of the last. `due` are the moments, `delays`
    the seconds from there to the acks."""

    def __init__(self, device: Device, channel: int, edits: list[bytes]) -> None:
        self.edits = edits
        self.due: list[float] = []
        self.delays: list[float] = []
        self._device = device
        self._channel = channel
        self._loop = asyncio.get_running_loop()
        device.heard = self._hear

    async def type(self) -> None:
        """Returns when the last edit is sent."""
        began = self._loop.time()
        for number, edit in enumerate(self.edits):
            self.due.append(began + number / EDITS_A_SECOND)
            await asyncio.sleep(self.due[-1] - self._loop.time())
            self._device.send(frames.Update(self._channel, number, edit))

    def _hear(self, frame: frames.ServerFrame) -> None:
        if isinstance(frame, frames.Ack):
            self.delays.append(self._loop.time() - self.due[frame.client_seq])


class Watcher:
    """Someone who looks at the document: which cursors it shows, and when edits came."""

    def __init__(self, device: Device, crowd: Crowd, writer: Typist) -> None:
        self.device = device
        self.delays: list[float] = []
        self.offsets: set[int] = set()
        self.has_all = asyncio.Event()
        self._crowd = crowd
        self._writer = writer
        self._clocks: dict[int, int] = {}
        self._loop = asyncio.get_running_loop()
        device.heard = self._hear

    def ages(self) -> list[float]:
        """Of everyone else's cursor, as seen now, in seconds."""
        now = self._loop.time()
        own = self._crowd.devices.index(self.device)
        return [
            now - moved[clock] if (clock := self._clocks.get(index, -1)) >= 0 else float("inf")
            for index, moved in enumerate(self._crowd.moved)
            if index != own
        ]

    def _hear(self, frame: frames.ServerFrame) -> None:
        if isinstance(frame, frames.AwarenessRelay):
            payload = frame.payload
            many, at = read_uint(payload, 0)
            for _ in range(many):
                client, at = read_uint(payload, at)
                self._clocks[client - _FIRST_CLIENT], at = read_uint(payload, at)
                _, at = read_bytes(payload, at)
        elif isinstance(frame, frames.Push):
            now = self._loop.time()
            for offset in range(frame.offset, frame.offset + len(frame.updates)):
                self.delays.append(now - self._writer.due[len(self.offsets)])
                self.offsets.add(offset)
            if len(self.offsets) == len(self._writer.edits):
                self.has_all.set()


class Counter:
    """A sink of many sockets, which keeps nothing of what they are sent."""

    def __init__(self) -> None:
        self.bytes = 0

    def __call__(self, data: bytes) -> bytes:
        self.bytes += len(data)
        return b""
