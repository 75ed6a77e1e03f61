"""What the program that reads the OpenAPI document has to be told beside it."""

import schemathesis

# The bytes of an upload in pieces are bytes like any other.
schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")
