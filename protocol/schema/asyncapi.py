"""The AsyncAPI 3.0 document of the socket."""

from typing import Any

from protocol.errors import CloseCode, ErrorCode
from protocol.events import EVENTS
from protocol.frames import SUBPROTOCOL, Event, Reply, Request
from protocol.operations import OPERATIONS
from protocol.schema import TITLE, VERSION
from protocol.schema.examples import example, frame_example
from protocol.schema.shapes import FrameShape, Struct, components, frame_bodies, frame_shapes

_ABOUT = (
    "One WebSocket carries everything but signing in. Every WebSocket message is binary: a"
    " MessagePack array of frames. A frame is an array led by its number; each message described"
    " here is one frame. Schemas describe MessagePack: `format: binary` is its bin type, which"
    " the examples show in base64."
)
_REQUEST_ID = {"type": "integer", "description": "Chosen by the client; the answer names it."}

Document = dict[str, Any]


def asyncapi() -> Document:
    """The document, in an order that depends on the declarations alone."""
    messages = _messages()
    return {
        "asyncapi": "3.0.0",
        "info": {"title": f"{TITLE} socket", "version": VERSION, "description": _ABOUT},
        "defaultContentType": "application/msgpack",
        "servers": {
            "local": {
                "host": "127.0.0.1:8000",
                "protocol": "ws",
                "description": "Where `make run` serves.",
            }
        },
        "channels": {
            "socket": {
                "address": "/ws",
                "title": f"The socket, subprotocol {SUBPROTOCOL}",
                "messages": {name: _ref("components/messages", name) for name in messages},
                "bindings": {"ws": {"method": "GET", "bindingVersion": "0.1.0"}},
            },
            "yjs": _yjs(),
        },
        "operations": _operations(),
        "components": {"schemas": _schemas(), "messages": messages},
        "x-errorCodes": [
            {"code": code.value, "temporary": code.temporary, "meaning": code.meaning}
            for code in ErrorCode
        ],
        "x-closeCodes": [
            {
                "code": code.value,
                "name": code.name.lower(),
                "reconnect": code.reconnect,
                "meaning": code.meaning,
            }
            for code in CloseCode
        ],
    }


def _ref(place: str, name: str) -> Document:
    return {"$ref": f"#/{place}/{name}"}


def _messages() -> dict[str, Document]:
    messages = {shape.word: _frame(shape) for shape in frame_shapes()}
    request, reply, event = (frame.__struct_config__.tag for frame in (Request, Reply, Event))
    for operation in OPERATIONS:
        sent, answered = operation.request, operation.response
        messages[f"{operation.name}.request"] = _message(
            f"{operation.name} request",
            _tuple(_const(request), _REQUEST_ID, _const(operation.name), _struct(sent)),
            [request, 7, operation.name, example(sent)],
        )
        messages[f"{operation.name}.reply"] = _message(
            f"{operation.name} reply",
            _tuple(_const(reply), _REQUEST_ID, _struct(answered)),
            [reply, 7, example(answered)],
        )
    for declared in EVENTS:
        messages[f"{declared.name}.event"] = _message(
            f"{declared.name} event",
            _tuple(_const(event), _const(declared.name), _struct(declared.body)),
            [event, declared.name, example(declared.body)],
        )
    return messages


def _frame(shape: FrameShape) -> Document:
    items = _wire(components([shape.struct])[shape.struct.__name__]["prefixItems"])
    message = _message(shape.word, _tuple(*items), frame_example(shape))
    return {**message, "summary": shape.doc}


def _message(name: str, payload: Document, sample: list[Any]) -> Document:
    return {"name": name, "title": name, "payload": payload, "examples": [{"payload": sample}]}


def _tuple(*items: Document) -> Document:
    # AsyncAPI's schemas are those of draft 7, where a tuple is an array of `items`.
    return {"type": "array", "items": list(items), "minItems": len(items)}


def _const(value: object) -> Document:
    return {"const": value}


def _struct(struct: Struct) -> Document:
    return _ref("components/schemas", struct.__name__)


def _operations() -> dict[str, Document]:
    operations: dict[str, Document] = {
        "hello": _operation("receive", "Sign the connection in.", "hello", ["welcome"]),
        "cancel": _operation("receive", "Give up on a request.", "cancel", []),
        "update": _operation("receive", "Edit an open document.", "update", ["ack", "error"]),
        "awareness": _operation("receive", "Show one's presence.", "awareness", []),
        "push": _operation("send", "Edits of others.", "push", []),
        "part": _operation("send", "A piece of a longer answer.", "part", []),
        "awarenessRelay": _operation("send", "The presence of others.", "awarenessRelay", []),
        "error": _operation("send", "A refusal.", "error", []),
        "goodbye": _operation("send", "The server is about to close.", "goodbye", []),
    }
    for declared in OPERATIONS:
        replies = [f"{declared.name}.reply", "error"]
        operations[declared.name] = {
            **_operation("receive", declared.summary, f"{declared.name}.request", replies),
            "x-permission": declared.permission.value if declared.permission else None,
            "x-limit": declared.limit.value,
        }
    for event in EVENTS:
        operations[event.name] = _operation("send", event.summary, f"{event.name}.event", [])
    operations["yjs"] = {
        "action": "receive",
        "channel": {"$ref": "#/channels/yjs"},
        "summary": "The sync and awareness messages of stock Yjs clients.",
        "messages": [{"$ref": "#/channels/yjs/messages/yProtocol"}],
    }
    return operations


def _operation(action: str, summary: str, message: str, replies: list[str]) -> Document:
    channel = {"$ref": "#/channels/socket"}
    operation: Document = {
        "action": action,
        "channel": channel,
        "summary": summary,
        "messages": [_ref("channels/socket/messages", message)],
    }
    if replies:
        messages = [_ref("channels/socket/messages", reply) for reply in replies]
        operation["reply"] = {"channel": channel, "messages": messages}
    return operation


def _yjs() -> Document:
    return {
        "address": "/yjs/{memoryId}",
        "title": "One memory's document, for stock Yjs clients (y-websocket)",
        "parameters": {"memoryId": {"description": "The memory whose document it is."}},
        "messages": {
            "yProtocol": {
                "name": "yProtocol",
                "title": "A y-protocols message: sync or awareness",
                "contentType": "application/octet-stream",
                "payload": {"type": "string", "format": "binary"},
            }
        },
        "bindings": {
            "ws": {
                "method": "GET",
                "query": {
                    "type": "object",
                    "properties": {
                        "token": {
                            "type": "string",
                            "description": "An access token, or one from `documents.token`.",
                        }
                    },
                    "required": ["token"],
                },
                "bindingVersion": "0.1.0",
            }
        },
    }


def _schemas() -> dict[str, Document]:
    roots: list[Struct] = [event.body for event in EVENTS]
    for operation in OPERATIONS:
        roots += (operation.request, operation.response)
    declared = components([*roots, *frame_bodies()])
    schemas = {name: _wire(schema) for name, schema in declared.items()}
    codes = [code.value for code in ErrorCode]
    schemas["ErrorCode"] = {"title": "ErrorCode", "type": "string", "enum": codes}
    return schemas


def _wire(schema: Any) -> Any:
    """`schema` with bytes as MessagePack has them, not as JSON would."""
    if isinstance(schema, list):
        return [_wire(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("contentEncoding") == "base64":
        return {"type": "string", "format": "binary"}
    return {key: _wire(value) for key, value in schema.items()}
