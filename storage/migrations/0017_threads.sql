-- A message is named by its memory and its id. Ids are chosen by whoever writes: while they were
-- unique over all memories, whoever took one in a memory of their own kept another's message from
-- being listed. The rows that are missing for that come with the document's next change.
ALTER TABLE messages DROP CONSTRAINT messages_pkey, ADD PRIMARY KEY (memory_id, id);
