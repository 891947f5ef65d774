"""What a file system may hold after the machine has stopped: what was synced, and any part of the rest.

`Disk` takes the log of `file_faults ROOT LOG data`, call by call, and keeps two things apart: what programs see, and
what has been brought to disk. fsync of a file brings its bytes to disk, and nothing of its name; fsync of a directory
brings its entries to disk (names made, renamed, removed), and nothing of what they name. Renames are atomic: journals
hold that. Until then each of these changes may be lost, alone or with others; entries of one name that build on each
other are lost together.

`Disk.crashes()` gives the states that this allows, of which some are taken: what was not synced is lost altogether;
the names stay and the bytes are lost (empty files), or are zeros, or half there; the bytes stay and the names are lost;
each change is lost alone. A state is a dict: path -> bytes, or None for a directory.
"""

import errno
import hashlib
import io
import os
import pathlib

CREATES, TRUNCATES = os.O_CREAT, os.O_TRUNC
RENAME_EXCHANGE = 2
FALLOC_KEEP_SIZE = 1


class Call:
    """One line of the log."""

    def __init__(self, line, data):
        (number, process, self.name, self.path, self.other, offset, size, flags, result, self.met) = line.split("\t")
        self.number, self.process = int(number), int(process)
        self.offset, self.size, self.flags, self.result = int(offset), int(size), int(flags), int(result)
        self.is_write = "write" in self.name
        self.data = data.read(self.result) if data and self.is_write and self.result > 0 else b""

    def __str__(self):
        outcome = f"-{errno.errorcode[-self.result]}" if -self.result in errno.errorcode else str(self.result)
        other = "" if self.other == "-" else f" to {self.other}"
        return f"{self.number} {self.name} {self.path}{other}: {outcome}"


def read_log(log):
    """Calls in the order in which they ended, with the bytes of writes where LOG.data has them."""
    blob = pathlib.Path(f"{log}.data")
    data = io.BytesIO(blob.read_bytes()) if blob.exists() else None
    return [Call(line, data) for line in pathlib.Path(log).read_text().splitlines()]


class Node:
    """A file (`data`) or a directory (`entries`), as it was before the first call."""

    def __init__(self, entries=None, data=None):
        self.entries, self.data = entries, data


class Change:
    """Of the bytes of a file, or of the entries of a directory (`node`). `apply` is called with nodes' copies."""

    def __init__(self, call, node, names, apply):
        self.call, self.node, self.names, self.apply = call, node, names, apply
        self.is_durable = False

    @property
    def is_of_data(self):
        return not self.names


class Disk:
    def __init__(self, root):
        self.root = pathlib.Path(root)
        self.before = {}    # node -> what it held before the first call
        self.top = self._load(self.root)
        self.seen = {node: self._copy(held) for node, held in self.before.items()}
        self.changes = []

    def _load(self, path):
        node = Node()
        self.before[node] = ({p.name: self._load(p) for p in path.iterdir()} if path.is_dir()
                             else bytearray(path.read_bytes()))
        return node

    @staticmethod
    def _copy(held):
        return dict(held) if isinstance(held, dict) else bytearray(held)

    def _find(self, path):
        """The directory and the name that a path means, and what is there (None: nothing)."""
        node, parent, name = self.top, None, ""
        for name in pathlib.Path(path).relative_to(self.root).parts:
            parent, node = node, self.seen.get(node, {}).get(name) if node else None
        return parent, name, node

    def _change(self, call, node, names, apply):
        change = Change(call, node, {(node, name) for name in names}, apply)
        apply(self.seen)
        self.changes.append(change)

    # --- the calls ---

    def take(self, call):
        if call.result < 0:
            return
        parent, name, node = self._find(call.path)
        if call.is_write:
            self._write(call, node)
        elif call.name in ("open", "openat", "creat"):
            self._open(call, parent, name, node)
        elif call.name in ("mkdir", "mkdirat"):
            self._add(call, parent, name, {})
        elif call.name in ("unlink", "unlinkat", "rmdir"):
            self._change(call, parent, [name], lambda held: held[parent].pop(name, None))
        elif call.name.startswith("rename"):
            self._rename(call, parent, name, node)
        elif call.name in ("fsync", "fdatasync"):
            self._sync(node)
        elif call.name in ("truncate", "ftruncate"):
            self._resize(call, node, call.size)
        elif call.name == "fallocate":
            if not call.flags & FALLOC_KEEP_SIZE:
                self._resize(call, node, max(len(self.seen[node]), call.offset + call.size))
        else:
            raise NotImplementedError(str(call))

    def _add(self, call, parent, name, held):
        node = Node()
        self.before[node] = held
        self.seen[node] = self._copy(held)
        self._change(call, parent, [name], lambda all_held: all_held[parent].__setitem__(name, node))

    def _open(self, call, parent, name, node):
        if node is None:
            self._add(call, parent, name, bytearray())
        elif call.flags & TRUNCATES or call.name == "creat":
            self._resize(call, node, 0)

    def _write(self, call, node):
        if node is None:
            return  # it has no name any more

        def apply(held, offset=call.offset, data=call.data):
            content = held[node]
            content.extend(bytes(max(0, offset - len(content))))
            content[offset:offset + len(data)] = data
        self._change(call, node, [], apply)

    def _resize(self, call, node, size):
        def apply(held):
            content = held[node]
            content.extend(bytes(max(0, size - len(content))))
            del content[size:]
        self._change(call, node, [], apply)

    def _rename(self, call, parent, name, node):
        other_parent, other_name, other = self._find(call.other)
        if parent is not other_parent:
            raise NotImplementedError(f"a rename from one directory to another: {call}")

        def apply(held):
            entries = held[parent]
            if entries.get(name) is not node:
                return
            if call.name == "renameat2" and call.flags & RENAME_EXCHANGE:
                entries[name] = other
            else:
                del entries[name]
            entries[other_name] = node
        self._change(call, parent, [name, other_name], apply)

    def _sync(self, node):
        for change in self.changes:
            if change.node is node:
                change.is_durable = True

    # --- what may be left ---

    def _state(self, lost, spoil=None):
        held = {node: self._copy(content) for node, content in self.before.items()}
        for change in self.changes:
            if change not in lost:
                change.apply(held)
        if spoil:
            spoil(held)
        return dict(self._paths(self.top, held, ""))

    def _paths(self, node, held, path):
        if isinstance(held[node], dict):
            if path:
                yield path, None
            for name, child in sorted(held[node].items()):
                yield from self._paths(child, held, f"{path}/{name}" if path else name)
        else:
            yield path, bytes(held[node])

    def _with_those_on_it(self, change, open_changes):
        """A change of entries and the later ones that touch the same names."""
        lost, names = {change}, set(change.names)
        for later in open_changes[open_changes.index(change) + 1:]:
            if later.names & names:
                lost.add(later)
                names |= later.names
        return lost

    def _spoilt(self, of_data):
        """Bytes that were not synced: zeros of the right length, or half of the last write."""
        nodes = {change.node for change in of_data}

        def zeros(held):
            for node in nodes:
                synced = self._copy(self.before[node])
                one = {node: synced}
                for change in self.changes:
                    if change.node is node and change.is_durable:
                        change.apply(one)
                held[node] = bytearray(synced + bytes(max(0, len(held[node]) - len(synced))))

        def half(held):
            for node in nodes:
                last = [change for change in of_data if change.node is node][-1].call
                if last.is_write:
                    del held[node][last.offset + last.result // 2:]
        return (("unsynced bytes are zeros", zeros), ("the last write is half there", half))

    def crashes(self):
        """(what is lost, state), now."""
        open_changes = [change for change in self.changes if not change.is_durable]
        of_data = [change for change in open_changes if change.is_of_data]
        of_names = [change for change in open_changes if not change.is_of_data]
        yield "all that was not synced", self._state(set(open_changes))
        if of_data:
            yield "unsynced bytes", self._state(set(of_data))
            for what, spoil in self._spoilt(of_data):
                yield what, self._state(set(), spoil)
        if of_names:
            yield "unsynced names", self._state(set(of_names))
        for change in of_data[-3:]:
            yield f"only {change.call}", self._state({change})
        for change in of_names:
            yield f"only {change.call} and what builds on it", self._state(self._with_those_on_it(change, of_names))


def digest(state):
    total = hashlib.sha256()
    for path, content in sorted(state.items()):
        total.update(f"{path}\n{'directory' if content is None else len(content)}\n".encode())
        total.update(content or b"")
    return total.hexdigest()


def write_state(state, root):
    """Makes the directory `root`, which is empty, what the state says."""
    root = pathlib.Path(root)
    for path, content in state.items():  # a directory comes before what is in it
        if content is None:
            (root / path).mkdir()
        else:
            (root / path).write_bytes(content)
