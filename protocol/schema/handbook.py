"""The reference to read: every declaration as a section of text, tables and examples."""

import json
import re
from collections.abc import Iterable
from typing import Any

from protocol.errors import CloseCode, ErrorCode
from protocol.events import EVENTS, Event
from protocol.frames import Event as EventFrame
from protocol.frames import Reply, Request
from protocol.limits import Limit
from protocol.operation import Operation
from protocol.operations import OPERATIONS
from protocol.rest import ENDPOINTS, FORM, JSON, Answer, Endpoint, Parameter, Refused
from protocol.schema.blocks import Block, Code, Paragraph, Section, Table, anchor
from protocol.schema.examples import example
from protocol.schema.guide import overview, quick_start, ways_in
from protocol.schema.shapes import (
    Field,
    Struct,
    doc,
    fields,
    frame_bodies,
    frame_shapes,
    label,
    structs,
)

_REQUEST, _REPLY, _EVENT = (frame.__struct_config__.tag for frame in (Request, Reply, EventFrame))


def handbook() -> list[Section]:
    """The chapters in reading order."""
    return [
        overview(),
        quick_start(),
        ways_in(),
        Section("Frames", _frames()),
        Section(
            "Operations",
            (
                Paragraph(
                    "A request names an operation and carries its body; a reply with the same id"
                    " carries the answer, or an error says why there is none. Fields that are not"
                    " known are ignored, so that old servers and new clients get along."
                ),
            ),
            tuple(_operation(operation) for operation in OPERATIONS),
        ),
        Section(
            "Events",
            (Paragraph("Hints that come by themselves. One may be lost with a connection."),),
            tuple(_event(event) for event in EVENTS),
        ),
        Section(
            "REST",
            (
                Paragraph(
                    "For signing in, for the bytes of files, and for whoever watches the server."
                    " Bodies are JSON where nothing else is said. Every refusal has the shape"
                    " [Refused](#refused) and a code of [Errors](#errors)."
                ),
            ),
            tuple(_endpoint(endpoint) for endpoint in ENDPOINTS),
        ),
        Section("Types", sections=tuple(_type(struct) for struct in _shared())),
        Section("Errors", _errors()),
        Section("Close codes", _close_codes()),
    ]


def _link(name: str) -> str:
    return f"[{name}](#{anchor(name)})"


def _frames() -> tuple[Block, ...]:
    def table(from_client: bool, caption: str) -> Table:
        rows = []
        for shape in frame_shapes():
            if shape.from_client is from_client:
                items = ", ".join([str(shape.number), *(item.name for item in shape.items)])
                bodies = [_type_text(i) for i in shape.items if _type_text(i).startswith("[")]
                carries = f" Its body is {bodies[0]}." if bodies else ""
                rows.append((shape.word, f"`[{items}]`", f"{shape.doc}{carries}"))
        return Table(("Frame", "Items", "Meaning"), tuple(rows), caption)

    return (
        Paragraph(
            "Every WebSocket message is binary: a MessagePack array of frames. A frame is an array"
            " whose first item is its number; a frame of unknown number is ignored. Bodies are"
            " maps with camelCase keys, record ids are UUIDs as strings, times are RFC 3339 in"
            " UTC. Request ids, channels and client sequence numbers are integers."
        ),
        table(True, "From the client"),
        table(False, "From the server"),
    )


def _operation(operation: Operation[Any, Any]) -> Section:
    name, request, response = operation.name, operation.request, operation.response
    right = (
        f"Needs the right `{operation.permission.value}`."
        if operation.permission
        else "Any signed-in account may call it."
    )
    if operation.limit is not Limit.SOCKET:
        right += f" It counts against `RATE_LIMIT_{operation.limit.name}`."
    return Section(
        name,
        (
            Paragraph(f"{operation.summary} {right}"),
            *_body("Request", request, sent=True),
            *_body("Reply", response, sent=False),
            Code("json", _frame_text([_REQUEST, 7, name], example(request)), "Request"),
            Code("json", _frame_text([_REPLY, 7], example(response)), "Reply"),
        ),
        is_name=True,
    )


def _event(event: Event[Any]) -> Section:
    return Section(
        event.name,
        (
            Paragraph(event.summary),
            *_body("Body", event.body, sent=False),
            Code("json", _frame_text([_EVENT, event.name], example(event.body)), "Event"),
        ),
        is_name=True,
    )


def _endpoint(endpoint: Endpoint) -> Section:
    usual = endpoint.answers[0]
    blocks: list[Block] = [Paragraph(endpoint.summary)]
    if endpoint.bearer:
        blocks.append(
            Paragraph("An access token as `Authorization: Bearer …` may stand in for the body.")
        )
    if endpoint.permission:
        blocks.append(
            Paragraph(
                "Needs an access token as `Authorization: Bearer …` with the right"
                f" `{endpoint.permission.value}`."
            )
        )
    if endpoint.content_type == FORM:
        blocks.append(Paragraph(f"The request is `{FORM}` with the file in the field `file`."))
    elif endpoint.content_type != JSON:
        blocks.append(Paragraph(f"The body, if there is one, is `{endpoint.content_type}`."))
    if endpoint.parameters:
        told = [(f"`{p.name}`", p.place, _told(p)) for p in endpoint.parameters]
        blocks.append(Table(("Name", "Where", "Meaning"), tuple(told), "Parameters"))
    if endpoint.request:
        blocks += _body("Request", endpoint.request, sent=True)
    if usual.body:
        blocks += _body("Answer", usual.body, sent=False)
    rows = [_answer(answer) for answer in endpoint.answers]
    rows += [(str(code.status), f"`{code.value}`: {code.meaning}") for code in endpoint.refusals]
    blocks.append(Table(("Status", "Meaning"), tuple(sorted(rows)), "Statuses"))
    if endpoint.request and endpoint.content_type == JSON:
        blocks.append(Code("json", _json(example(endpoint.request)), "Request"))
    if usual.body:
        blocks.append(Code("json", _json(example(usual.body)), f"Answer {usual.status}"))
    return Section(f"{endpoint.method} {endpoint.path}", tuple(blocks), is_name=True)


def _told(parameter: Parameter) -> str:
    return f"{'Required.' if parameter.required else 'Optional.'} {parameter.meaning}"


def _answer(answer: Answer) -> tuple[str, str]:
    return str(answer.status), answer.meaning


def _shared() -> list[Struct]:
    """The structs that others hold, and those that frames and refusals carry."""
    roots: list[Struct] = [event.body for event in EVENTS]
    for operation in OPERATIONS:
        roots += (operation.request, operation.response)
    for endpoint in ENDPOINTS:
        roots += [endpoint.request] if endpoint.request else []
        roots += [answer.body for answer in endpoint.answers if answer.body]
    bodies: list[Struct] = [Refused, *frame_bodies()]
    return [s for s in structs([*roots, *bodies]) if s not in roots or s in bodies]


def _type(struct: Struct) -> Section:
    return Section(
        struct.__name__,
        (_table(struct, "Fields", sent=False), Code("json", _json(example(struct)), "Example")),
        is_name=True,
    )


def _body(caption: str, struct: Struct, sent: bool) -> Iterable[Block]:
    if not fields(struct):
        return (Paragraph(f"{caption}: an empty map."),)
    return (_table(struct, caption, sent),)


def _table(struct: Struct, caption: str, sent: bool) -> Table:
    rows = tuple(
        (f"`{field.name}`", _type_text(field), _notes(field, sent)) for field in fields(struct)
    )
    return Table(("Field", "Type", "Notes"), rows, caption, doc(struct))


def _type_text(field: Field) -> str:
    return label(field.type, _link)


def _notes(field: Field, sent: bool) -> str:
    """Whether it must be there, what it is when it is not, and what it is held to."""
    words = []
    if sent:
        words.append("Required." if field.required else "Optional.")
    elif not field.required:
        words.append("May be missing.")
    if field.rule:
        words.append(f"{field.rule[0].upper()}{field.rule[1:]}.")
    if field.default not in (None, "null"):
        words.append(f"Default `{field.default}`.")
    return " ".join(words)


def _json(value: Any) -> str:
    """`value` laid out to be read: a list of plain values stays on one line."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return re.sub(r"\[\s+([^\[\]{}]*?)\s+\]", lambda found: f"[{' '.join(found[1].split())}]", text)


def _frame_text(head: list[Any], body: dict[str, Any]) -> str:
    """A frame with its head on one line."""
    return f"{json.dumps(head)[:-1]}, {_json(body)}]"


def _errors() -> tuple[Block, ...]:
    rows = tuple(
        (f"`{c.value}`", str(c.status), "yes" if c.temporary else "no", c.meaning)
        for c in ErrorCode
    )
    return (
        Paragraph(
            "The same codes on the socket and on REST. Programs may branch on a code; its message"
            " is for people. When a code is temporary the same call may succeed later without a"
            " change: wait for `retryAfter` seconds where it is given."
        ),
        Table(("Code", "HTTP status", "Temporary", "Meaning"), rows),
    )


def _close_codes() -> tuple[Block, ...]:
    rows = tuple(
        (f"`{c.value}`", c.name.lower(), "yes" if c.reconnect else "no", c.meaning)
        for c in CloseCode
    )
    return (
        Paragraph("Why the server closed the socket, and whether to reconnect by oneself."),
        Table(("Code", "Name", "Reconnect", "Meaning"), rows),
    )
