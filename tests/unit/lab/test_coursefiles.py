"""The file server of the lab: bytes as they are, uploads durable or refused."""

from __future__ import annotations

import errno
import http.client
import importlib.util
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from bascule_lab import paths


def load() -> ModuleType:
    source = paths.LAB_SOURCE / "hosts/files/coursefiles.py"
    spec = importlib.util.spec_from_file_location("lab_coursefiles", source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


coursefiles = load()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    monkeypatch.setattr(coursefiles.Handler, "root", os.fsencode(tmp_path))
    (tmp_path / "uploads").mkdir()
    with coursefiles.Server(("127.0.0.1", 0), coursefiles.Handler) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield running.server_address
        running.shutdown()


def ask(server: tuple[str, int], method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(*server, timeout=60)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_reads_any_name_byte_for_byte(server: tuple[str, int], tmp_path: Path) -> None:
    name = b"two\nlines \xe9"
    (tmp_path / os.fsdecode(name)).write_bytes(b"\x00\xff")
    assert ask(server, "GET", "/two%0Alines%20%E9") == (200, b"\x00\xff")
    assert ask(server, "HEAD", "/two%0Alines%20%E9") == (200, b"")
    assert ask(server, "GET", "/nothing")[0] == 404
    assert ask(server, "GET", "/uploads")[0] == 404
    assert ask(server, "GET", "/healthz") == (200, b"ok\n")


@pytest.mark.parametrize("path", ["/../etc/passwd", "/a/%2e%2e/b", "/", "/a%00b"])
def test_refuses_paths_that_leave_the_tree(server: tuple[str, int], path: str) -> None:
    assert ask(server, "GET", path)[0] == 400


def test_stores_uploads_and_replaces_them(server: tuple[str, int], tmp_path: Path) -> None:
    assert ask(server, "PUT", "/uploads/one", b"first")[0] == 201
    assert ask(server, "PUT", "/uploads/one", b"second")[0] == 201
    assert (tmp_path / "uploads/one").read_bytes() == b"second"
    assert os.listdir(tmp_path / "uploads") == ["one"]
    assert ask(server, "PUT", "/elsewhere", b"x")[0] == 403
    assert ask(server, "PUT", "/uploads/none/such", b"x")[0] == 503


@pytest.mark.parametrize(
    ("number", "status"), [(errno.EROFS, 503), (errno.EACCES, 503), (errno.ENOSPC, 507), (errno.E2BIG, 500)]
)
def test_what_cannot_be_stored_is_not_acknowledged(
    server: tuple[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, status: int
) -> None:
    def refuse(source: bytes, target: bytes) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(coursefiles.os, "rename", refuse)
    assert ask(server, "PUT", "/uploads/one", b"x")[0] == status
    assert os.listdir(tmp_path / "uploads") == []


def test_a_body_cut_short_leaves_nothing(server: tuple[str, int], tmp_path: Path) -> None:
    connection = http.client.HTTPConnection(*server, timeout=60)
    connection.putrequest("PUT", "/uploads/one")
    connection.putheader("Content-Length", "10")
    connection.endheaders()
    connection.send(b"short")
    connection.close()
    assert ask(server, "GET", "/uploads/one")[0] == 404
    assert os.listdir(tmp_path / "uploads") == []
