-- The commit of pending updates, as `commit_updates` made it, at a fraction of its cost.
--
-- What made that one dear: whether somebody may write was asked for every update, in a form that
-- lets PostgreSQL read all memberships to answer; every update was numbered and answered by itself.
-- Here the caller numbers them, and both is done once for a document. Only what is refused is looked
-- at one by one.
--
-- The updates arrive as parallel arrays in the order they are to have in the log, with the place of
-- each among those of its document (from 1). Beside them: each document once (target), with the
-- number of its updates; each document with each account that writes in it, once; and the claims. A
-- claim says that update number claim_ordinal (from 1) is the first to use a client id in its
-- document.
--
-- Rows of documents that another node holds are not waited for: their updates answer 'locked' and
-- go into the caller's next round. Updates of one document stand or fall together: when one is
-- refused, those beside it answer 'again', because they may build on it.
--
-- Answers a row for each document that was appended to (its head before, no ordinal), and one for
-- each update that was not appended (its ordinal and outcome: locked, again, not_found, gone,
-- forbidden, client_id_taken).
--
-- The plan is made once for each connection: left to choose, PostgreSQL plans small commits afresh
-- every time, which costs more than running them. `commit_updates` stays for nodes of an earlier
-- version that still run while this one is put in place.
CREATE FUNCTION append_updates(
    target_ids uuid[], counts bigint[], writer_documents uuid[], writer_accounts uuid[],
    document_ids uuid[], places bigint[], account_ids uuid[], device_ids text[], payloads bytea[],
    claim_ordinals bigint[], claim_clients bigint[], claim_accounts uuid[]
) RETURNS TABLE (document_id uuid, head bigint, ordinal bigint, outcome text)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
    held uuid[];
    forbidden uuid[];
    taken bigint[] := '{}';
    refused uuid[];
    whole boolean;
BEGIN
    -- A statement of its own, so that the next one's snapshot sees what the lock waited for.
    SELECT coalesce(array_agg(id), '{}') INTO held FROM (
        SELECT d.id FROM documents d WHERE d.id = ANY (target_ids) AND d.deleted_at IS NULL
        ORDER BY d.id FOR NO KEY UPDATE SKIP LOCKED
    ) AS locked;

    -- Not EXISTS: that may be answered by a scan of the whole table.
    SELECT coalesce(array_agg(w.document_id), '{}') INTO forbidden
    FROM unnest(writer_documents, writer_accounts) AS w (document_id, account_id)
    WHERE (
        SELECT m.role IN ('owner', 'editor') FROM memberships m
        WHERE m.memory_id = w.document_id AND m.user_id = w.account_id
    ) IS NOT TRUE;

    refused := forbidden;
    IF cardinality(claim_ordinals) > 0 THEN
        SELECT coalesce(array_agg(c.ordinal), '{}'), refused || array_agg(d.document_id)
        INTO taken, refused
        FROM unnest(claim_ordinals, claim_clients, claim_accounts)
            AS c (ordinal, client, account_id)
        JOIN document_clients d
            ON d.document_id = document_ids[c.ordinal] AND d.client = c.client
        WHERE d.account_id IS DISTINCT FROM c.account_id;
    END IF;
    whole := cardinality(held) = cardinality(target_ids) AND cardinality(refused) = 0;

    RETURN QUERY
    WITH advanced AS (
        UPDATE documents d SET head = d.head + i.count, changed_xid = pg_current_xact_id()
        FROM unnest(target_ids, counts) AS i (id, count)
        WHERE d.id = i.id AND (whole OR i.id = ANY (held) AND i.id <> ALL (refused))
        RETURNING d.id, d.head - i.count AS head
    ), written AS (
        INSERT INTO document_updates (document_id, log_offset, account_id, device_id, payload)
        SELECT i.document_id, a.head + i.place, i.account_id, i.device_id, i.payload
        FROM unnest(document_ids, places, account_ids, device_ids, payloads)
            AS i (document_id, place, account_id, device_id, payload)
        JOIN advanced a ON a.id = i.document_id
    )
    SELECT a.id, a.head, NULL::bigint, NULL FROM advanced a;

    IF cardinality(claim_ordinals) > 0 THEN
        INSERT INTO document_clients (document_id, client, account_id)
        SELECT document_ids[c.ordinal], c.client, c.account_id
        FROM unnest(claim_ordinals, claim_clients, claim_accounts)
            AS c (ordinal, client, account_id)
        WHERE whole OR document_ids[c.ordinal] = ANY (held)
            AND document_ids[c.ordinal] <> ALL (refused)
        ON CONFLICT DO NOTHING;
    END IF;

    IF NOT whole THEN
        RETURN QUERY
        SELECT i.document_id, NULL::bigint, i.ordinal, CASE
            WHEN d.id IS NULL THEN 'not_found'
            WHEN d.deleted_at IS NOT NULL THEN 'gone'
            WHEN i.document_id <> ALL (held) THEN 'locked'
            WHEN i.document_id = ANY (forbidden) AND (
                SELECT m.role IN ('owner', 'editor') FROM memberships m
                WHERE m.memory_id = i.document_id AND m.user_id = i.account_id
            ) IS NOT TRUE THEN 'forbidden'
            WHEN i.ordinal = ANY (taken) THEN 'client_id_taken'
            ELSE 'again' END
        FROM unnest(document_ids, account_ids)
            WITH ORDINALITY AS i (document_id, account_id, ordinal)
        LEFT JOIN documents d ON d.id = i.document_id
        WHERE i.document_id <> ALL (held) OR i.document_id = ANY (refused);
    END IF;
END
$$;
