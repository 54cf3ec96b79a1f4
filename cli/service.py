"""The options with which a command is told its service."""

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

import click

from cli.client import Client
from cli.connection import resolve

P = ParamSpec("P")
R = TypeVar("R")


def with_client(command: Callable[Concatenate[Client, P], R]) -> Callable[..., R]:
    """Add --url and --api-key to a command, and give it the open client they mean as its first argument."""

    @click.option("--url", envvar="PRUNERY_URL", show_envvar=True, help="Address of the service.")
    @click.option("--api-key", envvar="PRUNERY_API_KEY", show_envvar=True, help="Its key.")
    @functools.wraps(command)
    def connected(url: str | None, api_key: str | None, *args: P.args, **kwargs: P.kwargs) -> R:
        with Client(resolve(url, api_key)) as client:
            return command(client, *args, **kwargs)

    return connected
