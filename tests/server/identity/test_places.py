"""Where addresses are, by databases that differ in what they know."""

from pathlib import Path
from typing import Any

import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from server.config import ConfigError
from server.identity.places import Places
from tests.geoip import write_places


def database(file: Path, record: Any) -> Path:
    writer = MMDBWriter(4, "Test")
    writer.insert_network(IPSet(["192.0.2.0/24"]), record)
    writer.to_db_file(str(file))
    return file


def test_a_city_and_its_country_are_named_for_both_kinds_of_addresses(tmp_path: Path) -> None:
    file = write_places(
        tmp_path / "city.mmdb",
        {"192.0.2.0/24": ("Lisbon", "Portugal"), "2001:db8::/32": ("Graz", "Austria")},
    )
    places = Places(file)
    assert places.of("192.0.2.7") == "Lisbon, Portugal"
    assert places.of("2001:db8::1") == "Graz, Austria"


@pytest.mark.parametrize("address", ["198.51.100.1", "2001:db8::1", "nonsense", "", None])
def test_what_is_in_no_network_is_nowhere(tmp_path: Path, address: str | None) -> None:
    assert Places(database(tmp_path / "a.mmdb", {"city": "Rome"})).of(address) is None
    assert Places().of(address) is None


@pytest.mark.parametrize(
    ("record", "place"),
    [
        ({"country": {"names": {"en": "Portugal"}}}, "Portugal"),
        ({"city": "Lisbon", "country": "PT", "country_name": "Portugal"}, "Lisbon, Portugal"),
        ({"city": "Lisbon", "country": "Portugal"}, "Lisbon, Portugal"),
        ({"city": {"names": {"pt": "Lisboa"}}, "country": {"names": {}}}, None),
        ({"city": {"names": ["Lisbon"]}, "country": 7}, None),
        ({"continent": {"names": {"en": "Europe"}}}, None),
        ("Portugal", None),
    ],
)
def test_a_database_says_as_much_as_it_has(tmp_path: Path, record: Any, place: str | None) -> None:
    assert Places(database(tmp_path / "a.mmdb", record)).of("192.0.2.7") == place


def test_what_is_no_database_is_one_line_that_names_the_setting(tmp_path: Path) -> None:
    (tmp_path / "text.mmdb").write_text("no database")
    for file in (tmp_path / "text.mmdb", tmp_path / "missing.mmdb", tmp_path):
        with pytest.raises(ConfigError, match=rf"^GEOIP_DATABASE {file} cannot be used \([^\n]+"):
            Places(file)
