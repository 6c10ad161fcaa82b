"""Notebook widgets: `explore` for everything recorded, `board` for a training run, `launch` for tasks,
`review` for marks that a person gives, `network_builder` for the layers of a network,
`reward_designer` for the rewards of Snake; and `bench.bench_board` for a bench, which is imported from its
own module, since reading notebooks brings much that the others need not wait for.

Each widget is one .py with its state as traits and plain .js beside it (no build step). What they show
without a kernel and without a script is in `stills`, of a bench in `matrix`.
"""

from aigym_kernel.widgets.board import Board, board, refresh, show
from aigym_kernel.widgets.builder import NetworkBuilder, network_builder
from aigym_kernel.widgets.explorer import Explorer, explore
from aigym_kernel.widgets.launcher import Launcher, launch
from aigym_kernel.widgets.review import ReviewForm, review
from aigym_kernel.widgets.rewards import RewardDesigner, reward_designer

__all__ = [
    "Board",
    "Explorer",
    "Launcher",
    "NetworkBuilder",
    "ReviewForm",
    "RewardDesigner",
    "board",
    "explore",
    "launch",
    "network_builder",
    "refresh",
    "review",
    "reward_designer",
    "show",
]
