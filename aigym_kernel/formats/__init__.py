"""Read what others write: problems and solutions in the field's formats become Tasks and text.

    import aigym_kernel as aigym

    aigym.formats.human_eval("HumanEval.jsonl.gz")     # a list of Tasks
    aigym.formats.aigym("sum-of-two.yaml")             # one Task, from AIGYM's YAML

Not here: the workbench's own tasks (`aigym_kernel.tasks`) and judging (`aigym_kernel.judge`).
"""

from __future__ import annotations

from aigym_kernel.formats.aigymyaml import aigym
from aigym_kernel.formats.humaneval import human_eval

__all__ = ["aigym", "human_eval"]
