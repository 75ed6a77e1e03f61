-- Leaving, and taking along what is one's own.

-- The code that stands in for a password when an account without one is deleted.
ALTER TABLE email_tokens DROP CONSTRAINT email_tokens_purpose_check,
    ADD CONSTRAINT email_tokens_purpose_check CHECK (purpose IN ('verify', 'reset', 'delete'));

-- Archives of all that an account has. While one is made, a node holds it until `claimed_until`; the
-- bytes are a blob of nobody's, so that they do not count for the account's files.
CREATE TABLE exports (
    id             uuid PRIMARY KEY,
    user_id        uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    status         varchar(10) NOT NULL DEFAULT 'preparing'
                   CHECK (status IN ('preparing', 'ready', 'failed')),
    storage_path   text,
    size           bigint,
    attempts       integer NOT NULL DEFAULT 0,
    claimed_until  timestamptz,
    created_at     timestamptz NOT NULL DEFAULT now(),
    expires_at     timestamptz NOT NULL
);
CREATE INDEX exports_user_id ON exports (user_id, created_at);
-- One at a time for each account.
CREATE UNIQUE INDEX exports_preparing ON exports (user_id) WHERE status = 'preparing';
CREATE INDEX exports_waiting ON exports (created_at) WHERE status = 'preparing';
CREATE INDEX exports_expires_at ON exports (expires_at);
CREATE TRIGGER free_blob AFTER DELETE ON exports FOR EACH ROW EXECUTE FUNCTION free_blob();

-- Archives that are brought back: files of the account, and what came of each so far.
CREATE TABLE imports (
    id             uuid PRIMARY KEY,
    user_id        uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    file_id        uuid NOT NULL,
    status         varchar(10) NOT NULL DEFAULT 'running'
                   CHECK (status IN ('running', 'done', 'failed')),
    tally          jsonb NOT NULL DEFAULT '{}',
    error          text,
    attempts       integer NOT NULL DEFAULT 0,
    claimed_until  timestamptz,
    created_at     timestamptz NOT NULL DEFAULT now(),
    finished_at    timestamptz
);
CREATE INDEX imports_user_id ON imports (user_id, created_at);
CREATE UNIQUE INDEX imports_running ON imports (user_id) WHERE status = 'running';
CREATE INDEX imports_waiting ON imports (created_at) WHERE status = 'running';
