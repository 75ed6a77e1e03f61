-- Messages: who wrote them, when they came, and how far each member has read.

-- digest is of what may change in a row: only what has changed is written again. It is eight bytes.
-- A message that its document has no more is emptied and keeps its id, its author and its times.
ALTER TABLE messages
    ADD COLUMN digest bytea NOT NULL DEFAULT '\x0000000000000000',
    ADD COLUMN received_at timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN deleted_at timestamptz;

DROP INDEX messages_memory_id;
CREATE INDEX messages_thread ON messages (memory_id, created_at, id) INCLUDE (deleted_at);
CREATE INDEX messages_unread ON messages (memory_id, received_at) INCLUDE (user_id)
    WHERE deleted_at IS NULL;

ALTER TABLE memberships ADD COLUMN last_read_at timestamptz;

-- Until now the document's word was taken for who wrote a message. Their rows are made anew.
UPDATE documents SET projected_offset = 0
WHERE id IN (SELECT memory_id FROM messages) AND projected_offset > 0;
DELETE FROM messages;
