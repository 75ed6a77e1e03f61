-- A row of document_clients that no update has used yet: the account has shown the client id to
-- others, and so nobody else may write under it. Freed after a while, or told from the used ones
-- by who has the document open.
CREATE TABLE document_reservations (
    document_id    uuid NOT NULL,
    client         bigint NOT NULL,
    reserved_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (document_id, client)
);
