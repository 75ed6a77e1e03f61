-- Sessions that are remembered longer, and a word to every node when one ends.

ALTER TABLE sessions ADD COLUMN lifetime interval NOT NULL DEFAULT '7 days';

-- As long as tags of BCP 47 may get.
ALTER TABLE users ALTER COLUMN language TYPE varchar(35);

-- Whoever ends a session or changes what an account may do, a command or an operator's own
-- statement included, has the nodes hear of it with the commit: `session ID` or `account ID`.
CREATE FUNCTION tell_session() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('memo_accounts', 'session ' || NEW.id);
    RETURN NULL;
END
$$;

CREATE FUNCTION tell_account() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('memo_accounts', 'account ' || OLD.id);
    RETURN NULL;
END
$$;

CREATE TRIGGER session_ended AFTER UPDATE OF ended_at ON sessions
FOR EACH ROW WHEN (OLD.ended_at IS NULL AND NEW.ended_at IS NOT NULL)
EXECUTE FUNCTION tell_session();

CREATE TRIGGER account_changed AFTER UPDATE OF role, is_active ON users
FOR EACH ROW WHEN (OLD.role <> NEW.role OR OLD.is_active <> NEW.is_active)
EXECUTE FUNCTION tell_account();

CREATE TRIGGER account_deleted AFTER DELETE ON users
FOR EACH ROW EXECUTE FUNCTION tell_account();
