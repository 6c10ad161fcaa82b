"""Lets a widget answer the browser while a cell runs.

JupyterLab sends widget messages to a subshell of the kernel, which is free while a cell runs. ipykernel 7.4
sends them on to the subshell from which the widget itself last spoke instead: a widget that was made in
a cell, or that a thread updates, would answer only when the cell has ended, and a stop button would stop
nothing. It keeps that subshell in an attribute of the comm; without it, messages stay where they were sent.
Other versions of ipykernel have no such attribute, other hosts no subshells: there, nothing changes.
"""

from __future__ import annotations

from typing import Any


def stay_where_sent(comm: Any) -> None:
    """Call after every message that a widget sends through its ``comm`` (None once it is closed)."""
    if comm is not None:
        vars(comm).pop("_reply_subshell_id", None)
