"""A small shop: says its version, takes orders into a file that all releases share, and may be held for a while."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

from flask import Flask, Response, request

HERE = Path(__file__).resolve().parent
VERSION = (HERE / "VERSION").read_text().strip()
ORDERS = HERE / "orders"
# What an artefact brings to be a bad version: the name of the host where it is bad, or nothing.
BROKEN = HERE / "BROKEN"
LONGEST_SECONDS = 20.0

app = Flask(__name__)


@app.get("/healthz")
def healthz() -> Response:
    """Say whether it can serve."""
    broken = BROKEN.exists() and BROKEN.read_text() in ("", socket.gethostname())
    return Response("broken\n", 500) if broken else Response("ok\n")


@app.get("/version")
def version() -> Response:
    """Say its version."""
    return Response(f"{VERSION}\n")


@app.get("/")
def index() -> Response:
    """Answer after as many seconds as were asked for."""
    time.sleep(min(float(request.args.get("seconds", "0")), LONGEST_SECONDS))
    return Response(f"{VERSION} at {socket.gethostname()} in {os.getpid()}\n")


@app.post("/orders")
def order() -> Response:
    """Keep an order."""
    with (ORDERS / "all").open("a") as stream:
        stream.write(f"{request.get_data(as_text=True)}\n")
    return Response("kept\n", 201)


@app.get("/orders")
def orders() -> Response:
    """Return all orders."""
    return Response((ORDERS / "all").read_text() if (ORDERS / "all").exists() else "")
