"""Read a migration's module: the bytes that are digested are those that run."""

from __future__ import annotations

import hashlib
from importlib.abc import InspectLoader
from importlib.machinery import ModuleSpec
from importlib.util import decode_source, module_from_spec
from pathlib import Path
from types import CodeType

from .. import contract, masking
from ..contract import MARIADB, NOTHING, POSTGRESQL, SQLITE, DataError, Migration
from ..declared import Declared
from ..store import Store
from .mariadb import MariadbStore
from .postgresql import PostgresqlStore
from .sqlite import SqliteStore


class _Loader(InspectLoader):
    def __init__(self, data: bytes, path: str) -> None:
        self.data, self.path = data, path

    def get_source(self, fullname: str) -> str:
        return decode_source(self.data)

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.data, self.path)


def migration(declared: Declared) -> Migration:
    """Return the migration of a declared module; raise DataError where it is none."""
    try:
        data = Path(declared.module).read_bytes()
        loader = _Loader(data, declared.module)
        module = module_from_spec(ModuleSpec("bascule_data_module", loader, origin=declared.module))
        loader.exec_module(module)
    except OSError as error:
        raise DataError(f"the module of {declared.name}", str(error), NOTHING) from error
    except Exception as error:
        raise DataError(f"{declared.module} to be read as Python", masking.reason(error), NOTHING) from error
    return contract.read(declared.name, declared.engine, vars(module), hashlib.sha256(data).hexdigest())


def store(declared: Declared, found: Migration) -> Store:
    """Return the database of a migration; nothing is opened yet."""
    kinds: dict[str, type[Store]] = {POSTGRESQL: PostgresqlStore, SQLITE: SqliteStore, MARIADB: MariadbStore}
    return kinds[declared.engine](declared, found)
