"""What a program's language means: its file, the commands that compile and run it, and where.

    built = build(sandbox.open, "c", "main.c", files, limits)   # what the compiler makes of it, as files
    with sandbox.open(limits, {**files, **built}) as box:
        run(box, "c", "main.c", limits, stdin="3 4")

A compiler runs in a box of its own, under limits of its own (`COMPILE`): those of the program are neither
too small for it nor used up by it, and all that goes from one box to the other is the content of files.
To add a language: a row of `LANGUAGES`, and its name in `aigym_kernel.tasks.fields`.
Not here: installing compilers and interpreters.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import PurePosixPath

from aigym_kernel.errors import SandboxError, UnknownName
from aigym_kernel.sandboxes.protocol import Box, Execution
from aigym_kernel.tasks import Limits

Open = Callable[[Limits, Mapping[str, str | bytes]], AbstractContextManager[Box]]
#: What a compiler may use, whatever its program may.
COMPILE = Limits(wall_s=30, memory_mb=1024, pids=256, disk_mb=256, output_kb=64)
BUILT = ".program"  # the folder below /work that holds what was compiled
_ENDS = 4000  # characters at the end of stderr where a runtime says that it got no memory


@dataclass(frozen=True, kw_only=True)
class Language:
    """How programs of a language are run.

    ``file`` is where `execute` puts the code. ``compile`` (None: nothing is compiled) leaves its results in
    the folder `BUILT`, within ``limits``; ``run`` starts the program. Both are commands in which ``{file}``,
    ``{stem}`` (the file's name without folder and ending) and ``{memory_mb}`` are replaced. ``package`` is
    the Debian package that brings the first command. ``reserves_mb`` is the address space that its runtime
    sets aside without using it, and ``no_memory`` a pattern of what its runtime prints when it gets none.
    """

    name: str
    file: str
    run: tuple[str, ...]
    package: str
    compile: tuple[str, ...] | None = None
    limits: Limits = COMPILE
    reserves_mb: int = 0
    no_memory: str = ""


# Runtimes that start threads for every processor would meet the limit of processes on a large machine.
_JAVA = ("-XX:+UseSerialGC", "-XX:ActiveProcessorCount=2", "-XX:-UsePerfData")
_GO = ("GOMAXPROCS=2",)
_ROWS = [
    Language(name="python", file="main.py", run=("python3", "{file}"), package="python3"),
    Language(
        name="bash",
        file="main.sh",
        run=("bash", "{file}"),
        package="bash",
        no_memory=r"cannot allocate \d+ bytes",
    ),
    Language(
        name="javascript",
        file="main.js",
        run=("node", "--max-old-space-size={memory_mb}", "{file}"),
        package="nodejs",
        reserves_mb=32 << 10,  # 0.7 GiB by itself, 10 more for each WebAssembly memory
        no_memory="JavaScript heap out of memory|Array buffer allocation failed",
    ),
    Language(
        name="c",
        file="main.c",
        compile=("gcc", "-O2", "-std=gnu17", "-o", BUILT + "/{stem}", "{file}", "-lm"),
        run=(BUILT + "/{stem}",),
        package="gcc and libc6-dev",
    ),
    Language(
        name="cpp",
        file="main.cpp",
        compile=("g++", "-O2", "-std=gnu++20", "-o", BUILT + "/{stem}", "{file}"),
        run=(BUILT + "/{stem}",),
        package="g++",
        no_memory=r"what\(\):  std::bad_alloc",
    ),
    Language(  # the class that is run has the name of the file, Main
        name="java",
        file="Main.java",
        compile=("javac", "-J-Xmx512m", *(f"-J{word}" for word in _JAVA), "-d", BUILT, "{file}"),
        run=("java", "-Xmx{memory_mb}m", *_JAVA, "-cp", BUILT, "{stem}"),
        package="default-jdk-headless",
        reserves_mb=4 << 10,  # 1 GiB for classes, 0.4 for code, the heap
        no_memory="java.lang.OutOfMemoryError",
    ),
    Language(
        name="go",
        file="main.go",
        compile=(
            "env",
            *_GO,
            "CGO_ENABLED=0",
            "GOCACHE=/tmp/go",
            "go",
            "build",
            "-o",
            BUILT + "/{stem}",
            "{file}",
        ),
        run=("env", *_GO, BUILT + "/{stem}"),
        package="golang-go",
        limits=dataclasses.replace(COMPILE, wall_s=60, disk_mb=1024),  # its library is compiled each time
        reserves_mb=1 << 10,
        no_memory="fatal error: runtime: (out of memory|cannot allocate memory)",
    ),
    Language(
        name="rust",
        file="main.rs",
        compile=("rustc", "-O", "--edition=2021", "-o", BUILT + "/{stem}", "{file}"),
        run=(BUILT + "/{stem}",),
        package="rustc",
        no_memory=r"memory allocation of \d+ bytes failed",
    ),
    Language(
        name="r",
        file="main.R",
        run=("Rscript", "{file}"),
        package="r-base-core",
        no_memory="cannot allocate (vector|memory)",
    ),
]

LANGUAGES: dict[str, Language] = {language.name: language for language in _ROWS}


def language(name: object) -> Language:
    """The row of that name.

    Raises:
        UnknownName: there is none.
    """
    if not isinstance(name, str) or name not in LANGUAGES:
        raise UnknownName("language", name, LANGUAGES)
    return LANGUAGES[name]


def build(
    opened: Open, name: str, file: str, files: Mapping[str, str | bytes], limits: Limits
) -> dict[str, bytes] | Execution:
    """Compile ``file``, one of ``files``, in a box of its own, which ``opened`` opens (`Sandbox.open`).

    Returns what to put beside ``files`` in a box of ``limits`` (nothing, for a language that is not
    compiled), or the Execution that says why there is nothing to run: ``compile_error`` with what the
    compiler printed, also where it was stopped by a limit or its result does not fit on the box's disk.

    Raises:
        UnknownName: there is no such language.
        SandboxError: no box can be opened here, or it has no such compiler.
    """
    chosen = language(name)
    if not chosen.compile:
        return {}
    if own := next((path for path in files if PurePosixPath(path).parts[:1] == (BUILT,)), None):
        # It could be run in place of what its source says.
        return _failed(f"{own!r} is in {BUILT}, the folder of what is compiled; leave it out")
    given = sum(map(len, files.values()))
    room = dataclasses.replace(chosen.limits, disk_mb=chosen.limits.disk_mb + (given >> 20))
    with opened(room, files) as box:
        box.run(["mkdir", "-p", BUILT])
        done = _run(box, chosen, chosen.compile, file, room, "")
        if done.status == "sandbox_error":
            return done
        if done.status != "ok":
            stopped = f"the compiler was stopped: {done.detail}" if done.detail else ""
            return _failed(stopped, done.stderr or done.stdout)
        built = {path: data for path, data in box.export().items() if path.startswith(f"{BUILT}/")}
    needed = given + sum(map(len, built.values()))
    if needed > limits.disk_mb << 20:
        return _failed(f"with its program it takes {needed >> 20} MiB of {limits.disk_mb} MiB of disk")
    return built


def _failed(detail: str, printed: str = "") -> Execution:
    """The program itself took no time: it never ran."""
    return Execution(
        status="compile_error",
        exit_code=None,
        stdout="",
        stderr=printed,
        wall_s=0.0,
        cpu_s=0.0,
        peak_memory_mb=0.0,
        detail=detail,
    )


def run(box: Box, name: str, file: str, limits: Limits, *, stdin: str | bytes = "") -> Execution:
    """Run ``file`` in a box of ``limits`` that holds it and what `build` made of it. Time and memory are
    those of the program alone.

    Raises:
        UnknownName: there is no such language.
        SandboxError: the box has no interpreter for it.
    """
    chosen = language(name)
    done = _run(box, chosen, chosen.run, file, limits, stdin)
    # Like the runner's word on a MemoryError: a program that only says so accuses nobody but itself.
    failed = done.status in ("error", "signal")
    if failed and chosen.no_memory and re.search(chosen.no_memory, done.stderr[-_ENDS:]):
        told = f"its runtime got no memory: {limits.memory_mb} MiB allowed"
        return dataclasses.replace(done, status="memory_limit", detail=told)
    return done


def present(box: Box) -> list[str]:
    """The names of the languages whose compiler or interpreter ``box`` has."""
    programs = {name: _program(chosen.compile or chosen.run) for name, chosen in LANGUAGES.items()}
    look = 'for name; do command -v "$name"; done'
    done = box.run(["sh", "-c", look, "sh", *programs.values()])
    found = {PurePosixPath(line).name for line in done.stdout.split()}
    return [name for name, program in programs.items() if program in found]


def _program(command: Sequence[str]) -> str:
    return next(word for word in command if word != "env" and "=" not in word)


def _run(
    box: Box, chosen: Language, command: Sequence[str], file: str, limits: Limits, stdin: str | bytes
) -> Execution:
    stem = PurePosixPath(file).stem
    words = [word.format(file=file, stem=stem, memory_mb=limits.memory_mb) for word in command]
    done = box.run(words, stdin=stdin, limits=limits, reserves_mb=chosen.reserves_mb)
    if done.exit_code == 127:
        program = _program(words)
        # A program may end with 127 too, so the box is asked; nothing that it left could change the answer.
        if "/" not in program and box.run(["sh", "-c", 'command -v "$0"', program]).status == "error":
            raise SandboxError(
                f"{chosen.name} needs {program!r}, which is not in this box. A bwrap box sees this machine's "
                f"/usr: apt-get install {chosen.package}. A Docker box sees its image: add it to "
                "docker/Dockerfile and build that again"
            )
    return done
