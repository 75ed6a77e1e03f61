"""What the schema in use holds, without what belongs to extensions: PostgreSQL's catalog."""

from collections.abc import Sequence
from graphlib import TopologicalSorter
from typing import NamedTuple

from storage.postgres import Connection

_HERE = "quote_ident(current_schema())::regnamespace"
_NO_EXTENSION = """
NOT EXISTS (
    SELECT FROM pg_depend p
    WHERE p.classid = {catalog}::regclass AND p.objid = o.oid AND p.deptype = 'e')
"""

_TABLES = f"""
SELECT o.relname AS name,
    ARRAY(
        SELECT a.attname FROM pg_attribute a
        WHERE a.attrelid = o.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
        ORDER BY a.attnum) AS columns,
    ARRAY(
        SELECT r.relname FROM pg_constraint f JOIN pg_class r ON r.oid = f.confrelid
        WHERE f.conrelid = o.oid AND f.contype = 'f' AND f.confrelid <> o.oid
        ORDER BY r.relname) AS referenced
FROM pg_class o
WHERE o.relnamespace = {_HERE} AND o.relkind IN ('r', 'p') AND NOT o.relispartition
    AND {_NO_EXTENSION.format(catalog="'pg_class'")}
ORDER BY o.relname
"""

_THINGS = f"""
SELECT CASE o.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW'
        WHEN 'S' THEN 'SEQUENCE' WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END AS kind,
    o.oid::regclass::text AS name
FROM pg_class o
WHERE o.relnamespace = {_HERE} AND o.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
    AND NOT o.relispartition
    AND {_NO_EXTENSION.format(catalog="'pg_class'")}
UNION ALL
SELECT 'ROUTINE', o.oid::regprocedure::text FROM pg_proc o
WHERE o.pronamespace = {_HERE} AND {_NO_EXTENSION.format(catalog="'pg_proc'")}
UNION ALL
SELECT CASE o.typtype WHEN 'd' THEN 'DOMAIN' ELSE 'TYPE' END, o.oid::regtype::text FROM pg_type o
WHERE o.typnamespace = {_HERE} AND o.typtype IN ('d', 'e')
    AND {_NO_EXTENSION.format(catalog="'pg_type'")}
ORDER BY kind, name
"""


class Table(NamedTuple):
    """A table and those of its columns that can be written."""

    name: str
    columns: Sequence[str]


class Thing(NamedTuple):
    """Something that can be dropped: `DROP {kind} {name}`. The name is quoted where need be."""

    kind: str
    name: str


async def tables(connection: Connection) -> list[Table]:
    """Every table, each behind those that it references, and else by name. One that is split has
    its partitions in it."""
    rows = {row["name"]: row for row in await connection.fetch(_TABLES)}
    order = TopologicalSorter({name: row["referenced"] for name, row in rows.items()})
    return [Table(name, rows[name]["columns"]) for name in order.static_order()]


async def things(connection: Connection) -> list[Thing]:
    """Everything: tables, views, sequences, routines, types."""
    return [Thing(*row) for row in await connection.fetch(_THINGS)]


def quoted(name: str) -> str:
    """A name as SQL has it."""
    return '"' + name.replace('"', '""') + '"'
