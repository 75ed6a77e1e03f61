"""What to call a device that is signed in, as far as its user agent tells."""

import re

UNKNOWN = "Unknown device"

# The first that is there names it: many a browser also claims to be those further down.
_SYSTEMS = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("CrOS", "ChromeOS"),
    ("Macintosh", "Mac"),
    ("Darwin", "an Apple device"),
    ("Linux", "Linux"),
)
_PROGRAMS = (
    ("Edg", "Edge"),
    ("OPR", "Opera"),
    ("SamsungBrowser", "Samsung Internet"),
    ("Firefox", "Firefox"),
    ("FxiOS", "Firefox"),
    ("CriOS", "Chrome"),
    ("Chromium", "Chromium"),
    ("Chrome", "Chrome"),
    ("Safari", "Safari"),
)
_PRODUCT = re.compile(r"([A-Za-z][\w .-]{0,39}?)\s*(?:[/(;]|$)", re.ASCII)


def device_name(user_agent: str | None) -> str:
    """A short name for people: `Firefox on Windows`, or the program that the user agent names."""
    if not user_agent:
        return UNKNOWN
    system = next((name for sign, name in _SYSTEMS if sign in user_agent), None)
    program = None
    if user_agent.startswith("Mozilla/"):
        program = next((name for sign, name in _PROGRAMS if sign in user_agent), None)
    elif match := _PRODUCT.match(user_agent):
        program = match[1]
    if program and system:
        return f"{program} on {system}"
    return program or system or UNKNOWN
