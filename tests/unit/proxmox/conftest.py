"""Two nodes whose every request is held against the official schemas, where these are at hand."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


def _load(name: str) -> ModuleType:
    full = f"proxmox_tests_{name}"
    if full not in sys.modules:
        spec = importlib.util.spec_from_file_location(full, Path(__file__).with_name(f"{name}.py"))
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[full] = module
        spec.loader.exec_module(module)
    return sys.modules[full]


@pytest.fixture
def fake() -> ModuleType:
    """The node in memory."""
    return _load("fake_node")


@pytest.fixture
def schema() -> ModuleType:
    """The official schemas."""
    return _load("schema")


@pytest.fixture
def checked(schema: ModuleType) -> Callable[[str, str, Mapping[str, Any]], None]:
    """Check a request against every official schema at hand; without one, check nothing."""
    versions = [version for version in ("8.4", "9.1") if schema.available(version)]

    def check(method: str, path: str, values: Mapping[str, Any]) -> None:
        for version in versions:
            schema.check(version, method, path, values)

    return check
