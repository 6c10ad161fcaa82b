"""The options of commands whose cells may run on a Ray cluster, and what they mean.

@on_cluster
def verify(..., executor, ray_address): ray(executor, ray_address)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from aigym_kernel.errors import BenchError

if TYPE_CHECKING:
    from aigym_kernel.executors import Ray


def on_cluster(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command with ``--executor`` and ``--ray-address``."""
    address = click.option("--ray-address", metavar="HOST:PORT", help="Of the cluster; with --executor ray.")
    executor = click.option("--executor", type=click.Choice(["ray"]), help="Run the cells on a Ray cluster.")
    return executor(address(command))


def ray(executor: str | None, address: str | None) -> Ray | None:
    """What they ask for; None: this machine. Raises BenchError: an address of nothing."""
    from aigym_kernel.executors import Ray

    if executor is None and address is not None:
        raise BenchError(f"--ray-address {address} does nothing without --executor ray")
    return None if executor is None else Ray(address=address)
