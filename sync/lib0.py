"""The few parts of lib0's encoding that y-protocols messages are made of."""


def read_uint(data: bytes, at: int) -> tuple[int, int]:
    """The variable-length integer at `at`, and the place behind it.

    Raises:
        ValueError: the data ends within it, or it is larger than JavaScript counts exactly.
    """
    value = shift = 0
    while True:
        if at >= len(data):
            raise ValueError("the data ends within a number")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >> 53:
                raise ValueError("a number is larger than 2^53")
            return value, at
        shift += 7
        if shift > 56:
            raise ValueError("a number is longer than 8 bytes")


def read_bytes(data: bytes, at: int) -> tuple[bytes, int]:
    """The length-prefixed bytes at `at`, and the place behind them.

    Raises:
        ValueError: the data ends before they do.
    """
    size, at = read_uint(data, at)
    if size > len(data) - at:
        raise ValueError("more bytes are declared than there are")
    return data[at : at + size], at + size


def write_uint(out: bytearray, value: int) -> None:
    """Append `value` (not negative) as a variable-length integer."""
    while value > 0x7F:
        out.append(0x80 | (value & 0x7F))
        value >>= 7
    out.append(value)


def write_bytes(out: bytearray, value: bytes) -> None:
    """Append `value` behind its length."""
    write_uint(out, len(value))
    out += value
