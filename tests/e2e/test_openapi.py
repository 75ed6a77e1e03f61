"""What the OpenAPI document says of REST is so: a program that reads it calls every endpoint in
every way it can think of, and compares what is answered."""

import os
import subprocess
import sys
from pathlib import Path

from tests.serving import Person, ServerProcess

DOCUMENT = Path(__file__).parents[2] / "docs" / "openapi.json"
BESIDE = Path(__file__).parent / "openapi"
EXAMPLES = os.environ.get("OPENAPI_EXAMPLES", "5")  # of each endpoint, drawn at random
PHASES = os.environ.get("OPENAPI_PHASES", "examples,fuzzing")
SEED = os.environ.get("OPENAPI_SEED", "0")
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "allow_header_conformance",
    "ignored_auth",
)


def test_rest_is_as_its_document_says(live_server: ServerProcess, tmp_path: Path) -> None:
    person = Person(live_server, "reader@example.com")
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        f"--config-file={BESIDE / 'schemathesis.toml'}",
        "run",
        str(DOCUMENT),
        f"--url={live_server.url}",
        f"--header=Authorization: Bearer {person.token}",
        f"--checks={','.join(CHECKS)}",
        f"--phases={PHASES}",
        f"--max-examples={EXAMPLES}",
        f"--seed={SEED}",
        "--request-timeout=10",
        "--warnings=off",
        "--no-color",
    ]
    run = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "SCHEMATHESIS_HOOKS": str(BESIDE / "hooks.py")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-2000:]
