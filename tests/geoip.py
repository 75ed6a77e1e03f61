"""A database of places in MaxMind's format, of a test's own."""

from collections.abc import Mapping
from pathlib import Path

from mmdb_writer import MMDBWriter
from netaddr import IPSet


def write_places(file: Path, places: Mapping[str, tuple[str, str]]) -> Path:
    """Write cities and countries by network as GeoLite2 City has them; returns the file."""
    writer = MMDBWriter(6, "Test-City", languages=["en", "pt"], ipv4_compatible=True)
    for network, (city, country) in places.items():
        record = {
            "city": {"names": {"en": city, "pt": f"{city} (pt)"}},
            "country": {"iso_code": "XX", "names": {"en": country}},
        }
        writer.insert_network(IPSet([network]), record)
    writer.to_db_file(str(file))
    return file
