-- What a memory's content and metadata take as JSON, which pages of many are measured by. How much
-- room they take in their row says little: a megabyte of one letter is stored in twelve kilobytes.
ALTER TABLE memories ADD COLUMN weight integer NOT NULL
    GENERATED ALWAYS AS (octet_length(content::text) + octet_length(metadata::text)) STORED;
