#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What checksums cost: CPU seconds of the server per 4 KiB operation, with and without them.

Two builds serve a volume each, and fio runs alternately on them. README.md has the method.
"""

import argparse
import json
import os
import statistics

import fio_run
import subjects
from workspace import GIB, ROOT, caption, machine_facts, measure_in

JOBS = ("randread_4k_qd32", "randwrite_4k_qd32")
BLOCK = 4096
FREE_BYTES_WANTED = 12 * GIB
# CPU with checksums, as a multiple of that without.
GOAL = 1.05


class Hashing(subjects.Gemel):
    name = "with"
    title = "with checksums"


class NotHashing(subjects.Gemel):
    name = "without"
    title = "without checksums"


KINDS = (Hashing, NotHashing)


def parse_arguments():
    parser = argparse.ArgumentParser(prog="./dev bench checksums",
                                     description=__doc__.split("\n\n")[0])
    parser.add_argument("--dir", default=os.path.join(ROOT, "build/bench"),
                        help="the file system to measure on (default: build/bench)")
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--operations", type=int, default=200_000, help="in each half of a pair")
    parser.add_argument("--size", type=int, default=2, metavar="GIB", help="of the volumes")
    parser.add_argument("--jobs", default=",".join(JOBS), help="comma-separated")
    parser.add_argument("--with", default=os.path.join(ROOT, "build/release/gemel"), dest="hashing",
                        metavar="PATH", help="the binary with checksums")
    parser.add_argument("--without", default=os.path.join(ROOT, "build/nohash/gemel"),
                        metavar="PATH", help="the binary without")
    parser.add_argument("--results", default=os.path.join(ROOT, "build/bench/results"),
                        metavar="DIR", help="where the JSON and the table go")
    arguments = parser.parse_args()
    arguments.jobs = arguments.jobs.split(",")
    if arguments.pairs < 1 or arguments.operations < 1 or arguments.size < 1:
        parser.error("--pairs, --operations and --size are at least 1")
    for path in (arguments.hashing, arguments.without):
        if not os.access(path, os.X_OK):
            parser.error(f"{path} is not there; ./dev bench checksums builds both")
    Hashing.binary = os.path.abspath(arguments.hashing)
    NotHashing.binary = os.path.abspath(arguments.without)
    return arguments


def job_text(subject, job, operations):
    """A fixed number of operations: then the CPU time needs no scaling."""
    return (fio_run.untimed_engine(subject) + f"io_size={operations * BLOCK}\n"
            + fio_run.read_job(job + ".fio"))


def cpu_us_per_operation(subject, job, operations):
    """Until the server is idle again: bringing the log home is part of a write's price."""
    subject.settle()
    before = subject.cpu_seconds()
    result = fio_run.run_fio(job_text(subject, job, operations), subject, 0)
    subject.settle()
    cpu_s = subject.cpu_seconds() - before
    done = result["jobs"][0]["mixed"]["total_ios"]
    if result["jobs"][0]["error"] != 0 or done != operations:
        raise RuntimeError(f"{job} on {subject.title}: {done} of {operations} operations")
    return {"cpu_us_per_operation": cpu_s / done * 1e6,
            "iops": result["jobs"][0]["mixed"]["iops"]}


def measure(workspace, arguments):
    servers = {}
    for kind in KINDS:
        print(f"writing the volume {kind.title} full", flush=True)
        servers[kind.name] = workspace.start(kind, arguments.size * GIB)
        fio_run.fill(servers[kind.name])
    pairs = {job: [] for job in arguments.jobs}
    for number in range(arguments.pairs):
        for job in arguments.jobs:
            pair = {}
            # Every second pair the other way round, so that a drift hits both alike.
            for kind in KINDS if number % 2 == 0 else reversed(KINDS):
                pair[kind.name] = cpu_us_per_operation(servers[kind.name], job,
                                                       arguments.operations)
            pair["ratio"] = (pair["with"]["cpu_us_per_operation"]
                             / pair["without"]["cpu_us_per_operation"])
            pairs[job].append(pair)
            print(f"pair {number + 1}/{arguments.pairs}  {job:20}"
                  f"with {pair['with']['cpu_us_per_operation']:7.2f} us  "
                  f"without {pair['without']['cpu_us_per_operation']:7.2f} us  "
                  f"ratio {pair['ratio']:.3f}", flush=True)
    return pairs


def quartiles(values):
    if len(values) < 2:
        return values[0], values[0]
    cuts = statistics.quantiles(values, n=4, method="inclusive")
    return cuts[0], cuts[2]


def summarise(pairs):
    summary = {}
    for job, measured in pairs.items():
        ratios = [pair["ratio"] for pair in measured]
        low, high = quartiles(ratios)
        summary[job] = {
            "ratio": statistics.median(ratios),
            "ratio_quartiles": [low, high],
            "ratio_min": min(ratios),
            "ratio_max": max(ratios),
        } | {kind.name: statistics.median(pair[kind.name]["cpu_us_per_operation"]
                                          for pair in measured) for kind in KINDS}
    return summary


def table(summary):
    yield (f"{'server CPU, us per operation':30}{'with':>8}{'without':>9}{'ratio':>8}"
           f"{'quartiles':>16}{'range':>16}")
    for job, entry in summary.items():
        low, high = entry["ratio_quartiles"]
        verdict = "reached" if entry["ratio"] <= GOAL else "MISSED"
        yield (f"  {job:28}{entry['with']:>8.2f}{entry['without']:>9.2f}{entry['ratio']:>8.3f}"
               f"{f'{low:.3f}-{high:.3f}':>16}"
               f"{entry['ratio_min']:>9.3f}-{entry['ratio_max']:.3f}"
               f"  goal {GOAL:.2f} {verdict}")


def publish(pairs, arguments):
    summary = summarise(pairs)
    run = machine_facts(arguments.dir) | {
        "pairs": arguments.pairs, "operations": arguments.operations,
        "device_bytes": arguments.size * GIB}
    text = "\n".join([
        f"{caption(run)}: medians of {run['pairs']} interleaved pairs of {run['operations']} "
        "operations", *table(summary), ""])
    os.makedirs(arguments.results, exist_ok=True)
    base = os.path.join(arguments.results, "checksums")
    with open(base + ".json", "w", encoding="utf-8") as file:
        json.dump({"version": 1, "run": run, "goal": GOAL, "median": summary, "pairs": pairs},
                  file, indent=1)
        file.write("\n")
    with open(base + ".txt", "w", encoding="utf-8") as file:
        file.write(text)
    print("\n" + text + f"\nalso as {base}.json and .txt")


def main():
    arguments = parse_arguments()
    pairs = measure_in(arguments.dir, FREE_BYTES_WANTED,
                       lambda workspace: measure(workspace, arguments))
    publish(pairs, arguments)


if __name__ == "__main__":
    main()
