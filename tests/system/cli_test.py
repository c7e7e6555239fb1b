#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The program as an operator meets it: wrong input is refused with one clear line and changes
nothing; a server starts, tells, and ends in order.

Takes the build folder as its argument (or GEMEL_BUILD_DIR)."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

if len(sys.argv) > 1 and os.path.isdir(sys.argv[1]):
    os.environ["GEMEL_BUILD_DIR"] = os.path.abspath(sys.argv.pop(1))

# pylint: disable=wrong-import-position
import harness
from cli_case import CliCase, look
from harness import GEMEL, run, wait_for

VERBS = ["create", "serve", "attach", "detach", "status", "scrub", "inspect", "inject",
         "assemble"]


class WrongUsage(CliCase):
    def test_commands(self):
        self.refused(2, "no command")
        self.refused(2, "'frobnicate'", "frobnicate")
        self.refused(2, "--frobnicate", "--frobnicate")
        for verb in VERBS:
            self.refused(2, f"gemel {verb} --help", verb, "--frobnicate")
        for verb in set(VERBS) - {"status"}:
            self.refused(2, "required", verb)
        self.refused(2, "no option '--layout'", *self.create("--layout", "mirror"))
        self.refused(2, "no option '--layout'", *self.create("--layout=mirror"))
        self.refused(2, "'c.img' is one argument too many", *self.create("c.img"))
        self.refused(2, "--size is given more than once", *self.create("--size", "1G"))

    def test_help_and_version(self):
        for verb in VERBS:
            done = self.gemel(verb, "--help")
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertIn(f"gemel {verb}", done.stdout)
            self.assertIn(verb, self.gemel("--help").stdout)
        self.assertRegex(self.gemel("--version").stdout, r"^gemel \d+\.\d+\.\d+\n$")

    def test_sizes(self):
        for size in ["0", "0G"]:
            self.refused(2, "more than 0", *self.create(size=size))
        for size in ["1", "4095", "4097", "1000000"]:
            self.refused(2, "multiple of 4096", *self.create(size=size))
        for size in ["", "G", "-1", "1.5G", "1GB", "1X", "0x1000", "1 G", "one", "１G"]:
            self.refused(2, "--size", *self.create(size=size))
        for size in ["16E", "99999999999999999999", "18446744073709551616"]:
            self.refused(2, "too large", *self.create(size=size))
        self.refused(2, "more than a volume can have", *self.create(size="1P"))
        self.refused(2, "--max-size", *self.create("--max-size", "32M"))
        for log in ["0", "4096", "5000000", "1T"]:
            self.refused(2, "--log-size", *self.create(log=log))
        for limit in ["0", "1", "1M"]:
            self.refused(2, "--log-limit", *self.create("--log-limit", limit))

    def test_names(self):
        for name in ["", ".", "..", "-", ".hidden", "a b", "a/b", "../x", "ä", "x\ny", "x" * 64]:
            self.refused(2, "", *self.create(name=name))
        self.refused(2, "without .toml", *self.create(name="vol.toml"))
        self.made(name="x" * 40 + "A-1_2.3")

    def test_members(self):
        self.refused(2, "at least 2", *self.create(members=["a.img"]))
        self.refused(2, "given twice", *self.create(members=["a.img", "a.img"]))
        self.refused(2, "given twice", *self.create(members=["a.img", "./a.img"]))
        self.refused(2, "given twice", *self.create(members=["a.img", self.path("a.img")]))
        self.refused(2, "more than 16", *self.create(members=[f"{n}.img" for n in range(17)]))
        for place in ["tcp://host:1/x", "nbd://host/x"]:
            self.refused(2, "not supported yet", *self.create(members=["a.img", place]))
        self.refused(2, "empty", *self.create(members=["a.img", ""]))

    def test_one_storage_under_two_names(self):
        self.write("real.img", b"")
        os.symlink("real.img", self.path("symbolic.img"))
        os.link(self.path("real.img"), self.path("hard.img"))
        os.symlink("to-be.img", self.path("dangling.img"))
        os.symlink(".", self.path("here"))
        for other in ["symbolic.img", "hard.img", "here/real.img"]:
            self.refused(2, "same storage", *self.create(members=["real.img", other]))
        for other in ["dangling.img", "here/to-be.img"]:
            self.refused(2, "same storage", *self.create(members=["to-be.img", other]))
        self.refused(2, "given twice", *self.create("--witness", "a.img"))
        self.refused(2, "given twice", *self.create("--witness", "vol.toml"))
        # Where the sockets will be.
        for name in ["vol.nbd.sock", "./vol.ctl.sock"]:
            self.refused(2, "given twice", *self.create(members=["a.img", name]))

    def test_serve(self):
        self.made()
        for address in ["nonsense", "unix:", "host:99999", "127.0.0.1", ":::"]:
            self.refused(2, "--nbd", "serve", "vol", "--nbd", address)
        self.refused(2, "107", "serve", "vol", "--nbd", "unix:/" + "x" * 107)
        self.refused(2, "--cache", "serve", "vol", "--cache", "0")
        self.refused(2, "--cache", "serve", "vol", "--cache", "much")
        self.refused(2, "given twice", "serve", "vol", "--nbd", "unix:x", "--nbd", "unix:./x")
        self.refused(2, "given twice", "serve", "vol", "--nbd", "[::1]:1", "--nbd", "[::1]:1")
        for time_ in ["0", "-1", "x", "", "99999999d"]:
            self.refused(2, "--scrub-every", "serve", "vol", "--scrub-every", time_)
        for time_ in ["0", "1ms", "1h", "-1s", "x"]:
            self.refused(2, "between 100ms and 10m" if time_ in ["1ms", "1h"] else
                         "--member-timeout", "serve", "vol", "--member-timeout", time_)
        self.refused(2, "--member-errors", "serve", "vol", "--member-errors", "-1")

    def test_inject(self):
        self.made()
        damage = ["inject", "a.img", "--into", "data", "--kind", "flip"]
        for number in ["-1", "1.5", "x", "", "18446744073709551616", "0x1"]:
            self.refused(2, "--count", *damage, "--count", number)
            self.refused(2, "--seed", *damage, "--seed", number)
        self.refused(2, "more than 0", *damage, "--count", "0")
        self.refused(2, "--remember", *damage, "--remember", "r")


class RefusedCreate(CliCase):
    def test_what_cannot_be_a_member(self):
        os.mkdir(self.path("folder"))
        os.mkfifo(self.path("pipe"))
        self.refused(1, ["folder", "is a directory"], *self.create(members=["folder", "b.img"]))
        self.refused(1, "neither a file nor", *self.create(members=["pipe", "b.img"]))
        self.refused(1, "neither a file nor", *self.create(members=["/dev/null", "b.img"]))
        self.refused(1, "none", *self.create(members=["a.img", "none/b.img"]))
        self.write("file")
        self.refused(1, "file/b.img", *self.create(members=["a.img", "file/b.img"]))
        self.refused(1, "x" * 300, *self.create(members=["a.img", "x" * 300]))
        self.refused(1, "none", *self.create("--dir", "none"))
        self.write("plain")
        self.refused(1, "plain is not a folder", *self.create("--dir", "plain"))
        os.symlink("loop", self.path("loop"))
        self.refused(1, "loop: Too many levels", *self.create(members=["loop", "b.img"]))
        self.refused(1, "none", *self.create("--witness", "none/w"))
        self.refused(1, "utf-8", *self.create(members=["\udcff.img", "b.img"]))

    def test_names_of_files_stay_on_one_line(self):
        self.refused(1, "a\\x0ab", *self.create(members=["a.img", "a\nb/c"]))

    def test_existing_data_is_not_overwritten(self):
        self.write("b.img")
        self.refused(1, "--force", *self.create())
        self.write("vol.toml")
        self.refused(1, "--force", *self.create(members=["a.img", "c.img"]))
        self.refused(1, "--force", *self.create("--witness", "b.img", name="other",
                                                members=["a.img", "c.img"]))
        os.mkdir(self.path("d.toml"))
        self.refused(1, "is a directory", *self.create("--force", name="d"))
        self.made("--force")
        # Now they are members, and their volume is data as well.
        self.refused(1, "--force", *self.create(name="other"))

    def test_a_device_that_is_not_blank(self):
        self.require_root()
        device = self.loop_device("disk", 256 << 20)
        with open(device, "r+b") as file:
            file.write(b"precious")
        self.refused(1, [device, "--force"], *self.create(members=["a.img", device]))
        with open(device, "rb") as file:
            self.assertEqual(file.read(8), b"precious")
        self.made("--force", members=["a.img", device])

    def test_a_device_with_something_in_its_middle(self):
        self.require_root()
        device = self.loop_device("disk", 256 << 20)
        with open(device, "r+b") as file:
            file.seek(100 << 20)
            file.write(b"precious" * (8 << 17))
        self.refused(1, [device, "--force"], *self.create(members=["a.img", device]))

    def test_what_only_its_owner_may_touch(self):
        self.require_root()
        nobody = {"user": 65534, "group": 65534, "extra_groups": []}
        os.chmod(self.folder, 0o777)
        self.write("a.img", b"")
        os.chmod(self.path("a.img"), 0o600)
        os.mkdir(self.path("closed"), 0o700)
        for change in [{}, {"members": ["closed/b.img", "c.img"]}]:
            done = self.gemel(*self.create(**change), **nobody)
            self.assertEqual((done.returncode, done.stderr.count("\n")), (1, 1), done.stderr)
            self.assertIn("ermission denied", done.stderr)
        self.assertEqual(sorted(os.listdir(self.folder)), ["a.img", "closed"])
        self.made()
        for verb, place in [("serve", "vol"), ("inspect", "a.img"), ("scrub", "vol")]:
            os.chmod(self.path("vol.toml"), 0o600)
            done = self.gemel(verb, place, **nobody)
            self.assertEqual((done.returncode, done.stderr.count("\n")), (1, 1), done.stderr)
            self.assertIn("ermission denied", done.stderr)

    def test_a_device_that_is_too_small(self):
        self.require_root()
        device = self.loop_device("disk", 32 << 20)
        self.refused(1, [device, "too small"], *self.create(members=["a.img", device]))

    def test_a_read_only_file_system(self):
        place = self.tmpfs("size=1M")
        run("mount", "-o", "remount,ro", place)
        words = "ead-only"
        self.refused(1, words, *self.create(members=["a.img", "mnt/b.img"]))
        self.refused(1, words, *self.create("--dir", "mnt"))
        self.refused(1, words, *self.create("--witness", "mnt/w"))

    def test_a_read_only_file_system_with_the_member_on_it(self):
        place = self.tmpfs("size=1M")
        self.write("mnt/b.img", b"")
        run("mount", "-o", "remount,ro", place)
        self.refused(1, "ead-only", *self.create(members=["a.img", "mnt/b.img"]))

    def test_a_full_file_system(self):
        self.tmpfs("size=20M")
        self.refused(1, "mnt/b.img", *self.create(members=["a.img", "mnt/b.img"], log="64M"))
        self.refused(1, "mnt/b.img",
                     *self.create("--preallocate", members=["a.img", "mnt/b.img"], log="4M"))

    def test_a_volume_file_that_cannot_be_written(self):
        # Not one block is left for it: the members must go again.
        place = self.tmpfs("nr_inodes=2")
        self.write("mnt/used")
        self.refused(1, place, *self.create("--dir", "mnt", "--witness", "w"))

    def test_sockets_that_could_not_be_made(self):
        folder = "x" * (100 - len(self.folder))
        os.mkdir(self.path(folder))
        self.refused(1, "107", *self.create("--dir", folder))

    def test_members_in_use(self):
        volume = self.volume(size="64M", log_size="16M")
        volume.start()
        for force in [], ["--force"]:
            done = self.gemel(*self.create(*force, name="other", members=volume.members))
            self.assertEqual(done.returncode, 1)
            self.assertEqual(done.stderr.count("\n"), 1)
            self.assertFalse(os.path.exists(self.path("other.toml")))
        done = self.gemel("serve", "vol")
        self.assertEqual(done.returncode, 1)
        self.assertIn(f"process {volume.server.pid}", done.stderr)
        with volume.client() as client:
            client.write(0, b"x" * 4096)
        volume.stop()

    def test_an_interrupt_leaves_all_or_nothing(self):
        for moment in range(8):
            with subprocess.Popen([GEMEL, *self.create(log="256M")], cwd=self.folder,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
                time.sleep(moment * 0.03)
                process.send_signal(signal.SIGINT)
                _, error = process.communicate(timeout=harness.DEADLINE)
            left = sorted(os.listdir(self.folder))
            if process.returncode == 0:
                self.assertEqual(left, ["a.img", "b.img", "vol.toml", "vol.witness"])
            else:
                self.assertIn(process.returncode, [1, -signal.SIGINT], error)
                self.assertEqual(left, [])
            for name in left:
                os.unlink(self.path(name))


class Server(CliCase):
    def setUp(self):
        super().setUp()
        self.vol = self.volume(size="64M", log_size="16M")

    def status(self, name="vol"):
        return json.loads(self.gemel("status", name, "--json").stdout)["volumes"][0]

    def spawn(self, *options, **streams):
        # Its output may be a pipe that nobody reads; the folder in the arguments marks it as ours.
        server = subprocess.Popen([GEMEL, "serve", self.vol.file, *options],
                                  stdin=subprocess.DEVNULL, **streams)
        self.addCleanup(lambda: server.poll() is None and (server.kill(), server.wait()))
        return server

    def end(self, server, number=signal.SIGTERM):
        server.send_signal(number)
        return server.wait(harness.DEADLINE)

    def test_a_life(self):
        self.assertEqual(self.status()["state"], "not-served")
        for number in signal.SIGTERM, signal.SIGINT:
            with open(self.path("errors"), "wb") as errors:
                server = self.spawn(stdout=subprocess.PIPE, stderr=errors)
                # Whoever has read this line can connect.
                line = server.stdout.readline().decode()
                self.assertTrue(line.startswith("serving vol "), line)
                self.vol.client().close()
                status = self.status()
                self.assertEqual((status["state"], status["server"]["pid"]),
                                 ("serving", server.pid))
                self.assertEqual(self.end(server, number), 0)
                self.assertEqual(server.stdout.read(), b"")
                server.stdout.close()
            self.assertFalse(os.path.exists(self.vol.socket))
            self.assertFalse(os.path.exists(self.path("vol.ctl.sock")))
            self.assertEqual(self.status()["state"], "not-served")
            self.refused(1, "not served", "attach", "vol")

    def test_sockets_of_a_killed_server_are_replaced(self):
        self.vol.start()
        self.vol.kill()
        self.assertTrue(os.path.exists(self.vol.socket))
        self.assertEqual(self.status()["state"], "not-served")
        self.vol.start()
        self.assertEqual(self.status()["state"], "serving")
        self.vol.stop()

    def test_addresses(self):
        server = self.spawn("--nbd", "127.0.0.1:0", "--nbd", f"unix:{self.path('other.sock')}",
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        server.stdout.readline()
        server.stdout.close()
        addresses = self.status()["server"]["addresses"]
        self.assertRegex(addresses[0], r"^127\.0\.0\.1:[1-9]\d*$")
        self.assertEqual(addresses[1], f"unix:{self.path('other.sock')}")
        with socket.create_connection(("127.0.0.1", int(addresses[0].split(":")[1]))) as client:
            self.assertEqual(client.recv(8), b"NBDMAGIC")
        self.assertFalse(os.path.exists(self.vol.socket))
        self.assertEqual(self.end(server), 0)

    def test_where_it_cannot_listen(self):
        self.vol.start()  # Settles the first epoch, so that the files below stay the same.
        self.vol.stop()
        self.write("file")
        for address in [f"unix:{self.path('none/x.sock')}", f"unix:{self.path('file')}",
                        "203.0.113.1:1"]:
            done = self.gemel("serve", "vol", "--nbd", address)
            self.assertEqual(done.returncode, 1, done.stderr)
            self.assertIn("cannot listen", done.stderr.splitlines()[-1])
            self.assertEqual(done.stdout, "")
        with open(self.path("file"), "rb") as file:
            self.assertEqual(file.read(), b"precious")
        # The next one is not hindered.
        self.vol.start()
        self.vol.stop()

    def test_garbage_on_the_control_socket(self):
        self.vol.start()
        for garbage in [b"\n", b"\0" * 5000, b"{" * 5000, b"status\n", b'{"command":1}\n',
                        os.urandom(3000) + b"\n", b'{"command":"status"', b"[" * 4000 + b"\n"]:
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(self.path("vol.ctl.sock"))
                try:
                    client.sendall(garbage)
                    client.shutdown(socket.SHUT_WR)
                    answer = client.makefile("rb").read()
                    self.assertIn(answer[:1], [b"", b"{"])
                except ConnectionError:
                    pass  # It may hang up as soon as it has seen enough.
            self.assertEqual(self.status()["state"], "serving")
        self.vol.stop()

    def test_nobody_reads_its_log(self):
        read_end, write_end = os.pipe()
        self.addCleanup(os.close, read_end)
        server = self.spawn(stdout=subprocess.DEVNULL, stderr=write_end)
        os.close(write_end)
        wait_for("the server", lambda: os.path.exists(self.path("vol.ctl.sock")))
        for _ in range(2000):  # Each is worth a line or two; a pipe holds some hundred.
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(self.vol.socket)
                try:
                    client.sendall(b"x" * 64)
                    client.shutdown(socket.SHUT_WR)
                    client.makefile("rb").read()
                except ConnectionError:
                    pass
        with self.vol.client() as client:
            client.write(0, b"y" * 4096)
            client.flush()
        self.assertEqual(self.end(server), 0)

    def test_closed_standard_descriptors(self):
        # The members must not take their numbers, or what is printed would end up in them.
        before = look(self.folder)[self.vol.members[0]][2]
        server = subprocess.Popen(["/bin/sh", "-c", 'exec "$0" serve "$1" <&- >&- 2>&-', GEMEL,
                                   self.vol.file])
        self.addCleanup(lambda: server.poll() is None and (server.kill(), server.wait()))
        wait_for("the server", lambda: os.path.exists(self.path("vol.ctl.sock")))
        self.assertEqual(self.status()["state"], "serving")
        self.assertEqual(self.end(server), 0)
        self.assertEqual(look(self.folder)[self.vol.members[0]][2], before)
        self.vol.start()
        self.vol.stop()

    def test_status_of_a_folder(self):
        self.assertEqual(self.gemel("status", "--dir", "/sys").stdout, "no volumes in /sys\n")
        self.made(name="second", members=["c.img", "d.img"])
        self.write("other.toml", b"[package]\n")
        done = self.gemel("status", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        names = [volume["name"] for volume in json.loads(done.stdout)["volumes"]]
        self.assertEqual(names, ["second", "vol"])
        # A broken one must not hide the others.
        self.write("broken.toml", b"[[member]]\nx")
        done = self.gemel("status")
        self.assertEqual((done.returncode, done.stderr.count("\n")), (1, 1))
        self.assertIn("broken.toml, line 2", done.stderr)
        self.assertIn("second", done.stdout)

    def test_status_of_missing_and_foreign_members(self):
        os.rename(self.vol.members[0], self.path("away"))
        self.write("vol-b.img", b"x" * 100000)
        status = self.status()
        self.assertEqual([m["state"] for m in status["members"]], ["missing", "missing"])
        self.assertIn("vol-a.img", status["problem"])
        self.assertIn("missing", self.gemel("status", "vol").stdout)


if __name__ == "__main__":
    harness.main()
