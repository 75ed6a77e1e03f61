"""The wire: frames, errors, operations and the clients. Imports msgspec only."""
