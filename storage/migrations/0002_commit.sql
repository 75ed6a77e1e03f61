-- The commit of pending updates, in one statement and so one round trip and one transaction.
--
-- Rows of documents that another node holds are not waited for: their updates answer 'locked'
-- and go into the caller's next round. Updates of one document stand or fall together: when one
-- is refused, those beside it answer 'again', because they may build on it.
--
-- The updates arrive as parallel arrays in the order they are to have in the log. A claim says
-- that update number claim_ordinal (from 1) is the first to use a client id in its document.
--
-- The plan is made once for each connection: left to choose, PostgreSQL plans small commits afresh
-- every time, which costs more than running them.
--
-- Outcomes: committed, locked, again, not_found, gone, forbidden, client_id_taken.
CREATE FUNCTION commit_updates(
    document_ids uuid[], account_ids uuid[], device_ids text[], payloads bytea[],
    claim_ordinals bigint[], claim_clients bigint[], claim_accounts uuid[]
) RETURNS TABLE (ordinal bigint, outcome text, log_offset bigint)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
    held uuid[];
    taken bigint[] := '{}';
BEGIN
    -- A statement of its own, so that the next one's snapshot sees what the lock waited for.
    SELECT array_agg(id) INTO held FROM (
        SELECT id FROM documents WHERE id = ANY (document_ids)
        ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
    ) AS locked;

    IF cardinality(claim_ordinals) > 0 THEN
        WITH claims AS (
            SELECT c.ordinal, document_ids[c.ordinal] AS document_id, c.client, c.account_id
            FROM unnest(claim_ordinals, claim_clients, claim_accounts)
                AS c (ordinal, client, account_id)
            WHERE document_ids[c.ordinal] = ANY (held)
        )
        SELECT coalesce(array_agg(c.ordinal), '{}') INTO taken
        FROM claims c JOIN document_clients d USING (document_id, client)
        WHERE d.account_id IS DISTINCT FROM c.account_id;
    END IF;

    RETURN QUERY
    WITH incoming AS (
        SELECT * FROM unnest(document_ids, account_ids, device_ids, payloads)
            WITH ORDINALITY AS i (document_id, account_id, device_id, payload, ordinal)
    ), judged AS (
        SELECT i.*, d.head, CASE
            WHEN d.id IS NULL THEN 'not_found'
            WHEN d.id <> ALL (coalesce(held, '{}')) THEN 'locked'
            WHEN d.deleted_at IS NOT NULL THEN 'gone'
            WHEN NOT EXISTS (
                SELECT FROM memberships m
                WHERE m.memory_id = i.document_id AND m.user_id = i.account_id
                    AND m.role IN ('owner', 'editor')
            ) THEN 'forbidden'
            WHEN i.ordinal = ANY (taken) THEN 'client_id_taken'
            ELSE 'committed' END AS outcome
        FROM incoming i LEFT JOIN documents d ON d.id = i.document_id
    ), settled AS (
        SELECT j.*,
            j.outcome = 'committed' AND bool_and(j.outcome = 'committed')
                OVER (PARTITION BY j.document_id) AS stands,
            j.head + row_number() OVER (PARTITION BY j.document_id ORDER BY j.ordinal) AS position
        FROM judged j
    ), written AS (
        INSERT INTO document_updates (document_id, log_offset, account_id, device_id, payload)
        SELECT document_id, position, account_id, device_id, payload FROM settled WHERE stands
    ), advanced AS (
        UPDATE documents d SET head = s.head, changed_xid = pg_current_xact_id()
        FROM (
            SELECT document_id, max(position) AS head FROM settled WHERE stands GROUP BY document_id
        ) AS s
        WHERE d.id = s.document_id
    ), claimed AS (
        INSERT INTO document_clients (document_id, client, account_id)
        SELECT s.document_id, c.client, c.account_id
        FROM unnest(claim_ordinals, claim_clients, claim_accounts)
            AS c (ordinal, client, account_id)
        JOIN settled s ON s.ordinal = c.ordinal AND s.stands
        ON CONFLICT DO NOTHING
    )
    SELECT s.ordinal,
        CASE WHEN s.stands OR s.outcome <> 'committed' THEN s.outcome ELSE 'again' END,
        CASE WHEN s.stands THEN s.position END
    FROM settled s ORDER BY s.ordinal;
END
$$;
