#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Volume files that are damaged, or that are none: each is refused with its name and the line."""

import json
import os

import harness
from cli_case import CliCase


class VolumeFile(CliCase):
    def setUp(self):
        super().setUp()
        self.made()
        with open(self.path("vol.toml"), encoding="utf-8") as file:
            self.good = file.read()

    def test_damage_is_named_with_its_line(self):
        lines = self.good.splitlines()
        changes = {
            "schema = 1": ["schema = 2", "schema = \"1\"", "future = 1"],
            "name = ": ["name = \"../x\"", "name = 7", "name", "nmae = \"vol\""],
            "uuid = ": ["uuid = \"1234\"", "uuid = 7", "uuid = \"\""],
            "size = ": ["size = \"1X\"", "size = -1", "size = 0", "size = 1.5", "size = \"64M"],
            "witness = ": ["witness = \"\"", "witness = []", "witness = \"a\\u0000b\""],
            "path = ": ["path = \"\"", "path = 1", "path = \"x/\"", "pth = \"a.img\""],
        }
        for key, versions in changes.items():
            number = next(i for i, line in enumerate(lines) if line.startswith(key))
            for version in versions:
                changed = lines[:number] + [version] + lines[number + 1:]
                self.write("vol.toml", "\n".join(changed).encode() + b"\n")
                # What is missing is reported where the file begins, or its table does.
                words = ["vol.toml", "line "]
                if "=" in version and version.split("=")[0] in key + "=":
                    words = ["vol.toml", f"line {number + 1}:"]
                self.refused(1, words, "serve", "vol")
                self.refused(1, words, "status", "vol")
                self.refused(1, words, "attach", "vol")

    def test_what_is_harmless(self):
        for text in [self.good.rstrip("\n"), self.good.replace("\n", "\r\n"), "\ufeff" + self.good,
                     self.good.replace("schema = 1", "schema=1 # one")]:
            self.write("vol.toml", text.encode())
            self.assertEqual(self.gemel("status", "vol").returncode, 0)

    def test_more_damage(self):
        member = self.good[self.good.rindex("[[member]]"):]
        for changed, words in {
                self.good.replace('size = "64M"', 'size = "64M"\nsize = "64M"'): "line 7:",
                self.good + "x = 1979-05-27\n": "no key 'x'",
                self.good + "[options]\n": "no key 'options'",
                self.good.replace("b.img", "a.img"): "listed twice",
                self.good.replace("b.img", "./a.img"): "listed twice",
                self.good + "\n" + member.replace("b.img", "c.img"): "listed twice",
        }.items():
            self.write("vol.toml", changed.encode())
            for verb in ["serve", "status", "scrub", "attach"]:
                self.refused(1, ["vol.toml, line ", words], verb, "vol")
        for place in [b"a.img", b"[[member]]"]:
            self.write("vol.toml", self.good.encode().replace(place, b"\xff" + place, 1))
            self.refused(1, ["vol.toml, line ", "utf-8"], "serve", "vol")

    def test_one_storage_under_two_names(self):
        os.unlink(self.path("b.img"))
        os.link(self.path("a.img"), self.path("b.img"))
        self.refused(1, ["a.img", "b.img", "the same storage"], "serve", "vol")

    def test_its_size_does_not_count(self):
        self.write("vol.toml", self.good.replace("64M", "32M").encode())
        vol = harness.Volume.__new__(harness.Volume)
        vol.__dict__.update(folder=self.folder, name="vol", file=self.path("vol.toml"),
                            socket=self.path("vol.nbd.sock"), log=self.path("log"), server=None,
                            serve_options=[])
        self.addCleanup(vol.end)
        vol.start()
        vol.stop()
        with open(vol.file, encoding="utf-8") as file:
            self.assertIn('size = "64M"', file.read())

    def test_what_is_no_witness(self):
        os.rename(self.path("vol.witness"), self.path("away"))
        for make in [os.mkdir, os.mkfifo, lambda path: os.symlink("/dev/zero", path)]:
            make(self.path("vol.witness"))
            self.refused(1, ["vol.witness", "not a regular file"], "serve", "vol")
            if os.path.isdir(self.path("vol.witness")):
                os.rmdir(self.path("vol.witness"))
            else:
                os.unlink(self.path("vol.witness"))

    def test_members_are_known_by_their_uuids(self):
        os.rename(self.path("a.img"), self.path("x"))
        os.rename(self.path("b.img"), self.path("a.img"))
        os.rename(self.path("x"), self.path("b.img"))
        done = self.gemel("status", "vol", "--json")
        status = json.loads(done.stdout)["volumes"][0]
        self.assertEqual(status["problem"], None)
        self.assertEqual([m["state"] for m in status["members"]], ["in-sync", "in-sync"])

    def test_hostile_content(self):
        for content in [b"", b"\0" * 100, b"\xff\xfe", b"[" * 60000, b"a=" + b"[" * 60000,
                        b"#" * 70000, b"[[member]]\n" * 1000, os.urandom(4096)]:
            self.write("vol.toml", content)
            self.refused(1, "vol.toml", "serve", "vol")
            self.refused(1, "vol.toml", "status", "vol.toml")

    def test_what_is_no_volume_file(self):
        self.refused(1, "none.toml", "serve", "none")
        self.refused(1, "none.toml", "status", "none")
        self.refused(1, "none.toml", "attach", "none")
        self.refused(1, "a.img", "serve", "./a.img")
        self.refused(1, "not a regular file", "serve", self.folder)
        os.mkfifo(self.path("pipe.toml"))
        self.refused(1, "not a regular file", "serve", "pipe")

    def test_a_folder_can_be_moved(self):
        os.mkdir(self.path("new"))
        for name in ["a.img", "b.img", "vol.toml", "vol.witness"]:
            os.rename(self.path(name), self.path("new", name))
        volume = json.loads(self.gemel("status", "vol", "--dir", "new", "--json").stdout)
        self.assertEqual([m["state"] for m in volume["volumes"][0]["members"]], ["in-sync"] * 2)

    def test_assemble_writes_it_again(self):
        os.unlink(self.path("vol.toml"))
        # Members that were opened may have noted by whom; nothing else may have happened.
        os.rename(self.path("vol.witness"), self.path("witness.away"))
        for words, others in [("all members that were in sync last must be there", []),
                              ("nope.img", ["nope.img"])]:
            done = self.gemel("assemble", "a.img", *others)
            self.assertEqual((done.returncode, done.stderr.count("\n")), (1, 1))
            self.assertIn(words, done.stderr)
            self.assertFalse(os.path.exists(self.path("vol.toml")))
        self.refused(2, "twice", "assemble", "a.img", "a.img")
        os.rename(self.path("witness.away"), self.path("vol.witness"))
        self.write("foreign.img", b"x" * 100000)
        self.refused(1, "foreign.img", "assemble", "foreign.img", "a.img")
        done = self.gemel("assemble", "a.img", "b.img")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        with open(self.path("vol.toml"), encoding="utf-8") as file:
            self.assertEqual(file.read(), self.good)
        done = self.gemel("assemble", "a.img", "b.img")
        self.assertEqual(done.returncode, 1)
        self.assertIn("--force", done.stderr)

    def test_inspect(self):
        self.refused(1, "nope.img", "inspect", "nope.img")
        self.refused(1, "vol.toml", "inspect", "vol.toml")
        self.refused(1, "is a directory", "inspect", self.folder)
        self.refused(1, "neither a file nor", "inspect", "/dev/null")
        facts = json.loads(self.gemel("inspect", "a.img", "--json").stdout)
        self.assertEqual((facts["schema"], facts["volume_name"]), (1, "vol"))
        self.assertTrue(facts["home_is_complete"])
        text = self.gemel("inspect", "a.img").stdout
        self.assertIn(f"--offset {facts['home_offset']} --sizelimit {64 << 20}", text)


if __name__ == "__main__":
    harness.main()
