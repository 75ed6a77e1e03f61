"""Keys that settings give: PEM text, or the path of a PEM file."""

from pathlib import Path

from server.config import ConfigError


def pem_of(setting: str, value: str) -> str:
    r"""The PEM text that the setting's `value` is or names.

    Line breaks of the text may be written as `\n`, as .env files do.

    Raises:
        ConfigError: the file cannot be read. Never with the key in its message.
    """
    if "-----BEGIN" in value:
        return value.replace("\\n", "\n")
    try:
        return Path(value).read_text()
    except (OSError, ValueError):
        raise ConfigError(
            f"{setting} is neither a private key in PEM nor the path of a file that can be read"
        ) from None
