-- Leaving: the code that stands in for a password when an account without one is deleted.

ALTER TABLE email_tokens DROP CONSTRAINT email_tokens_purpose_check,
    ADD CONSTRAINT email_tokens_purpose_check CHECK (purpose IN ('verify', 'reset', 'delete'));
