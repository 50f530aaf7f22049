"""The examples of the docstrings of mining run."""

import doctest
from importlib import import_module

import pytest


@pytest.mark.parametrize("name", ["candidates", "source_type", "mine", "mix"])
def test_examples(name: str) -> None:
    done = doctest.testmod(import_module(f"ance_tele.mining.{name}"))
    assert done.attempted and not done.failed
