"""The ``text`` check: a text answer against what is expected, compared on the host.

Nothing of the answer is run. A pattern is matched by a process of its own, which is ended after
`PATTERN_S` of CPU time; a text that is much longer than anything expected is not measured. ROUGE and chrF are
rouge-score's and sacrebleu's (extra ``judge``); F1 is that of SQuAD 1.1 (Rajpurkar et al. 2016).
Of what is expected, feedback says something only where the check is ``visible``.
"""

from __future__ import annotations

import json
import math
import re
import signal
import string
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from aigym_kernel.judge.values import shown
from aigym_kernel.judge.verdict import Undecided, Verdict, diff, extra, hidden
from aigym_kernel.sandboxes.protocol import Sandbox
from aigym_kernel.tasks import Task, TextCheck

PATTERN_S = 2
WAIT_S = 60
CELLS = 4_000_000
LONGEST = 10_000
"""Characters that may always be measured; beyond that, ten times what is expected."""
_MATCH = f"""
import json, re, resource, sys
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
resource.setrlimit(resource.RLIMIT_CPU, ({PATTERN_S}, {PATTERN_S}))
text, patterns = json.load(sys.stdin)
print(json.dumps(any(re.fullmatch(p, text) for p in patterns)))
"""
_NUMBER = re.compile(
    r"(?:(?<!\w)[-+])?(?:\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?"
)
_CHOICE = (
    re.compile(r"\W*([A-Za-z])\W*"),
    re.compile(r"(?i:answer|choice|option|boxed)[\s*]*(?i:is|:|=)?[\s*:]*[({\[\"']*([A-Z])\b(?!')"),
    re.compile(r"\s*[(\[*]*([A-Za-z])[)\].:]\W?.*", re.DOTALL),
)


def check_text(task: Task, check: TextCheck, files: Mapping[str, bytes], _: Sandbox) -> Verdict:
    """1 or 0, or a similarity.

    Raises:
        Undecided: the pattern took too long, or a package is missing.
    """
    name = check.file or task.answer
    if name not in files:
        return Verdict(value=0.0, feedback=f"there is no file {name}")
    try:
        text = files[name].decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        return Verdict(value=0.0, feedback=f"{name}: is not UTF-8 text (byte {error.start})")
    if not text:
        return Verdict(value=0.0, feedback=f"{name} is empty")
    wanted: list[Any] = list(check.expected)
    if check.reference:
        wanted = [hidden(task, check.reference).decode("utf-8-sig").strip()]
    longest = max(LONGEST, 10 * max(len(str(w)) for w in wanted))
    if len(text) > longest:
        told = f"{name} has {len(text):,} characters; at most {longest:,} are looked at"
        return Verdict(value=0.0, feedback=told)
    verdict = _COMPARE[check.compare](text, wanted, check)
    if verdict.value != 1.0 and check.visible:
        return Verdict(value=verdict.value, feedback=verdict.feedback + _compared(text, wanted))
    return verdict


def _compared(text: str, wanted: list[Any]) -> str:
    if len(wanted) == 1 and "\n" in f"{wanted[0]}{text}":
        return "\n" + diff(str(wanted[0]), text)
    return f"\nexpected {' or '.join(shown(w) for w in wanted[:4])}, got {shown(text)}"


def _exact(text: str, wanted: list[Any], _: TextCheck) -> Verdict:
    right = text in [str(w).strip() for w in wanted]
    return Verdict(value=float(right), feedback="as expected" if right else "not the expected text")


def _regex(text: str, wanted: list[Any], _: TextCheck) -> Verdict:
    job = json.dumps([text, [str(w) for w in wanted]])
    command = [sys.executable, "-I", "-S", "-c", _MATCH]
    try:
        done = subprocess.run(
            command, input=job, capture_output=True, text=True, timeout=WAIT_S, env={}, cwd="/"
        )
        right = bool(json.loads(done.stdout))
    except subprocess.TimeoutExpired:
        raise Undecided(f"a pattern gave no answer within {WAIT_S} s") from None
    except ValueError:
        if done.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
            raise Undecided(
                f"a pattern took more than {PATTERN_S} s of CPU time on a text of {len(text)} characters; "
                "write it without nested repetition"
            ) from None
        raise Undecided(f"a pattern failed: {done.stderr.strip()[-200:]}") from None
    return Verdict(value=float(right), feedback="as expected" if right else "the pattern does not match")


def _numeric(text: str, wanted: list[Any], check: TextCheck) -> Verdict:
    found = _NUMBER.findall(text)
    if not found:
        return Verdict(value=0.0, feedback="there is no number in it")
    got = float(found[-1].replace(",", ""))
    near = check.tolerance
    right = any(math.isclose(got, float(w), rel_tol=near, abs_tol=near) for w in wanted)
    told = "as expected" if right else "not the expected number"
    return Verdict(value=float(right), feedback=f"{told}: {shown(found[-1], 60)}")


def choice(text: str) -> str:
    """The letter that an answer chooses, as a capital: ``B``, ``(b)``, ``B. Paris``, ``... the answer is
    **B**`` (the last such); nothing where it chooses none."""
    alone, said, first = _CHOICE
    if found := alone.fullmatch(text):
        return found[1].upper()
    if letters := said.findall(text):
        return str(letters[-1])
    found = first.fullmatch(text)
    return found[1].upper() if found else ""


def _choice(text: str, wanted: list[Any], _: TextCheck) -> Verdict:
    got = choice(text)
    if not got:
        return Verdict(value=0.0, feedback="it names no choice; answer with its letter")
    right = got in [str(w).upper() for w in wanted]
    return Verdict(
        value=float(right), feedback=f"{'as expected' if right else 'not the right choice'}: {got}"
    )


def _rouge(text: str, wanted: list[Any], check: TextCheck) -> Verdict:
    most = max(len(str(w).split()) for w in wanted)
    words = len(text.split())
    if check.compare == "rougeL" and words * most > CELLS:  # its table, filled in Python
        if most * most > CELLS:
            raise Undecided(f"rougeL with {most:,} words takes too long; use rouge1, rouge2 or chrf")
        return Verdict(value=0.0, feedback=f"{words:,} words are too many; about {most:,} are expected")
    scorer = extra("rouge_score.rouge_scorer", "rouge-score").RougeScorer([check.compare], use_stemmer=True)
    return _similar(check, max(scorer.score(str(w), text)[check.compare].fmeasure for w in wanted))


def _chrf(text: str, wanted: list[Any], check: TextCheck) -> Verdict:
    score = extra("sacrebleu").sentence_chrf(text, [str(w) for w in wanted]).score
    return _similar(check, min(1.0, score / 100))


def _f1(text: str, wanted: list[Any], check: TextCheck) -> Verdict:
    return _similar(check, max(token_f1(text, str(w)) for w in wanted))


def token_f1(got: str, expected: str) -> float:
    """SQuAD's F1: words in common, without case, punctuation and articles."""
    a, b = _words(got), _words(expected)
    if not a or not b:
        return float(a == b)
    common = sum((Counter(a) & Counter(b)).values())
    return 2 * common / (len(a) + len(b))


def _words(text: str) -> list[str]:
    text = "".join(c for c in text.lower() if c not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", text).split()


def _similar(check: TextCheck, score: float) -> Verdict:
    full = "" if check.at_full == 1 else f" (full from {check.at_full:g})"
    return Verdict(value=min(1.0, score / check.at_full), feedback=f"{check.compare} {score:.3f}{full}")


_COMPARE: Mapping[str, Callable[[str, list[Any], TextCheck], Verdict]] = {
    "exact": _exact,
    "regex": _regex,
    "numeric": _numeric,
    "choice": _choice,
    "rouge1": _rouge,
    "rouge2": _rouge,
    "rougeL": _rouge,
    "chrf": _chrf,
    "f1": _f1,
}
