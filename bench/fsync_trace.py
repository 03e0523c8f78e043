"""Finds files that were confirmed before they were durable, in a trace of system calls.

The trace is that of `strace -f -yy`. strace stops a thread at the begin and at the end of each call
until it has noted that, so the order of the lines is that of the calls.
"""

import ast
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

WRITES = {"write", "writev", "pwrite64", "pwritev", "pwritev2"}
SENDS = {"sendto", "sendmsg", "write", "writev"}
SYNCS = {"fsync", "fdatasync"}
NAMES = {"rename", "renameat", "renameat2", "link", "linkat"}
CALLS = sorted({*WRITES, *SENDS, *SYNCS, *NAMES, "syncfs", "openat"})
"""The system calls that the trace must contain."""

LINE = re.compile(r"(\d+) +(?:<\.\.\. \w+ resumed>)?(.*)")
UNFINISHED = " <unfinished ...>"
CALL = re.compile(r"(\w+)\((.*)\) += (\d+)(.*)")
OPEN_FILE = re.compile(r"(\d+)<(/[^>]*)>")
CONNECTION = re.compile(r"\d+<TCP:\[[^>]*->[^>]*:(\d+)\]>")
STRING = r'"((?:[^"\\]|\\.)*)"'
PATH = re.compile(r"(?:(?:AT_FDCWD|\d+)<(/[^>]*)>, )?" + STRING)
CLOSE = re.compile(rb'\{[^{}]*"close": ?true[^{}]*\}')

Upload = tuple[int, int]
"""The client's port, and the number of the file on its connection."""
Lines = tuple[int, int]
"""The lines of the trace in which a call began and ended."""


@dataclass(frozen=True)
class Call:
    """A system call that was successful."""

    name: str
    arguments: str
    result: int
    opened: str
    """What follows the result: the path if it is a descriptor."""
    lines: Lines


@dataclass
class File:
    """What has happened to a file, whatever its names."""

    written: int = -1
    """When the last write ended."""
    named: int = -1
    """When it got its last name."""
    syncs: list[Lines] = field(default_factory=list)


def calls(trace: str) -> list[Call]:
    """The successful calls in a trace, in the order in which they began."""
    found: list[Call] = []
    unfinished: dict[str, tuple[int, str]] = {}
    for number, line in enumerate(trace.splitlines()):
        match = LINE.fullmatch(line)
        if match is None:
            continue
        thread, text = match.groups()
        began, start = unfinished.pop(thread, (number, ""))
        text = start + text
        if text.endswith(UNFINISHED):
            unfinished[thread] = began, text.removesuffix(UNFINISHED)
        elif match := CALL.fullmatch(text):
            name, arguments, result, opened = match.groups()
            found.append(Call(name, arguments, int(result), opened, (began, number)))
    return sorted(found, key=lambda call: call.lines)


class History:
    """What the calls of a trace did."""

    def __init__(self, trace: str) -> None:
        self.files: defaultdict[str, File] = defaultdict(File)
        """By path; a folder is a file here, too."""
        self.filesystem: list[Lines] = []
        """Syncs of whole filesystems."""
        self.closes: dict[Upload, int] = {}
        """When `close` was about to be sent."""
        self._descriptors: dict[str, str] = {}
        for call in calls(trace):
            self._take(call)

    def _take(self, call: Call) -> None:
        path = ""
        if match := OPEN_FILE.match(call.arguments):
            number, path = match.groups()
            self._descriptors[number] = path
        if call.name == "openat" and (match := OPEN_FILE.match(f"{call.result}{call.opened}")):
            self._descriptors[match[1]] = match[2]
        elif call.name == "syncfs":
            self.filesystem.append(call.lines)
        elif call.name in SYNCS:
            self.files[path].syncs.append(call.lines)
        elif call.name in NAMES:
            source, target = self._paths(call)
            self.files[target] = self.files[source]
            self.files[target].named = call.lines[1]
        elif call.name in WRITES and path:
            file = self.files[path]
            file.written = max(file.written, call.lines[1])
        if call.name in SENDS and (match := CONNECTION.match(call.arguments)):
            sent = b"".join(map(unescape, re.findall(STRING, call.arguments)))[: call.result]
            for signal in map(json.loads, CLOSE.findall(sent)):
                self.closes.setdefault((int(match[1]), signal.get("file", 0)), call.lines[0])

    def _paths(self, call: Call) -> Iterator[str]:
        """The two paths of a call."""
        for folder, name in PATH.findall(call.arguments):
            path = str(PurePosixPath(folder) / unescape(name).decode())
            number = path.removeprefix("/proc/self/fd/")
            yield self._descriptors[number] if number != path else path


def unescape(text: str) -> bytes:
    """The bytes of a string in a trace."""
    data = ast.literal_eval(f'b"{text}"')
    assert isinstance(data, bytes)
    return data


def violations(trace: str, folder: str, stored: Mapping[Upload, str]) -> list[str]:
    """A sentence for each file in `folder` that was not durable when its `close` was sent.

    `stored` has the name of each file.
    """
    history, found = History(trace), list[str]()
    entries = history.files[folder].syncs + history.filesystem
    for upload, name in stored.items():
        path = str(PurePosixPath(folder) / name)
        file, close = history.files[path], history.closes.get(upload, -1)

        def is_durable(since: int, syncs: list[Lines], until: int = close) -> bool:
            return since >= 0 and any(since < began and ended < until for began, ended in syncs)

        if close < 0:
            found.append(f"{name}: there is no `close`")
        elif not is_durable(file.written, file.syncs + history.filesystem):
            found.append(f"{name}: no fsync between its last write and its `close`")
        elif not is_durable(file.named, entries):
            found.append(f"{name}: no fsync of the directory between its name and its `close`")
    return found
