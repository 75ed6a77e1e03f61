"""The generated reference says what is declared, all of it, and is up to date."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import inspect as mi

from protocol.errors import CloseCode, ErrorCode
from protocol.events import EVENTS
from protocol.operation import Operation
from protocol.operations import OPERATIONS
from protocol.rest import ENDPOINTS, JSON, Endpoint
from protocol.schema.__main__ import generate, main
from protocol.schema.asyncapi import asyncapi
from protocol.schema.blocks import Section, Table
from protocol.schema.examples import example, frame_example
from protocol.schema.handbook import handbook
from protocol.schema.markdown import markdown as written_markdown
from protocol.schema.openapi import openapi
from protocol.schema.shapes import Struct, frame_bodies, frame_shapes, label, structs
from protocol.schema.typescript import name as typescript_name
from protocol.schema.typescript import types as written_types

# Each is written once: the tests read it hundreds of times.
markdown = cache(written_markdown)
types = cache(written_types)

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "protocol" / "javascript"
ALL = structs(
    [
        *(operation.request for operation in OPERATIONS),
        *(operation.response for operation in OPERATIONS),
        *(event.body for event in EVENTS),
        *(endpoint.request for endpoint in ENDPOINTS if endpoint.request),
        *(answer.body for endpoint in ENDPOINTS for answer in endpoint.answers if answer.body),
        *frame_bodies(),
    ]
)

of_each_operation = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda o: o.name)


def values(document: Any, key: str) -> Iterator[Any]:
    """Everything that stands under `key`, anywhere in `document`."""
    if isinstance(document, dict):
        for name, value in document.items():
            if name == key:
                yield value
            yield from values(value, key)
    elif isinstance(document, list):
        for value in document:
            yield from values(value, key)


def resolve(document: Any, reference: str) -> Any:
    place, *steps = reference.split("/")
    assert place == "#"
    for step in steps:
        document = document[step]
    return document


def sections(chapters: list[Section]) -> Iterator[Section]:
    for chapter in chapters:
        yield chapter
        yield from sections(list(chapter.sections))


# The files and the command


def test_the_generated_files_are_current(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check"]) == 0, capsys.readouterr().err


def test_check_names_each_stale_file_and_what_mends_it(tmp_path: Path) -> None:
    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "protocol.schema", "--root", str(tmp_path), *arguments]
        return subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
        )

    assert run().returncode == 0
    assert run("--check").returncode == 0
    (tmp_path / "docs/openapi.json").unlink()
    types_file = tmp_path / "protocol/javascript/src/types.ts"
    types_file.write_text(types_file.read_text().replace("memoryId", "memory_id"))

    checked = run("--check")

    assert checked.returncode == 1
    assert checked.stderr.splitlines() == [
        "docs/openapi.json is stale: run `python -m protocol.schema`",
        "protocol/javascript/src/types.ts is stale: run `python -m protocol.schema`",
    ]
    assert not (tmp_path / "docs/openapi.json").exists()
    assert run().returncode == 0
    assert run("--check").returncode == 0


def test_the_output_does_not_depend_on_the_process_that_made_it(tmp_path: Path) -> None:
    for seed in ("1", "2"):
        subprocess.run(
            [sys.executable, "-m", "protocol.schema", "--root", str(tmp_path / seed)],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            timeout=60,
            check=True,
        )
    for path in generate():
        assert (tmp_path / "1" / path).read_bytes() == (tmp_path / "2" / path).read_bytes()


# Everything that is declared appears


@of_each_operation
def test_an_operation_is_in_asyncapi_with_its_request_and_reply(
    operation: Operation[Any, Any],
) -> None:
    document = asyncapi()
    described = document["operations"][operation.name]
    request, reply, error = (
        resolve(document, resolve(document, message["$ref"])["$ref"])
        for message in (*described["messages"], *described["reply"]["messages"])
    )
    _, _, name, body = request["payload"]["items"]
    assert described["action"] == "receive"
    assert name == {"const": operation.name}
    assert body["$ref"].endswith(f"/{operation.request.__name__}")
    assert reply["payload"]["items"][2]["$ref"].endswith(f"/{operation.response.__name__}")
    assert error["name"] == "error"


@of_each_operation
def test_an_operation_is_in_the_typescript_and_on_the_page(
    operation: Operation[Any, Any],
) -> None:
    request, response = operation.request.__name__, operation.response.__name__
    line = f'"{operation.name}": {{ request: {request}; response: {response} }};'
    assert line in types()
    assert f"### {operation.name}\n\n{operation.summary}" in markdown()


def test_frames_and_events_are_all_described() -> None:
    document = asyncapi()
    for shape in frame_shapes():
        payload = document["components"]["messages"][shape.word]["payload"]
        assert payload["items"][0] == {"enum": [shape.number]}
        assert len(payload["items"]) == len(shape.items) + 1
        assert f"[type: {shape.number}" in types()
        assert f"`[{shape.number}, " in markdown()
        assert shape.doc
    for event in EVENTS:
        assert document["operations"][event.name]["action"] == "send"
        assert f'"{event.name}": {event.body.__name__};' in types()
        assert f"### {event.name}\n" in markdown()


def test_error_codes_and_close_codes_are_all_described() -> None:
    document = asyncapi()
    assert [row["code"] for row in document["x-errorCodes"]] == [code.value for code in ErrorCode]
    assert [row["code"] for row in document["x-closeCodes"]] == [code.value for code in CloseCode]
    for error in ErrorCode:
        assert f'\n  | "{error.value}"' in types()
        assert f"| `{error.value}` | {error.status} |" in markdown()
    for close in CloseCode:
        assert f'\n  {close.value}: {{\n    name: "{close.name.lower()}"' in types()
        assert f"| `{close.value}` | {close.name.lower()} |" in markdown()


# The documents are well made


@pytest.mark.parametrize("document", [asyncapi(), openapi()], ids=["asyncapi", "openapi"])
def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    references = list(values(document, "$ref"))
    assert references
    for reference in references:
        assert resolve(document, reference)


def test_asyncapi_uses_the_words_of_draft_7_and_msgpack_s_bytes() -> None:
    document = asyncapi()
    assert document["asyncapi"] == "3.0.0"
    assert not list(values(document, "prefixItems"))
    assert not list(values(document, "contentEncoding"))
    snapshot = document["components"]["schemas"]["OpenedDocument"]["properties"]["updates"]
    assert snapshot == {"type": "array", "items": {"type": "string", "format": "binary"}}


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda e: e.name)
def test_an_endpoint_is_in_openapi_with_all_its_answers(endpoint: Endpoint) -> None:
    described = openapi()["paths"][endpoint.path][endpoint.method.lower()]
    assert described["operationId"] == endpoint.name
    has_body = endpoint.request is not None or endpoint.content_type != JSON
    assert ("requestBody" in described) is has_body
    statuses = {answer.status for answer in endpoint.answers}
    statuses |= {code.status for code in endpoint.refusals}
    assert described["responses"].keys() == {str(status) for status in statuses}
    for response in described["responses"].values():
        assert response["description"]
    for code in endpoint.errors:
        content = described["responses"][str(code.status)]["content"]["application/json"]
        assert content["schema"] == {"$ref": "#/components/schemas/Refused"}
        assert content["examples"][code.value]["value"]["error"]["code"] == code.value


def test_openapi_lists_no_path_that_is_not_declared() -> None:
    document = openapi()
    assert document["openapi"] == "3.1.0"
    assert document["paths"].keys() == {endpoint.path for endpoint in ENDPOINTS}
    codes = document["components"]["schemas"]["Refusal"]["properties"]["code"]["enum"]
    assert codes == [code.value for code in ErrorCode]


@pytest.mark.parametrize("struct", ALL, ids=lambda s: s.__name__)
def test_an_example_fits_its_struct(struct: Struct) -> None:
    decoded = msgspec.json.decode(json.dumps(example(struct)), type=struct)
    assert isinstance(decoded, struct)


@pytest.mark.parametrize("shape", frame_shapes(), ids=lambda s: s.word)
def test_an_example_frame_fits_its_type(shape: Any) -> None:
    decoded = msgspec.json.decode(json.dumps(frame_example(shape)), type=shape.struct)
    assert isinstance(decoded, shape.struct)


def test_links_in_the_readable_reference_lead_to_one_heading_each() -> None:
    anchors = [section.anchor for section in sections(handbook())]
    assert len(set(anchors)) == len(anchors)
    links = re.findall(r"\]\(#([^)]*)\)", markdown())
    assert links
    assert set(links) <= set(anchors)


def test_a_row_of_a_table_has_a_cell_for_each_column() -> None:
    tables = [b for s in sections(handbook()) for b in s.blocks if isinstance(b, Table)]
    assert tables
    for table in tables:
        for row in table.rows:
            assert len(row) == len(table.columns), row


# What cannot be described is refused when the reference is made


def test_two_structs_of_one_name_are_refused_with_both_their_modules() -> None:
    first = msgspec.defstruct("Twin", [("a", int)], module="protocol.one")
    second = msgspec.defstruct("Twin", [("b", int)], module="protocol.two")
    with pytest.raises(ValueError, match=r"protocol\.one and protocol\.two both declare Twin"):
        structs([first, second])


@pytest.mark.parametrize("describe", [label, typescript_name])
def test_a_type_without_a_word_for_it_is_refused(describe: Any) -> None:
    with pytest.raises(TypeError, match="ExtType"):
        describe(mi.ExtType())


def test_a_nested_struct_is_found_through_lists_unions_and_maps() -> None:
    inner = msgspec.defstruct("Inner", [("a", int)])
    outer = msgspec.defstruct("Outer", [("b", dict[str, list[inner | None]])])  # type: ignore[valid-type]
    assert structs([outer]) == [outer, inner]


# The types compile, and hold programs to the contract

PROGRAM = """\
import { closeCodes, errorCodes } from "./types";
import type { ClientFrame, ErrorCode, Events, Operations } from "./types";

type Request<K extends keyof Operations> = Operations[K]["request"];

const empty: Request<"memories.create"> = {};
const cleared: Request<"memories.update"> = { id: "a", title: null };
// @ts-expect-error an id is required
const unnamed: Request<"memories.update"> = { title: "b" };
// @ts-expect-error there is no such field
const strange: Request<"memories.create"> = { titel: "b" };
// @ts-expect-error the order is one of two words
const order: Request<"memories.list"> = { sortOrder: "up" };

function bytes(opened: Operations["documents.open"]["response"]): Uint8Array[] {
  return opened.snapshot ? [opened.snapshot, ...opened.updates] : opened.updates;
}

const frame: ClientFrame = [3, 1, 2, new Uint8Array()];
// @ts-expect-error a push is the server's
const push: ClientFrame = [20, 1, 2, []];
const changed: Events["feed.changed"] = { memoryId: "a" };
const code: ErrorCode = "gone";
const temporary: boolean = errorCodes[code].temporary;
const reconnect: boolean = closeCodes[4408].reconnect;

export const all = [
  empty, cleared, unnamed, strange, order, bytes, frame, push, changed, temporary, reconnect,
];
"""


def test_the_types_compile_and_refuse_what_the_server_would(tmp_path: Path) -> None:
    compiler = PACKAGE / "node_modules" / ".bin" / "tsc"
    if not compiler.exists():
        pytest.fail("the TypeScript compiler is missing: run `npm ci` in protocol/javascript")
    (tmp_path / "types.ts").write_text(types(), encoding="utf-8")
    (tmp_path / "program.ts").write_text(PROGRAM, encoding="utf-8")
    checked = subprocess.run(
        [compiler, "--noEmit", "--strict", "--target", "es2022", "--moduleResolution", "bundler",
         "--module", "es2022", "--types", "", tmp_path / "program.ts"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout
