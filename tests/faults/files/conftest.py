"""The pairs that two files share each; a file that runs alone prepares its pair itself."""

from __future__ import annotations

import pytest

from tests.faults.conftest import StartPair
from tests.faults.pair import Pair


@pytest.fixture(scope="session")
def fenced(start_lasting_pair: StartPair) -> Pair:
    """Not prepared yet; its tree has moved and come back when the first of its files is through."""
    return start_lasting_pair("files", "fence")


@pytest.fixture(scope="session")
def compared(start_lasting_pair: StartPair) -> Pair:
    """Not prepared yet; its tree has never moved when the first of its files is through."""
    return start_lasting_pair("files", "manifest")
