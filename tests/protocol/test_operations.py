"""What every declaration of the protocol must hold to, so that clients can rely on it."""

import re
from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import msgspec
import pytest
from msgspec import inspect as mi

import protocol
from protocol import events, rest
from protocol.events import EVENTS, Event
from protocol.operation import Operation
from protocol.operations import OPERATIONS
from protocol.records import Body
from protocol.rest import ENDPOINTS, Endpoint
from protocol.schema.shapes import Struct, fields, frame_bodies, label, structs

REQUESTS: list[Struct] = [operation.request for operation in OPERATIONS]
REQUESTS += [endpoint.request for endpoint in ENDPOINTS if endpoint.request]
ANSWERS: list[Struct] = [operation.response for operation in OPERATIONS]
ANSWERS += [answer.body for endpoint in ENDPOINTS for answer in endpoint.answers if answer.body]
ALL = structs([*REQUESTS, *ANSWERS, *(event.body for event in EVENTS), *frame_bodies()])

of_each_operation = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda o: o.name)
of_each_struct = pytest.mark.parametrize("struct", ALL, ids=lambda s: s.__name__)


def declared(module: Any, kind: type) -> set[int]:
    return {id(value) for value in vars(module).values() if isinstance(value, kind)}


def test_the_tuples_hold_all_that_is_declared() -> None:
    domains = [import_module(f"protocol.{each.name}") for each in iter_modules(protocol.__path__)]
    found = set[int]().union(*(declared(domain, Operation) for domain in domains))
    assert found == set(map(id, OPERATIONS))
    assert declared(events, Event) == set(map(id, EVENTS))
    assert declared(rest, Endpoint) == set(map(id, ENDPOINTS))


def test_no_two_declarations_share_a_name() -> None:
    names = [operation.name for operation in OPERATIONS]
    names += [event.name for event in EVENTS]
    assert len(set(names)) == len(names)
    assert len({endpoint.name for endpoint in ENDPOINTS}) == len(ENDPOINTS)
    assert len({(endpoint.method, endpoint.path) for endpoint in ENDPOINTS}) == len(ENDPOINTS)


@of_each_operation
def test_an_operation_is_named_domain_dot_verb(operation: Operation[Any, Any]) -> None:
    assert re.fullmatch(r"[a-z]+\.[a-z]+([A-Z][a-z]+)*", operation.name)


@of_each_operation
def test_an_operation_takes_and_answers_bodies_and_says_what_it_does(
    operation: Operation[Any, Any],
) -> None:
    assert issubclass(operation.request, Body)
    assert issubclass(operation.response, Body)
    assert re.fullmatch(r"[A-Z][^\n]+\.", operation.summary)


@of_each_operation
def test_what_makes_a_record_takes_its_id_from_the_client(operation: Operation[Any, Any]) -> None:
    """Clients that queue requests give an id to those that create, and to no others."""
    may_be_left_out = {field.name for field in fields(operation.request) if not field.required}
    if operation.name != "sessions.end":  # there `id` is the session's that is ended
        assert ("id" in may_be_left_out) == operation.creates


@of_each_struct
def test_fields_are_camel_case_on_the_wire(struct: Struct) -> None:
    for name in struct.__struct_encode_fields__:
        assert re.fullmatch(r"[a-z][a-z0-9]*([A-Z][a-z0-9]*)*", name), name


@of_each_struct
def test_every_field_says_what_type_it_has(struct: Struct) -> None:
    for field in fields(struct):
        assert label(field.type) != "any", field.name


@of_each_struct
def test_unknown_keys_are_ignored_so_that_fields_can_be_added(struct: Struct) -> None:
    assert not struct.__struct_config__.forbid_unknown_fields


@pytest.mark.parametrize("request_type", REQUESTS, ids=lambda s: s.__name__)
def test_what_a_request_may_leave_empty_it_may_leave_out(request_type: Struct) -> None:
    info = mi.type_info(request_type)
    assert isinstance(info, mi.StructType)
    for field in info.fields:
        if any(isinstance(kind, mi.NoneType) for kind in options(field.type)):
            assert not field.required, field.encode_name


@pytest.mark.parametrize("request_type", REQUESTS, ids=lambda s: s.__name__)
def test_text_that_a_client_sends_is_bounded_or_is_a_token(request_type: Struct) -> None:
    """What is stored or searched for has a limit; tokens are limited where they are verified."""
    for field, kind in strings(request_type):
        unbounded = kind.max_length is None
        assert not unbounded or "oken" in field or field in {"epoch", "content"}, field


def options(kind: mi.Type) -> tuple[mi.Type, ...]:
    return kind.types if isinstance(kind, mi.UnionType) else (kind,)


def strings(struct: Struct) -> Iterator[tuple[str, mi.StrType]]:
    info = mi.type_info(struct)
    assert isinstance(info, mi.StructType)
    for field in info.fields:
        for kind in options(field.type):
            plain = kind.item_type if isinstance(kind, mi.ListType) else kind
            if isinstance(plain, mi.StrType):
                yield field.encode_name, plain


def test_bodies_are_frozen_so_that_no_handler_changes_what_another_reads() -> None:
    for struct in ALL:
        assert struct.__struct_config__.frozen, struct.__name__
        assert issubclass(struct, msgspec.Struct)
