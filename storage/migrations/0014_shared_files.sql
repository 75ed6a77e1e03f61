-- Files of shared memories are in the feed of each member, not only of who put them there.

-- `joined_xid` made the account a member: the files that were there come to its devices with it.
-- `is_shared` is true for all members of a memory that ever had more than its owner, so that the
-- feed passes by the many that nobody shares.
ALTER TABLE memberships
    ADD COLUMN joined_xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    ADD COLUMN is_shared boolean NOT NULL DEFAULT false;

UPDATE memberships ms SET is_shared = true WHERE EXISTS (
    SELECT FROM memberships o WHERE o.memory_id = ms.memory_id AND o.role <> 'owner'
    UNION ALL
    SELECT FROM files f WHERE f.memory_id = ms.memory_id AND f.user_id <> ms.user_id);

CREATE INDEX memberships_files ON memberships (user_id, joined_xid) INCLUDE (memory_id)
    WHERE is_shared;
CREATE INDEX files_memory_feed ON files (memory_id, changed_xid) WHERE memory_id IS NOT NULL;
DROP INDEX files_memory_id;

CREATE FUNCTION note_sharing() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE memberships SET is_shared = true WHERE memory_id = NEW.memory_id AND NOT is_shared;
    RETURN NULL;
END
$$;
CREATE TRIGGER note_sharing AFTER INSERT ON memberships
    FOR EACH ROW WHEN (NEW.role <> 'owner') EXECUTE FUNCTION note_sharing();

-- However a file goes, the devices of all who saw it forget it.
CREATE OR REPLACE FUNCTION bury_file() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO tombstones AS t (user_id, kind, record_id)
    SELECT w.user_id, 'file', OLD.id FROM (
        SELECT OLD.user_id
        UNION
        SELECT ms.user_id FROM memberships ms WHERE ms.memory_id = OLD.memory_id
    ) AS w
    WHERE EXISTS (SELECT FROM users u WHERE u.id = w.user_id)
    ON CONFLICT (user_id, kind, record_id) DO UPDATE
    SET created_at = now(), changed_xid = pg_current_xact_id()
    WHERE t.changed_xid <> pg_current_xact_id();
    RETURN NULL;
END
$$;

-- One that is moved goes for those who do not see it where it is now.
CREATE FUNCTION move_file() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM tombstones t USING memberships ms
    WHERE ms.memory_id = NEW.memory_id
        AND t.user_id = ms.user_id AND t.kind = 'file' AND t.record_id = NEW.id;
    INSERT INTO tombstones (user_id, kind, record_id)
    SELECT ms.user_id, 'file', NEW.id FROM memberships ms
    WHERE ms.memory_id = OLD.memory_id AND ms.user_id <> NEW.user_id AND NOT EXISTS (
        SELECT FROM memberships n WHERE n.memory_id = NEW.memory_id AND n.user_id = ms.user_id)
    ON CONFLICT (user_id, kind, record_id) DO UPDATE
    SET created_at = now(), changed_xid = pg_current_xact_id();
    RETURN NULL;
END
$$;
CREATE TRIGGER move_file AFTER UPDATE OF memory_id ON files
    FOR EACH ROW WHEN (OLD.memory_id IS DISTINCT FROM NEW.memory_id)
    EXECUTE FUNCTION move_file();
