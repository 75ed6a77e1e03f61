-- What memories were: versions of their documents, beside the log and not followed by devices.
--
-- A version is a base with an update on top. The base is a whole document at some time; the update
-- has what came since, so that versions of a large document that changes little are small.

-- payload is an update, compressed with zlib; vector is the Yjs state vector that it reaches.
CREATE TABLE document_bases (
    id             uuid PRIMARY KEY,
    document_id    uuid NOT NULL REFERENCES documents (id) ON DELETE CASCADE,
    payload        bytea NOT NULL,
    vector         bytea NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now()
);
ALTER TABLE document_bases ALTER COLUMN payload SET STORAGE EXTERNAL;
CREATE INDEX document_bases_document_id ON document_bases (document_id);

-- The document as it was at log_offset. changed_at is when its last edit was written, authors who
-- wrote since the version before, size that of the whole document. One with a name is kept until
-- somebody removes it. restored_id, of one made before a restore, is the version that was restored;
-- it is set once that is done. review_at is when thinning is to look at it next.
CREATE TABLE document_versions (
    id             uuid PRIMARY KEY,
    document_id    uuid NOT NULL REFERENCES documents (id) ON DELETE CASCADE,
    log_offset     bigint NOT NULL,
    kind           varchar(10) NOT NULL CHECK (kind IN ('auto', 'named', 'restore')),
    name           varchar(100),
    title          text,
    excerpt        text NOT NULL DEFAULT '',
    -- Deferred: when a document goes, its bases may go before its versions.
    base_id        uuid NOT NULL REFERENCES document_bases (id) DEFERRABLE INITIALLY DEFERRED,
    payload        bytea NOT NULL,
    size           bigint NOT NULL,
    authors        jsonb NOT NULL DEFAULT '[]',
    changed_at     timestamptz NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now(),
    created_by     uuid REFERENCES users (id) ON DELETE SET NULL,
    restored_id    uuid,
    review_at      timestamptz
);
ALTER TABLE document_versions ALTER COLUMN payload SET STORAGE EXTERNAL;
CREATE INDEX document_versions_document_id ON document_versions (document_id, log_offset);
-- However many nodes look at a document at once, one of them makes its version.
CREATE UNIQUE INDEX document_versions_auto ON document_versions (document_id, log_offset)
    WHERE kind = 'auto';
CREATE INDEX document_versions_base_id ON document_versions (base_id);
CREATE INDEX document_versions_review_at ON document_versions (review_at)
    WHERE name IS NULL AND review_at IS NOT NULL;
CREATE INDEX document_versions_created_at ON document_versions (created_at) WHERE name IS NULL;
