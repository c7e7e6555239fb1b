# SPDX-License-Identifier: Apache-2.0
"""A small synchronous NBD client, so that tests can name the error a request got."""

import os
import socket
import struct

INIT_MAGIC = b"NBDMAGICIHAVEOPT"
OPTION_REPLY_MAGIC = 0x3E889045565A9
REQUEST_MAGIC = 0x25609513
SIMPLE_REPLY_MAGIC = 0x67446698
OPTION_GO = 7
REPLY_ACK, REPLY_INFO = 1, 3
READ, WRITE, DISCONNECT, FLUSH, TRIM, WRITE_ZEROES = 0, 1, 2, 3, 4, 6
FUA = 1


class NbdError(OSError):
    """The server answered an error."""


class NbdClient:
    def __init__(self, path, export="", timeout=120):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(timeout)
        self.cookie = 0
        try:
            self.socket.connect(path)
            self._negotiate(export.encode())
        except BaseException:
            self.socket.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        try:
            self.socket.sendall(struct.pack(">IHHQQI", REQUEST_MAGIC, 0, DISCONNECT, 0, 0, 0))
        except OSError:
            pass  # The server may be gone already.
        self.socket.close()

    def _receive(self, length):
        parts = bytearray()
        while len(parts) < length:
            part = self.socket.recv(length - len(parts))
            if not part:
                raise ConnectionError("the server closed the connection")
            parts += part
        return bytes(parts)

    def _negotiate(self, export):
        if self._receive(16) != INIT_MAGIC:
            raise ConnectionError("not a newstyle NBD server")
        self._receive(2)
        self.socket.sendall(struct.pack(">I", 3))  # Fixed newstyle, no zeroes.
        data = struct.pack(">I", len(export)) + export + struct.pack(">H", 0)
        self.socket.sendall(b"IHAVEOPT" + struct.pack(">II", OPTION_GO, len(data)) + data)
        while True:
            magic, _, kind, length = struct.unpack(">QIII", self._receive(20))
            body = self._receive(length)
            if magic != OPTION_REPLY_MAGIC or kind & 0x80000000:
                raise ConnectionError(f"the server refused the export: {kind:#x} {body!r}")
            if kind == REPLY_INFO and struct.unpack(">H", body[:2])[0] == 0:
                self.size, self.flags = struct.unpack(">QH", body[2:12])
            if kind == REPLY_ACK:
                return

    def _request(self, kind, offset, length, data=b"", flags=0):
        self.cookie += 1
        self.socket.sendall(
            struct.pack(">IHHQQI", REQUEST_MAGIC, flags, kind, self.cookie, offset, length) + data
        )
        magic, error, cookie = struct.unpack(">IIQ", self._receive(16))
        if magic != SIMPLE_REPLY_MAGIC or cookie != self.cookie:
            raise ConnectionError("a malformed reply")
        if error:
            raise NbdError(error, os.strerror(error))
        return self._receive(length) if kind == READ else None

    def read(self, offset, length):
        return self._request(READ, offset, length)

    def write(self, offset, data, fua=False):
        self._request(WRITE, offset, len(data), data, FUA if fua else 0)

    def flush(self):
        self._request(FLUSH, 0, 0)

    def trim(self, offset, length):
        self._request(TRIM, offset, length)

    def write_zeroes(self, offset, length):
        self._request(WRITE_ZEROES, offset, length)
