-- Where the bytes of files are, and uploads that are under way.

-- The store that holds the bytes of this database's files: it says the same of itself. A restored
-- database takes the first one it meets.
ALTER TABLE installation ADD COLUMN blob_store uuid;

-- Bytes, in parts that never change: an object `path/part` of the store for each of `parts`, all
-- but the last of `part_bytes`. `size` counts for the account, while they arrive too; there is a
-- digest once they are whole. `freed_at` is when a file or an upload let go of them.
CREATE TABLE blobs (
    path           text PRIMARY KEY,
    user_id        uuid REFERENCES users (id) ON DELETE SET NULL,
    size           bigint NOT NULL CHECK (size >= 0),
    part_bytes     integer NOT NULL CHECK (part_bytes > 0),
    parts          text[] NOT NULL DEFAULT '{}',
    sha256         bytea,
    freed_at       timestamptz,
    created_at     timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX blobs_sha256 ON blobs (user_id, sha256) WHERE sha256 IS NOT NULL;
CREATE INDEX blobs_user_id ON blobs (user_id);
CREATE INDEX blobs_freed_at ON blobs (freed_at) WHERE freed_at IS NOT NULL;

-- A file on its way; `id` is that of the file it becomes. Without a `length` it is as long as it
-- turns out to be. One writer at a time holds it, until it lets go or its time is over; `wanted`
-- says that another one waits.
CREATE TABLE uploads (
    id             uuid PRIMARY KEY,
    user_id        uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    storage_path   text NOT NULL,
    memory_id      uuid REFERENCES memories (id) ON DELETE CASCADE,
    message_id     uuid,
    filename       varchar(255) NOT NULL,
    length         bigint CHECK (length >= 0),
    received       bigint NOT NULL DEFAULT 0,
    writer         uuid,
    writer_until   timestamptz,
    wanted         boolean NOT NULL DEFAULT false,
    expires_at     timestamptz NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX uploads_expires_at ON uploads (expires_at);
CREATE INDEX uploads_memory_id ON uploads (memory_id) WHERE memory_id IS NOT NULL;
CREATE INDEX uploads_user_id ON uploads (user_id);
CREATE INDEX uploads_storage_path ON uploads (storage_path);

CREATE INDEX files_storage_path ON files (storage_path);
CREATE INDEX files_unprocessed ON files (created_at) WHERE NOT is_processed;

-- However a file or an upload goes, with its memory or its account too, its bytes are looked at.
CREATE FUNCTION free_blob() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE blobs SET freed_at = now() WHERE path = OLD.storage_path;
    RETURN NULL;
END
$$;
CREATE TRIGGER free_blob AFTER DELETE ON files FOR EACH ROW EXECUTE FUNCTION free_blob();
CREATE TRIGGER free_blob AFTER DELETE ON uploads FOR EACH ROW EXECUTE FUNCTION free_blob();

-- And its owner's devices forget it.
CREATE FUNCTION bury_file() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO tombstones (user_id, kind, record_id)
    SELECT OLD.user_id, 'file', OLD.id WHERE EXISTS (SELECT FROM users WHERE id = OLD.user_id)
    ON CONFLICT (user_id, kind, record_id) DO NOTHING;
    RETURN NULL;
END
$$;
CREATE TRIGGER bury_file AFTER DELETE ON files FOR EACH ROW EXECUTE FUNCTION bury_file();
