#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""How fast a scrub is when nothing else happens, and how it yields to clients.

First a scrub of an idle volume and a plain sequential read of the same files take turns; then fio
runs before, during and after a scrub. README.md has the method.
"""

import argparse
import datetime
import json
import os
import statistics
import subprocess
import threading
import time

import fio_run
import subjects
from workspace import GIB, ROOT, caption, machine_facts, measure_in

BLOCK = 4096
FREE_BYTES_WANTED = 16 * GIB
# Of a plain sequential read, when idle.
GOAL = 0.8
SCRUB_SECONDS_MAX = 1800
READ_TEXT = """[global]
ioengine=io_uring
direct=1
rw=read
bs=1m
iodepth=8
group_reporting=1
"""


class Scrubbed(subjects.Gemel):
    name = "scrubbed"
    title = "Gemel, 2 members"

    def serve_options(self):
        return ["--scrub-every", "off"]

    def volume_file(self):
        return os.path.join(self.folder, "bench.toml")

    def status(self):
        out = subprocess.run([self.binary, "status", self.volume_file(), "--json"], check=True,
                             capture_output=True, text=True).stdout
        return json.loads(out)["volumes"][0]["scrub"]

    def scrub(self):
        """Until its end; how long it took, by the server's log, and how much it read."""
        subprocess.run([self.binary, "scrub", self.volume_file(), "--wait"], check=True,
                       stdout=subprocess.DEVNULL, timeout=SCRUB_SECONDS_MAX)
        times = {}
        with open(self.log.name, encoding="utf-8") as file:
            for line in file:
                for event in ("scrub_begins", "scrub_ends"):
                    if f"event={event} " in line:
                        times[event] = datetime.datetime.strptime(
                            line.split(" ", 1)[0], "%Y-%m-%dT%H:%M:%S.%f%z")
        return {"seconds": (times["scrub_ends"] - times["scrub_begins"]).total_seconds(),
                "bytes": self.status()["blocks_checked"] * BLOCK}


def parse_arguments():
    parser = argparse.ArgumentParser(prog="./dev bench scrub",
                                     description=__doc__.split("\n\n")[0])
    parser.add_argument("--dir", default=os.path.join(ROOT, "build/bench"),
                        help="the file system to measure on (default: build/bench)")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--size", type=int, default=4, metavar="GIB", help="of the volume")
    parser.add_argument("--clients-size", type=int, default=1, metavar="GIB",
                        help="of the one that clients use; a scrub beside them takes its time")
    parser.add_argument("--job", default="mixed_70_30_4k_qd32", help="the clients' load")
    parser.add_argument("--around", type=int, default=20, metavar="SECONDS",
                        help="of the load before and after the scrub")
    parser.add_argument("--gemel", default=os.path.join(ROOT, "build/release/gemel"),
                        metavar="PATH", help="the binary to measure")
    parser.add_argument("--results", default=os.path.join(ROOT, "build/bench/results"),
                        metavar="DIR", help="where the JSON and the picture go")
    arguments = parser.parse_args()
    if min(arguments.pairs, arguments.size, arguments.clients_size) < 1 or arguments.around < 5:
        parser.error("--pairs and the sizes are at least 1, --around at least 5")
    if not os.access(arguments.gemel, os.X_OK):
        parser.error(f"{arguments.gemel} is not there; run ./dev build")
    subjects.Gemel.binary = os.path.abspath(arguments.gemel)
    return arguments


# --- Idle: against a plain sequential read


def plain_read(subject, offset):
    """Both members' homes, side by side, as the scrub reads them."""
    text = READ_TEXT
    for i, member in enumerate(subject.members()):
        text += f"[member{i}]\nfilename={member}\noffset={offset}\nsize={subject.size}\n"
    began = time.monotonic()
    result = fio_run.run_fio(text, subject, 0)
    seconds = time.monotonic() - began
    # fio's own start and end are not part of the read.
    return {"seconds": min(seconds, result["jobs"][0]["read"]["runtime"] / 1000),
            "bytes": result["jobs"][0]["read"]["io_bytes"]}


def home_offset(subject):
    out = subprocess.run([subject.binary, "inspect", subject.members()[0], "--json"], check=True,
                         capture_output=True, text=True).stdout
    return json.loads(out)["home_offset"]


def rate(run):
    return run["bytes"] / run["seconds"]


def measure_idle(subject, pairs):
    offset = home_offset(subject)
    measured = []
    for number in range(pairs):
        pair = {}
        for kind in ("scrub", "read") if number % 2 == 0 else ("read", "scrub"):
            subject.settle()
            pair[kind] = subject.scrub() if kind == "scrub" else plain_read(subject, offset)
        measured.append(pair)
        print(f"pair {number + 1}/{pairs}  scrub {rate(pair['scrub']) / 1e9:.2f} GB/s  "
              f"read {rate(pair['read']) / 1e9:.2f} GB/s", flush=True)
    return measured


def summarise_idle(pairs):
    summary = {kind: statistics.median(rate(pair[kind]) for pair in pairs)
               for kind in ("scrub", "read")}
    ratios = [rate(pair["scrub"]) / rate(pair["read"]) for pair in pairs]
    summary["ratio"] = summary["scrub"] / summary["read"]
    summary["ratio_min"], summary["ratio_max"] = min(ratios), max(ratios)
    return summary


# --- Beside clients


def read_latency_log(path):
    """(second, latency in ns) of every request; fio writes time in ms, latency, and more."""
    with open(path, encoding="ascii") as file:
        for line in file:
            fields = line.split(",")
            yield int(fields[0]) // 1000, int(fields[1])


def per_second(samples):
    seconds = {}
    for second, latency_ns in samples:
        seconds.setdefault(second, []).append(latency_ns)
    rows = []
    for second in sorted(seconds)[:-1]:  # The last one is not whole.
        latencies = sorted(seconds[second])
        rows.append({"second": second, "iops": len(latencies),
                     "p50_us": latencies[len(latencies) // 2] / 1000,
                     "p99_us": latencies[len(latencies) * 99 // 100] / 1000})
    return rows


class ScrubWatch(threading.Thread):
    """Begins a scrub after a while, and writes down how far it is, until it is told to end."""

    def __init__(self, subject, delay_s):
        super().__init__()
        self.subject = subject
        self.delay_s = delay_s
        self.rows = []
        self.began_s = self.ended_s = None
        self.failure = None
        self.finished = threading.Event()

    def run(self):
        try:
            self.watch()
        except (OSError, subprocess.SubprocessError, ValueError) as problem:
            self.failure = problem
        finally:
            self.finished.set()

    def watch(self):
        start = time.monotonic()
        time.sleep(self.delay_s)
        passes = self.subject.status()["passes"]
        subprocess.run([self.subject.binary, "scrub", self.subject.volume_file()], check=True,
                       stdout=subprocess.DEVNULL)
        self.began_s = time.monotonic() - start
        before = (self.began_s, 0)
        while self.ended_s is None:
            time.sleep(1)
            status = self.subject.status()
            now = (time.monotonic() - start, status["blocks_checked"] * BLOCK)
            self.rows.append({"second": now[0],
                              "bytes_per_s": (now[1] - before[1]) / (now[0] - before[0])})
            before = now
            if status["passes"] != passes:
                self.ended_s = now[0]
            elif now[0] - self.began_s > SCRUB_SECONDS_MAX:
                raise ValueError("the scrub does not end")
        time.sleep(self.delay_s)


def measure_yielding(subject, arguments):
    log = os.path.join(subject.folder, "latency")
    engine = fio_run.read_job(subject.engine).replace("${RUNTIME}", str(2 * SCRUB_SECONDS_MAX))
    text = (engine.replace("ramp_time=1\n", "")
            + f"write_lat_log={log}\nlog_unix_epoch=0\n"
            + fio_run.read_job(arguments.job + ".fio"))
    watch = ScrubWatch(subject, arguments.around)
    watch.start()
    with fio_run.running(text, subject) as stop_fio:
        watch.finished.wait()
        stop_fio()
    watch.join()
    if watch.failure is not None:
        raise RuntimeError(f"while it scrubbed: {watch.failure}")
    names = [name for name in os.listdir(subject.folder)
             if name.startswith("latency_clat") and name.endswith(".log")]
    samples = [sample for name in names
               for sample in read_latency_log(os.path.join(subject.folder, name))]
    return {"job": arguments.job, "clients": per_second(samples), "scrub": watch.rows,
            "scrub_began_s": watch.began_s, "scrub_ended_s": watch.ended_s}


def phases(yielding):
    """Medians over the seconds before, during, and after; those at the borders belong to none."""
    began, ended = yielding["scrub_began_s"], yielding["scrub_ended_s"]
    inside = {
        "before": lambda second: 2 <= second < began - 1,
        "during": lambda second: began + 1 <= second < ended - 1,
        "after": lambda second: second >= ended + 1,
    }
    summary = {}
    for phase, belongs in inside.items():
        rows = [row for row in yielding["clients"] if belongs(row["second"])]
        if rows:
            summary[phase] = {key: statistics.median(row[key] for row in rows)
                              for key in ("iops", "p50_us", "p99_us")}
    whole = [row["bytes_per_s"] for row in yielding["scrub"]]
    summary["scrub_bytes_per_s"] = statistics.median(whole)
    return summary


# --- What is published


def plot(yielding, idle, path, title):
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as pyplot

    figure, axes = pyplot.subplots(3, 1, figsize=(11, 9), sharex=True)
    seconds = [row["second"] for row in yielding["clients"]]
    axes[0].plot(seconds, [row["p99_us"] / 1000 for row in yielding["clients"]], color="#1b6ca8",
                 label="p99")
    axes[0].plot(seconds, [row["p50_us"] / 1000 for row in yielding["clients"]], color="#9a9a9a",
                 label="p50")
    axes[0].set_ylabel("clients' latency, ms")
    axes[0].legend(loc="upper right")
    axes[1].plot(seconds, [row["iops"] for row in yielding["clients"]], color="#1b6ca8")
    axes[1].set_ylabel(f"clients' requests per second\n({yielding['job']})")
    axes[2].plot([row["second"] for row in yielding["scrub"]],
                 [row["bytes_per_s"] / 1e6 for row in yielding["scrub"]], color="#e08e2b",
                 label="beside clients")
    axes[2].axhline(idle["scrub"] / 1e6, color="#e08e2b", linestyle=":", label="when idle")
    axes[2].set_yscale("log")
    axes[2].set_ylabel("scrub, MB/s of both members (log)")
    axes[2].legend(loc="center right")
    axes[2].set_xlabel("seconds")
    for axis in axes:
        axis.axvspan(yielding["scrub_began_s"], yielding["scrub_ended_s"], color="#e08e2b",
                     alpha=0.12)
        axis.grid(alpha=0.3)
    for axis in axes[:2]:
        axis.set_ylim(bottom=0)
    figure.suptitle(title, fontsize=10)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def table(idle, beside):
    verdict = "reached" if idle["ratio"] >= GOAL else "MISSED"
    yield (f"idle: scrub {idle['scrub'] / 1e9:.2f} GB/s, plain read {idle['read'] / 1e9:.2f} GB/s, "
           f"ratio of medians {idle['ratio']:.2f} (pairs {idle['ratio_min']:.2f}-"
           f"{idle['ratio_max']:.2f})  goal {GOAL:.2f} {verdict}")
    yield f"{'beside clients':16}{'per second':>12}{'p50 us':>9}{'p99 us':>9}"
    for phase in ("before", "during", "after"):
        if phase in beside:
            row = beside[phase]
            yield f"  {phase:14}{row['iops']:>12,.0f}{row['p50_us']:>9.0f}{row['p99_us']:>9.0f}"
    yield f"  the scrub read {beside['scrub_bytes_per_s'] / 1e6:.0f} MB/s meanwhile"


def publish(pairs, yielding, arguments):
    idle, beside = summarise_idle(pairs), phases(yielding)
    run = machine_facts(arguments.dir) | {"pairs": arguments.pairs,
                                          "device_bytes": arguments.size * GIB}
    title = f"{caption(run)}: medians of {run['pairs']} pairs, {arguments.size} GiB"
    text = "\n".join([title, *table(idle, beside), ""])
    os.makedirs(arguments.results, exist_ok=True)
    base = os.path.join(arguments.results, "scrub")
    with open(base + ".json", "w", encoding="utf-8") as file:
        json.dump({"version": 1, "run": run, "goal": GOAL, "idle": idle, "beside": beside,
                   "pairs": pairs, "yielding": yielding}, file, indent=1)
        file.write("\n")
    with open(base + ".txt", "w", encoding="utf-8") as file:
        file.write(text)
    plot(yielding, idle, base + ".png", "A scrub beside clients. " + caption(run))
    print("\n" + text + f"\nalso as {base}.json, .txt and .png")


def measure(workspace, arguments):
    print("writing a volume full", flush=True)
    subject = workspace.start(Scrubbed, arguments.size * GIB)
    fio_run.fill(subject)
    pairs = measure_idle(subject, arguments.pairs)
    workspace.stop(subject)
    print("clients before, during and after a scrub", flush=True)
    subject = workspace.start(Scrubbed, arguments.clients_size * GIB, "-clients")
    fio_run.fill(subject)
    return pairs, measure_yielding(subject, arguments)


def main():
    arguments = parse_arguments()
    pairs, yielding = measure_in(arguments.dir, FREE_BYTES_WANTED,
                                 lambda workspace: measure(workspace, arguments))
    publish(pairs, yielding, arguments)


if __name__ == "__main__":
    main()
