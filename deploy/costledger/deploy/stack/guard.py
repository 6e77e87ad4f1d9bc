"""The guard: a small process between us and one service, so that nothing outlives us.

Run by path with `python -I -S`, standard library only, because it starts once for every service.

    guard.py --stop-signal N --grace-seconds S [--uid U --gid G] [--lock-fd F] -- PROGRAM [ARGUMENT ...]

- Standard output: the process id of the service, one line.
- Standard input: every byte is the number of a signal to send to the service. End of file means that the
  parent is gone, killed -9 included: the service gets the stop signal, and SIGKILL when the grace is over.
- Standard error, inherited by the service as its output: the log.

The guard lives in a session of its own, so that Ctrl-C on a terminal reaches the parent alone, which drains
first. It ends only when every descendant of the service has ended. It holds the lock on the data directory
that long. A death signal on the service covers the guard's own SIGKILL: the guard has one thread, which
matters, since that signal follows the *thread* that forked, not the process.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import select
import signal
import sys
import time

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
SWEEP_SECONDS_MAX = 5.0
EXIT_CANNOT_RUN = 127


def prctl(option: int, value: int) -> None:
    """Call prctl(2); OSError when the kernel refuses."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        errno = ctypes.get_errno()
        raise OSError(errno, f"prctl({option}, {value}): {os.strerror(errno)}")


def run_service(argv: list[str], uid: int | None, gid: int | None, guard_pid: int) -> None:
    """In the forked child: become the service. Returns only by ending the process."""
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(2, 1)
        if uid is not None and gid is not None:
            os.setgroups([])
            os.setgid(gid)
            os.setuid(uid)
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # after setuid, which clears it
        if os.getppid() == guard_pid:  # the guard may have died before the line above
            os.execvp(argv[0], argv)  # noqa: S606 - this is what a guard is for; there is no shell
    except OSError as error:
        os.write(2, f"cannot run {argv[0]}: {error}\n".encode())
    finally:
        os._exit(EXIT_CANNOT_RUN)


def children_of(parent_pid: int) -> list[int]:
    """The process ids whose parent is `parent_pid`, from /proc."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as stat:
            # The command in parentheses may hold anything; the fields after it are fixed.
            if int(stat.read().rpartition(b")")[2].split()[1]) == parent_pid:
                found.append(int(name))
    return found


def sweep() -> None:
    """Kill what the service left; as subreaper the guard has become the parent of it all."""
    deadline = time.monotonic() + SWEEP_SECONDS_MAX
    while time.monotonic() < deadline:
        for pid in children_of(os.getpid()):
            os.kill(pid, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


class Guard:
    """Waits for commands, for the end of the parent and for the end of the service."""

    def __init__(self, service_pid: int, stop_signal: int, grace_seconds: float, wakeup_fd: int) -> None:
        self.service_pid = service_pid
        self.stop_signal = stop_signal
        self.grace_seconds = grace_seconds
        self.wakeup_fd = wakeup_fd
        self.kill_at: float | None = None
        self.inputs = [0, wakeup_fd]

    def run(self) -> int:
        """Return the exit status of the service: its code, or 128 + the signal that ended it."""
        while True:
            timeout = None if self.kill_at is None else max(0.0, self.kill_at - time.monotonic())
            ready, _, _ = select.select(self.inputs, [], [], timeout)
            if self.wakeup_fd in ready and signal.SIGTERM in os.read(self.wakeup_fd, 512):
                self.begin_stop()
            status = self.reap()
            if status is not None:
                return status
            if 0 in ready:
                self.obey(os.read(0, 64))
            if self.kill_at is not None and time.monotonic() >= self.kill_at:
                os.kill(self.service_pid, signal.SIGKILL)
                self.kill_at = None

    def reap(self) -> int | None:
        """Collect ended children; the service's own status once it has ended."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return EXIT_CANNOT_RUN
            if pid == self.service_pid:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code
            if pid == 0:
                return None

    def obey(self, signals: bytes) -> None:
        """Pass signals on; none at all is the end of the parent."""
        for number in signals:
            os.kill(self.service_pid, number)
        if not signals:
            self.inputs = [self.wakeup_fd]
            self.begin_stop()

    def begin_stop(self) -> None:
        """Ask the service to end, and note when to stop asking."""
        if self.kill_at is None:
            os.kill(self.service_pid, self.stop_signal)
            os.kill(self.service_pid, signal.SIGCONT)  # a stopped process would sit out the grace
            self.kill_at = time.monotonic() + self.grace_seconds


def main() -> int:
    """Start the service, guard it, and leave nothing behind."""
    parser = argparse.ArgumentParser(prog="guard")
    parser.add_argument("--stop-signal", type=int, required=True)
    parser.add_argument("--grace-seconds", type=float, required=True)
    parser.add_argument("--uid", type=int)
    parser.add_argument("--gid", type=int)
    parser.add_argument("--lock-fd", type=int)
    parser.add_argument("argv", nargs="+")
    options = parser.parse_args()
    if options.lock_fd is not None:
        os.set_inheritable(options.lock_fd, False)
    wakeup_read, wakeup_write = os.pipe()
    os.set_blocking(wakeup_write, False)
    signal.set_wakeup_fd(wakeup_write, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, lambda *_: None)  # a handler is needed for the wakeup to be written
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    guard_pid = os.getpid()
    service_pid = os.fork()
    if service_pid == 0:
        run_service(options.argv, options.uid, options.gid, guard_pid)
    with contextlib.suppress(BrokenPipeError):  # the parent is gone already; end of file follows
        os.write(1, f"{service_pid}\n".encode())
    status = Guard(service_pid, options.stop_signal, options.grace_seconds, wakeup_read).run()
    sweep()
    return status


if __name__ == "__main__":
    sys.exit(main())
