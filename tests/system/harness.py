# SPDX-License-Identifier: Apache-2.0
"""What the system tests share: volumes and their servers, and an end that leaves nothing behind.

GEMEL_BUILD_DIR names the folder with the binaries; build/release if it is not set.
"""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

from nbd_client import NbdClient

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("GEMEL_BUILD_DIR", os.path.join(ROOT, "build", "release"))
GEMEL = os.path.join(BUILD, "gemel")
MIB = 1 << 20
# Only so that a hang ends: nothing here is a measurement.
DEADLINE = 120


def run(*command, check=True, timeout=600, **options):
    """Runs a command to its end; unless told not to, fails with all it said if it failed."""
    done = subprocess.run(
        [str(part) for part in command],
        stdin=options.pop("stdin", subprocess.DEVNULL),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        timeout=timeout,
        text=True,
        errors="replace",
        check=False,
        **options,
    )
    if check and done.returncode != 0:
        raise AssertionError(
            f"{' '.join(map(str, command))}\nended with {done.returncode}\n"
            f"--- output\n{done.stdout[-4000:]}\n--- errors\n{done.stderr[-4000:]}"
        )
    return done


def wait_for(what, condition, deadline=DEADLINE):
    end = time.monotonic() + deadline
    while not (result := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"waited in vain for {what}")
        time.sleep(0.01)
    return result


class Volume:
    """A mirror in a folder of its own, and the server that may serve it."""

    def __init__(self, folder, name="vol", size="1G", members=None, log_size="64M", options=()):
        self.folder, self.name = str(folder), name
        self.members = members or [os.path.join(self.folder, f"{name}-{i}.img") for i in "ab"]
        self.file = os.path.join(self.folder, f"{name}.toml")
        self.socket = os.path.join(self.folder, f"{name}.nbd.sock")
        self.log = os.path.join(self.folder, f"{name}.log")
        self.uri = f"nbd+unix:///{name}?socket={self.socket}"
        self.server = None
        self.serve_options = []
        places = [part for member in self.members for part in ("--member", member)]
        run(GEMEL, "create", name, "--size", size, *places, "--log-size", log_size,
            "--dir", self.folder, *options)

    def serve_command(self):
        return [GEMEL, "serve", self.file, "--nbd", f"unix:{self.socket}", *self.serve_options]

    def spawn(self):
        """Starts a server without waiting until it serves."""
        with open(self.log, "ab") as log:
            self.server = subprocess.Popen(
                self.serve_command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def start(self):
        self.spawn()
        wait_for(f"{self.name} to be served", self.is_serving)

    def is_serving(self):
        if self.server.poll() is not None:
            raise AssertionError(
                f"the server ended with {self.server.returncode}:\n{self.log_text()[-4000:]}"
            )
        try:
            self.client().close()
            return True
        except OSError:
            return False

    def refused(self, case):
        """Starts a server that must refuse to serve, with one clear line; returns that line."""
        done = run(*self.serve_command(), check=False, timeout=DEADLINE)
        case.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        case.assertTrue(lines, "nothing on standard error")
        return lines[-1]

    def client(self):
        return NbdClient(self.socket, self.name)

    def kill(self):
        self.server.kill()
        self.server.wait()

    def kill_and_restart(self):
        """SIGKILL, and a new server at once: the old process may not have died yet."""
        old = self.server
        old.kill()
        self.spawn()
        old.wait()
        wait_for(f"{self.name} to be served again", self.is_serving)

    def stop(self):
        self.server.send_signal(signal.SIGTERM)
        code = self.server.wait(DEADLINE)
        if code != 0:
            raise AssertionError(f"stopped with {code}:\n{self.log_text()[-4000:]}")

    def end(self):
        if self.server is not None and self.server.poll() is None:
            self.kill()

    def log_text(self):
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return file.read()

    def inspect(self, member):
        return json.loads(run(GEMEL, "inspect", member, "--json").stdout)

    def status(self):
        done = run(GEMEL, "status", self.file, "--json")
        return json.loads(done.stdout)["volumes"][0]

    def member_status(self, member):
        return next(m for m in self.status()["members"] if m["path"] == member)

    def all_in_sync(self):
        return all(member["state"] == "in-sync" for member in self.status()["members"])

    def compare_homes(self):
        """After a clean stop all members hold the same bytes in their home areas."""
        homes = [int(self.inspect(member)["home_offset"]) for member in self.members]
        first = self.members[0]
        for member, offset in zip(self.members[1:], homes[1:]):
            run("cmp", "-i", f"{homes[0]}:{offset}", "-n", self.size(), first, member)

    def size(self):
        return int(self.inspect(self.members[0])["volume_size"])


class Case(unittest.TestCase):
    """Each test has a folder; after it, no process, mount or loop device of it may be left."""

    tools = ()

    def setUp(self):
        missing = [tool for tool in self.tools if shutil.which(tool, path=SEARCH) is None]
        if missing:
            self.skipTest("not installed: " + ", ".join(missing))
        self.folder = tempfile.mkdtemp(prefix="gemel-", dir=os.environ.get("TMPDIR", "/var/tmp"))
        self.addCleanup(self._leave_nothing)

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    def volume(self, *arguments, **options):
        volume = Volume(self.folder, *arguments, **options)
        self.addCleanup(volume.end)
        return volume

    def require_root(self):
        if os.geteuid() != 0:
            self.skipTest("needs root")

    def attach(self, volume):
        if not os.path.exists("/dev/nbd0") and not os.path.exists("/dev/fuse"):
            self.skipTest("neither /dev/nbd0 nor /dev/fuse is there")
        device = run(GEMEL, "attach", volume.file).stdout.strip()
        self.addCleanup(lambda: run(GEMEL, "detach", device, check=False))
        self.assertRegex(device, r"^/dev/(loop|nbd|ublkb)\d+$")
        return device

    def mount(self, *arguments, name="mnt"):
        target = self.path(name)
        os.makedirs(target, exist_ok=True)
        run("mount", *arguments, target)
        self.addCleanup(lambda: os.path.ismount(target) and run("umount", "-l", target))
        return target

    def _leave_nothing(self):
        with open("/proc/self/mounts", encoding="utf-8") as file:
            mounts = [line.split()[1] for line in file if self.folder in line]
        for mount in reversed(mounts):
            run("umount", "-l", mount, check=False)
        loops = run("losetup", "--list", "--noheadings", "--output", "NAME,BACK-FILE",
                    check=False).stdout.splitlines()
        loops = [line.split()[0] for line in loops if self.folder in line]
        for loop in loops:
            run("losetup", "--detach", loop, check=False)
        end = time.monotonic() + 10  # What was told to go may need a moment.
        while (left := self._processes()) and time.monotonic() < end:
            time.sleep(0.05)
        for pid in left:
            os.kill(int(pid), signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.assertEqual([], mounts + loops + left, "left behind")

    def _processes(self):
        return [pid for pid in os.listdir("/proc") if pid.isdigit() and self._is_ours(pid)]

    def _is_ours(self, pid):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                return int(pid) != os.getpid() and self.folder.encode() in file.read()
        except OSError:
            return False


def pattern(seed, length):
    """Bytes that no other seed gives."""
    return hashlib.shake_128(str(seed).encode()).digest(length)


SAMPLE_ROOTS = ["usr/include", "usr/share/doc", "usr/lib/python3", "usr/share/perl", "etc"]


def sample_tree(bytes_max, count_max=8000):
    """Paths (relative to /) of real files and links of this machine, small and large."""
    chosen, total = [], 0
    for root in SAMPLE_ROOTS:
        for base, folders, names in os.walk(os.path.join("/", root)):
            folders.sort()
            for name in sorted(names):
                path = os.path.join(base, name)
                if not os.path.isfile(path) and not os.path.islink(path):
                    continue
                total += os.lstat(path).st_size
                chosen.append(os.path.relpath(path, "/"))
                if total > bytes_max or len(chosen) >= count_max:
                    return chosen
    return chosen


def tree_hashes(root, paths):
    """What each of these files is: its content's hash, or where a link points to."""
    result = {}
    for path in paths:
        full = os.path.join(root, path)
        if os.path.islink(full):
            result[path] = "-> " + os.readlink(full)
            continue
        with open(full, "rb") as file:
            result[path] = hashlib.file_digest(file, "sha256").hexdigest()
    return result


# mkfs and the like are not on everyone's PATH, and nbdsh wants the Python it was installed for.
SEARCH = "/usr/sbin:/usr/bin:/sbin:/bin:" + os.environ.get("PATH", "")


def main():
    """Runs the calling module's tests; 77, which ctest shows as skipped, if none could run."""
    os.environ["PATH"] = SEARCH
    if not os.access(GEMEL, os.X_OK):
        sys.exit(f"{GEMEL} is not there: ./dev build makes it")
    program = unittest.main(module="__main__", verbosity=2, exit=False)
    result = program.result
    if not result.wasSuccessful():
        sys.exit(1)
    sys.exit(77 if result.testsRun == len(result.skipped) else 0)
