"""Settings: what each variable means, and the line a bad one gets."""

from pathlib import Path

import pytest

from server.config import ConfigError, Rate, Settings


def test_nothing_set_serves_one_person_on_this_machine() -> None:
    settings = Settings.read({})
    assert (settings.host, settings.port, settings.data_directory) == (
        "127.0.0.1",
        8000,
        Path("data"),
    )
    assert settings.database_url is None
    assert settings.url == "http://127.0.0.1:8000"
    assert settings.update_retention_seconds == 7 * 24 * 3600
    assert settings.history_retention_seconds == 90 * 24 * 3600
    assert settings.trash_retention_seconds == 30 * 24 * 3600


def test_empty_and_unknown_variables_are_as_if_unset() -> None:
    assert Settings.read({"PORT": "", "DATABASE_URL": "  ", "EDITOR": "ed"}) == Settings.read({})


def test_each_variable_reaches_its_field() -> None:
    assert Settings.read(
        {
            "HOST": "0.0.0.0",
            "PORT": "9000",
            "PUBLIC_URL": "https://memo.example.com/",
            "DATA_DIR": "/var/lib/memo",
            "DATABASE_URL": "postgresql://me@db/memo",
            "WORKERS": "1",
            "JWT_PRIVATE_KEY": "/etc/memo/key.pem",
            "LOG_LEVEL": "DEBUG",
            "LOG_FORMAT": "json",
            "CORS_ORIGINS": "https://a.example.com, http://localhost:5173",
            "TRUSTED_PROXIES": "10.0.0.0/8,::1",
            "GEOIP_DATABASE": "/srv/city.mmdb",
            "BLOB_URL": "s3://memo/files",
            "FILE_QUOTA": "2.5 GB",
            "MAX_FILE_BYTES": "64MiB",
            "UPDATE_RETENTION": "36h",
            "ENCRYPTION_KEY": f"{'A' * 43}=, {'_' * 43}=",
            "SMTP_URL": "smtp://me:secret@mail.example.com:587",
            "MAIL_FROM": "Memory App <memo@example.com>",
            "OAUTH_REDIRECT_URIS": "com.example.memo:/signed-in, https://m.example.com/in",
            "GOOGLE_CLIENT_ID": "id",
            "GOOGLE_CLIENT_SECRET": "secret",
            "GOOGLE_ISSUER": "https://id.example.com/",
            "APPLE_CLIENT_ID": "com.example.memo",
            "APPLE_TEAM_ID": "TEAM",
            "APPLE_KEY_ID": "KEY",
            "APPLE_PRIVATE_KEY": "/etc/memo/apple.p8",
            "APPLE_ISSUER": "https://apple.example.com",
            "HISTORY_RETENTION": "30d",
            "TRASH_RETENTION": "90d",
        }
    ) == Settings(
        host="0.0.0.0",
        port=9000,
        public_url="https://memo.example.com",
        data_directory=Path("/var/lib/memo"),
        database_url="postgresql://me@db/memo",
        jwt_private_key="/etc/memo/key.pem",
        log_level="debug",
        log_format="json",
        cors_origins=("https://a.example.com", "http://localhost:5173"),
        trusted_proxies=("10.0.0.0/8", "::1"),
        geoip_database=Path("/srv/city.mmdb"),
        blob_url="s3://memo/files",
        file_quota_bytes=2_500_000_000,
        max_file_bytes=64 << 20,
        update_retention_seconds=36 * 3600.0,
        encryption_keys=(bytes(32), b"\xff" * 32),
        smtp_url="smtp://me:secret@mail.example.com:587",
        mail_from="Memory App <memo@example.com>",
        oauth_redirect_uris=("com.example.memo:/signed-in", "https://m.example.com/in"),
        google_client_id="id",
        google_client_secret="secret",
        google_issuer="https://id.example.com/",
        apple_client_id="com.example.memo",
        apple_team_id="TEAM",
        apple_key_id="KEY",
        apple_private_key="/etc/memo/apple.p8",
        apple_issuer="https://apple.example.com",
        history_retention_seconds=30 * 86400.0,
        trash_retention_seconds=90 * 86400.0,
    )


def test_files_are_kept_beside_the_rest_unless_a_place_is_named() -> None:
    settings = Settings.read({"DATA_DIR": "/var/lib/memo"})
    assert settings.blobs_url == "file:///var/lib/memo/blobs"
    assert Settings.read({"BLOB_URL": "gs://bucket"}).blobs_url == "gs://bucket"
    assert Settings.read({}).blobs_url == (Path.cwd() / "data" / "blobs").as_uri()


@pytest.mark.parametrize(
    ("host", "url"),
    [("0.0.0.0", "http://127.0.0.1:8000"), ("::", "http://[::1]:8000"), ("pi", "http://pi:8000")],
)
def test_the_address_to_open_is_one_that_can_be_opened(host: str, url: str) -> None:
    assert Settings.read({"HOST": host}).url == url


@pytest.mark.parametrize(
    ("name", "value", "accepted"),
    [
        ("HOST", "not a host", "an IP address"),
        ("PORT", "80000", "a number from 0 to 65535"),
        ("PORT", "http", "a number from 0 to 65535"),
        ("PORT", "²", "a number from 0 to 65535"),
        ("PUBLIC_URL", "memo.example.com", "https://memo.example.com"),
        ("PUBLIC_URL", "http://[", "https://memo.example.com"),
        ("WORKERS", "0", "a number from 1 to 64"),
        ("WORKERS", "65", "a number from 1 to 64"),
        ("WORKERS", "many", "a number from 1 to 64"),
        ("LOG_LEVEL", "loud", "debug, info, warning, error"),
        ("LOG_FORMAT", "xml", "auto, console, json"),
        ("CORS_ORIGINS", "https://a.example.com/path", "origins like"),
        ("CORS_ORIGINS", "a.example.com", "origins like"),
        ("TRUSTED_PROXIES", "proxy", "IP addresses or networks"),
        ("TRUSTED_PROXIES", "10.0.0.0/33", "IP addresses or networks"),
        ("BLOB_URL", "/var/lib/blobs", "file:///var/lib/memo/blobs"),
        ("BLOB_URL", "file://blobs", "file:///var/lib/memo/blobs"),
        ("BLOB_URL", "ftp://host/blobs", "s3://bucket/prefix"),
        ("BLOB_URL", "s3://", "s3://bucket/prefix"),
        ("FILE_QUOTA", "much", "like 100MB or 5GB"),
        ("FILE_QUOTA", "-1", "like 100MB or 5GB"),
        ("MAX_FILE_BYTES", "100 parsecs", "like 100MB or 5GB"),
        ("UPDATE_RETENTION", "7", "like 7d"),
        ("UPDATE_RETENTION", "-1d", "like 7d"),
        ("MAIL_FROM", "nobody", "Memory App <memo@example.com>"),
        ("MAIL_FROM", "a@b.example\nBcc: c@d.example", "an address"),
        ("OAUTH_REDIRECT_URIS", "/signed-in", "addresses like"),
        ("OAUTH_REDIRECT_URIS", "https://a.example.com/#b", "addresses like"),
        ("GOOGLE_ISSUER", "accounts.google.com", "https://id.example.com"),
        ("HISTORY_RETENTION", "forever", "like 7d"),
        ("TRASH_RETENTION", "a month", "like 7d"),
    ],
)
def test_a_bad_value_is_one_line_with_the_variable_the_value_and_what_is_accepted(
    name: str, value: str, accepted: str
) -> None:
    with pytest.raises(ConfigError) as refusal:
        Settings.read({name: value})
    message = str(refusal.value)
    assert message.startswith(f"{name} is ")
    assert repr(value) in message
    assert accepted in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "url", ["mysql://me:secret@db/memo", "postgresql://me:secret@db:port/memo"]
)
def test_a_bad_secret_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(ConfigError, match="DATABASE_URL has to be like postgresql://") as refusal:
        Settings.read({"DATABASE_URL": url})
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize("url", ["http://me:secret@cache", "localhost:6379", "redis://", "unix://"])
def test_an_address_that_is_no_redis_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(ConfigError, match="REDIS_URL has to be like redis://") as refusal:
        Settings.read({"REDIS_URL": url})
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize(
    "url", ["redis://localhost", "rediss://u:p@cache:6380/1", "unix:///run/redis.sock?db=1"]
)
def test_several_workers_need_redis(url: str) -> None:
    with pytest.raises(ConfigError, match=r"^WORKERS is 2, .*: set REDIS_URL, or WORKERS to 1$"):
        Settings.read({"WORKERS": "2"})
    settings = Settings.read({"WORKERS": "2", "REDIS_URL": url})
    assert (settings.workers, settings.redis_url) == (2, url)


@pytest.mark.parametrize("key", ["secret", "c2VjcmV0", f"{'A' * 43}=,secret", "é" * 44])
def test_a_key_that_is_none_is_refused_without_being_shown(key: str) -> None:
    with pytest.raises(ConfigError, match="ENCRYPTION_KEY has to be 32 bytes") as refusal:
        Settings.read({"ENCRYPTION_KEY": key})
    assert "secret" not in str(refusal.value)


def test_a_mail_server_that_is_none_is_refused_without_being_shown() -> None:
    with pytest.raises(ConfigError, match="SMTP_URL has to be like smtp://") as refusal:
        Settings.read({"SMTP_URL": "http://me:secret@mail", "MAIL_FROM": "a@b.example"})
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ({"GOOGLE_CLIENT_ID": "id"}, "GOOGLE_CLIENT_SECRET is missing"),
        ({"APPLE_CLIENT_ID": "id", "APPLE_KEY_ID": "k"}, "APPLE_TEAM_ID, APPLE_PRIVATE_KEY is"),
        ({"SMTP_URL": "smtp://mail"}, "MAIL_FROM is missing"),
        ({"SMTP_URL": "smtp://mail", "SENDGRID_API_KEY": "secret"}, "set one of them"),
    ],
)
def test_settings_that_go_together_are_asked_for(given: dict[str, str], asked: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        Settings.read(given)
    assert asked in str(refusal.value)
    assert "secret" not in str(refusal.value)


def test_a_long_value_is_shortened_in_the_message() -> None:
    with pytest.raises(ConfigError) as refusal:
        Settings.read({"PORT": "x" * 10_000})
    assert len(str(refusal.value)) < 200


@pytest.mark.parametrize(
    ("value", "rate"),
    [
        ("5/15minutes", Rate(5, 900)),
        ("5 / 15 minutes", Rate(5, 900)),
        ("600/minute", Rate(600, 60)),
        ("100/Hour", Rate(100, 3600)),
        ("1/30seconds", Rate(1, 30)),
        ("1000/1day", Rate(1000, 86_400)),
        ("off", None),
        ("OFF", None),
    ],
)
def test_a_rate_is_a_number_in_a_time(value: str, rate: Rate | None) -> None:
    assert Settings.read({"RATE_LIMIT_AUTH": value}).rate_limit_auth == rate


@pytest.mark.parametrize("name", ["AUTH", "API", "UPLOAD", "AI", "INVITE", "SOCKET"])
@pytest.mark.parametrize(
    "value", ["5", "0/minute", "5/0minutes", "-5/minute", "5/fortnight", "x/minute", "5/1.5hours"]
)
def test_a_rate_that_is_none_stops_the_start(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=r"like 5/15minutes or 100/hour, or off") as refusal:
        Settings.read({f"RATE_LIMIT_{name}": value})
    assert str(refusal.value).startswith(f"RATE_LIMIT_{name} is {value!r}")


def test_features_are_for_all_or_in_tiers() -> None:
    assert Settings.read({}).features == "all"
    assert Settings.read({"FEATURES": "Tiers"}).features == "tiers"
    with pytest.raises(ConfigError, match="one of all, tiers"):
        Settings.read({"FEATURES": "some"})
