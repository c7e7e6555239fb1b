# SPDX-License-Identifier: Apache-2.0
"""A file shown through FUSE, so that a test can delay, spoil or stop what is asked of it."""

import os
import signal
import subprocess

from harness import run, wait_for


class FuseFile:
    """`backing`, as nbdkit serves it with these filters, as nbdfuse shows it at `path`."""

    def __init__(self, case, backing, suffix, *filters):
        self.backing, self.path = backing, backing + suffix
        socket = self.path + ".sock"
        with open(self.path, "wb"):
            pass
        case.addCleanup(self.unmount)
        self.processes = []
        self.backend = self._start(["nbdkit", "-f", "-U", socket,
                                    *[f for f in filters if f.startswith("--")], "file", backing,
                                    *[f for f in filters if not f.startswith("--")]])
        wait_for("nbdkit", lambda: os.path.exists(socket))
        self.daemon = self._start(["nbdfuse", self.path, f"nbd+unix:///?socket={socket}"])
        wait_for("nbdfuse", lambda: os.path.getsize(self.path) > 0)

    def _start(self, command):
        with open(self.path + ".log", "ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        self.processes.append(process)
        return process

    def go_on(self):
        for process in self.processes:
            process.send_signal(signal.SIGCONT)

    def unmount(self):
        self.go_on()
        if os.path.ismount(self.path):
            wait_for("the file to be idle",
                     lambda: run("fusermount3", "-u", self.path, check=False).returncode == 0)
        for process in reversed(self.processes):
            process.terminate()
            process.wait()


def require_fuse(case):
    case.require_root()
    if not os.path.exists("/dev/fuse"):
        case.skipTest("there is no /dev/fuse")


def put_in_place(volume, files):
    """From its next start on, the volume finds these members through FUSE."""
    with open(volume.file, encoding="utf-8") as file:
        text = file.read()
    for file in files:
        name = os.path.basename(file.backing) + '"'
        assert name in text, name
        text = text.replace(name, os.path.basename(file.path) + '"')
        volume.members[volume.members.index(file.backing)] = file.path
    with open(volume.file, "w", encoding="utf-8") as file:
        file.write(text)
