# SPDX-License-Identifier: Apache-2.0
"""Runs one fio job on one subject and reads its JSON."""

import contextlib
import json
import os
import signal
import subprocess

from subjects import RawPair, die_with_parent

JOBS_FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "jobs")
# A job that has not ended this long after its time is up hangs.
GRACE_SECONDS = 120


def read_job(name):
    with open(os.path.join(JOBS_FOLDER, name), encoding="ascii") as file:
        return file.read()


def job_text(subject, job):
    """The engine's part, then the job. On a pair of files the job runs twice, side by side."""
    engine = read_job(subject.engine)
    body = read_job(job + ".fio")
    if not isinstance(subject, RawPair):
        return engine + "group_reporting=1\n" + body
    second = subject.environment()["FILE"].replace("0.raw", "1.raw")
    return (engine + "group_reporting=1\n" + body
            + body.replace(f"[{job}]", f"[{job}_second]") + f"filename={second}\n")


def untimed_engine(subject):
    return read_job(subject.engine).replace("time_based=1\nruntime=${RUNTIME}\nramp_time=1\n", "")


def fill_text(subject):
    """Writes the whole device once, so that no later write allocates."""
    text = untimed_engine(subject)
    job = "[fill]\nrw=write\nbs=1m\niodepth=8\n"
    if not isinstance(subject, RawPair):
        return text + job
    second = subject.environment()["FILE"].replace("0.raw", "1.raw")
    return text + job + job.replace("fill", "fill_second") + f"filename={second}\n"


def start_fio(text, subject, runtime_s):
    environment = dict(os.environ, RUNTIME=str(runtime_s), **subject.environment())
    process = subprocess.Popen(
        ["fio", "--output-format=json", "-"], env=environment, text=True, process_group=0,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=die_with_parent)
    process.stdin.write(text)
    process.stdin.close()
    process.stdin = None  # Else communicate() would flush it.
    return process


def finish_fio(process, subject, timeout_s, codes=(0,)):
    try:
        out, errors = process.communicate(timeout=timeout_s)
    except BaseException:
        # fio's own children are in its group.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    if process.returncode not in codes:
        raise RuntimeError(f"fio failed on {subject.title}:\n{errors}{out[-2000:]}")
    # fio may print notes before the JSON.
    return json.loads(out[out.index("{"):])


def run_fio(text, subject, runtime_s):
    return finish_fio(start_fio(text, subject, runtime_s), subject, runtime_s + GRACE_SECONDS)


@contextlib.contextmanager
def running(text, subject):
    """fio in the background; gives a call that has it end before its time."""
    process = start_fio(text, subject, 0)

    def stop():
        os.kill(process.pid, signal.SIGINT)
        finish_fio(process, subject, GRACE_SECONDS, codes=(0, 128))  # 128: ended by a signal.

    try:
        yield stop
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def fill(subject):
    run_fio(fill_text(subject), subject, 600)
    subject.settle()


def measure(subject, job, runtime_s):
    """One value of everything: rates, latencies, and the server's CPU time."""
    cpu_before = subject.cpu_seconds()
    result = run_fio(job_text(subject, job), subject, runtime_s)
    if result["jobs"][0]["error"] != 0:
        raise RuntimeError(f"{job} on {subject.title}: error {result['jobs'][0]['error']}")
    subject.settle()
    cpu_s = subject.cpu_seconds() - cpu_before

    mixed = result["jobs"][0]["mixed"]
    # Both copies are written for one write of a mirror, but each read needs only one of them.
    writes = "rw=read\n" not in read_job(job + ".fio") and "randread" not in job
    share = 2 if isinstance(subject, RawPair) and writes else 1
    percentiles = mixed["clat_ns"]["percentile"]
    # The ramp is not in fio's count but in the CPU time: scale by the time actually served.
    operations = mixed["iops"] * (mixed["runtime"] / 1000 + 1)
    return {
        "iops": mixed["iops"] / share,
        "bytes_per_s": mixed["bw_bytes"] / share,
        "latency_us": {
            "p50": percentiles["50.000000"] / 1000,
            "p99": percentiles["99.000000"] / 1000,
            "p99.9": percentiles["99.900000"] / 1000,
        },
        "server_cpu_s_per_million_ops": cpu_s / operations * 1e6 if subject.serves else None,
        "server_memory_peak_bytes": subject.memory_peak_bytes(),
    }
