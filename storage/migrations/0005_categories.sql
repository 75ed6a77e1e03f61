-- What deleting a category, the trash and the feed's further kinds of items need.

-- Deleting a category looks for the memberships that have it, here and by the foreign key.
CREATE INDEX memberships_category ON memberships (category_id) WHERE category_id IS NOT NULL;

-- The trash, oldest first. What is not in it is not in the index either.
CREATE INDEX documents_trash ON documents (deleted_at) WHERE deleted_at IS NOT NULL;

CREATE INDEX tombstones_age ON tombstones (created_at);

-- The newest transaction of a tombstone that was removed: who has not read the feed since then may
-- have missed it, and starts over.
ALTER TABLE installation ADD COLUMN tombstone_horizon xid8 NOT NULL DEFAULT '0';

-- An account is followed by its own devices. By a trigger, so that no statement that changes one
-- can leave it out; that somebody signed in is no news.
ALTER TABLE users ADD COLUMN changed_xid xid8 NOT NULL DEFAULT pg_current_xact_id();

CREATE FUNCTION note_changed_user() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.changed_xid := pg_current_xact_id();
    RETURN NEW;
END
$$;
CREATE TRIGGER users_changed BEFORE UPDATE ON users FOR EACH ROW
WHEN (to_jsonb(OLD) - 'last_login_at' IS DISTINCT FROM to_jsonb(NEW) - 'last_login_at')
EXECUTE FUNCTION note_changed_user();
