"""Why a benchmark cannot go on."""


class BenchmarkFailed(Exception):
    """The message is one line for whoever ran it."""
