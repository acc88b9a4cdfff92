"""What is written on a host for a server: its fence, its account, its options. Pure texts."""

from __future__ import annotations

from ..system import port_fence
from .refusals import MysqlError

_SAFE = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")


def table(component: str) -> str:
    """Return the name of the nftables table of a component."""
    return port_fence.table("mysql", component)


def rules(component: str, port: int, peer: str) -> str:
    """Return the rules by which the port refuses everybody, or everybody but `peer`, an address; loaded at once."""
    return port_fence.rules(table(component), port, peer)


def unit(rules_file: str, service: str) -> str:
    """Return the unit that loads the rules before the server starts, and again whenever nftables has been flushed."""
    return port_fence.unit(rules_file, service)


def drop_in() -> str:
    """Return the options of a closed or frozen server, which a start of it must not lose."""
    return (
        "# Bascule: this side is closed. Do not edit: the opening removes this file.\n"
        "[mariadbd]\nread_only = 1\nevent_scheduler = OFF\n"
    )


def tmpfiles(directory: str) -> str:
    """Return the line that keeps the socket's directory to root and the server, whatever made it."""
    return f"z {directory} 0700 mysql root -\n"


def option_file(user: str, password: str, host: str, port: int, ca: str) -> str:
    """Return an option file of the client for the account at the other side, encrypted, its certificate pinned."""
    for value in (user, host, ca):
        if not value or any(c in value for c in "\n\r\"'\\"):
            raise MysqlError(expected="a name, an address and a path without quotes", found=repr(value))
    if any(c in password for c in '\n\r"\\'):
        raise MysqlError(
            expected="a password without quotes, backslashes and line ends", found="one with such a character"
        )
    return f'[client]\nuser="{user}"\npassword="{password}"\nhost="{host}"\nport={port}\nprotocol=tcp\nssl-ca="{ca}"\n'


def text(value: str) -> str:
    """Return a text as an SQL literal, whatever sql_mode is."""
    return f"CONVERT(X'{value.encode().hex()}' USING utf8mb4)" if value else "''"


def literal(value: str) -> str:
    """Return a text as a quoted literal where the grammar takes nothing else; refuse what would need an escape."""
    if any(c in value for c in "'\\\n\r\0"):
        raise MysqlError(
            expected="a value without quotes, backslashes and line ends", found="one with such a character"
        )
    return f"'{value}'"


def name(value: str) -> str:
    """Return an identifier, quoted."""
    return "`" + value.replace("`", "``") + "`"


def safe(value: str) -> str:
    """Return a component's name that can stand in a file name; refuse any other."""
    if not value or set(value) - _SAFE or value.startswith("."):
        raise MysqlError(expected="a component name of letters, digits, '_', '.', '-'", found=repr(value))
    return value
