"""Where an address is, as far as a database of the operator's own tells."""

from collections.abc import Mapping
from pathlib import Path

import maxminddb
import structlog
from maxminddb.types import Record

from server.config import ConfigError

LANGUAGE = "en"  # names in other languages are not in every database

log = structlog.get_logger(__name__)


class Places:
    """Looks addresses up in a file of MaxMind's format (GeoLite2 City or Country, DB-IP, IPinfo),
    which is mapped into memory. Without one, no place is known."""

    def __init__(self, file: Path | None = None) -> None:
        """Raises:
        ConfigError: the file cannot be read, or is none of that format.
        """
        self._reader: maxminddb.Reader | None = None
        if file is None:
            return
        try:
            self._reader = maxminddb.open_database(file)
        except (OSError, ValueError, maxminddb.InvalidDatabaseError) as error:
            reason = (isinstance(error, OSError) and error.strerror) or error
            raise ConfigError(
                f"GEOIP_DATABASE {file} cannot be used ({reason}); name a file that ends in .mmdb"
            ) from error

    def of(self, address: str | None) -> str | None:
        """The city and country of an address, like `Lisbon, Portugal`, or what of it is known."""
        if self._reader is None or address is None:
            return None
        try:
            found = self._reader.get(address)
        except (ValueError, maxminddb.InvalidDatabaseError) as error:
            log.warning("places.failed", error=str(error))
            return None
        if not isinstance(found, dict):
            return None
        names = [_name(found.get("city")), _name(found.get("country_name", found.get("country")))]
        return ", ".join(name for name in names if name) or None


def _name(record: Record | None) -> str | None:
    """MaxMind has names by language, others just the name."""
    if isinstance(record, Mapping):
        names = record.get("names")
        record = names.get(LANGUAGE) if isinstance(names, Mapping) else None
    return record if isinstance(record, str) else None
