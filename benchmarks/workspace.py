# SPDX-License-Identifier: Apache-2.0
"""What every measurement needs: folders that vanish, subjects that end, and the machine's facts."""

import datetime
import fcntl
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile

import subjects

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
GIB = 1 << 30


class Workspace:
    """A folder for the big files and one for the sockets; both vanish with it."""

    def __init__(self, folder, free_wanted):
        os.makedirs(folder, exist_ok=True)
        self.lock = open(os.path.join(folder, "lock"), "w", encoding="ascii")
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit(f"another measurement is running in {folder}")
        self.folder = os.path.join(folder, "work")
        # Left by a measurement that was killed; the lock says that it is over.
        shutil.rmtree(self.folder, ignore_errors=True)
        os.makedirs(self.folder)
        free = shutil.disk_usage(self.folder).free
        if free < free_wanted:
            sys.exit(f"{folder} has {free / GIB:.0f} GiB free, {free_wanted / GIB:.0f} wanted")
        # Short, since a socket's path has at most 107 bytes.
        self.sockets = tempfile.mkdtemp(prefix="gemel-bench-")
        self.running = []

    def start(self, kind, size, suffix="", **more):
        """Lays out and starts a subject of a class of subjects.py."""
        subject = kind(os.path.join(self.folder, kind.name + suffix), self.sockets, size, **more)
        self.running.append(subject)
        subject.start()
        return subject

    def stop(self, subject):
        self.running.remove(subject)
        subject.stop()

    def close(self):
        for subject in list(self.running):
            try:
                self.stop(subject)
            except RuntimeError as problem:
                print(problem, file=sys.stderr)
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(self.sockets, ignore_errors=True)


def in_turn(names, round_number):
    """Each round begins with another subject, so that a drift hits all of them alike."""
    shift = round_number % len(names)
    return names[shift:] + names[:shift]


def first_line(command):
    try:
        return subprocess.run(command, capture_output=True, text=True,
                              check=False).stdout.split("\n")[0].strip()
    except FileNotFoundError:
        return ""


def machine_facts(folder):
    """Without this, figures mean nothing."""
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
        models = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": first_line(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"]),
        "kernel": platform.release(),
        "processors": f"{os.cpu_count()} x {models[0] if models else platform.machine()}",
        "file_system": first_line(["findmnt", "-n", "-o", "FSTYPE", "-T", folder]),
        "fio": first_line(["fio", "--version"]),
    }


def caption(run):
    return f"{run['date']}, {run['processors']}, Linux {run['kernel']}, {run['file_system']}"


def stop_by_signal(number, _frame):
    # Leaves through every `finally`, like Ctrl-C.
    raise KeyboardInterrupt(signal.Signals(number).name)


def measure_in(folder, free_wanted, measure):
    """Returns measure(workspace); whatever happens, nothing is left behind."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop_by_signal)
    workspace = Workspace(folder, free_wanted)
    try:
        return measure(workspace)
    except KeyboardInterrupt:
        print("interrupted; cleaning up", file=sys.stderr)
        sys.exit(130)
    except RuntimeError as problem:
        sys.exit(str(problem))
    finally:
        # A second Ctrl-C must not leave gigabytes and servers behind.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        workspace.close()
