"""The Yjs client ids that the server writes under: nobody knows one from another."""

from uuid import uuid4

from sync.pens import Pens


def test_each_document_and_account_has_client_ids_of_its_own() -> None:
    pens, other = Pens(), Pens()
    documents, accounts = [uuid4(), uuid4()], [None, uuid4(), uuid4()]
    drawn = [
        each.of(document, account, number)
        for each in (pens, other)
        for document in documents
        for account in accounts
        for number in range(3)
    ]
    assert len(set(drawn)) == len(drawn) == 36
    assert all(0 <= client_id < 2**32 for client_id in drawn)
    assert pens.of(documents[0], None) == drawn[0]
