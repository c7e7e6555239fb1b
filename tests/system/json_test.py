#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Every key of every document that the program prints is described in docs/json.md."""

import json
import os
import re
import socket

import harness
from harness import GEMEL, MIB, run, wait_for

DOCS = os.path.join(harness.ROOT, "docs", "json.md")


def keys_of(value):
    if isinstance(value, list):
        for item in value:
            yield from keys_of(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from keys_of(item)


class JsonTest(harness.Case):
    def setUp(self):
        super().setUp()
        with open(DOCS, encoding="utf-8") as file:
            self.described = set(re.findall(r"[`\"]([a-z_0-9]+)[`\"]", file.read()))

    def check(self, text, what):
        document = json.loads(text)
        self.assertEqual(document["schema"], 1, what)
        missing = sorted(set(keys_of(document)) - self.described)
        self.assertEqual(missing, [], f"{what}: not in docs/json.md")
        return document

    def inject(self, *arguments, member=0):
        self.check(run(GEMEL, "inject", self.vol.members[member], *arguments).stdout, arguments)

    def is_home(self):
        status = json.loads(run(GEMEL, "status", self.vol.file, "--json").stdout)["volumes"][0]
        return all(member["log_bytes_used"] == 0 for member in status["members"])

    def control(self, request):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(self.path("vol.ctl.sock"))
            client.sendall(json.dumps(request).encode() + b"\n")
            return client.makefile("rb").readline()

    def test_every_key_is_described(self):
        made = run(GEMEL, "create", "other", "--size", "64M", "--log-size", "16M", "--json",
                   "--member", self.path("c.img"), "--member", self.path("d.img"), "--dir",
                   self.folder)
        self.check(made.stdout, "create")
        os.unlink(self.path("other.toml"))
        made = run(GEMEL, "assemble", self.path("c.img"), self.path("d.img"), "--json", "--dir",
                   self.folder)
        self.check(made.stdout, "assemble")
        self.vol = self.volume(size="64M", log_size="16M")
        self.vol.start()
        with self.vol.client() as client:
            client.write(0, harness.pattern(1, MIB))
            client.flush()
        record = self.path("record")
        self.inject("--remember", record)
        self.inject("--into", "log", "--kind", "flip")
        wait_for("the log to be home", self.is_home)
        self.inject("--into", "data", "--kind", "swap", "--count", "2")
        for number in 0, 1:  # Of this block no good copy is left.
            self.inject("--into", "data", "--kind", "garbage", "--range", "3-3", member=number)
        for into in ["checksum", "index", "superblock"]:
            self.inject("--into", into, "--kind", "flip")
        run(GEMEL, "scrub", self.vol.file, "--wait", check=False)
        for request in [{"command": "status"}, {"command": "scrub"}, {"command": "dance"}]:
            self.check(self.control(request), request)
        for _ in range(2):  # Served, then not.
            self.check(run(GEMEL, "status", self.vol.file, "--json").stdout, "status")
            self.check(run(GEMEL, "inspect", self.vol.members[0], "--json").stdout, "inspect")
            if self.vol.server.poll() is None:
                self.vol.stop()


if __name__ == "__main__":
    harness.main()
