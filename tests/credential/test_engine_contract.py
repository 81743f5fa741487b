"""The engine in memory, on which fleets in one process are tested, is held to what every engine is held to."""

import pytest
from credential.engine_contract import CLAUSES, Clause
from engines import MemoryEngine, Record


@pytest.mark.parametrize("clause", CLAUSES, ids=lambda clause: clause.__name__)
async def test_the_engine_in_memory_keeps_the_contract(clause: Clause) -> None:
    record = Record()
    await clause(lambda: MemoryEngine(record))
