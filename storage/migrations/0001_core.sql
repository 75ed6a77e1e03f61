-- Accounts, memories and the log of their documents.
--
-- changed_xid: every row that a device follows through the feed carries the transaction that
-- changed it last. A cursor is the oldest transaction still running when the feed was read, so
-- a commit that lands late is never skipped.

CREATE TABLE installation (
    singleton      boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    feed_epoch     uuid NOT NULL DEFAULT gen_random_uuid()
);
INSERT INTO installation DEFAULT VALUES;

CREATE TABLE signing_keys (
    id             text PRIMARY KEY,
    private_pem    text NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now(),
    retired_at     timestamptz
);

CREATE TABLE users (
    id             uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    email          varchar(255) NOT NULL,
    username       varchar(50),
    password_hash  varchar(255),
    first_name     varchar(100),
    last_name      varchar(100),
    avatar_url     text,
    phone_number   varchar(20),
    timezone       varchar(50) NOT NULL DEFAULT 'UTC',
    language       varchar(10) NOT NULL DEFAULT 'en',
    theme_preference varchar(20) NOT NULL DEFAULT 'system',
    role           varchar(20) NOT NULL DEFAULT 'user' CHECK (role IN ('user', 'premium', 'admin')),
    is_verified    boolean NOT NULL DEFAULT false,
    is_active      boolean NOT NULL DEFAULT true,
    last_login_at  timestamptz,
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX users_email ON users (lower(email));
CREATE UNIQUE INDEX users_username ON users (lower(username));

-- One signed-in device. Its refresh tokens are one family: the use of a spent one ends it.
CREATE TABLE sessions (
    id             uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id        uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    user_agent     text,
    address        text,
    created_at     timestamptz NOT NULL DEFAULT now(),
    last_active_at timestamptz NOT NULL DEFAULT now(),
    expires_at     timestamptz NOT NULL,
    ended_at       timestamptz,
    ended_reason   text
);
CREATE INDEX sessions_user_id ON sessions (user_id);

CREATE TABLE refresh_tokens (
    hash           bytea PRIMARY KEY,
    session_id     uuid NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    created_at     timestamptz NOT NULL DEFAULT now(),
    used_at        timestamptz
);
CREATE INDEX refresh_tokens_session_id ON refresh_tokens (session_id);

CREATE TABLE memory_categories (
    id             uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id        uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name           varchar(100) NOT NULL,
    description    text,
    icon           varchar(50),
    color          varchar(7),
    is_default     boolean NOT NULL DEFAULT false,
    sort_order     integer NOT NULL DEFAULT 0,
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now(),
    changed_xid    xid8 NOT NULL DEFAULT pg_current_xact_id()
);
CREATE INDEX memory_categories_user_id ON memory_categories (user_id, changed_xid);

-- What a memory's document holds, as rows for lists and search. The document is the truth.
CREATE TABLE memories (
    id             uuid PRIMARY KEY,
    user_id        uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    title          text,
    description    text,
    content        jsonb NOT NULL DEFAULT '{}',
    tags           text[] NOT NULL DEFAULT '{}',
    metadata       jsonb NOT NULL DEFAULT '{}',
    privacy_level  varchar(20) NOT NULL DEFAULT 'private'
                   CHECK (privacy_level IN ('private', 'shared', 'public')),
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX memories_user_id ON memories (user_id, updated_at);
CREATE INDEX memories_tags ON memories USING gin (tags);

-- What is each member's own: last writer wins.
CREATE TABLE memberships (
    memory_id      uuid NOT NULL REFERENCES memories (id) ON DELETE CASCADE,
    user_id        uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    role           varchar(20) NOT NULL CHECK (role IN ('owner', 'editor', 'commenter', 'viewer')),
    category_id    uuid REFERENCES memory_categories (id) ON DELETE SET NULL,
    is_favorite    boolean NOT NULL DEFAULT false,
    is_archived    boolean NOT NULL DEFAULT false,
    created_at     timestamptz NOT NULL DEFAULT now(),
    changed_xid    xid8 NOT NULL DEFAULT pg_current_xact_id(),
    PRIMARY KEY (memory_id, user_id)
);
CREATE INDEX memberships_user_id ON memberships (user_id, changed_xid);
-- The feed reads own documents by (owner_id, changed_xid) below, and only these by their members.
CREATE INDEX memberships_shared ON memberships (user_id, memory_id) WHERE role <> 'owner';

CREATE TABLE messages (
    id             uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    memory_id      uuid NOT NULL REFERENCES memories (id) ON DELETE CASCADE,
    user_id        uuid REFERENCES users (id) ON DELETE SET NULL,
    content        text NOT NULL,
    message_type   varchar(20) NOT NULL DEFAULT 'text',
    metadata       jsonb,
    attachments    jsonb,
    is_ai_generated boolean NOT NULL DEFAULT false,
    parent_message_id uuid,
    status         varchar(20) NOT NULL DEFAULT 'sent',
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX messages_memory_id ON messages (memory_id, created_at);

-- The log of one memory: gapless offsets 1..head in commit order, under an epoch.
CREATE TABLE documents (
    id             uuid PRIMARY KEY REFERENCES memories (id) ON DELETE CASCADE,
    owner_id       uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    epoch          uuid NOT NULL DEFAULT gen_random_uuid(),
    format         text NOT NULL DEFAULT 'yjs-v1',
    head           bigint NOT NULL DEFAULT 0,
    projected_offset bigint NOT NULL DEFAULT 0,
    deleted_at     timestamptz,
    changed_xid    xid8 NOT NULL DEFAULT pg_current_xact_id()
);
CREATE INDEX documents_feed ON documents (owner_id, changed_xid);
CREATE INDEX documents_unprojected ON documents (id) WHERE projected_offset < head;

-- No foreign key to documents: the commit holds that row's lock, and a check for each insert
-- would stand on the path of an edit. Whoever deletes a document deletes its log.
CREATE TABLE document_updates (
    document_id    uuid NOT NULL,
    log_offset     bigint NOT NULL,
    account_id     uuid,
    device_id      text,
    payload        bytea NOT NULL,
    written_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (document_id, log_offset)
);
ALTER TABLE document_updates ALTER COLUMN payload SET STORAGE EXTERNAL;

-- payload has integrated everything up to log_offset; state is what it holds (clocks, deletions,
-- nesting), so that a room can be opened without parsing the payload.
CREATE TABLE document_snapshots (
    document_id    uuid PRIMARY KEY,
    log_offset     bigint NOT NULL,
    payload        bytea NOT NULL,
    state          bytea NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now()
);
ALTER TABLE document_snapshots ALTER COLUMN payload SET STORAGE EXTERNAL;

-- A Yjs client id belongs to the first account that writes with it; NULL is the server itself.
CREATE TABLE document_clients (
    document_id    uuid NOT NULL,
    client         bigint NOT NULL,
    account_id     uuid,
    PRIMARY KEY (document_id, client)
);

-- Who wrote which clocks, kept when the rows of the log that said so are trimmed.
CREATE TABLE document_authors (
    document_id    uuid NOT NULL,
    client         bigint NOT NULL,
    clock_from     bigint NOT NULL,
    clock_to       bigint NOT NULL,
    account_id     uuid,
    device_id      text,
    written_at     timestamptz NOT NULL,
    PRIMARY KEY (document_id, client, clock_from)
);
