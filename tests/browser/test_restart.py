"""The console through the end of its server."""

import pytest
from playwright.async_api import expect

from tests.browser.window import Window
from tests.serving import ServerProcess

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture
def server(live_server: ServerProcess) -> ServerProcess:
    """One that nobody shares, and that may be killed."""
    return live_server


async def test_unsent_edits_land_after_the_server_was_killed(
    first: Window, second: Window, server: ServerProcess
) -> None:
    await first.write("Crash", "Before.")
    await first.saved()
    server.kill()
    await expect(first.status).to_have_text("Offline · nothing unsent")
    await first.append(" During.")
    await expect(first.status).to_contain_text("unsent")
    server.start()
    await first.saved()
    await second.open("Crash")
    await expect(second.body).to_have_text("Before. During.")
