#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""gemel attach and detach against real servers, with the real kernel's FUSE and loop devices.

usage: attach_test.py BUILD_DIR [CASE...]    or, with GEMEL_BUILD_DIR set: attach_test.py [CASE...]
Exits with 0, with 1 if a case failed, with 77 if this machine cannot run it. Needs root.
"""

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

from direct_io import direct_write, write_fails

RUN = "/run/gemel"
# Some thousand files that every machine that builds C++ has.
TREE = "/usr/include/c++"
MIB = 1 << 20
# Far above anything expected: limits keep a hang from lasting, they measure nothing.
PATIENCE_S = 120


class Failure(Exception):
    pass


def check(condition, text):
    if not condition:
        raise Failure(text)


def run(*command, limit=PATIENCE_S, ok=True, **options):
    """Runs a command; its output is shown only when it fails unexpectedly."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=limit, stdin=subprocess.DEVNULL, **options)
    if ok and done.returncode != 0:
        raise Failure(f"{' '.join(command)}: exit code {done.returncode}\n"
                      f"{done.stdout}{done.stderr}")
    return done


def wait_until(condition, text, limit=PATIENCE_S):
    deadline = time.monotonic() + limit
    while not condition():
        check(time.monotonic() < deadline, f"waited in vain: {text}")
        time.sleep(0.02)


def bound_loops():
    found = {}
    for name in os.listdir("/sys/block"):
        try:
            with open(f"/sys/block/{name}/loop/backing_file", encoding="utf-8") as file:
                found["/dev/" + name] = file.read().strip()
        except OSError:
            continue
    return found


def footprint():
    """Everything an attachment could leave behind."""
    with open("/proc/mounts", encoding="utf-8") as file:
        mounts = sorted(line for line in file if RUN in line)
    folders = sorted(os.listdir(RUN)) if os.path.isdir(RUN) else []
    ours = sorted(device for device, path in bound_loops().items() if path.startswith(RUN))
    return mounts, folders, ours


class Server:
    """An NBD server that is killed and started again at one place."""

    def __init__(self, folder, image, name="vol", options=()):
        self.socket = os.path.join(folder, name + ".sock")
        self.image = image
        self.name = name
        self.options = list(options)
        self.process = None

    def command(self):
        return ["qemu-nbd", "--format=raw", "--export-name=" + self.name, "--persistent",
                "--shared=8", "--socket=" + self.socket, "--cache=writeback", "--discard=unmap",
                *self.options, self.image]

    def uri(self):
        return f"nbd+unix:///{self.name}?socket={self.socket}"

    def start(self):
        if os.path.exists(self.socket):
            os.unlink(self.socket)
        self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: self.answers() or self.process.poll() is not None, "the server starts")
        check(self.process.poll() is None, "the server did not start")

    def answers(self):
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(self.socket)
                return True
            except OSError:
                return False

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()


class GemelServer(Server):
    """Gemel's own server with a mirror of two members."""

    def __init__(self, gemel, folder, size):
        super().__init__(folder, None, "gvol")
        self.gemel = gemel
        self.folder = folder
        run(gemel, "create", "gvol", "--dir", folder, "--size", str(size),
            "--member", os.path.join(folder, "a.img"), "--member", os.path.join(folder, "b.img"))

    def command(self):
        return [self.gemel, "serve", os.path.join(self.folder, "gvol.toml"),
                "--nbd", "unix:" + self.socket]


class World:
    """One case's scratch folder, servers and attachments; all of it is undone at its end."""

    def __init__(self, gemel):
        self.gemel = gemel
        self.folder = tempfile.mkdtemp(prefix="gemel-attach-")
        self.servers = []
        self.devices = []
        self.mounts = []

    def image(self, size=256 * MIB, name="disk.img"):
        path = os.path.join(self.folder, name)
        with open(path, "wb") as file:
            file.truncate(size)
        return path

    def server(self, size=256 * MIB, **more):
        return self.add(Server(self.folder, self.image(size), **more))

    def add(self, server):
        self.servers.append(server)
        server.start()
        return server

    def attach(self, uri, *options):
        device = run(self.gemel, "attach", uri, "--as", "fuse", *options).stdout.strip()
        check(device.startswith("/dev/loop"), f"attach printed '{device}'")
        self.devices.append(device)
        return device

    def refused(self, verb, *arguments):
        done = run(self.gemel, verb, *arguments, ok=False)
        text = done.stderr.strip()
        check(done.returncode == 1, f"{verb} {arguments}: exit code {done.returncode}, not 1")
        check(len(text.splitlines()) == 1, f"{verb} {arguments}: not one line: {text}")
        check(not done.stdout, f"{verb} {arguments}: printed {done.stdout}")
        print("    " + text)
        return text

    def detach(self, device):
        done = run(self.gemel, "detach", device)
        self.devices.remove(device)
        return done.stderr.strip()

    def mount(self, device):
        point = os.path.join(self.folder, "mnt")
        os.makedirs(point, exist_ok=True)
        run("mount", device, point)
        self.mounts.append(point)
        return point

    def umount(self, point):
        run("umount", point)
        self.mounts.remove(point)

    def daemon(self, device):
        folder = os.path.dirname(os.path.dirname(bound_loops()[device]))
        with open(os.path.join(folder, "record"), encoding="utf-8") as file:
            record = dict(line.strip().split("=", 1) for line in file)
        return int(record["daemon"]), os.path.join(folder, "log")

    def clean_up(self):
        for server in self.servers:
            server.stop()
        for point in reversed(self.mounts):
            subprocess.run(["umount", "-l", point], check=False)
        for device in self.devices:
            subprocess.run([self.gemel, "detach", device], check=False, timeout=PATIENCE_S)
        shutil.rmtree(self.folder, ignore_errors=True)


def read_file(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def gone(process):
    try:
        return read_file(f"/proc/{process}/stat").rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def refuses_what_cannot_work(world):
    before = footprint()
    uri = f"nbd+unix:///vol?socket={world.folder}/nobody.sock"
    check("gemel serve vol" in world.refused("attach", uri), "says what to start")
    world.refused("attach", "nbd://127.0.0.1:1/vol")
    for bad in ["http://x", "nbd+unix:///vol", "nbd+unix:///vol?socket=" + "x" * 120,
                "nbd://h:99999/x", "nbds://h/x", "nbd+unix:///%zz?socket=/s"]:
        check("bad NBD URI" in world.refused("attach", bad), bad)
    server = world.server()
    other = server.uri().replace("/vol?", "/other?")
    check("no export named 'other'" in world.refused("attach", other), "names the export")
    garbage = os.path.join(world.folder, "garbage.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(garbage)
        listener.listen()
        thread = threading.Thread(target=lambda: listener.accept()[0].sendall(b"x" * 4096))
        thread.start()
        world.refused("attach", f"nbd+unix:///vol?socket={garbage}")
        thread.join()
    done = run(world.gemel, "attach", server.uri(), "--as", "tape", ok=False)
    check(done.returncode == 2, "a wrong --as is wrong usage")
    if os.geteuid() == 0:
        done = run("setpriv", "--reuid=65534", "--clear-groups", world.gemel, "attach",
                   server.uri(), ok=False)
        check(done.returncode == 1 and "root" in done.stderr, "needs root: " + done.stderr)
    world.refused("detach", "/dev/null")
    world.refused("detach", world.folder + "/nothing")
    check(footprint() == before, f"left behind: {footprint()}")


def is_the_same_disk(world):
    before = footprint()
    server = world.server()
    device = world.attach(server.uri())
    check(run("blockdev", "--getsize64", device).stdout.strip() == str(256 * MIB), "size")
    check(run("blockdev", "--getss", device).stdout.strip() == "512", "sector size")
    check("attached already, as " + device in world.refused("attach", server.uri()), "twice")
    model = bytearray(256 * MIB)
    random.seed(7)
    for _ in range(60):
        length = random.choice([512, 4096, 7 * 512, 65536, 3 * MIB])
        offset = random.randrange(0, (256 * MIB - length) // 512) * 512
        data = random.randbytes(length)
        direct_write(device, offset, data)
        model[offset:offset + length] = data
    for command in (["blkdiscard"], ["blkdiscard", "--zeroout"]):
        # On blocks, and then off them: what is not asked for stays.
        for offset, length in ((8 * MIB, 3 * MIB), (20 * MIB + 512, 5 * 4096 + 512)):
            data = random.randbytes(32 * MIB)
            direct_write(device, 0, data)
            model[0:32 * MIB] = data
            run(*command, "--offset", str(offset), "--length", str(length), device)
            model[offset:offset + length] = bytes(length)
            run("blockdev", "--flushbufs", device)
            with open(device, "rb") as file:
                check(file.read(32 * MIB) == model[0:32 * MIB], f"{command} at {offset}")
    check(world.detach(device) == "", "detach is silent")
    with open(server.image, "rb") as file:
        check(file.read() == model, "the server's file differs")
    check(footprint() == before, f"left behind: {footprint()}")


def keeps_what_is_in_use(world):
    server = world.server()
    device = world.attach(server.uri())
    run("mkfs.ext4", "-q", device)
    point = world.mount(device)
    check(f"mounted at {point}" in world.refused("detach", device), "names the mount point")
    daemon, log = world.daemon(device)
    os.kill(daemon, signal.SIGTERM)
    wait_until(lambda: "refused" in read_file(log), "SIGTERM is refused")
    with open(os.path.join(point, "file"), "w", encoding="utf-8") as file:
        file.write("still here")
    world.umount(point)
    with open(device, "rb"):
        check("opened by" in world.refused("detach", device), "names the process")
    foreign = run("losetup", "--find", "--show", world.image(MIB, "foreign")).stdout.strip()
    try:
        check("not attached by gemel" in world.refused("detach", foreign), "not ours")
    finally:
        run("losetup", "--detach", foreign)
    os.kill(daemon, signal.SIGTERM)
    wait_until(lambda: device not in bound_loops() and gone(daemon), "SIGTERM detaches")
    world.devices.remove(device)


def survives_kills_of(world, server, size, cycles):
    device = world.attach(server.uri())
    jobs = os.path.join(world.folder, "fio.log")
    with open(jobs, "w", encoding="utf-8") as log:
        fio = subprocess.Popen(
            ["fio", "--name=kills", "--filename=" + device, "--rw=randwrite", "--direct=1",
             "--bsrange=4k-256k", "--bs_unaligned=0", "--blockalign=4k", "--iodepth=32",
             "--ioengine=libaio", f"--size={size}", "--verify=crc32c", "--verify_backlog=512",
             "--fsync=64", "--loops=1000", f"--runtime={cycles * 2 + 4}", "--time_based",
             "--verify_fatal=1", "--serialize_overlap=1", "--aux-path=" + world.folder],
            stdout=log, stderr=subprocess.STDOUT, cwd=world.folder)
        for cycle in range(cycles):
            time.sleep(random.uniform(0.3, 1.5))
            server.kill()
            time.sleep(random.uniform(0, 0.5))
            server.start()
            check(fio.poll() is None, f"fio ended in cycle {cycle}:\n{read_file(jobs)}")
        check(fio.wait(timeout=PATIENCE_S) == 0, f"fio:\n{read_file(jobs)}")
    resent = read_file(world.daemon(device)[1]).count("sending")
    print(f"    {cycles} kills, {resent} times connected again")
    check(resent >= cycles, "the daemon noticed every kill")
    world.detach(device)


def survives_a_killed_server(world):
    survives_kills_of(world, world.server(), "128m", 8)


def same_trees(point):
    for copy in "1234":
        run("diff", "--recursive", "--no-dereference", TREE, os.path.join(point, copy))


def carries_a_file_system(world, server=None):
    server = server or world.server(512 * MIB)
    device = world.attach(server.uri())
    run("mkfs.ext4", "-q", device)
    point = world.mount(device)
    copy = subprocess.Popen(
        ["sh", "-ec", 'for i in 1 2 3 4; do cp -a "$1" "$2/$i"; sync -f "$2"; done', "copy", TREE,
         point])
    for _ in range(3):
        time.sleep(0.4)
        server.kill()
        time.sleep(0.2)
        server.start()
    check(copy.wait(timeout=PATIENCE_S) == 0, "cp failed")
    run("sync", "-f", point)
    server.kill()
    server.start()
    run("fstrim", point)
    same_trees(point)
    world.umount(point)
    run("e2fsck", "-fn", device)
    world.detach(device)
    again = world.attach(server.uri())
    run("e2fsck", "-fn", again)
    point = world.mount(again)
    same_trees(point)
    world.umount(point)
    world.detach(again)


def fails_after_the_timeout_and_recovers(world):
    server = world.server()
    device = world.attach(server.uri(), "--timeout", "2s")
    server.kill()
    check(write_fails(device), "a write without a server succeeded")
    server.start()
    _, log = world.daemon(device)
    wait_until(lambda: "connected again" in read_file(log), "it comes back")
    direct_write(device, 0, b"y" * 4096)
    with open(server.image, "rb") as file:
        check(file.read(4096) == b"y" * 4096, "later requests work again")
    world.detach(device)


def refuses_another_device_in_its_place(world):
    server = world.server()
    refuses_while_replaced(world, server, lambda: restart_with_size(server, 128 * MIB),
                           lambda: restart_with_size(server, 256 * MIB))


def restart_with_size(server, size):
    server.kill()
    os.truncate(server.image, size)
    server.start()


def refuses_another_volume_of_the_same_size(world):
    first, second = (GemelServer(world.gemel, tempfile.mkdtemp(dir=world.folder), 256 * MIB)
                     for _ in range(2))
    second.socket = first.socket
    world.add(first)
    world.servers.append(second)
    refuses_while_replaced(world, first, lambda: (first.kill(), second.start()),
                           lambda: (second.kill(), first.start()))


def refuses_while_replaced(world, server, replace, bring_back):
    device = world.attach(server.uri(), "--timeout", "2s")
    _, log = world.daemon(device)
    replace()
    wait_until(lambda: "another one now" in read_file(log), "the log says so")
    check(write_fails(device), "a write to another device succeeded")
    check(read_file(log).count("another one now") == 1, "the log says so once")
    bring_back()
    wait_until(lambda: "connected again" in read_file(log), "it comes back")
    direct_write(device, 0, b"y" * 4096)
    world.detach(device)


def can_always_be_detached(world):
    before = footprint()
    server = world.server()
    for name, harm in (("killed", lambda: server.kill()),
                       ("stopped", lambda: server.process.send_signal(signal.SIGSTOP))):
        device = world.attach(server.uri())
        # A process of its own: closing the device writes back, which waits for the server.
        writer = subprocess.Popen(["sh", "-c", 'exec 3>"$1"; echo unflushed >&3; read -r line',
                                   "writer", device], stdin=subprocess.PIPE)
        wait_until(lambda: dirty(device), "the data is in the page cache")
        harm()
        writer.stdin.close()
        check("warning" in detach_patiently(world, device), "the loss is told")
        writer.wait(timeout=PATIENCE_S)
        print(f"    detached with the server {name}")
        check(footprint() == before, f"left behind: {footprint()}")
        server.stop()
        server.start()


def dirty(device):
    """Whether somebody but us has the device open and written to it."""
    for process in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{process}/fd/3") == device:
                return "pos:\t10\n" in read_file(f"/proc/{process}/fdinfo/3")
        except OSError:
            continue
    return False


def detach_patiently(world, device):
    """Detaches once the last user has begun to close the device; that may take long to end."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        done = run(world.gemel, "detach", device, ok=False)
        if done.returncode == 0:
            world.devices.remove(device)
            return done.stderr
        check("opened by" in done.stderr and time.monotonic() < deadline, done.stderr)


def clears_what_a_dead_daemon_left(world):
    before = footprint()
    server = world.server()
    device = world.attach(server.uri())
    daemon, _ = world.daemon(device)
    os.kill(daemon, signal.SIGKILL)
    wait_until(lambda: gone(daemon), "the daemon dies")
    check(f"gemel detach {device}" in world.refused("attach", server.uri()), "says how to mend")
    world.detach(device)
    check(footprint() == before, f"left behind: {footprint()}")

    device = world.attach(server.uri())
    run("mkfs.ext4", "-q", device)
    point = world.mount(device)
    os.kill(world.daemon(device)[0], signal.SIGKILL)
    check(f"mounted at {point}" in world.refused("detach", device), "still mounted")
    run("umount", point)
    world.mounts.remove(point)
    world.detach(device)
    check(footprint() == before, f"left behind: {footprint()}")

    device = world.attach(server.uri())
    daemon, _ = world.daemon(device)
    os.kill(daemon, signal.SIGSTOP)
    check("hangs and is killed" in world.detach(device), "a hung daemon is killed")
    check(footprint() == before, f"left behind: {footprint()}")

    device = world.attach(server.uri())
    daemon, _ = world.daemon(device)
    run("losetup", "--detach", device)
    wait_until(lambda: gone(daemon), "losetup -d is a detach as well")
    world.devices.remove(device)
    check(footprint() == before, f"left behind: {footprint()}")


def leaves_nothing_when_interrupted(world):
    before = footprint()
    server = world.server()
    attached = 0
    for _ in range(25):
        with subprocess.Popen([world.gemel, "attach", server.uri(), "--as", "fuse"],
                              stdout=subprocess.DEVNULL) as process:
            time.sleep(random.uniform(0, 0.3))
            process.kill()
        # Undone, or whole: there is a device, and its daemon keeps it.
        wait_until(lambda: footprint() == before or recorded_devices(world), "undone, or whole")
        for device in recorded_devices(world):
            attached += 1
            wait_until(lambda d=device: footprint() == before or
                       run(world.gemel, "detach", d, ok=False).returncode == 0, "detached")
        wait_until(lambda: footprint() == before, f"nothing is left but {before}")
    print(f"    25 times killed, of which {attached} times too late")


def recorded_devices(world):
    found = []
    for name in os.listdir(RUN):
        try:
            lines = read_file(os.path.join(RUN, name, "record")).splitlines()
        except OSError:
            continue
        if world.folder in "".join(lines):
            found += [line[7:] for line in lines if line.startswith("device=")]
    return found


def serves_read_only_exports(world):
    server = world.server(options=["--read-only"])
    device = world.attach(server.uri())
    check(run("blockdev", "--getro", device).stdout.strip() == "1", "the device is read-only")
    with open(device, "rb") as file:
        check(file.read(MIB) == bytes(MIB), "and readable")
    world.detach(device)


def works_with_gemel_itself(world):
    server = world.add(GemelServer(world.gemel, world.folder, 512 * MIB))
    survives_kills_of(world, server, "128m", 4)
    carries_a_file_system(world, server)


CASES = [refuses_what_cannot_work, is_the_same_disk, keeps_what_is_in_use,
         survives_a_killed_server, carries_a_file_system, fails_after_the_timeout_and_recovers,
         refuses_another_device_in_its_place, refuses_another_volume_of_the_same_size,
         can_always_be_detached,
         leaves_nothing_when_interrupted, clears_what_a_dead_daemon_left,
         serves_read_only_exports, works_with_gemel_itself]


def missing():
    if os.geteuid() != 0:
        return "this test needs root"
    for path in ("/dev/fuse", "/dev/loop-control"):
        if not os.path.exists(path):
            return f"this machine has no {path}"
    for tool in ("qemu-nbd", "fio", "mkfs.ext4", "e2fsck", "blkdiscard", "losetup", "setpriv"):
        if not shutil.which(tool):
            return f"{tool} is not installed"
    return None


def main():
    arguments = sys.argv[1:]
    build = os.environ.get("GEMEL_BUILD_DIR") or (arguments.pop(0) if arguments else None)
    if not build:
        print(__doc__, file=sys.stderr)
        return 2
    gemel = os.path.abspath(os.path.join(build, "gemel"))
    why = missing() or (None if os.path.exists(gemel) else f"{gemel} is not built")
    if why:
        print("SKIPPED: " + why)
        return 77
    # An interrupted run cleans up as any other does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    failed = 0
    for case in CASES:
        if arguments and case.__name__ not in arguments:
            continue
        print(f"{case.__name__.replace('_', ' ')} ...", flush=True)
        started = time.monotonic()
        world = World(gemel)
        try:
            case(world)
            print(f"    ok, {time.monotonic() - started:.1f} s", flush=True)
        except (Failure, subprocess.TimeoutExpired, OSError) as problem:
            failed += 1
            print(f"    FAILED: {problem}", flush=True)
        finally:
            world.clean_up()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
