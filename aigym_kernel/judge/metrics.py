"""The ``metric`` check: a submitted CSV against the hidden truth, computed on the host.

A task whose answer is a program runs it first, in a box with the visible files, and takes the file that it
leaves behind. The truth never enters that box. An evaluation script (`judge.scripts`) runs in a second one,
which holds the submission and the truth and nothing that the solution could run. F1 and AUC are
scikit-learn's.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence

from aigym_kernel.errors import TaskError
from aigym_kernel.judge import answers, scripts
from aigym_kernel.judge.outputs import ended
from aigym_kernel.judge.values import shown
from aigym_kernel.judge.verdict import Undecided, Verdict, hidden
from aigym_kernel.sandboxes.protocol import Sandbox
from aigym_kernel.tasks import MetricCheck, Task

LABELS = ("accuracy", "f1", "f1_macro")
MORE_ROWS = 1000


class _Malformed(Exception):
    """Why a CSV cannot be scored."""


def check_metric(task: Task, check: MetricCheck, files: Mapping[str, bytes], sandbox: Sandbox) -> Verdict:
    """The metric's value, mapped from ``at_zero`` .. ``at_full`` to 0 .. 1 and kept within.

    Raises:
        SandboxError: the sandbox broke.
        TaskError: the hidden truth is malformed.
        Undecided: the evaluation script failed, or a package is missing.
    """
    submitted = files.get(check.submission)
    if not task.tools and task.answer != check.submission:
        program = answers.build(task, files, sandbox)
        if isinstance(program, Verdict):
            return program
        with sandbox.open(task.limits, program) as box:
            execution = answers.run(box, task)
            if told := ended(execution, task.limits, task.answer, files[task.answer]):
                return Verdict(value=0.0, feedback=f"{task.answer}: {told}")
            submitted = box.export().get(check.submission)
    if submitted is None:
        return Verdict(value=0.0, feedback=f"there is no regular file {check.submission}")
    if check.script:
        return _evaluated(task, check, check.script, submitted, sandbox)
    return _measured(task, check, str(check.truth), submitted)


def _evaluated(task: Task, check: MetricCheck, script: str, submitted: bytes, sandbox: Sandbox) -> Verdict:
    """What the evaluation script says of the submission."""
    files = {check.submission: submitted}
    if check.truth:
        files[check.truth] = hidden(task, check.truth)
    with sandbox.open(task.limits, files) as box:
        answer = scripts.last_line(box, task, script, task.limits)
    value = answer.get("value") if isinstance(answer, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise Undecided(f'{script}: its last line must be {{"value": number}}, it is {shown(answer, 120)}')
    return _mapped(check, float(value), str(answer.get("feedback") or f"value {value:.4g}"))


def _measured(task: Task, check: MetricCheck, truth_name: str, submitted: bytes) -> Verdict:
    """The metric of the submission's column against that of the truth."""
    truth = _truth(task, check, truth_name)
    asked = truth if check.public is None else {**_truth(task, check, check.public), **truth}
    try:
        column = _column(submitted, check, check.metric in LABELS, most=2 * len(asked) + MORE_ROWS)
        _same_ids(column, asked)
    except _Malformed as problem:
        return Verdict(value=0.0, feedback=f"{check.submission}: {problem}")
    value = measure(str(check.metric), [column[i] for i in truth], list(truth.values()), check.positive)
    return _mapped(check, value, f"{check.metric} {value:.4g} over {len(truth)} rows")


def _truth(task: Task, check: MetricCheck, name: str) -> dict[str, float | str]:
    try:
        truth = _column(hidden(task, name), check, check.metric in (*LABELS, "auc"))
        known = {str(label) for label in truth.values()}
        if check.metric in ("f1", "auc") and not (check.positive in known and len(known) == 2):
            told = ", ".join(sorted(known)[:5])
            raise _Malformed(
                f"{check.metric} needs two labels, one of them positive: {check.positive!r}; it has {told}"
            )
        return truth
    except _Malformed as problem:
        raise TaskError(f"{task.folder / name}: {problem}") from None


def _mapped(check: MetricCheck, value: float, told: str) -> Verdict:
    mapped = (value - check.at_zero) / (check.at_full - check.at_zero)
    return Verdict(
        value=0.0 if math.isnan(mapped) else min(1.0, max(0.0, mapped)),
        feedback=f"{told} (0 points at {check.at_zero:g}, full at {check.at_full:g})",
    )


def measure(
    metric: str, predicted: Sequence[float | str], truth: Sequence[float | str], positive: str = "1"
) -> float:
    """``accuracy``, ``f1`` (of the label ``positive``) or ``f1_macro`` of labels; ``auc`` of numbers against
    labels; ``rmse``, ``mae`` or ``r2`` of numbers. Overflow gives infinity."""
    if metric == "accuracy":
        return sum(p == t for p, t in zip(predicted, truth)) / len(truth)
    if metric in ("f1", "f1_macro", "auc"):
        from sklearn import metrics as library

        if metric == "f1_macro":
            known = sorted(set(map(str, truth)))
            return float(library.f1_score(truth, predicted, labels=known, average="macro", zero_division=0.0))
        right = [t == positive for t in truth]
        if metric == "auc":
            return float(library.roc_auc_score(right, predicted))
        return float(library.f1_score(right, [p == positive for p in predicted], zero_division=0.0))
    targets = [float(t) for t in truth]
    errors = [float(p) - t for p, t in zip(predicted, targets)]
    if metric == "mae":
        return sum(abs(e) for e in errors) / len(errors)
    squares = sum(e * e for e in errors)
    if metric == "rmse":
        return math.sqrt(squares / len(errors))
    mean = sum(targets) / len(targets)
    spread = sum((t - mean) * (t - mean) for t in targets)
    return 1.0 - squares / spread if spread else float(squares == 0)


def _column(data: bytes, check: MetricCheck, labels: bool, most: int = 10**9) -> dict[str, float | str]:
    """The target column by id: ``labels`` are stripped texts, else it holds finite numbers. Of more than
    ``most`` rows none is kept: a disk holds more of them than the judge's memory."""
    try:
        reader = csv.reader(io.TextIOWrapper(io.BytesIO(data), "utf-8-sig", newline=""))
        header = [name.strip() for name in next(reader, [])]
        for name in (check.id, check.target):
            if header.count(name) != 1:
                raise _Malformed(
                    f"the header must name the column {name!r} once, it is {shown(','.join(header), 80)}"
                )
        key, target = header.index(check.id), header.index(check.target)
        column: dict[str, float | str] = {}
        for row in reader:
            if not row:
                continue
            if len(row) != len(header):
                raise _Malformed(f"line {reader.line_num} has {len(row)} values, the header {len(header)}")
            name = row[key].strip()
            if name in column:
                raise _Malformed(f"line {reader.line_num}: {check.id} {shown(name, 40)} is given twice")
            if len(column) == most:
                raise _Malformed(f"it has more than {most:,} rows")
            text = row[target].strip()
            column[name] = text if labels else _number(text, reader.line_num)
    except UnicodeDecodeError:
        raise _Malformed("it is not UTF-8 text") from None
    except csv.Error as problem:
        raise _Malformed(f"it is no CSV: {problem}") from None
    if not column:
        raise _Malformed("it holds a header and no rows")
    return column


def _number(text: str, line: int) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise _Malformed(f"line {line}: {shown(text, 40)} is not a finite number")
    return number


def _same_ids(column: Mapping[str, object], truth: Mapping[str, object]) -> None:
    missing = [i for i in truth if i not in column]
    if missing:
        raise _Malformed(f"{len(missing)} of {len(truth)} ids are missing, the first {shown(missing[0], 40)}")
    strange = [i for i in column if i not in truth]
    if strange:
        raise _Malformed(f"{len(strange)} ids were not asked for, the first {shown(strange[0], 40)}")
