"""The ledger in memory, on which replicas in one process are tested, is held to what every ledger is held to."""

import pytest
from budget.ledger_contract import ANSWER, CLAUSES, Clause
from ledgers import Account, MemoryLedger


@pytest.mark.parametrize("clause", CLAUSES, ids=lambda clause: clause.__name__)
async def test_the_ledger_in_memory_keeps_the_contract(clause: Clause) -> None:
    account = Account()
    await clause(lambda process: MemoryLedger(account, process, ANSWER))
