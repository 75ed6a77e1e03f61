"""`python -m protocol.schema` writes the generated files; with `--check` it only compares."""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path

import protocol
from protocol.schema.asyncapi import asyncapi
from protocol.schema.markdown import markdown
from protocol.schema.openapi import openapi
from protocol.schema.typescript import types

_ROOT = Path(protocol.__file__).parent.parent


def generate() -> Mapping[str, str]:
    """The text of every generated file, by its path in the repository."""
    return {
        "docs/asyncapi.json": _document(asyncapi()),
        "docs/openapi.json": _document(openapi()),
        "docs/protocol.md": markdown(),
        "protocol/javascript/src/types.ts": types(),
    }


def main(arguments: list[str] | None = None) -> int:
    """Write the files below `--root`, or name those that are stale. 1 when there are such."""
    parser = argparse.ArgumentParser(prog="python -m protocol.schema", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if one is stale")
    parser.add_argument("--root", type=Path, default=_ROOT, help="where the repository is")
    options = parser.parse_args(arguments)
    stale = {path: text for path, text in generate().items() if _read(options.root / path) != text}
    if not options.check:
        for path, text in stale.items():
            (options.root / path).parent.mkdir(parents=True, exist_ok=True)
            (options.root / path).write_text(text, encoding="utf-8")
            sys.stdout.write(f"wrote {path}\n")
        return 0
    for path in stale:
        sys.stderr.write(f"{path} is stale: run `python -m protocol.schema`\n")
    return 1 if stale else 0


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


def _document(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.exit(main())
