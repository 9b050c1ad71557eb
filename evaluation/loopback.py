"""What listens on this machine reaches this machine alone."""

from __future__ import annotations

import ipaddress

import psutil

from envs.errors import ConfigError


def is_loopback(text: str) -> bool:
    """Whether an IP address only reaches this machine; False for what is no address."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def require_loopback(but: int | None = None) -> None:
    """Raise ConfigError if this process or one of its children listens beyond loopback.

    but: a port that may.
    """
    for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
        try:
            connections = process.net_connections("tcp")
        except psutil.Error:  # ended meanwhile
            continue
        for connection in connections:
            if connection.status != psutil.CONN_LISTEN or connection.laddr.port == but:
                continue
            if not is_loopback(connection.laddr.ip):
                raise ConfigError(
                    f"'{process.name()}' listens on {connection.laddr.ip} port "
                    f"{connection.laddr.port}, open to the network; expected loopback only. "
                    "Unset the RAY_* variables of your environment; in a program of your own, call "
                    "evaluation.workers.prepare_ray() before ray is imported."
                )
