"""Names for devices."""

import pytest

from server.identity.devices import device_name

WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"


@pytest.mark.parametrize(
    ("user_agent", "name"),
    [
        (None, "Unknown device"),
        ("", "Unknown device"),
        ("Mozilla/5.0", "Unknown device"),
        ("\x00\xff", "Unknown device"),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0",
            "Firefox on Windows",
        ),
        (f"Mozilla/5.0 (X11; Linux x86_64) {WEBKIT} Chrome/140.0 Safari/537.36", "Chrome on Linux"),
        (
            f"Mozilla/5.0 (Windows NT 10.0) {WEBKIT} Chrome/140.0 Safari/537.36 Edg/140.0",
            "Edge on Windows",
        ),
        (
            f"Mozilla/5.0 (Linux; Android 15; Pixel 9) {WEBKIT} Chrome/140.0 Mobile Safari/537.36",
            "Chrome on Android",
        ),
        (
            f"Mozilla/5.0 (iPhone; CPU iPhone OS 19_0) {WEBKIT} Version/19.0 Mobile Safari/604.1",
            "Safari on iPhone",
        ),
        (
            f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {WEBKIT} Version/19.0 Safari/605.1",
            "Safari on Mac",
        ),
        ("okhttp/4.12.0", "okhttp"),
        ("MemoryApp/1.4 (iPhone; iOS 19.0)", "MemoryApp on iPhone"),
        ("Memory App/1.4 CFNetwork/1490 Darwin/24.0", "Memory App on an Apple device"),
        ("python-httpx/0.28.1", "python-httpx"),
        ("x" * 400, "Unknown device"),
    ],
)
def test_a_device_has_a_short_name(user_agent: str | None, name: str) -> None:
    assert device_name(user_agent) == name
