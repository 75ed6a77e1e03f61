"""The items of a MessagePack array, told apart without reading them.

msgspec does the same, by recursion: of a value that is nested a thousand deep it cannot say where
it ends, and a whole message would be lost with it. Here depth costs nothing, so the limit is how
many values there are.
"""

MAX_VALUES = 1 << 16  # in all, whatever their depth

# Behind the first byte: how long a number is, and how long the length of what has one is.
_FIXED = {0xC0: 0, 0xC2: 0, 0xC3: 0, 0xCA: 4, 0xCB: 8}
_FIXED |= {0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}
_FIXED |= {0xD4: 2, 0xD5: 3, 0xD6: 5, 0xD7: 9, 0xD8: 17}  # extensions, with their type
_SIZED = {0xC4: (1, 0), 0xC5: (2, 0), 0xC6: (4, 0), 0xD9: (1, 0), 0xDA: (2, 0), 0xDB: (4, 0)}
_SIZED |= {0xC7: (1, 1), 0xC8: (2, 1), 0xC9: (4, 1)}
_ARRAYS = {0xDC: 2, 0xDD: 4}
_MAPS = {0xDE: 2, 0xDF: 4}


def split(data: bytes | memoryview, most: int | None = None) -> list[memoryview]:
    """The encoded items of the array that `data` is, or the first `most` of them.

    Raises:
        ValueError: it is no array, ends too early or too late, or holds more than MAX_VALUES.
    """
    view = memoryview(data)
    _, count, at = _head(view, 0)
    if not (view[0] & 0xF0 == 0x90 or view[0] in _ARRAYS):
        raise ValueError("not an array")
    wanted = count if most is None else min(most, count)
    items: list[memoryview] = []
    values = 0
    while len(items) < wanted:
        start, open_values = at, 1
        while open_values:
            values += 1
            if values > MAX_VALUES:
                raise ValueError(f"more than {MAX_VALUES} values, nested too deep")
            length, children, at = _head(view, at)
            at += length
            open_values += children - 1
        if at > len(view):
            raise ValueError("the data ends too early")
        items.append(view[start:at])
    if wanted == count and at != len(view):
        raise ValueError("there is something behind the end")
    return items


def _head(view: memoryview, at: int) -> tuple[int, int, int]:
    """Of the value at `at`: the bytes that follow its head, the values that do, and where."""
    if at >= len(view):
        raise ValueError("the data ends too early")
    first = view[at]
    at += 1
    if first < 0x80 or first >= 0xE0:
        return 0, 0, at
    if first < 0x90:
        return 0, 2 * (first & 0x0F), at
    if first < 0xA0:
        return 0, first & 0x0F, at
    if first < 0xC0:
        return first & 0x1F, 0, at
    if first in _FIXED:
        return _FIXED[first], 0, at
    if first in _SIZED:
        size, more = _SIZED[first]
        return int.from_bytes(view[at : at + size], "big") + more, 0, at + size
    if first in _ARRAYS:
        size = _ARRAYS[first]
        return 0, int.from_bytes(view[at : at + size], "big"), at + size
    if first in _MAPS:
        size = _MAPS[first]
        return 0, 2 * int.from_bytes(view[at : at + size], "big"), at + size
    raise ValueError(f"no value begins with {first:#x}")
