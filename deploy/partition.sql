-- Splits the log, by far the largest table, into 64 partitions by document. Run it once, while no
-- server runs (it copies the table), and with a backup:
--
--   psql "$DATABASE_URL" -v ON_ERROR_STOP=1 --single-transaction -f deploy/partition.sql
--
-- Every query of the server names a document, and so reads one partition. What it brings: vacuum
-- works on a 64th at a time, indexes stay shallow, and partitions can have disks of their own. It
-- makes no edit cheaper, so a log that is not hundreds of gigabytes large is better left whole.

LOCK TABLE document_updates IN ACCESS EXCLUSIVE MODE;

ALTER TABLE document_updates RENAME CONSTRAINT document_updates_pkey TO document_updates_whole_pkey;
ALTER TABLE document_updates RENAME TO document_updates_whole;

CREATE TABLE document_updates (
    LIKE document_updates_whole INCLUDING DEFAULTS INCLUDING STORAGE,
    CONSTRAINT document_updates_pkey PRIMARY KEY (document_id, log_offset)
) PARTITION BY HASH (document_id);

DO $$
BEGIN
    FOR number IN 0..63 LOOP
        EXECUTE format(
            'CREATE TABLE document_updates_%s PARTITION OF document_updates '
            'FOR VALUES WITH (MODULUS 64, REMAINDER %s)',
            lpad(number::text, 2, '0'), number
        );
    END LOOP;
END
$$;

INSERT INTO document_updates SELECT * FROM document_updates_whole;
DROP TABLE document_updates_whole;
ANALYZE document_updates;
