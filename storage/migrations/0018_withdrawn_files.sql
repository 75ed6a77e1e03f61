-- Messages that a file's owner has taken it from, by which no document's word brings it back.
ALTER TABLE files ADD COLUMN withdrawn_from uuid[] NOT NULL DEFAULT '{}';
