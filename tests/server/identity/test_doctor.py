"""What `memo doctor` finds of mail, encryption and providers."""

from pathlib import Path

import pytest
from joserfc.jwk import ECKey

from server.config import Settings
from server.doctor import Finding, examine
from tests.mailroom import mailroom
from tests.serving import free_port


async def found(settings: Settings) -> dict[str, Finding]:
    return {finding.subject: finding async for finding in examine(settings)}


async def test_what_is_not_set_up_is_no_problem_and_is_said(tmp_path: Path) -> None:
    findings = await found(Settings(data_directory=tmp_path, port=0))
    assert findings["encryption"].ok
    assert "kept as they are" in findings["encryption"].text
    assert findings["mail"].ok
    assert "the server's log" in findings["mail"].text
    assert findings["sign-in providers"] == Finding("sign-in providers", True, "none is set up")


@pytest.mark.parametrize(("password", "well"), [("p%40ss%3Aword", True), ("wrong", False)])
async def test_the_mail_server_is_signed_in_to(tmp_path: Path, password: str, well: bool) -> None:
    async with mailroom() as (room, place):
        findings = await found(
            Settings(
                data_directory=tmp_path,
                port=0,
                smtp_url=f"smtp://me:{password}@{place}",
                mail_from="memo@example.com",
                encryption_keys=(bytes(32),),
            )
        )
    assert room.logins
    assert findings["mail"].ok is well
    assert "wrong" not in findings["mail"].text
    assert "are encrypted" in findings["encryption"].text


async def test_what_does_not_answer_is_a_problem(tmp_path: Path) -> None:
    away = f"127.0.0.1:{free_port()}"
    settings = Settings(
        data_directory=tmp_path,
        port=0,
        smtp_url=f"smtp://{away}",
        mail_from="memo@example.com",
        google_client_id="id",
        google_client_secret="secret",
        google_issuer=f"http://{away}",
    )
    findings = await found(settings)
    assert not findings["mail"].ok
    assert not findings["sign-in providers"].ok
    assert "Google cannot be asked" in findings["sign-in providers"].text


async def test_a_key_of_apple_that_is_none_is_a_problem(tmp_path: Path) -> None:
    settings = Settings(
        data_directory=tmp_path,
        port=0,
        apple_client_id="id",
        apple_team_id="team",
        apple_key_id="key",
        apple_private_key=ECKey.generate_key("P-521").as_pem(private=True).decode(),
    )
    finding = (await found(settings))["sign-in providers"]
    assert not finding.ok
    assert finding.text.startswith("APPLE_PRIVATE_KEY is not")
