-- Ways in besides the password, proofs of an e-mail address, and the mail that carries them.

-- What a link in a message proves: who follows it reads `email`. The token itself is in the message
-- alone; here is its SHA-256. A used one stays until it expires, so that a link that is followed
-- twice is told from one that was made up.
CREATE TABLE email_tokens (
    hash           bytea PRIMARY KEY,
    user_id        uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    purpose        varchar(20) NOT NULL CHECK (purpose IN ('verify', 'reset')),
    email          varchar(255) NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now(),
    expires_at     timestamptz NOT NULL,
    used_at        timestamptz
);
CREATE INDEX email_tokens_user_id ON email_tokens (user_id, purpose, created_at);
CREATE INDEX email_tokens_expires_at ON email_tokens (expires_at);

-- Messages on their way. A row goes when its message is sent; one that could not be stays, without
-- its content, and says why. `content` is what its text is made of, sealed by ENCRYPTION_KEY;
-- `user_id` is who asked for it, where that is known before it is sent.
CREATE TABLE outgoing_mail (
    id             bigserial PRIMARY KEY,
    kind           varchar(40) NOT NULL,
    recipient      varchar(255) NOT NULL,
    user_id        uuid REFERENCES users (id) ON DELETE CASCADE,
    content        bytea,
    attempts       integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL DEFAULT now(),
    created_at     timestamptz NOT NULL DEFAULT now(),
    failed_at      timestamptz,
    error          text
);
CREATE INDEX outgoing_mail_pending ON outgoing_mail (next_attempt_at, id) WHERE failed_at IS NULL;
CREATE INDEX outgoing_mail_user_id ON outgoing_mail (user_id) WHERE user_id IS NOT NULL;

-- Who an OpenID provider says somebody is. An account has at most one at each provider.
CREATE TABLE identities (
    provider       varchar(20) NOT NULL,
    subject        varchar(255) NOT NULL,
    user_id        uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    email          varchar(255),
    created_at     timestamptz NOT NULL DEFAULT now(),
    last_used_at   timestamptz,
    PRIMARY KEY (provider, subject),
    UNIQUE (user_id, provider)
);

-- Sign-ins with a provider that were begun. `hash` is the SHA-256 of the state that the provider
-- hands back; `user_id` is who the provider said it is, while the second factor is still asked.
CREATE TABLE oauth_attempts (
    hash           bytea PRIMARY KEY,
    provider       varchar(20) NOT NULL,
    redirect_uri   text NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now(),
    spent_at       timestamptz,
    user_id        uuid REFERENCES users (id) ON DELETE CASCADE,
    is_new         boolean NOT NULL DEFAULT false
);
CREATE INDEX oauth_attempts_created_at ON oauth_attempts (created_at);

-- The second factor: `secret` is sealed by ENCRYPTION_KEY, and asked for once it is confirmed.
-- `last_step` is the last time step whose code was used, so that no code works twice.
CREATE TABLE two_factor (
    user_id        uuid PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    secret         bytea NOT NULL,
    last_step      bigint NOT NULL DEFAULT 0,
    created_at     timestamptz NOT NULL DEFAULT now(),
    confirmed_at   timestamptz
);
CREATE TABLE recovery_codes (
    user_id        uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    hash           bytea NOT NULL,
    used_at        timestamptz,
    PRIMARY KEY (user_id, hash)
);

-- Guesses at what only the account's owner knows. They are counted before they are checked, so that
-- many at once are no way round the limit.
CREATE TABLE guesses (
    user_id        uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    what           varchar(20) NOT NULL,
    count          integer NOT NULL,
    since          timestamptz NOT NULL,
    PRIMARY KEY (user_id, what)
);
