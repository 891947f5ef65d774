"""What a crash of the disk may leave of known calls, by hand."""

import os
import pathlib
import tempfile
import unittest

from disk_model import Disk, digest, write_state

ROOT = "/made-up"


class MadeCall:
    """As a line of the log, of a call that succeeded."""

    def __init__(self, name, path, other="-", data=b"", offset=0, size=0, flags=0):
        self.name, self.path, self.other, self.data = name, f"{ROOT}/{path}".rstrip("/"), other, data
        self.offset, self.size, self.flags = offset, size, flags
        self.other = "-" if other == "-" else f"{ROOT}/{other}"
        self.result, self.is_write, self.number = len(data), "write" in name, 0

    def __str__(self):
        return f"{self.name} {self.path} {self.offset}"


def made(name, data=b"old"):
    return [MadeCall("openat", name, flags=os.O_CREAT), MadeCall("write", name, data=data)]


class DiskModel(unittest.TestCase):
    def crashes(self, calls, before=()):
        """What is lost -> the state."""
        with tempfile.TemporaryDirectory() as root:
            for name in before:
                (pathlib.Path(root) / name).write_bytes(b"before")
            disk = Disk(root)
        disk.root = pathlib.Path(ROOT)
        for call in calls:
            disk.take(call)
        return dict(disk.crashes())

    def test_a_file_without_any_fsync_may_be_gone_or_empty_or_spoilt(self):
        states = self.crashes(made("a"))
        self.assertEqual(states["all that was not synced"], {})
        self.assertEqual(states["unsynced bytes"], {"a": b""})
        self.assertEqual(states["unsynced bytes are zeros"], {"a": b"\0\0\0"})
        self.assertEqual(states["the last write is half there"], {"a": b"o"})
        self.assertEqual(states["unsynced names"], {})

    def test_fsync_of_a_file_does_not_keep_its_name(self):
        states = self.crashes(made("a") + [MadeCall("fsync", "a")])
        self.assertEqual(states["all that was not synced"], {})
        states = self.crashes(made("a") + [MadeCall("fsync", "a"), MadeCall("fsync", "")])
        self.assertEqual(states, {"all that was not synced": {"a": b"old"}})

    def test_fsync_of_a_directory_does_not_keep_bytes(self):
        states = self.crashes(made("a") + [MadeCall("fsync", "")])
        self.assertEqual(states["all that was not synced"], {"a": b""})

    def test_a_rename_is_undone_until_its_directory_is_synced(self):
        calls = made("a.tmp", b"new") + [MadeCall("fsync", "a.tmp"), MadeCall("rename", "a.tmp", "a")]
        states = self.crashes(calls, before=["a"])
        self.assertEqual(states["all that was not synced"], {"a": b"before"})
        lost = {str(digest(state)) for state in states.values()}
        self.assertIn(digest({"a": b"before", "a.tmp": b"new"}), lost)
        self.assertEqual(self.crashes(calls + [MadeCall("fsync", "")], before=["a"]),
                         {"all that was not synced": {"a": b"new"}})

    def test_a_rename_without_fsync_may_leave_an_empty_file(self):
        calls = made("a.tmp", b"new") + [MadeCall("rename", "a.tmp", "a"), MadeCall("fsync", "")]
        self.assertEqual(self.crashes(calls, before=["a"])["unsynced bytes"], {"a": b""})

    def test_what_is_in_a_lost_directory_is_lost(self):
        calls = [MadeCall("mkdir", "d"), *made("d/a"), MadeCall("fsync", "d/a"), MadeCall("fsync", "d")]
        self.assertEqual(self.crashes(calls)["all that was not synced"], {})
        self.assertEqual(self.crashes(calls + [MadeCall("fsync", "")]),
                         {"all that was not synced": {"d": None, "d/a": b"old"}})

    def test_an_unlink_may_be_undone_and_an_exchange_too(self):
        self.assertEqual(self.crashes([MadeCall("unlink", "a")], before=["a"])["unsynced names"], {"a": b"before"})
        calls = made("b", b"new") + [MadeCall("fsync", "b"), MadeCall("fsync", ""),
                                     MadeCall("renameat2", "a", "b", flags=2)]
        states = self.crashes(calls, before=["a"])
        self.assertEqual(states["unsynced names"], {"a": b"before", "b": b"new"})
        self.assertEqual(self.crashes(calls + [MadeCall("fsync", "")], before=["a"])["all that was not synced"],
                         {"a": b"new", "b": b"before"})

    def test_a_later_write_may_be_there_without_an_earlier_one(self):
        calls = made("a", b"one") + [MadeCall("fsync", "a"), MadeCall("fsync", ""),
                                     MadeCall("write", "a", data=b"two", offset=3),
                                     MadeCall("write", "a", data=b"three", offset=6)]
        states = self.crashes(calls)
        self.assertIn({"a": b"one\0\0\0three"}, states.values())
        self.assertIn({"a": b"onetwo"}, states.values())

    def test_a_state_is_made(self):
        state = {"d": None, "d/a": b"bytes"}
        with tempfile.TemporaryDirectory() as root:
            write_state(state, root)
            self.assertEqual((pathlib.Path(root) / "d/a").read_bytes(), b"bytes")


if __name__ == "__main__":
    unittest.main(verbosity=2)
