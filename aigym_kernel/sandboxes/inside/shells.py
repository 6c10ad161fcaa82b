"""Sessions, seen from the runner: processes that stay between commands, with the tree that they start.

A shell (any program that reads commands from descriptor 0) writes ``<nonce> <exit code>`` on a descriptor
of its own when a command is over; it is the host that says what to send and which nonce to expect. All
shells of a box and everything that they started are one tree, held to the box's limits while a command
runs (`Shells.tell`) and while none does (`Shells.idle`). What breaks a limit is ended without the shells,
and with them only if that does not help. Not here: what bash or IPython is sent (the host's `sessions`).
"""

# Descriptors throughout, and importing pathlib would cost every box 10 ms.
# ruff: noqa: PTH208
from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time

from aigym_kernel.sandboxes.inside.files import DISKS
from aigym_kernel.sandboxes.inside.run import TICK_S, become, feed, met, too_much, verdict
from aigym_kernel.sandboxes.inside.tree import Tree, cpu_time_s, files, proc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any

    Cause = tuple[str, str]

IDLE_S = 0.1  # how often the tree is looked at while no command runs
PATIENCE_S = 1.0  # from the first SIGINT to the first SIGKILL; a broken limit starts with the latter
AGAIN_S = 0.1  # between the rounds after that: a list of commands begins the next one, a loop another
CLEAR_S = 2.0  # from the first SIGINT to the end of all but the shells: one may wait for an older child
GIVE_UP_S = 5.0  # from the first SIGINT to the end of the shell itself: a busy machine takes long to heed it
STALL_S = 0.5  # what a pause counts at most: while the machine stands still, no shell can heed anything
HALT_S = 20.0  # for all processes to be halted
ASK_AGAIN = 3
STATUS_BYTES = 65536  # a shell says less than this of one command


class Shell:
    """One session's process and our ends of its pipes; what it printed and was not yet told."""

    def __init__(self, argv: Sequence[str], status_at: int, limits: Mapping[str, Any]) -> None:
        inner, outer = zip(os.pipe(), os.pipe()[::-1], os.pipe()[::-1], os.pipe()[::-1])
        self.pid = os.fork()
        if self.pid == 0:
            become(argv, dict(zip((0, 1, 2, status_at), inner)), limits)
        for descriptor in inner:
            os.close(descriptor)
        self.script, out, err, self.status = outer
        self.outputs = {out: bytearray(), err: bytearray()}
        self.silent: set[int] = set()  # outputs that nobody can write to any more
        self.ended = ""  # why, once it has
        for descriptor in outer:
            os.set_blocking(descriptor, False)
        try:
            self.watched = os.pidfd_open(self.pid)
        except OSError:  # an old kernel: the next tick notices its end
            self.watched = -1

    def hear(self, descriptor: int, most: int) -> bool:
        """Take what is there to be read; whether it was more than may be kept."""
        try:
            piece = os.read(descriptor, 65536)
        except BlockingIOError:
            return False
        if not piece:
            self.silent.add(descriptor)
        room = max(most - len(self.outputs[descriptor]), 0)
        self.outputs[descriptor] += piece[:room]
        return len(piece) > room

    def drain(self, most: int) -> bool:
        """Take what is in the pipes now, and no more: a background process may go on printing."""
        over = False
        for descriptor in self.outputs:
            for _ in range(unread(descriptor) // 65536 + 1):
                over = self.hear(descriptor, most) or over
        return over

    def printed(self, most: int) -> tuple[list[bytes], bool]:
        """What it printed until now on each stream, and whether that is more than ``most`` bytes."""
        over = self.drain(most)
        found = [bytes(output) for output in self.outputs.values()]
        for output in self.outputs.values():
            output.clear()
        return found, over

    def close(self) -> None:
        for descriptor in (self.script, self.status, self.watched, *self.outputs):
            if descriptor >= 0:
                os.close(descriptor)


class _Command:
    """A command that a shell is carrying out: what is known of it, and how it is being ended."""

    def __init__(self, message: Mapping[str, Any], script: bytes, limits: Mapping[str, Any]) -> None:
        self.nonce: str = message["nonce"]
        self.again: bytes = message["again"].encode()
        self.rest = memoryview(script)
        self.limits = limits
        self.most = limits["output_kb"] << 10
        self.started = time.monotonic()
        self.ticks = int(time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK"))
        self.code: int | None = None
        self.said = b""
        self.asked = 0
        self.cause: Cause | None = None
        self.since = self.looked = 0.0  # how long its end has been going on, and when that was counted
        self.next_round = 0.0

    def hear(self, piece: bytes) -> None:
        """Something on the shell's own descriptor. Only a whole line with the right nonce counts, and only
        the first: another one tells how the first report ended."""
        *lines, rest = (self.said + piece).split(b"\n")
        self.said = rest[-STATUS_BYTES:]
        for line in lines:
            nonce, _, code = line.partition(b" ")
            if self.code is None and nonce == self.nonce.encode() and code.isdigit():
                self.code = int(code[:9]) & 255

    def stop(self, cause: Cause, *, gently: bool = True) -> None:
        """Begin to end it, unless that has begun."""
        if self.cause is None:
            self.cause = cause
            self.since, self.looked = 0.0 if gently else PATIENCE_S, time.monotonic()

    def round(self, now: float) -> str:
        """What is due to end it: nothing, or a step."""
        if self.cause is None:
            return ""
        self.since += min(now - self.looked, STALL_S)
        self.looked = now
        if self.since < self.next_round:
            return ""
        self.next_round = self.since + (AGAIN_S if self.since >= PATIENCE_S else PATIENCE_S)
        steps = (("interrupt", PATIENCE_S), ("kill", CLEAR_S), ("clear", GIVE_UP_S))
        return next((step for step, until in steps if self.since < until), "give up")


class Shells:
    """The sessions of this box."""

    def __init__(self) -> None:
        self._all: list[Shell] = []
        self._tree = Tree({})
        self._limits: Mapping[str, Any] = {}
        self._note = ""  # what happened while no command ran

    def start(self, argv: Sequence[str], status_at: int, limits: Mapping[str, Any]) -> int:
        """A new session's number."""
        if not self.living():
            self._tree, self._note = Tree(limits), ""
        self._hold(limits)
        self._all.append(Shell(argv, status_at, limits))
        return len(self._all) - 1

    def end(self, number: int) -> None:
        """End a session with all that it started, as far as that did not leave it by setsid; the last
        one with everything."""
        if not self._all[number].ended:
            self._bury(self._all[number], "it was closed")

    def end_all(self) -> None:
        """End every session and all that was started."""
        for shell in self.living():
            self._bury(shell, "the lease was over")

    def living(self) -> list[Shell]:
        """The sessions that have not ended."""
        return [shell for shell in self._all if not shell.ended]

    def idle(self) -> None:
        """Until the host has something to say: take what background processes print, hold the tree to
        its limits."""
        while living := self.living():
            poller = select.poll()
            poller.register(0, select.POLLIN)
            of = {output: shell for shell in living for output in shell.outputs.keys() - shell.silent}
            for output in of:
                poller.register(output, select.POLLIN)
            ready = [descriptor for descriptor, _ in poller.poll(IDLE_S * 1000)]
            if 0 in ready:
                return
            most = self._limits["output_kb"] << 9  # half: the next command shall have its say
            flood = [of[output].hear(output, most) for output in ready]
            self._reap()
            for shell in living:
                if shell.pid in self._tree.ended:
                    self._bury(shell, verdict(self._tree.ended[shell.pid], None, b"", self._limits)[2])
            excess = too_much(self._limits) if any(flood) else self._tree.excess()
            if cause := excess or self._tree.struck():
                self._note = f"while no command ran, all but the shells was ended: {cause[1]}"
                # What broke the limit may be gone already, by the kernel's hand: then it was no shell.
                if not self._end_others() and (any(flood) or self._tree.excess()):
                    for shell in self.living():
                        self._bury(shell, cause[1])
                for shell in self.living():
                    shell.drain(most)
                self._hold(self._limits)
            elif ready:
                time.sleep(TICK_S)  # many small pieces, one look

    def tell(
        self,
        message: Mapping[str, Any],
        script: bytes,
        limits: Mapping[str, Any],
        hear: Callable[[], Mapping[str, Any]],
    ) -> tuple[dict[str, Any], list[bytes]]:
        """Carry out a command: the answer is that of a `run`, and ``ended``: why the session has, if so.
        ``hear`` returns the host's next message, which can only be to interrupt."""
        shell = self._all[message["shell"]]
        if shell.ended:
            raise ValueError(f"the session has ended: {shell.ended}")
        command = _Command(message, script, limits)
        self._hold(limits)
        self._tree.peak_kb = self._tree.most_tasks = 0
        self._watch(shell, command, hear)
        (stdout, stderr), over = shell.printed(command.most)
        if over:
            command.stop(too_much(limits))
        used = {"wall_s": time.monotonic() - command.started, "cpu_s": self._cpu_s()}
        used["peak_kb"] = self._tree.highest_kb()
        gone = shell.pid in self._tree.ended
        wait_status = self._tree.ended[shell.pid] if gone else (command.code or 0) << 8
        status, code, detail = verdict(wait_status, command.cause or self._tree.struck(), stderr, limits)
        told = met(self._tree, detail, stderr) if status in ("error", "signal") else ""
        if gone:
            self._bury(shell, detail or f"the shell exited with {code}")
        self._hold(limits)
        if command.cause and not gone and (still := self._tree.excess()):
            self._bury(shell, still[1])
        notes = (detail, told, "the session has ended" if shell.ended else "", self._note)
        self._note = ""
        answer = {"status": status, "exit_code": code, "detail": "; ".join(filter(None, notes))}
        return {**answer, **used, "ended": shell.ended}, [stdout, stderr]

    @contextlib.contextmanager
    def halted(self) -> Iterator[None]:
        """Nothing of any session moves meanwhile, so that files can be looked at."""
        if not self.living():
            yield
            return
        before = {process.pid for process in _processes() if process.state == "T"}
        started, still = time.monotonic(), "TtZX"
        try:
            os.kill(-1, signal.SIGSTOP)
            while any(process.state not in still for process in _processes()):
                if time.monotonic() > started + HALT_S:
                    raise OSError("the session's processes could not be halted")
                if time.monotonic() > started + 0.5:
                    still = "TtZXD"  # one that waits for a child by vfork, which is halted
                time.sleep(0.0005)
            yield
        finally:
            for process in _processes():
                if process.pid not in before:
                    _signal(process.pid, signal.SIGCONT)

    def _hold(self, limits: Mapping[str, Any]) -> None:
        """Hold the tree to ``limits`` from now on. CPU time counts from here. Files that are there already
        may stay: who has too many has to be able to remove them."""
        self._tree.begin_anew()
        self._limits = self._tree.limits = {
            **limits,
            "files": max(limits["files"], *map(files, DISKS)),
        }

    def _watch(self, shell: Shell, command: _Command, hear: Callable[[], Mapping[str, Any]]) -> None:
        """Until the shell says that the command is over, or ends."""
        poller = select.poll()
        poller.register(shell.script, select.POLLOUT)
        for descriptor in {0, shell.status, shell.watched, *shell.outputs} - shell.silent - {-1}:
            poller.register(descriptor, select.POLLIN)
        look = command.started + TICK_S
        while True:
            for descriptor, _ in poller.poll(TICK_S * 1000):
                if descriptor == 0:
                    if hear().get("nonce") == command.nonce:
                        command.stop(("signal", "interrupted"))
                elif descriptor == shell.script:
                    command.rest = feed(shell.script, command.rest)
                    if not command.rest:
                        poller.unregister(shell.script)
                elif descriptor == shell.status:
                    command.hear(os.read(shell.status, STATUS_BYTES))
                elif descriptor in shell.outputs:
                    if shell.hear(descriptor, command.most):
                        command.stop(too_much(command.limits))
                    if descriptor in shell.silent:
                        poller.unregister(descriptor)
            self._reap()
            if command.code is not None or shell.pid in self._tree.ended:
                return
            now = time.monotonic()
            if now > command.started + command.limits["wall_s"]:
                command.stop(("timeout", f"still running after {command.limits['wall_s']} s"))
            if now >= look:
                self._look(shell, command)
                look = now + max(TICK_S, 5 * (time.monotonic() - now))
            if step := command.round(time.monotonic()):
                self._press(shell, command, step)

    def _look(self, shell: Shell, command: _Command) -> None:
        """Does it keep to its limits, and is it still the shell that will say when it is over?"""
        excess = self._tree.excess() or self._tree.struck()
        if excess and (command.cause is None or excess[0] == "memory_limit"):
            command.stop(excess, gently=False)
            self._end_others()
        if command.again and not command.rest and not unread(shell.script) and has_reader(shell.script):
            # The shell has read all that it was told, down to the line that makes it report. An interrupt
            # may have come just then; but if it is asked again and again, then it cannot report any more.
            if command.asked == ASK_AGAIN:
                command.stop(("error", "the command took from the shell what it reports with"))
                command.since, command.next_round = GIVE_UP_S, 0.0
            feed(shell.script, memoryview(command.again))
            command.asked += 1

    def _press(self, shell: Shell, command: _Command, step: str) -> None:
        """One step of ending a command: SIGINT, then SIGKILL to all that was started since it began and
        SIGINT to the shell, then SIGKILL to all that was started ever, then to the shell too."""
        if step == "clear":
            self._end_others()
        for process in _processes():
            young = process.started >= command.ticks and not self._is_shell(process.pid)
            mine = process.pid == shell.pid
            if (step == "give up" and mine) or (step != "interrupt" and young):
                _signal(process.pid, signal.SIGKILL)
            elif young or process.group == shell.pid:
                _signal(process.pid, signal.SIGINT)
                if mine and step != "interrupt":
                    _signal(process.pid, signal.SIGCONT)

    def _is_shell(self, pid: int) -> bool:
        return any(shell.pid == pid for shell in self.living())

    def _end_others(self) -> int:
        """End every process but the shells; how many there were. All are stopped first, at once: nothing
        can be forked meanwhile."""
        ended: set[int] = set()
        while True:
            with contextlib.suppress(ProcessLookupError):
                os.kill(-1, signal.SIGSTOP)
            others = [p for p in _processes() if not self._is_shell(p.pid) and not p.dead]
            for process in others:
                _signal(process.pid, signal.SIGKILL)
                ended.add(process.pid)
            if not others:
                break
            time.sleep(0.0005)
            self._reap()
        for shell in self.living():
            _signal(shell.pid, signal.SIGCONT)
        return len(ended)

    def _bury(self, shell: Shell, why: str) -> None:
        """What is left of a session that has ended or has to."""
        shell.ended = why or "the shell exited with 0"
        shell.close()
        if not self.living():
            self._tree.kill()
            return
        while left := [p for p in _processes() if p.session == shell.pid and not p.dead]:
            for process in left:
                _signal(process.pid, signal.SIGKILL)
            time.sleep(0.0005)
        self._reap()

    def _reap(self) -> None:
        self._tree.reap()
        for pid in self._tree.ended.keys() - {shell.pid for shell in self._all}:
            del self._tree.ended[pid]  # a session may start any number of processes

    def _cpu_s(self) -> float:
        return self._tree.cpu_s + sum(cpu_time_s(proc(process.pid, "stat")) for process in _processes())


class _Process:
    """A line of the process table."""

    def __init__(self, pid: int, stat: bytes) -> None:
        fields = stat.rpartition(b")")[2].split()
        self.pid = pid
        self.state = fields[0].decode()
        self.group, self.session = int(fields[2]), int(fields[3])
        self.started = int(fields[19])  # in clock ticks since boot
        self.dead = self.state in "ZX" and int(fields[17]) <= 1  # with threads left, it is not


def _processes() -> list[_Process]:
    """All but this one."""
    names = [name for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()]
    stats = [(int(name), proc(int(name), "stat")) for name in names]
    return [_Process(pid, stat) for pid, stat in stats if stat]


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def has_reader(pipe: int) -> bool:
    """Whether somebody may read from a pipe: nobody, if the shell has become another program by ``exec``."""
    poller = select.poll()
    poller.register(pipe, 0)
    return not poller.poll(0)


def unread(pipe: int) -> int:
    """How many bytes wait in a pipe."""
    import fcntl
    import termios

    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)
