# SPDX-License-Identifier: Apache-2.0
"""What is compared: each subject lays out its files, starts, and says how fio reaches it."""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import time

START_SECONDS_MAX = 60
STOP_SECONDS_MAX = 60
SETTLE_SECONDS_MAX = 30
PR_SET_PDEATHSIG = 1


def die_with_parent():
    """A server must not outlive a comparison that was itself killed."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def make_sparse(path, size):
    with open(path, "wb") as file:
        file.truncate(size)


class Subject:
    """A thing under test, in a folder of its own. Lives from start() to stop()."""

    name = ""
    title = ""
    engine = "engine_nbd.fio"
    # Servers are measured for CPU time as well; plain files have none to measure.
    serves = True

    def __init__(self, folder, sockets, size):
        self.folder = folder
        self.size = size
        self.socket = os.path.join(sockets, os.path.basename(folder) + ".sock")
        self.process = None
        self.log = None

    def command(self):
        raise NotImplementedError

    def prepare(self):
        raise NotImplementedError

    def start(self):
        os.makedirs(self.folder)
        self.prepare()
        if not self.serves:
            return
        self.log = open(os.path.join(self.folder, "server.log"), "wb")
        self.process = subprocess.Popen(
            self.command(), stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
            process_group=0, preexec_fn=die_with_parent)
        self.wait_until_it_listens()

    def wait_until_it_listens(self):
        deadline = time.monotonic() + START_SECONDS_MAX
        while True:
            with socket.socket(socket.AF_UNIX) as probe:
                if probe.connect_ex(self.socket) == 0:
                    return
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.title} ended at once:\n{self.log_text()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.title} does not listen:\n{self.log_text()}")
            time.sleep(0.02)

    def log_text(self):
        with open(self.log.name, encoding="utf-8", errors="replace") as file:
            return file.read()[-2000:]

    def environment(self):
        return {"SOCKET": self.socket}

    def cpu_seconds(self):
        """User and system time of all its threads so far, the kernel's io workers included."""
        if not self.serves:
            return 0.0
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii", errors="replace") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_peak_bytes(self):
        if not self.serves:
            return 0
        with open(f"/proc/{self.process.pid}/status", encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        return 0

    def settle(self):
        """Waits until it has finished what it does in the background: else it would work on
        during the next subject's turn."""
        if not self.serves:
            return
        deadline = time.monotonic() + SETTLE_SECONDS_MAX
        before = self.cpu_seconds()
        while time.monotonic() < deadline:
            time.sleep(0.5)
            now = self.cpu_seconds()
            if now - before <= 0.02:
                return
            before = now

    def stop(self):
        """Ends the server and removes its files."""
        try:
            if self.process is not None:
                self.process.terminate()
                try:
                    self.process.wait(STOP_SECONDS_MAX)
                except subprocess.TimeoutExpired:
                    self.process.kill()
                    self.process.wait()
                    raise RuntimeError(f"{self.title} did not stop:\n{self.log_text()}") from None
        finally:
            self.process = None
            if self.log is not None:
                self.log.close()
            shutil.rmtree(self.folder, ignore_errors=True)


class Gemel(Subject):
    name = "gemel"
    title = "Gemel, 2 members"
    binary = ""

    def members(self):
        return [os.path.join(self.folder, name) for name in ("a.img", "b.img")]

    def serve_options(self):
        return []

    def prepare(self):
        members = self.members()
        subprocess.run(
            [self.binary, "create", "bench", "--size", str(self.size),
             "--member", members[0], "--member", members[1], "--dir", self.folder],
            check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def command(self):
        return [self.binary, "serve", os.path.join(self.folder, "bench.toml"),
                "--nbd", "unix:" + self.socket, *self.serve_options()]


class QemuSubject(Subject):
    """qemu-storage-daemon over raw files opened like Gemel's: direct, io_uring."""

    files = 0

    def paths(self):
        return [os.path.join(self.folder, f"{i}.raw") for i in range(self.files)]

    def prepare(self):
        for path in self.paths():
            make_sparse(path, self.size)

    def top(self):
        raise NotImplementedError

    def command(self):
        command = ["qemu-storage-daemon"]
        for i, path in enumerate(self.paths()):
            command += ["--blockdev", f"driver=file,node-name=file{i},filename={path},"
                                      "cache.direct=on,aio=io_uring,discard=unmap",
                        "--blockdev", f"driver=raw,node-name=raw{i},file=file{i}"]
        return command + self.top() + [
            "--nbd-server", f"addr.type=unix,addr.path={self.socket}",
            "--export", "type=nbd,id=bench,node-name=top,name=,writable=on"]


class Quorum(QemuSubject):
    name = "quorum"
    title = "qemu quorum, 2 files"
    files = 2

    def top(self):
        return ["--blockdev", "driver=quorum,node-name=top,vote-threshold=1,"
                              "children.0=raw0,children.1=raw1"]


class QemuSingle(QemuSubject):
    name = "qemu-single"
    title = "qemu, 1 file"
    files = 1

    def top(self):
        return ["--blockdev", "driver=raw,node-name=top,file=raw0"]


class Raw(Subject):
    name = "raw"
    title = "raw, 1 file"
    engine = "engine_raw.fio"
    serves = False

    def prepare(self):
        make_sparse(os.path.join(self.folder, "0.raw"), self.size)

    def environment(self):
        return {"FILE": os.path.join(self.folder, "0.raw")}


class RawPair(Raw):
    """The same job on two files at once: the most that a mirror could do."""

    name = "raw-pair"
    title = "raw, 2 files at once"

    def prepare(self):
        super().prepare()
        make_sparse(os.path.join(self.folder, "1.raw"), self.size)


SUBJECTS = {subject.name: subject for subject in (Gemel, Quorum, QemuSingle, Raw, RawPair)}
