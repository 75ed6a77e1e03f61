-- Invitations to memories: of one e-mail address, or a link for all who have its token.
--
-- Whatever changes who may do what in a memory locks its documents row first, as a commit does. So
-- two such changes never meet, and once one is answered no update is committed under the old roles.

CREATE TABLE invitations (
    id             uuid PRIMARY KEY,
    memory_id      uuid NOT NULL REFERENCES memories (id) ON DELETE CASCADE,
    invited_by     uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    role           varchar(20) NOT NULL CHECK (role IN ('editor', 'commenter', 'viewer')),
    email          varchar(255),
    max_uses       integer CHECK (max_uses > 0),
    uses           integer NOT NULL DEFAULT 0,
    expires_at     timestamptz,
    created_at     timestamptz NOT NULL DEFAULT now(),
    ended_at       timestamptz,
    outcome        varchar(20) CHECK (outcome IN ('accepted', 'declined', 'revoked')),
    CHECK ((ended_at IS NULL) = (outcome IS NULL))
);
CREATE INDEX invitations_memory_id ON invitations (memory_id);
CREATE INDEX invitations_email ON invitations (lower(email)) WHERE ended_at IS NULL;
-- An address has one pending invitation to a memory.
CREATE UNIQUE INDEX invitations_pending ON invitations (memory_id, lower(email))
    WHERE ended_at IS NULL AND email IS NOT NULL;

-- A link's tokens, by their SHA-256: a repeated request for the link gets a further one, because
-- the first, which may be on its way to somebody, is not kept.
CREATE TABLE invitation_tokens (
    hash           bytea PRIMARY KEY,
    invitation_id  uuid NOT NULL REFERENCES invitations (id) ON DELETE CASCADE
);
CREATE INDEX invitation_tokens_invitation_id ON invitation_tokens (invitation_id);

-- Who came by an invitation. It lets nobody in twice: one who was removed stays outside.
CREATE TABLE invitation_uses (
    invitation_id  uuid NOT NULL REFERENCES invitations (id) ON DELETE CASCADE,
    user_id        uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    used_at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (invitation_id, user_id)
);
CREATE INDEX invitation_uses_user_id ON invitation_uses (user_id);
