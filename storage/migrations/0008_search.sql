-- Lists and search of an account with very many memories.
--
-- Both are made from other tables, by triggers, so that whoever changes those need not know of
-- these. They name only columns that no edit sets: nothing here stands on the path of an edit.

-- What memories.list filters and sorts by, of each member's memory in one narrow row, so that a
-- page and its total are read from an index alone.
CREATE TABLE listings (
    memory_id      uuid NOT NULL,
    user_id        uuid NOT NULL,
    created_at     timestamptz NOT NULL,
    updated_at     timestamptz NOT NULL,
    title_key      text,
    category_id    uuid,
    is_favorite    boolean NOT NULL,
    is_archived    boolean NOT NULL,
    deleted_at     timestamptz,
    PRIMARY KEY (memory_id, user_id),
    FOREIGN KEY (memory_id, user_id) REFERENCES memberships ON DELETE CASCADE
);

INSERT INTO listings
SELECT ms.memory_id, ms.user_id, m.created_at, m.updated_at, lower(left(m.title, 100)),
    ms.category_id, ms.is_favorite, ms.is_archived, d.deleted_at
FROM memberships ms JOIN memories m ON m.id = ms.memory_id JOIN documents d ON d.id = ms.memory_id;

CREATE INDEX listings_updated ON listings (user_id, updated_at, memory_id)
    INCLUDE (created_at, category_id, is_favorite, is_archived) WHERE deleted_at IS NULL;
CREATE INDEX listings_created ON listings (user_id, created_at, memory_id)
    INCLUDE (updated_at, category_id, is_favorite, is_archived) WHERE deleted_at IS NULL;
CREATE INDEX listings_titled ON listings (user_id, title_key, memory_id)
    INCLUDE (created_at, updated_at, category_id, is_favorite, is_archived)
    WHERE deleted_at IS NULL;
-- The same from the last title to the first, where what has no title comes last too.
CREATE INDEX listings_titled_down ON listings (user_id, title_key DESC NULLS LAST, memory_id DESC)
    INCLUDE (created_at, updated_at, category_id, is_favorite, is_archived)
    WHERE deleted_at IS NULL;
CREATE INDEX listings_trashed ON listings (user_id, deleted_at, memory_id)
    WHERE deleted_at IS NOT NULL;
ALTER TABLE listings SET (autovacuum_vacuum_scale_factor = 0.02);

-- Lists no longer sort or filter by these; an edit's projection need not keep them up.
DROP INDEX memories_user_id;
CREATE INDEX memories_user_id ON memories (user_id);
DROP INDEX memories_tags;

-- The words of a memory, once for each member, beside what lists and search filter and sort by: it
-- is not indexed here, so that a change of it leaves the words' index alone. Each lexeme begins with
-- the end of the member's id: one account's words lie together in the index and are found without
-- passing another's. `log_offset` is that of the document the words were read from.
--
-- A search for a common word visits many rows, so they have to be narrow: the vector is to lie
-- outside of them. PostgreSQL moves something out only where a row is wider than two kilobytes;
-- `width` makes it so and itself shrinks to a few bytes.
CREATE TABLE search_texts (
    memory_id      uuid NOT NULL,
    user_id        uuid NOT NULL,
    created_at     timestamptz NOT NULL,
    updated_at     timestamptz NOT NULL,
    title_key      text,
    category_id    uuid,
    is_favorite    boolean NOT NULL,
    is_archived    boolean NOT NULL,
    deleted_at     timestamptz,
    log_offset     bigint NOT NULL,
    digest         uuid NOT NULL,
    vector         tsvector NOT NULL,
    width          text GENERATED ALWAYS AS (repeat(' ', 2100)) STORED,
    PRIMARY KEY (memory_id, user_id),
    FOREIGN KEY (memory_id, user_id) REFERENCES memberships ON DELETE CASCADE
) WITH (toast_tuple_target = 512, fillfactor = 85);
-- Without statistics a search goes through the index however common the word is. Reading all
-- vectors instead would look cheaper than it is, as they lie outside.
ALTER TABLE search_texts ALTER COLUMN vector SET STORAGE EXTERNAL,
    ALTER COLUMN vector SET STATISTICS 0;
-- What waits to be merged into the index is read by every search: it has to stay short.
CREATE INDEX search_texts_vector ON search_texts USING gin (vector)
    WITH (gin_pending_list_limit = 256);

-- The names of a memory's files as words, which its document does not have.
CREATE TABLE file_words (
    memory_id      uuid PRIMARY KEY REFERENCES memories (id) ON DELETE CASCADE,
    words          text NOT NULL
);

-- Memories whose words are to be read again: those that were there before, and those whose files
-- have changed.
CREATE TABLE search_queue (
    memory_id      uuid PRIMARY KEY REFERENCES memories (id) ON DELETE CASCADE,
    queued_at      timestamptz NOT NULL DEFAULT clock_timestamp()
);
INSERT INTO search_queue (memory_id) SELECT id FROM documents;

-- Whoever changes both tables changes search_texts first, as a projection does: so two of them never
-- wait for each other.
CREATE FUNCTION list_member() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO listings
    SELECT m.id, NEW.user_id, m.created_at, m.updated_at, lower(left(m.title, 100)),
        NEW.category_id, NEW.is_favorite, NEW.is_archived, d.deleted_at
    FROM memories m LEFT JOIN documents d USING (id) WHERE m.id = NEW.memory_id
    ON CONFLICT DO NOTHING;
    -- Who joins has the words of those who are there, under an id of their own.
    IF NEW.role <> 'owner' THEN
        INSERT INTO search_texts
        SELECT l.*, t.log_offset, t.digest,
            replace(t.vector::text, '''' || right(t.user_id::text, 8),
                '''' || right(NEW.user_id::text, 8))::tsvector
        FROM search_texts t JOIN listings l USING (memory_id)
        WHERE t.memory_id = NEW.memory_id AND l.user_id = NEW.user_id LIMIT 1
        ON CONFLICT DO NOTHING;
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER list_member AFTER INSERT ON memberships
    FOR EACH ROW EXECUTE FUNCTION list_member();

CREATE FUNCTION list_marks() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE search_texts SET category_id = NEW.category_id, is_favorite = NEW.is_favorite,
        is_archived = NEW.is_archived
    WHERE memory_id = NEW.memory_id AND user_id = NEW.user_id;
    UPDATE listings SET category_id = NEW.category_id, is_favorite = NEW.is_favorite,
        is_archived = NEW.is_archived
    WHERE memory_id = NEW.memory_id AND user_id = NEW.user_id;
    RETURN NULL;
END
$$;
CREATE TRIGGER list_marks AFTER UPDATE OF category_id, is_favorite, is_archived ON memberships
    FOR EACH ROW WHEN (
        (OLD.category_id, OLD.is_favorite, OLD.is_archived)
        IS DISTINCT FROM (NEW.category_id, NEW.is_favorite, NEW.is_archived))
    EXECUTE FUNCTION list_marks();

CREATE FUNCTION list_memory() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE search_texts SET title_key = lower(left(NEW.title, 100)), updated_at = NEW.updated_at
    WHERE memory_id = NEW.id;
    UPDATE listings SET title_key = lower(left(NEW.title, 100)), updated_at = NEW.updated_at
    WHERE memory_id = NEW.id;
    RETURN NULL;
END
$$;
CREATE TRIGGER list_memory AFTER UPDATE OF title, updated_at ON memories
    FOR EACH ROW WHEN (
        (OLD.title, OLD.updated_at) IS DISTINCT FROM (NEW.title, NEW.updated_at))
    EXECUTE FUNCTION list_memory();

CREATE FUNCTION list_deletion() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE search_texts SET deleted_at = NEW.deleted_at WHERE memory_id = NEW.id;
    UPDATE listings SET deleted_at = NEW.deleted_at WHERE memory_id = NEW.id;
    RETURN NULL;
END
$$;
CREATE TRIGGER list_deletion AFTER UPDATE OF deleted_at ON documents
    FOR EACH ROW WHEN (OLD.deleted_at IS DISTINCT FROM NEW.deleted_at)
    EXECUTE FUNCTION list_deletion();

CREATE FUNCTION queue_file() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- One that goes with its memory leaves nothing to read again.
    INSERT INTO search_queue (memory_id)
    SELECT id FROM memories WHERE id IN (
        CASE WHEN TG_OP <> 'INSERT' THEN OLD.memory_id END,
        CASE WHEN TG_OP <> 'DELETE' THEN NEW.memory_id END)
    ON CONFLICT (memory_id) DO UPDATE SET queued_at = clock_timestamp();
    RETURN NULL;
END
$$;
CREATE TRIGGER queue_file AFTER INSERT OR DELETE OR UPDATE OF memory_id, filename ON files
    FOR EACH ROW EXECUTE FUNCTION queue_file();
