#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Compares Gemel with qemu's quorum driver and the raw disk, in turns on one file system.

README.md has the method. Everything it makes is removed at the end, also after Ctrl-C.
"""

import argparse
import datetime
import fcntl
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile

import fio_run
import report
import subjects

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
GIB = 1 << 30
DEVICE_SIZE = 2 * GIB
SPARSE_SIZE = 64 * GIB
# Files of every subject: Gemel's two members with their logs, quorum's two, three raw ones.
FREE_BYTES_WANTED = 24 * GIB

# The rate that must be reached, as a multiple of the quorum driver's. Large writes still go
# through the log, which writes them twice.
GOALS = {
    "randwrite_4k_qd32": 1.0,
    "randread_4k_qd32": 1.0,
    "randwrite_4k_qd1": 1.0,
    "randread_4k_qd1": 1.0,
    "randwrite_4k_qd1_fsync": 1.0,
    "write_1m_qd8": 0.6,
    "read_1m_qd8": 1.0,
    "mixed_70_30_4k_qd32": 1.0,
    "randwrite_4k_qd32_sparse": 1.0,
}


def parse_arguments():
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__.split("\n\n")[0])
    parser.add_argument("--dir", default=os.path.join(ROOT, "build/bench"),
                        help="the file system to measure on (default: build/bench)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runtime", type=int, default=8, metavar="SECONDS", help="of each job")
    parser.add_argument("--quick", action="store_true", help="one round of 3 seconds a job")
    parser.add_argument("--jobs", default=",".join(GOALS), help="comma-separated")
    parser.add_argument("--subjects", default="gemel,quorum,raw,raw-pair",
                        help="comma-separated, of " + ", ".join(subjects.SUBJECTS))
    parser.add_argument("--gemel", default=os.path.join(ROOT, "build/release/gemel"),
                        metavar="PATH", help="the binary to measure")
    parser.add_argument("--results", default=os.path.join(ROOT, "build/bench/results"),
                        metavar="DIR", help="where the JSON and the picture go")
    arguments = parser.parse_args()
    arguments.jobs = arguments.jobs.split(",")
    arguments.subjects = arguments.subjects.split(",")
    if arguments.quick:
        arguments.rounds, arguments.runtime = 1, 3
    for name, known in ((arguments.jobs, GOALS), (arguments.subjects, subjects.SUBJECTS)):
        unknown = [item for item in name if item not in known]
        if unknown:
            parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(known)}")
    if arguments.rounds < 1 or arguments.runtime < 1:
        parser.error("--rounds and --runtime are at least 1")
    if "gemel" in arguments.subjects and not os.access(arguments.gemel, os.X_OK):
        parser.error(f"{arguments.gemel} is not there; run ./dev build")
    subjects.Gemel.binary = os.path.abspath(arguments.gemel)
    return arguments


class Workspace:
    """A folder for the big files and one for the sockets; both vanish with it."""

    def __init__(self, folder):
        os.makedirs(folder, exist_ok=True)
        self.lock = open(os.path.join(folder, "lock"), "w", encoding="ascii")
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit(f"another comparison is running in {folder}")
        self.folder = os.path.join(folder, "work")
        # Left by a comparison that was killed; the lock says that it is over.
        shutil.rmtree(self.folder, ignore_errors=True)
        os.makedirs(self.folder)
        free = shutil.disk_usage(self.folder).free
        if free < FREE_BYTES_WANTED:
            sys.exit(f"{folder} has {free / GIB:.0f} GiB free, {FREE_BYTES_WANTED / GIB:.0f} wanted")
        # Short, since a socket's path has at most 107 bytes.
        self.sockets = tempfile.mkdtemp(prefix="gemel-bench-")
        self.running = []

    def start(self, name, size, suffix=""):
        subject = subjects.SUBJECTS[name](
            os.path.join(self.folder, name + suffix), self.sockets, size)
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


def measure_sparse(workspace, name, job, runtime_s):
    """On a fresh, large, empty device: every round allocates anew."""
    subject = workspace.start(name, SPARSE_SIZE, "-sparse")
    try:
        return fio_run.measure(subject, job, runtime_s)
    finally:
        workspace.stop(subject)


def measure_all(workspace, arguments):
    filled = {}
    if any(not job.endswith("_sparse") for job in arguments.jobs):
        for name in arguments.subjects:
            print(f"writing {subjects.SUBJECTS[name].title} full", flush=True)
            filled[name] = workspace.start(name, DEVICE_SIZE)
            fio_run.fill(filled[name])

    rounds = {job: {name: [] for name in arguments.subjects} for job in arguments.jobs}
    for number in range(arguments.rounds):
        for job in arguments.jobs:
            for name in in_turn(arguments.subjects, number):
                if job.endswith("_sparse"):
                    result = measure_sparse(workspace, name, job, arguments.runtime)
                else:
                    result = fio_run.measure(filled[name], job, arguments.runtime)
                rounds[job][name].append(result)
                print(f"round {number + 1}/{arguments.rounds}  {job:26}"
                      f"{subjects.SUBJECTS[name].title:24}{report.rate_text(job, result):>12}",
                      flush=True)
    return rounds


def first_line(command):
    try:
        return subprocess.run(command, capture_output=True, text=True,
                              check=False).stdout.split("\n")[0].strip()
    except FileNotFoundError:
        return ""


def facts(arguments):
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
        models = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": first_line(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"]),
        "kernel": platform.release(),
        "processors": f"{os.cpu_count()} x {models[0] if models else platform.machine()}",
        "file_system": first_line(
            ["findmnt", "-n", "-o", "FSTYPE", "-T", arguments.dir]),
        "fio": first_line(["fio", "--version"]),
        "qemu": first_line(["qemu-storage-daemon", "--version"]),
        "rounds": arguments.rounds,
        "runtime_s": arguments.runtime,
        "device_bytes": DEVICE_SIZE,
        "sparse_device_bytes": SPARSE_SIZE,
    }


def publish(rounds, arguments):
    summary = report.summarise(rounds)
    titles = {name: subjects.SUBJECTS[name].title for name in arguments.subjects}
    run = facts(arguments)
    caption = (f"{run['date']}, {run['processors']}, Linux {run['kernel']}, {run['file_system']}: "
               f"medians of {run['rounds']} rounds of {run['runtime_s']} s")
    text = "\n".join([caption, *report.table(summary, titles, GOALS), ""])
    os.makedirs(arguments.results, exist_ok=True)
    base = os.path.join(arguments.results, "compare")
    with open(base + ".json", "w", encoding="utf-8") as file:
        json.dump({"version": 1, "run": run, "goals": GOALS, "median": summary,
                   "rounds": rounds}, file, indent=1)
        file.write("\n")
    with open(base + ".txt", "w", encoding="utf-8") as file:
        file.write(text)
    report.plot(summary, titles, base + ".png", caption)
    print("\n" + text + f"\nalso as {base}.json, .txt and .png")


def stop_by_signal(number, _frame):
    # Leaves through every `finally`, like Ctrl-C.
    raise KeyboardInterrupt(signal.Signals(number).name)


def main():
    arguments = parse_arguments()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop_by_signal)
    workspace = Workspace(arguments.dir)
    try:
        rounds = measure_all(workspace, arguments)
    except KeyboardInterrupt:
        print("interrupted; cleaning up", file=sys.stderr)
        sys.exit(130)
    except RuntimeError as problem:
        sys.exit(str(problem))
    finally:
        # A second Ctrl-C must not leave gigabytes and servers behind.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        workspace.close()
    publish(rounds, arguments)


if __name__ == "__main__":
    main()
