"""A kill, a torn write, Ctrl-C or a full disk at each file operation loses no whole version.

A few operations of each store are hit; --faults full hits all of them.
"""

import pytest
from injection import compiled, outcomes

STORES = ["save_checkpoint", "checkpoints", "run", "tokens", "saved model", "prepared text"]
FAULTS = ["kill", "torn", "interrupt", "full"]
WRITTEN_AGAIN = {"tokens", "saved model", "prepared text"}
"""Stores of several files, which for a moment hold neither version. Their readers say so, and
writing them again, from the text or the model that is still there, makes them whole.
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory, is_full):
    """What was left of each store after each fault."""
    library = compiled(tmp_path_factory.mktemp("library"))
    if library is None:
        pytest.skip("a C compiler on Linux is needed to fail single file operations")
    return outcomes(library, STORES, FAULTS, None if is_full else 3)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("store", STORES)
def test_after_a_fault_at_a_file_operation_a_whole_version_is_read(found, store, fault):
    result = found[store][fault]
    allowed = {"old", "new"} | ({"lost"} if store in WRITTEN_AGAIN else set())
    assert result["found"], "no operation was hit"
    assert set(result["found"]) <= allowed, result["notes"]


def test_each_store_is_hit_where_its_old_version_still_counts(found):
    for store in STORES:
        assert found[store]["kill"]["found"]["old"] >= 1
