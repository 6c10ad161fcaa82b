"""What is asked of one attempt at a cell, as data: `keeper.attend` takes it, `cell.work` carries it out."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from aigym_kernel.bench.records import Attempt, Budget, Cell, CellState, Metric, Reason, cell_folder

FULL = "the disk is full; free some space and resume"


@dataclass(frozen=True, kw_only=True)
class Order:
    """One attempt. ``folder`` is the bench's. ``cores``: those that the cell's processes are pinned to;
    empty: none of their own. ``gpus``: what CUDA_VISIBLE_DEVICES says; None: as it is."""

    folder: Path
    cell: Cell
    attempt: int
    store: str
    parent: str | None = None
    budget: Budget = field(default_factory=Budget)
    metrics: tuple[Metric, ...] = ()
    data: dict[str, str] = field(default_factory=dict)
    cores: tuple[int, ...] = ()
    gpus: tuple[str, ...] | None = None

    @property
    def place(self) -> Path:
        """The cell's folder. Its absolute path is AIGYM_CELL, which marks every process of the cell."""
        return cell_folder(self.folder.resolve(), self.cell.id)

    @property
    def attempt_folder(self) -> Path:
        """Log, executed notebook, page and working folder of this attempt."""
        return self.place / f"attempt-{self.attempt}"

    @property
    def executed(self) -> Path:
        """The executed notebook."""
        return self.attempt_folder / self.cell.notebook


def ended(order: Order, state: CellState, reason: Reason, error: str) -> Attempt:
    """The attempt of an order that ended, just now, without its keeper's word."""
    now = time.time()
    return Attempt(n=order.attempt, state=state, reason=reason, error=error, started_at=now, ended_at=now)
