"""The generated reference: AsyncAPI, OpenAPI, TypeScript and a page to read, from the very
declarations that the server runs on. `python -m protocol.schema` writes them."""

TITLE = "Memory App"
VERSION = "1.0.0"
