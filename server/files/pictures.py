"""Thumbnails, made in a worker process: a picture may be anything that somebody made up."""

import io
import resource
import warnings
from contextlib import suppress
from typing import NamedTuple

from PIL import Image, ImageOps, UnidentifiedImageError

SIZE = 512  # the longer side of a thumbnail, in pixels
QUALITY = 80
MAX_PIXELS = 100_000_000
MAX_BYTES = 64 << 20  # of a file that is looked at
MEMORY_BYTES = 2 << 30  # of the worker, as addresses
MEDIA_TYPE = "image/webp"

_FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "ICO")


class Picture(NamedTuple):
    """What was found: the size as it is seen, and a small image without anything but its dots. Of
    one that cannot be read, `error` says why."""

    width: int | None = None
    height: int | None = None
    thumbnail: bytes | None = None
    error: str | None = None


def look(data: bytes) -> Picture:
    """The size and the thumbnail of a picture."""
    _limit_memory()
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is odd but can be read is read
            with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
                return _look(image)
    except UnidentifiedImageError:
        return Picture(error="the image is of a kind that cannot be read here")
    except Image.DecompressionBombError:
        return Picture(error=f"the image has more than {MAX_PIXELS} pixels")
    except MemoryError:
        return Picture(error="the image takes too much memory to be read")
    except Exception:  # noqa: BLE001 (a broken file has many ways to fail)
        return Picture(error="the image is broken")


def _look(image: Image.Image) -> Picture:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise Image.DecompressionBombError
    turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
    seen = (height, width) if turned else (width, height)
    image.draft("RGB", (2 * SIZE, 2 * SIZE))  # a JPEG is read no larger than it has to be
    small = ImageOps.exif_transpose(image)
    small.thumbnail((SIZE, SIZE))
    clear = "A" in small.getbands() or "transparency" in small.info
    # A new image: what the file says beside its dots, like where it was taken, stays behind.
    plain = Image.new("RGBA" if clear else "RGB", small.size)
    plain.paste(small.convert(plain.mode))
    output = io.BytesIO()
    plain.save(output, "WEBP", quality=QUALITY, method=4)
    return Picture(*seen, output.getvalue())


def _limit_memory() -> None:
    """A picture may take this process down, not the machine."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = MEMORY_BYTES if hard == resource.RLIM_INFINITY else min(MEMORY_BYTES, hard)
    with suppress(ValueError, OSError):  # a system that does not know this limit
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
