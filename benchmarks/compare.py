#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Compares Gemel with qemu's quorum driver and the raw disk, in turns on one file system.

README.md has the method. Everything it makes is removed at the end, also after Ctrl-C.
"""

import argparse
import json
import os

import fio_run
import report
import subjects
from workspace import GIB, ROOT, caption, first_line, in_turn, machine_facts, measure_in

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


def measure_sparse(workspace, name, job, runtime_s):
    """On a fresh, large, empty device: every round allocates anew."""
    subject = workspace.start(subjects.SUBJECTS[name], SPARSE_SIZE, "-sparse")
    try:
        return fio_run.measure(subject, job, runtime_s)
    finally:
        workspace.stop(subject)


def measure_all(workspace, arguments):
    filled = {}
    if any(not job.endswith("_sparse") for job in arguments.jobs):
        for name in arguments.subjects:
            print(f"writing {subjects.SUBJECTS[name].title} full", flush=True)
            filled[name] = workspace.start(subjects.SUBJECTS[name], DEVICE_SIZE)
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


def facts(arguments):
    return machine_facts(arguments.dir) | {
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
    title = f"{caption(run)}: medians of {run['rounds']} rounds of {run['runtime_s']} s"
    text = "\n".join([title, *report.table(summary, titles, GOALS), ""])
    os.makedirs(arguments.results, exist_ok=True)
    base = os.path.join(arguments.results, "compare")
    with open(base + ".json", "w", encoding="utf-8") as file:
        json.dump({"version": 1, "run": run, "goals": GOALS, "median": summary,
                   "rounds": rounds}, file, indent=1)
        file.write("\n")
    with open(base + ".txt", "w", encoding="utf-8") as file:
        file.write(text)
    report.plot(summary, titles, base + ".png", title)
    print("\n" + text + f"\nalso as {base}.json, .txt and .png")


def main():
    arguments = parse_arguments()
    rounds = measure_in(arguments.dir, FREE_BYTES_WANTED,
                        lambda workspace: measure_all(workspace, arguments))
    publish(rounds, arguments)


if __name__ == "__main__":
    main()
