"""Fixtures that several test files share."""

import importlib.util
from pathlib import Path

import pytest


@pytest.fixture
def make():
    """Return make.py as a module."""
    path = Path(__file__).resolve().parents[1] / "make.py"
    spec = importlib.util.spec_from_file_location("make", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
