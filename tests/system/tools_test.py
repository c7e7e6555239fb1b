#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The tools that people use with NBD find in Gemel the disk they expect."""

import json
import os
import random
import socket
import subprocess
import textwrap

import harness
from harness import MIB, run, wait_for

SIZE = 512 * MIB


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class ToolsTest(harness.Case):
    tools = ("fio", "qemu-io", "qemu-img", "nbdinfo", "nbdcopy", "nbdsh", "cmp")

    def setUp(self):
        super().setUp()
        self.vol = self.volume(size="512M")
        port = free_port()
        self.tcp = f"nbd://127.0.0.1:{port}/vol"
        self.vol.serve_options = ["--nbd", f"127.0.0.1:{port}"]
        self.vol.start()

    def end(self):
        """Whatever a tool did: a clean stop, and equal members."""
        self.vol.stop()
        self.vol.compare_homes()

    def random_image(self, name, size=SIZE):
        """Data, zeroes and holes."""
        path = self.path(name)
        source = random.Random(name)
        with open(path, "wb") as file:
            file.truncate(size)
            for offset in range(0, size, 4 * MIB):
                if source.random() < 0.4:
                    file.seek(offset)
                    file.write(source.randbytes(source.randrange(1, 3 * MIB)))
        return path

    # --- fio --------------------------------------------------------------------------------

    def fio(self, uri, *options):
        run("fio", "--name=verify", "--ioengine=nbd", f"--uri={uri}", "--iodepth=32",
            "--verify_fatal=1", "--verify_state_save=0", *options)

    def test_fio_verifies_random_writes_of_many_sizes(self):
        for verify in ("crc32c", "xxhash"):
            self.fio(self.vol.uri, "--rw=randwrite", f"--verify={verify}", "--size=256m",
                     "--bssplit=4k/50:8k/10:16k/10:64k/10:128k/10:512k/5:1m/5")
        self.end()

    def test_fio_verifies_trimmed_and_rewritten_blocks(self):
        self.fio(self.vol.uri, "--rw=randtrimwrite", "--verify=crc32c", "--bs=16k", "--size=128m")
        self.end()

    def test_fio_verifies_small_unaligned_writes_over_tcp(self):
        self.fio(self.tcp, "--rw=randwrite", "--verify=crc32c", "--bs=1536", "--size=16m")
        self.fio(self.tcp, "--rw=randrw", "--verify=crc32c", "--bs=4k", "--size=64m",
                 "--fsync=32")
        self.end()

    # --- qemu -------------------------------------------------------------------------------

    def qemu_io(self, *commands):
        arguments = [part for command in commands for part in ("-c", command)]
        done = run("qemu-io", "-f", "raw", "-t", "none", *arguments, self.vol.uri)
        self.assertNotIn("verification failed", done.stdout)
        self.assertNotRegex(done.stdout + done.stderr, r"(?i)\berror|failed")

    def test_qemu_io_patterns(self):
        self.qemu_io("write -P 0x11 0 1M", "write -P 0x22 64k 64k", "write -P 0x33 1000 3000",
                     "read -P 0x11 0 1000", "read -P 0x33 1000 3000", "read -P 0x11 4000 61536",
                     "read -P 0x22 64k 64k", "read -P 0x11 128k 896k", "flush")
        self.qemu_io("write -z 64k 32k", "read -P 0 64k 32k", "read -P 0x22 96k 32k",
                     "write -z -u 512k 128k", "read -P 0 512k 128k", "read -P 0x11 640k 384k",
                     "discard 0 64k", "read -P 0 0 64k", "write -f -P 0x44 2M 8M",
                     "read -P 0x44 2M 8M", "write -P 0x55 511M 1M", "read -P 0x55 511M 1M")
        self.qemu_io(*[f"aio_write -P {n + 1} {n * 100}k 100k" for n in range(60)], "aio_flush",
                     *[f"read -P {n + 1} {n * 100}k 100k" for n in range(60)])
        self.end()

    def test_qemu_img_converts_and_compares(self):
        raw = self.random_image("source.raw")
        qcow = self.path("source.qcow2")
        run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, qcow)
        run("qemu-img", "convert", "-n", "-f", "qcow2", "-O", "raw", "-W", "-m", "8", qcow,
            self.vol.uri)
        run("qemu-img", "compare", "-f", "raw", "-F", "qcow2", self.vol.uri, qcow)
        back = self.path("back.raw")
        run("qemu-img", "convert", "-f", "raw", "-O", "raw", self.vol.uri, back)
        run("cmp", raw, back)
        self.end()

    # --- libnbd -----------------------------------------------------------------------------

    def test_nbdinfo_shows_what_is_promised(self):
        for uri in (self.vol.uri, self.tcp, f"nbd+unix:///?socket={self.vol.socket}"):
            export = json.loads(run("nbdinfo", "--json", uri).stdout)["exports"][0]
            self.assertEqual(export["export-size"], SIZE)
            self.assertEqual(export["contexts"], ["base:allocation"])
            for yes in ("can_flush", "can_fua", "can_trim", "can_zero", "can_fast_zero", "can_df",
                        "can_cache", "can_multi_conn"):
                self.assertIs(export[yes], True, yes)
            self.assertIs(export["is_read_only"], False)
            self.assertEqual(export["block_size_minimum"], 1)
            self.assertEqual(export["block_size_preferred"], 4096)
            self.assertEqual(export["block_size_maximum"], 32 * MIB)
        listed = json.loads(run("nbdinfo", "--list", "--json",
                                f"nbd+unix:///?socket={self.vol.socket}").stdout)
        self.assertIn("vol", [export["export-name"] for export in listed["exports"]])
        unknown = run("nbdinfo", f"nbd+unix:///other?socket={self.vol.socket}", check=False)
        self.assertNotEqual(unknown.returncode, 0)

    def test_nbdinfo_maps_what_is_zero(self):
        with self.vol.client() as client:
            client.write(4 * MIB, harness.pattern(1, 4 * MIB))
            client.write(16 * MIB, harness.pattern(1, 4 * MIB))
            client.trim(4 * MIB, 2 * MIB)
            client.write_zeroes(18 * MIB, 2 * MIB)
        extents = json.loads(run("nbdinfo", "--map", "--json", self.vol.uri).stdout)
        covered = 0
        for extent in extents:
            self.assertEqual(extent["offset"], covered)
            covered += extent["length"]
        self.assertEqual(covered, SIZE)

        def is_zero(offset):
            return any(extent["type"] & 2 and
                       extent["offset"] <= offset < extent["offset"] + extent["length"]
                       for extent in extents)
        for offset, zero in ((0, True), (4 * MIB, True), (6 * MIB, False), (8 * MIB - 1, False),
                             (8 * MIB, True), (17 * MIB, False), (19 * MIB, True),
                             (SIZE - 1, True)):
            self.assertEqual(is_zero(offset), zero, offset)
        self.end()

    def test_nbdcopy_both_ways(self):
        source, back = self.random_image("source.raw"), self.path("back.raw")
        run("nbdcopy", "--connections=4", "--requests=64", "--flush", source, self.vol.uri)
        with open(back, "wb") as file:
            file.truncate(SIZE)
        run("nbdcopy", "--connections=4", self.vol.uri, back)
        run("cmp", source, back)
        second = self.random_image("second.raw")
        run("nbdcopy", "--request-size=1048576", second, self.tcp)
        run("qemu-img", "compare", "-f", "raw", "-F", "raw", second, self.vol.uri)
        self.end()

    def test_nbdfuse_shows_the_disk_as_a_file(self):
        if not os.path.exists("/dev/fuse"):
            self.skipTest("there is no /dev/fuse")
        file = self.path("disk.img")
        with open(file, "wb"):
            pass
        fuse = subprocess.Popen(["nbdfuse", file, self.vol.uri])
        try:
            wait_for("nbdfuse", lambda: os.path.getsize(file) == SIZE)
            source = self.random_image("source.raw", 64 * MIB)
            run("dd", f"if={source}", f"of={file}", "bs=1M", "conv=notrunc,fsync")
            run("cmp", "-n", 64 * MIB, source, file)
            run("dd", f"if={source}", f"of={file}", "bs=1000", "seek=70001", "count=5000",
                "conv=notrunc,fsync")
            run("cmp", "-n", 5000 * 1000, "-i", "0:70001000", source, file)
        finally:
            run("fusermount3", "-u", file, check=False)
            fuse.wait(harness.DEADLINE)
        self.end()

    def nbdsh(self, script):
        run("nbdsh", "-c", "import nbd, os, random", "-c",
            f"uri = '{self.vol.uri}'; size = {SIZE}", "-c", textwrap.dedent(script))

    def test_nbdsh_any_offset_and_length(self):
        self.nbdsh("""
            h.add_meta_context('base:allocation')
            h.connect_uri(uri)
            rand = random.Random(1)
            shadow = bytearray(1 << 20)
            for step in range(3000):
                length = rand.choice([1, 7, 511, 512, 4095, 4096, 4097, 20000, 65536])
                offset = rand.randrange(len(shadow) - length)
                kind = rand.randrange(10)
                if kind < 6:
                    data = rand.randbytes(length)
                    h.pwrite(data, offset, nbd.CMD_FLAG_FUA if kind == 0 else 0)
                    shadow[offset:offset + length] = data
                elif kind == 6:
                    h.zero(length, offset, rand.choice([0, nbd.CMD_FLAG_NO_HOLE]))
                    shadow[offset:offset + length] = bytes(length)
                elif kind == 7:
                    h.trim(length, offset)
                    first, end = -(-offset // 4096) * 4096, (offset + length) // 4096 * 4096
                    if first < end:
                        shadow[first:end] = bytes(end - first)
                elif kind == 8:
                    h.flush()
                else:
                    assert h.pread(length, offset) == shadow[offset:offset + length], step
            assert h.pread(len(shadow), 0) == shadow
            h.pwrite(b'x' * 1000, size - 1000)
            assert h.pread(1000, size - 1000) == b'x' * 1000
            big = random.Random(2).randbytes(32 << 20)
            h.pwrite(big, 12345)
            assert h.pread(32 << 20, 12345) == big
            h.cache(1 << 20, 0)
        """)
        self.end()

    def test_nbdsh_errors_are_the_protocols_own(self):
        self.nbdsh("""
            import errno
            h.set_strict_mode(0)
            h.connect_uri(uri)
            def refused(code, call):
                try:
                    call()
                except nbd.Error as error:
                    assert error.errnum == code, error
                    return
                assert False, 'not refused'
            refused(errno.EINVAL, lambda: h.pread(4096, size))
            refused(errno.EINVAL, lambda: h.pread(4096, size - 1))
            refused(errno.ENOSPC, lambda: h.pwrite(bytes(4096), size - 4095))
            refused(errno.EINVAL, lambda: h.trim(4096, size))
            assert h.pread(4096, 0) == bytes(4096)
        """)
        self.end()

    def test_nbdsh_several_connections_are_one_disk(self):
        self.nbdsh("""
            many = []
            for _ in range(8):
                one = nbd.NBD()
                one.connect_uri(uri)
                assert one.can_multi_conn()
                many.append(one)
            rand = random.Random(3)
            for step in range(500):
                offset = rand.randrange(size - 70000)
                data = rand.randbytes(rand.randrange(1, 70000))
                rand.choice(many).pwrite(data, offset)
                if step % 10 == 0:
                    rand.choice(many).flush()
                assert rand.choice(many).pread(len(data), offset) == data
        """)
        self.end()

    def test_nbdsh_requests_in_flight_are_answered_each(self):
        self.nbdsh("""
            h.connect_uri(uri)
            blocks = {n: random.Random(n).randbytes(4096 * (1 + n % 20)) for n in range(400)}
            cookies = [h.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(data)), n << 17)
                       for n, data in blocks.items()]
            while cookies:
                h.poll(-1)
                cookies = [cookie for cookie in cookies if not h.aio_command_completed(cookie)]
            for n, data in blocks.items():
                assert h.pread(len(data), n << 17) == data
        """)
        self.end()


if __name__ == "__main__":
    harness.main()
