"""What a struct looks like on the wire, read from its declaration.

Every writer of the reference reads structs through this module, so that all of them say the
same about a field.
"""

import inspect
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, get_args

import msgspec
from msgspec import inspect as mi

from protocol import frames

Struct = type[msgspec.Struct]


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a struct.

    `default` is JSON text; None when the field is required, or when leaving it out says
    something that no value says. `rule` is what its type alone does not tell, in words.
    """

    name: str
    type: mi.Type
    required: bool
    default: str | None
    rule: str


@dataclass(frozen=True, slots=True)
class FrameShape:
    """A frame: the number that leads it, the items behind that, and who sends it."""

    struct: Struct
    number: int
    from_client: bool
    items: tuple[Field, ...]

    @property
    def word(self) -> str:
        """What the frame is called, as in `awarenessRelay`."""
        name = self.struct.__name__
        return name[0].lower() + name[1:]

    @property
    def doc(self) -> str:
        return doc(self.struct)


def fields(struct: Struct) -> tuple[Field, ...]:
    """The fields of `struct` in the order they were declared."""
    info = mi.type_info(struct)
    assert isinstance(info, mi.StructType)
    omitted = struct.__struct_config__.omit_defaults
    return tuple(_field(field, omitted) for field in info.fields)


def doc(struct: Struct) -> str:
    """The docstring on one line, its fields under their names on the wire; or an empty string."""
    text = " ".join(inspect.cleandoc(struct.__doc__ or "").split())
    for name in struct.__struct_fields__:
        text = text.replace(f"`{name}`", f"`{_camel(name)}`")
    return text


def structs(roots: Iterable[Struct]) -> list[Struct]:
    """`roots` and all they hold, each once, every struct before those it holds.

    Raises:
        ValueError: when two structs have one name, which no reader could tell apart.
    """
    found: dict[str, Struct] = {}

    def visit(kind: mi.Type) -> None:
        if isinstance(kind, mi.StructType):
            if found.setdefault(kind.cls.__name__, kind.cls) is not kind.cls:
                first = found[kind.cls.__name__]
                raise ValueError(
                    f"{first.__module__} and {kind.cls.__module__} both declare"
                    f" {kind.cls.__name__}: rename one"
                )
            for field in kind.fields:
                visit(field.type)
        for part in _parts(kind):
            visit(part)

    for root in roots:
        visit(mi.type_info(root))
    return list(found.values())


def frame_shapes() -> list[FrameShape]:
    """The frames by number: those a client sends, then those the server sends."""
    shapes = [
        FrameShape(frame, frame.__struct_config__.tag, from_client, fields(frame))
        for union, from_client in ((frames.ClientFrame, True), (frames.ServerFrame, False))
        for frame in get_args(union)
    ]
    return sorted(shapes, key=lambda shape: shape.number)


def frame_bodies() -> list[Struct]:
    """The structs that frames carry."""
    return [
        item.type.cls
        for shape in frame_shapes()
        for item in shape.items
        if isinstance(item.type, mi.StructType)
    ]


def plain(kind: mi.Type) -> mi.Type:
    """`kind` without what is only said about it."""
    while isinstance(kind, mi.Metadata):
        kind = kind.type
    return kind


def label(kind: mi.Type, named: Callable[[str], str] = str) -> str:
    """The type in the words of the reference, such as `list of string` or `UUID or null`.
    Values stand in backticks.

    `named` writes the name of a struct, say as a link to it.
    """
    kind = plain(kind)
    match kind:
        case mi.StructType():
            return named(kind.cls.__name__)
        case mi.ListType():
            return f"list of {label(kind.item_type, named)}"
        case mi.UnionType():
            return " or ".join(label(part, named) for part in kind.types)
        case mi.LiteralType():
            return " or ".join(f"`{json.dumps(value)}`" for value in kind.values)
        case mi.DictType():
            return "object"
    try:
        return _LABELS[type(kind)]
    except KeyError:
        raise TypeError(f"the reference has no word for {kind!r}: add one") from None


_LABELS: dict[type[mi.Type], str] = {
    mi.AnyType: "any",
    mi.RawType: "any",
    mi.NoneType: "null",
    mi.BoolType: "boolean",
    mi.IntType: "integer",
    mi.FloatType: "number",
    mi.StrType: "string",
    mi.BytesType: "bytes",
    mi.UUIDType: "UUID",
}


def _field(field: mi.Field, omitted: bool) -> Field:
    kind = field.type
    default: str | None = None
    if field.default is not msgspec.NODEFAULT:
        default = json.dumps(field.default)
    elif field.default_factory is not msgspec.NODEFAULT:
        default = json.dumps(field.default_factory())
    if omitted and default == "null":
        # A default is left out on the wire, so that `null` never comes.
        kind, default = _without_null(kind), None
    rule = "; ".join(part for part in (_description(kind), _bounds(kind)) if part)
    return Field(_camel(field.encode_name), kind, field.required, default, rule)


def _camel(name: str) -> str:
    """A field's name on the wire; the items of a frame are named by their place alone."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _without_null(kind: mi.Type) -> mi.Type:
    if not isinstance(kind, mi.UnionType):
        return kind
    rest = tuple(part for part in kind.types if not isinstance(part, mi.NoneType))
    return rest[0] if len(rest) == 1 else mi.UnionType(rest)


def _parts(kind: mi.Type) -> tuple[mi.Type, ...]:
    kind = plain(kind)
    match kind:
        case mi.ListType():
            return (plain(kind.item_type),)
        case mi.DictType():
            return (plain(kind.value_type),)
        case mi.UnionType():
            return tuple(plain(part) for part in kind.types)
    return ()


def _description(kind: mi.Type) -> str:
    if isinstance(kind, mi.Metadata):
        return str((kind.extra_json_schema or {}).get("description", "")) or _description(kind.type)
    if isinstance(kind, mi.UnionType):
        return "; ".join(filter(None, map(_description, kind.types)))
    return ""


def _bounds(kind: mi.Type) -> str:
    """What the values are held to: `1 to 50 characters`."""
    kind = plain(kind)
    match kind:
        case mi.StrType():
            length = _range(kind.min_length, kind.max_length)
            words = [f"{length} characters"] if length else []
            words += [f"matches `{kind.pattern}`"] if kind.pattern else []
            return ", ".join(words)
        case mi.IntType() | mi.FloatType():
            return _range(kind.ge, kind.le)
        case mi.ListType():
            length = _range(kind.min_length, kind.max_length)
            each = _bounds(kind.item_type)
            words = [f"{length} items"] if length else []
            return ", ".join(words + ([f"each {each}"] if each else []))
        case mi.UnionType():
            return "; ".join(filter(None, map(_bounds, kind.types)))
    return ""


def _range(low: float | None, high: float | None) -> str:
    if low is not None and high is not None:
        return f"{low:,} to {high:,}"
    if high is not None:
        return f"at most {high:,}"
    return f"at least {low:,}" if low is not None else ""


def components(roots: Iterable[Struct]) -> dict[str, dict[str, Any]]:
    """The JSON Schema (2020-12) of each struct that `roots` reach, by its name."""
    _, schemas = msgspec.json.schema_components(
        structs(roots), ref_template="#/components/schemas/{name}"
    )
    for struct in structs(roots):
        if struct.__doc__:
            schemas[struct.__name__]["description"] = doc(struct)
    return dict(sorted(schemas.items()))
