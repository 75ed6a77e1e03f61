-- What several parts of the library build on: what is gone, and files.

-- What a device that follows an account has to forget. `kind` is that of the feed's items.
-- Whoever brings a record back takes its tombstone away in the same transaction.
CREATE TABLE tombstones (
    user_id        uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    kind           varchar(20) NOT NULL CHECK (kind IN ('memory', 'category', 'file')),
    record_id      uuid NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now(),
    changed_xid    xid8 NOT NULL DEFAULT pg_current_xact_id(),
    PRIMARY KEY (user_id, kind, record_id)
);
CREATE INDEX tombstones_feed ON tombstones (user_id, changed_xid);

-- A file is of one account, and shown to the members of the memory it is in. Its bytes are found
-- by their digest: the same bytes are kept once for an account, whatever they are called.
CREATE TABLE files (
    id             uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id        uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    memory_id      uuid REFERENCES memories (id) ON DELETE CASCADE,
    message_id     uuid,
    filename       varchar(255) NOT NULL,
    original_filename varchar(255) NOT NULL,
    file_type      varchar(100) NOT NULL,
    file_size      bigint NOT NULL,
    sha256         bytea NOT NULL,
    storage_path   text NOT NULL,
    storage_provider varchar(50) NOT NULL DEFAULT 'local',
    thumbnail_path text,
    metadata       jsonb NOT NULL DEFAULT '{}',
    is_processed   boolean NOT NULL DEFAULT false,
    created_at     timestamptz NOT NULL DEFAULT now(),
    changed_xid    xid8 NOT NULL DEFAULT pg_current_xact_id()
);
CREATE INDEX files_feed ON files (user_id, changed_xid);
CREATE INDEX files_memory_id ON files (memory_id) WHERE memory_id IS NOT NULL;
CREATE INDEX files_sha256 ON files (user_id, sha256);
