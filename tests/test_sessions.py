"""Sessions: what stays between commands, what each command reports, what cannot be forged, what ends."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator

import psutil
import pytest
from conftest import missing

from aigym_kernel.errors import SandboxError, SolutionError, UnknownName
from aigym_kernel.sandboxes import Box, Execution, Limits, Sandbox, Session, check, open_sandbox
from aigym_kernel.sandboxes.inside import shells
from aigym_kernel.sandboxes.pool import Pool

TIGHT = Limits(wall_s=60, memory_mb=128, pids=24, disk_mb=16, output_kb=64)
NAMES = ["bwrap", pytest.param("docker", marks=pytest.mark.docker)]
CANARY = f"canary-{os.getpid()}"  # how these tests know their own processes


@pytest.fixture(scope="module", params=NAMES)
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    if problem := check(request.param):
        missing(f"{request.param}: {problem}")
    return open_sandbox(request.param)


@pytest.fixture
def box(sandbox: Sandbox) -> Iterator[Box]:
    with sandbox.open(TIGHT) as box:
        yield box


@pytest.fixture(scope="module")
def place(sandbox: Sandbox) -> Iterator[Box]:
    with sandbox.open(TIGHT) as box:
        yield box


@pytest.fixture
def shell(place: Box) -> Iterator[Session]:
    """A session of its own in an emptied box."""
    place.clear()
    with place.session() as shell:
        yield shell


def brief(done: Execution) -> tuple[str, int | None, str, str]:
    return done.status, done.exit_code, done.stdout, done.stderr


# What stays, and what is told


def test_traps_of_the_shell_stay_out_of_what_is_told(shell: Session) -> None:
    shell.run("trap 'echo traced' DEBUG")
    assert shell.run("(exit 3)").exit_code == 3
    assert shell.run("echo one").stdout == "traced\ntraced\none\n", "for the command, and for its eval"


def test_state_stays(shell: Session) -> None:
    assert brief(shell.run("mkdir -p a/b; cd a/b; x='one two'; f() { echo \"<$1>\"; }")) == ("ok", 0, "", "")
    assert shell.run('pwd; f "$x"; echo $x >&2').stdout == "/work/a/b\n<one two>\n"
    assert shell.run("export y=3 && bash -c 'echo $y'").stdout == "3\n"
    assert shell.run("set -o pipefail; false | true").exit_code == 1
    shell.run("shopt -s extglob; alias greet='echo hello'")
    assert shell.run("greet; case aab in +(a)b) echo yes;; esac").stdout == "hello\nyes\n"
    shell.run("exec 3> kept.txt")
    shell.run("echo through a descriptor >&3")
    assert shell.run("cat kept.txt").stdout == "through a descriptor\n"
    assert shell.run("(exit 7)").exit_code == 7
    assert shell.run("echo $?").stdout == "7\n"


@pytest.mark.parametrize(
    ("command", "status", "code", "out", "err"),
    [
        ("echo out; echo err >&2; exit_with() { return 3; }; exit_with", "error", 3, "out\n", "err\n"),
        ("no-such-program", "error", 127, "", "bash: no-such-program: command not found\n"),
        ('cat; read line; echo "got [$line] $?"', "ok", 0, "got [] 1\n", ""),
        ("python3 -c 'print(input())' 2>&1 | tail -1", "ok", 0, "EOFError: EOF when reading a line\n", ""),
        ("cat <<'END'\n$x `ls` \\\nEND\n", "ok", 0, "$x `ls` \\\n", ""),
        ('f() {\n  local y=1\n  echo "multi $y"\n}\nf', "ok", 0, "multi 1\n", ""),
        ("echo 'it'\\''s'; echo \"a!b\"; echo 'ä → 日本'", "ok", 0, "it's\na!b\nä → 日本\n", ""),
        ("", "ok", 0, "", ""),
        ("# a comment", "ok", 0, "", ""),
        ("printf '\\0\\377x'", "ok", 0, "\0\ufffdx", ""),
        ("[[ -t 0 || -t 1 || -t 2 ]]", "error", 1, "", ""),
        ("(exit 137)", "error", 137, "", ""),
    ],
)
def test_each_command_has_its_own_streams_and_code(
    shell: Session, command: str, status: str, code: int, out: str, err: str
) -> None:
    assert brief(shell.run(command)) == (status, code, out, err)
    assert not shell.ended


@pytest.mark.parametrize("command", ["echo 'unbalanced", "if true", 'echo "', "$(", "echo $((", "f() {", ")"])
def test_a_syntax_error_is_an_error_and_not_a_wait(shell: Session, command: str) -> None:
    done = shell.run(command)
    assert done.status == "error"
    assert done.stderr
    assert shell.run("echo fine").stdout == "fine\n"


@pytest.mark.parametrize(
    "command",
    [
        "printf() { builtin echo 0; }; echo() { builtin printf fake; }; eval() { :; }; exit() { :; }",
        "alias eval='echo no' builtin='echo no' unset='echo no' exit='echo no'",
        "PROMPT_COMMAND='echo prompted; false'; PS1='$(echo ps1)' PS0='ps0' PS2=ps2",
        "readonly PS1 PS2 PROMPT_COMMAND",
        "trap 'echo debug' DEBUG; trap 'echo err' ERR",
        "IFS=0123456789",
        "set -u; echo $nothing_of_this_name",
        "set -f -T -E; set -o posix; set +o posix",
        "for fd in /proc/$$/fd/* /proc/$BASHPID/fd/*; do echo '0 0' >$fd; done 2>/dev/null",
        'for n in {3..254}; do eval "echo 0 0 >&$n"; done 2>/dev/null',
        "exec 2>&1 </dev/null; break; continue; return 3",
        "yes 'done 0' | head -c 5000",
        "kill -INT $$; kill -TERM $$; kill -HUP 99999; kill -USR2 -1 & disown",
        "BASH_ENV=/work/x ENV=/work/x POSIXLY_CORRECT=1; unset HOME PWD OLDPWD",
        "ulimit -f 1; umask 777",
    ],
)
def test_nothing_that_a_command_redefines_forges_the_next_status(shell: Session, command: str) -> None:
    shell.run(command, timeout_s=30)
    assert not shell.ended, "none of these has to end the session"
    shell.run("trap - DEBUG ERR; unset -f printf echo; builtin unalias -a")
    assert shell.run("bash -c 'exit 41'").exit_code == 41
    assert shell.run("bash -c 'exit 0'").exit_code == 0
    assert shell.run("builtin echo 'fine' 2>&1").stdout.endswith("fine\n")


@pytest.mark.parametrize(
    ("command", "status", "code", "told"),
    [
        ("exit 3", "error", 3, "exited with 3"),
        ("exit", "ok", 0, "exited with 0"),
        ("set -e; false; echo no", "error", 1, "exited with 1"),
        ("trap 'echo bye' EXIT; exit 4", "error", 4, "exited with 4"),
        ("exec true", "ok", 0, "exited with 0"),
        ("exec sleep 0.3", "ok", 0, "exited with 0"),
        ("kill -9 $$", "signal", None, "SIGKILL"),
        ('for n in {3..254}; do eval "exec $n>&-"; done', "ok", 0, "exited with 0"),
        ("builtin() { :; }", "error", None, "took from the shell what it reports with"),
        ("enable -n printf", "error", None, "took from the shell what it reports with"),
    ],
)
def test_the_end_of_a_session_is_told_and_a_new_one_begins_on_request(
    shell: Session, command: str, status: str, code: int | None, told: str
) -> None:
    done = shell.run(f"touch kept; {command}")
    assert (done.status, done.exit_code) == (status, code)
    assert "the session has ended" in done.detail
    with pytest.raises(SandboxError, match=rf"the session has ended: .*{told}.*restart\(\) begins anew"):
        shell.run("echo next")
    shell.restart()
    assert shell.run("ls").stdout == "kept\n"


# Time


def test_a_timeout_ends_the_command_and_keeps_the_session(shell: Session) -> None:
    shell.run("x=1; sleep 300 & server=$!")
    for command in (
        "sleep 60; echo not reached",
        "while :; do :; done",
        "for i in 1 2 3 4 5 6 7 8; do sleep 30; done",
        "python3 -c 'import time; time.sleep(60)' | cat; sleep 60",
        "timeout 60 sleep 60",
        "setsid -w sleep 60",
        "python3 -c 'import signal, time; signal.signal(2, signal.SIG_IGN); time.sleep(60)'; sleep 60",
    ):
        done = shell.run(command, timeout_s=0.3)
        assert (done.status, done.exit_code) == ("timeout", None), command
        assert done.detail == "still running after 0.3 s"
        assert "not reached" not in done.stdout
    assert shell.run("echo $x; kill -0 $server && echo serving").stdout == "1\nserving\n"
    assert shell.run("set -- /proc/[0-9]*; echo $#").stdout == "3\n", "the runner, the shell, and the server"


def test_a_command_that_nothing_interrupts_takes_the_session_with_it(shell: Session) -> None:
    done = shell.run("trap '' INT; while :; do :; done", timeout_s=0.2)
    assert done.status == "timeout"
    assert "the session has ended" in done.detail
    shell.restart()
    assert shell.run("echo back").stdout == "back\n"


def test_a_machine_that_stands_still_costs_no_session() -> None:
    """Six seconds in which nobody could heed the interrupt count as half a second."""
    command = shells._Command({"nonce": "n", "again": ""}, b"", {"output_kb": 1})
    command.stop(("timeout", "still running"))
    now = command.looked
    assert (command.round(now), command.round(now + 6)) == ("interrupt", "")
    steps = [command.round(now + 6 + tick / 10) for tick in range(60)]
    assert list(dict.fromkeys(filter(None, steps))) == ["kill", "clear", "give up"]
    assert 40 < steps.index("give up") < 50


def test_interrupt_from_another_thread(shell: Session) -> None:
    shell.run("x=1")
    shell.interrupt()  # nothing runs: nothing happens
    once_there(shell.interrupt)
    done = shell.run(f"(exec -a {CANARY} sleep 60)")
    assert (done.status, done.exit_code, done.detail) == ("signal", None, "interrupted")
    assert shell.run("echo $x").stdout == "1\n"


def test_a_keyboard_interrupt_ends_the_command_only(shell: Session) -> None:
    here = threading.get_ident()
    once_there(lambda: signal.pthread_kill(here, signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        shell.run(f"x=1; (exec -a {CANARY} sleep 60)")
    assert shell.run("echo $x").stdout == "1\n"


def once_there(act: Callable[[], object]) -> None:
    """Do it in another thread when a process called `CANARY` runs, and this thread waits for it."""
    here = threading.get_ident()

    def wait_and_act() -> None:
        if becomes(CANARY, 1):
            # The command is sent before this thread waits for its answer, which is what may be interrupted.
            while sys._current_frames()[here].f_code.co_name != "wait_for":
                time.sleep(0.01)
            act()

    threading.Thread(target=wait_and_act, daemon=True).start()


def test_background_processes_do_not_hold_a_command_up(shell: Session) -> None:
    wait = "until [ -e {} ]; do sleep 0.05; done"
    late = f"({wait.format('go')}; echo late; touch said; sleep 300) & echo now"
    assert shell.run(late).stdout == "now\n"
    assert shell.run("echo next").stdout == "next\n"
    done = shell.run(f"touch go; {wait.format('said')}")
    assert done.stdout == "late\n", "what arrives while a command runs is part of it"
    assert "sleep 300" in shell.run("jobs").stdout
    assert shell.run("kill %1; wait 2>/dev/null; jobs -r").stdout == ""


# Limits


@pytest.mark.parametrize(
    ("command", "status"),
    [
        ("yes", "output_limit"),
        ("yes >&2", "output_limit"),
        ("head -c 300000 /dev/urandom; sleep 60", "output_limit"),
        ("tail /dev/zero", "memory_limit"),
        ("python3 -c 'x = bytearray(400_000_000)'; sleep 60", "memory_limit"),
    ],
)
def test_what_breaks_a_limit_is_ended_and_the_session_goes_on(
    shell: Session, command: str, status: str
) -> None:
    shell.run("x=1")
    done = shell.run(command)
    assert (done.status, done.exit_code) == (status, None)
    assert len(done.stdout) <= TIGHT.output_kb << 10
    if shell.ended and status == "memory_limit":  # the kernel may take the shell of a full container too
        assert "the session has ended" in done.detail
        shell.restart()
        shell.run("x=1")
    assert shell.run("echo $x").stdout == "1\n"


def test_cpu_time_is_counted_by_command(sandbox: Sandbox) -> None:
    with sandbox.open(Limits(cpu_s=0.2, wall_s=60)) as box, box.session() as shell:
        for _ in range(2):
            assert shell.run("while :; do :; done").status == "cpu_limit"
        assert shell.run("python3 -c 'while True: pass' & wait").status == "cpu_limit"
        done = shell.run("echo fine")
        assert (done.status, done.stdout) == ("ok", "fine\n")
        assert done.cpu_s < 0.2


def test_a_shell_that_is_itself_too_large_gives_the_memory_back_or_ends(shell: Session) -> None:
    done = shell.run("x=$(head -c 400000000 /dev/zero | tr '\\0' x)")
    assert done.status == "memory_limit"
    if shell.ended:
        assert "the session has ended" in done.detail
        shell.restart()
    assert shell.run("echo [$x]").stdout == "[]\n"


def test_processes_and_disk_are_limited_for_all_commands_together(shell: Session) -> None:
    shell.run("x=1")
    full = False
    while not full:  # by the first time, if this machine can start so many in a second
        full = "fork: retry" in shell.run("for i in $(seq 100); do sleep 300 & done", timeout_s=1).stderr
    shell.run("bash -c true", timeout_s=1)  # bash waits until it may fork
    assert shell.run("echo $x; jobs -r").stdout == "1\n", "so it had to lose what it had started"
    shell.run("head -c 12000000 /dev/zero > first")
    assert "No space left" in shell.run("head -c 12000000 /dev/zero > second").stderr
    shell.run("rm first second")
    assert shell.run("head -c 12000000 /dev/zero > third").status == "ok"


def test_limits_hold_between_commands(place: Box, shell: Session) -> None:
    def breaks(command: str) -> None:
        """Begins while no command runs, beside a process that is ended with it."""
        begin = f"(until [ -e go ]; do sleep 0.05; done; rm go; exec {command}) &"
        shell.run(f"(exec -a {CANARY} sleep 300) & {begin}")
        assert becomes(CANARY, 1)
        place.write({"go": ""})
        assert becomes(CANARY, 0)

    # Not much more: what goes on growing may meet the kernel's limit between two looks.
    breaks("python3 -c 'import time; x = bytes([1]) * (136 << 20); time.sleep(300)'")
    done = shell.run("jobs -r; echo here")
    assert done.stdout == "here\n"
    assert "while no command ran, all but the shells was ended" in done.detail
    breaks("yes")
    assert "KiB on one stream" in shell.run("true").detail


# The box around it


def test_files_go_in_and_out_beside_a_session(box: Box) -> None:
    shell = box.session()
    shell.run("mkdir d; (while :; do mv d e; mv e d; ln -sfn /etc d/link; echo x >> d/f; done) 2>/dev/null &")
    for number in range(20):
        box.write({"sub/z": str(number)})
        assert box.read("sub/z") == str(number).encode()
        assert set(box.export()) <= {"sub/z", "d/f", "e/f"}
    assert shell.run("cat sub/z; jobs -rp | wc -l").stdout == "191\n"


def test_a_process_that_waits_for_its_child_by_vfork_holds_nothing_up(place: Box, shell: Session) -> None:
    """Halted between vfork and exec, the parent can do nothing and cannot be stopped either."""
    code = (
        "import ctypes, os\n"
        "libc = ctypes.CDLL(None)\n"
        "if libc.vfork() == 0:\n"
        "    libc.sleep(300)\n"
        "    os._exit(0)\n"
    )
    place.write({"waits.py": code})
    assert shell.run("python3 waits.py & until grep -q 'State:.D' /proc/$!/status; do :; done").status == "ok"
    assert set(place.export()) == {"waits.py"}
    assert shell.run("jobs -rp | wc -l").stdout == "1\n", "it was let go on"


def test_run_and_clear_are_refused_beside_a_session(box: Box) -> None:
    with box.session() as shell:
        with pytest.raises(SandboxError, match=r"run leaves no process alive.*bash.*close it first"):
            box.run(["true"])
        with pytest.raises(SandboxError, match="clear leaves no process alive"):
            box.clear()
        shell.run("sleep 300 & setsid sleep 300 & touch x")
    done = box.run(["bash", "-c", "ls; ls -d /proc/[0-9]* | wc -l"])
    assert done.stdout.splitlines()[0] == "x"
    assert int(done.stdout.splitlines()[1]) <= 4, "what the session had started is gone"
    with pytest.raises(SandboxError, match="it was closed"):
        shell.run("true")
    shell.close()


def test_two_sessions_share_the_box(box: Box) -> None:
    first, second = box.session(), box.session()
    first.run("echo one > f; x=1; sleep 300 &")
    assert second.run("cat f; echo [$x]").stdout == "one\n[]\n"
    first.close()
    assert second.run("grep -l sleep /proc/[0-9]*/comm | wc -l").stdout == "0\n"
    second.close()
    assert box.run(["echo", "free"]).stdout == "free\n"


def test_nothing_is_alive_after_close(sandbox: Sandbox) -> None:
    box = sandbox.open(TIGHT)
    shell = box.session()
    shell.run(
        f"for i in 1 2 3; do (exec -a {CANARY} sleep 300) & done;"
        f"setsid bash -c 'exec -a {CANARY} sleep 300' &"
    )
    assert becomes(CANARY, 4)
    box.close()
    assert becomes(CANARY, 0)
    with pytest.raises(SandboxError, match="closed"):
        shell.run("true")
    shell.close()


def becomes(name: str, number: int) -> bool:
    """Whether, soon, so many processes of this machine are called that."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        if (
            sum(p.info["cmdline"][:1] == [name] for p in psutil.process_iter(["cmdline"], ad_value=[]))
            == number
        ):
            return True
        time.sleep(0.05)
    return False


def test_wrong_arguments_are_named(box: Box) -> None:
    with pytest.raises(UnknownName, match=r"'bsh'.*Did you mean 'bash'"):
        box.session("bsh")  # type: ignore[arg-type]
    shell = box.session()
    with pytest.raises(SolutionError, match="must be text, not list"):
        shell.run(["ls"])  # type: ignore[arg-type]
    with pytest.raises(SolutionError, match="NUL"):
        shell.run("a\0b")
    with pytest.raises(SolutionError, match="timeout_s=0: give a positive number"):
        shell.run("ls", timeout_s=0)
    with pytest.raises(SandboxError, match=r"ipython does not start: .*IPython.*packages=\('ipython',\)"):
        box.session("ipython")


# IPython


@pytest.fixture(scope="module")
def cells(sandbox: Sandbox) -> Iterator[Session]:
    with sandbox.open(Limits(wall_s=60, memory_mb=300, output_kb=64, packages=("ipython",))) as box:
        yield box.session("ipython")


def test_ipython_keeps_names_and_shows_values(cells: Session) -> None:
    assert brief(cells.run("import math\nx = 3\ndef f(a):\n    return a / 0")) == ("ok", 0, "", "")
    done = cells.run("print('said')\nmath.floor(math.pi * x)")
    assert done.exit_code == 0
    assert done.stdout.startswith("said\nOut[")
    assert done.stdout.endswith("]: 9\n")
    failed = cells.run("f(x)")
    assert (failed.status, failed.exit_code, failed.stdout) == ("error", 1, "")
    assert "ZeroDivisionError: division by zero" in failed.stderr
    assert "----> 1 f(x)" in failed.stderr
    assert "\x1b" not in failed.stderr
    assert "SyntaxError" in cells.run("print('unbalanced").stderr
    assert "EOFError" in cells.run("input()").stderr
    assert cells.run("!echo from bash >&2; pwd").stdout == "/work\n"
    assert "SystemExit" in cells.run("import sys; sys.exit(0)").stderr
    assert cells.run("import os; [n for n in os.listdir('/work')]").stdout.endswith("[]\n")
    assert cells.run("x").stdout.endswith("]: 3\n")


def test_ipython_is_interrupted_and_held_to_its_limits(cells: Session) -> None:
    cells.run("x = 3")
    for code in (
        "while True: pass",
        "import time; time.sleep(60)",
        "!sleep 60",
        "import os; os.system('sleep 60')",
    ):
        assert cells.run(code, timeout_s=0.5).status == "timeout", code
    assert cells.run("print('y' * 10_000_000)").status == "output_limit"
    assert cells.run("sys = __import__('sys'); sys.stdout = None").exit_code == 0
    assert cells.run("x").stdout.endswith("]: 3\n")
    cells.run(
        "import os\nfor fd in range(3, 256):\n    try: os.write(fd, b'0 0\\n')\n    except OSError: pass"
    )
    assert cells.run("1 / 0").exit_code == 1
    done = cells.run("kept = bytearray(400_000_000)\nwhile True: kept.extend(kept)")
    assert done.status == "memory_limit"


@pytest.mark.parametrize(("code", "exit_code"), [("exit", 0), ("import os; os._exit(5)", 5)])
def test_ipython_ends_and_begins_anew(cells: Session, code: str, exit_code: int) -> None:
    if cells.ended:
        cells.restart()
    done = cells.run(code)
    assert done.exit_code == exit_code
    assert "the session has ended" in done.detail
    cells.restart()
    assert cells.run("1 + 1").stdout == "Out[1]: 2\n"


# Pools


POOLS = [
    pytest.param((base, level), id=f"{base}-{level}", marks=[pytest.mark.docker] if base == "docker" else [])
    for base in ("bwrap", "docker")
    for level in ("reuse", "fresh")
]


@pytest.fixture(params=POOLS)
def pool(request: pytest.FixtureRequest) -> Iterator[Pool]:
    base, level = request.param
    if problem := check(base):
        missing(f"{base}: {problem}")
    with Pool(base, level=level, size=1) as pool:
        yield pool


def test_a_session_dies_with_its_lease(pool: Pool) -> None:
    for lease in range(3):
        with pool.open(TIGHT) as box:
            shell = box.session()
            assert shell.run("ls -A /work /tmp | grep -c left; echo [$x]").stdout == "0\n[]\n"
            shell.run(f"x={lease}; touch left /tmp/left; (exec -a {CANARY} sleep 300) & setsid sleep 300 &")
            assert shell.run("sleep 60", timeout_s=0.2).status == "timeout"
            assert shell.run("tail /dev/zero").status == "memory_limit"
            if shell.ended:  # the kernel may take the shell of a full container too
                shell.restart()
                shell.run(f"x={lease}")
            assert shell.run("echo $x").stdout == f"{lease}\n"
            if lease == 1:
                shell.close()
                assert box.run(["python3", "-c", "print(6 * 7)"]).stdout == "42\n"
                shell.restart()
        with pytest.raises(SandboxError, match="closed"):
            shell.run("true")
    assert becomes(CANARY, 0)


def test_a_box_whose_session_was_left_open_serves_the_next_lease(pool: Pool) -> None:
    with pool.open(TIGHT) as box:
        box.session().run("sleep 300 &")
        inode = box.session().run("readlink /proc/self/ns/pid").stdout
    with pool.open(TIGHT) as box, box.session() as shell:
        same = shell.run("readlink /proc/self/ns/pid").stdout == inode
        assert shell.run("ls /proc | grep -c '^[0-9]'").stdout in ("3\n", "4\n"), "runner, shell, ls and grep"
        assert same or pool.level == "fresh"
