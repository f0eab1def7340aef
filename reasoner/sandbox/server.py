"""Runs inside the sandbox: a server that forks a child for every run, and the child. Standard library only.

Started by `remote` as `python -s -P -S server.py TIER DESCRIPTOR [PRELUDE FOLDER…]`, in an empty environment. First
process: load what submissions commonly import, and the prelude with what it imports from these folders; build the
namespaces, become an ordinary user, fork the server as process 1 of them, wait.
The server: a packet with limits and four descriptors comes, a child is forked into a PID namespace and a private /tmp
of its own, its end is told. It never reads a submission or an answer: a child finds no other submission in its memory.
The child: limits, no capability, Landlock, seccomp, then the code. What it owns then is its own answers.
"""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import os
import select
import signal
import socket
import struct
import sys
import time
import traceback
import types
from types import ModuleType
from typing import Any, NoReturn

TMP_BYTES, TMP_FILES = 16 << 20, 1024
MAX_FILE_BYTES, MAX_FILES, MAX_PROCESSES, STACK_BYTES = 1 << 20, 64, 64, 64 << 20
LANDLOCK_MIN = 3  # before, opening a readable file could empty it
JOB = struct.Struct("=dQQB")
"""Packs what a run is given: seconds of processor, bytes of memory, bytes for answers, mode."""
ENDED = struct.Struct("=id??")
"""Packs how a run ended: status as of `wait`, seconds of processor, whether it was started, and computed too long."""
CALLS, PROGRAM = 0, 1
MAX_TEXT = 1000

_PRELOADED = """
abc array atexit base64 bisect bz2 cmath codecs collections collections.abc contextlib copy csv ctypes dataclasses
datetime decimal enum fractions functools gc hashlib heapq inspect io itertools json keyword linecache locale lzma math
mmap numbers operator queue random re resource select signal statistics string struct sys textwrap threading time timeit
traceback types typing unicodedata uuid warnings weakref zlib
"""
# Their system libraries are mapped before the file system goes.
_LIBRARIES = ("_ssl", "_sqlite3", "_elementtree", "pyexpat", "_uuid", "_crypt", "_curses", "_curses_panel", "readline")
_DEVICES = ("null", "zero", "full", "random", "urandom")
_ZONES = "/usr/share/zoneinfo"
_HELD = "/proc/self/fd/"


def _beside(name: str) -> ModuleType:
    return _loaded(f"{os.path.dirname(__file__)}/{name}.py")


def _loaded(path: str) -> ModuleType:
    """Loads a file of ours, which a run can import as `_sandbox_` and the file's name."""
    name = os.path.basename(path).removesuffix(".py")
    spec = importlib.util.spec_from_file_location(f"_sandbox_{name}", path)
    assert spec is not None and spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# -- first process -----------------------------------------------------------------------------


def main() -> NoReturn:
    tier, control = sys.argv[1], socket.socket(fileno=int(sys.argv[2]))
    try:
        kernel = _beside("kernel")
        frames = _beside("frames")
        _first_to_die()
        _preload()
        if sys.argv[3:]:
            _prepare(sys.argv[3], sys.argv[4:])
        own_bytes = _address_bytes()
        _set_apart(tier, kernel, control)
        server = _Server(tier, kernel, frames, control, own_bytes)
    except BaseException as error:  # noqa: BLE001  (not swallowed: it is told to our side)
        why = str(error) if isinstance(error, OSError) else traceback.format_exc()[-2000:]
        control.send(b"E" + why.encode("utf-8", "replace"))
        os._exit(1)
    _standard_streams()
    nowhere = os.open("/dev/null", os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    control.send(b"R")
    server.serve()
    os._exit(0)


def _first_to_die() -> None:
    """Has the kernel take a submission before anything of the user's where memory runs out."""
    # No /proc, or not ours to say: one layer less against a full machine, none against the code.
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("1000")


def _address_bytes() -> int:
    """Returns what the limit on memory counts before a submission has asked for any, and 8 MiB of room."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE") + (8 << 20)


def _preload() -> None:
    import ctypes

    for name in _PRELOADED.split():
        importlib.import_module(name)
    for name in _LIBRARIES:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin and spec.origin.endswith(".so"):
            with contextlib.suppress(OSError):  # not installed: then the module cannot be imported outside either
                ctypes.CDLL(spec.origin)


def _prepare(prelude: str, folders: list[str]) -> None:
    """Has a module of ours make itself ready. A run finds in memory what it imported; the folders it never sees."""
    own = sys.path[:]
    sys.path += folders  # behind the library, whose modules nothing there can stand for
    _loaded(prelude).ready()
    sys.path[:] = own


def _set_apart(tier: str, kernel: Any, control: socket.socket) -> None:
    """Leaves the user's files, processes and network behind; returns in the process that serves."""
    kernel.machine()
    kernel.few_arenas()
    is_root = os.geteuid() == 0
    spare = _spare_id() if is_root else 0
    if tier == "landlock":
        if is_root:
            _import_by_descriptor()
            _become(spare, kernel)
        kernel.set_dumpable(False)
        return
    # Everything needed of the old root while it can still be reached by name.
    own = os.open("/proc/self", os.O_PATH | os.O_DIRECTORY)
    if is_root:  # before the uid goes: it may not be allowed to where the interpreter lies
        kernel.unshare(kernel.NEWNS, "a mount namespace")
        _build_root(kernel)
        _become(spare, kernel)
    uid, gid = os.geteuid(), os.getegid()
    kernel.unshare(
        kernel.NEWUSER | kernel.NEWNS | kernel.NEWPID | kernel.NEWNET | kernel.NEWIPC | kernel.NEWUTS,
        "user, mount, PID, network, IPC and UTS namespaces",
    )
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        place = os.open(name, os.O_WRONLY, dir_fd=own)
        try:
            os.write(place, text.encode("ascii"))
        except OSError as error:
            raise OSError(error.errno, f"writing {name} of a user namespace: {error.strerror}") from None
        finally:
            os.close(place)
    os.close(own)
    if not is_root:
        _build_root(kernel)
    socket.sethostname("sandbox")
    kernel.set_dumpable(False)
    pid = os.fork()
    if pid:
        control.close()
        _, status = os.waitpid(pid, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
    kernel.die_with_parent()


def _spare_id() -> int:
    """Returns a uid that is nobody's: the highest of systemd's range for such uses that this namespace has."""
    with open("/proc/self/uid_map", encoding="ascii") as file:
        ranges = [tuple(map(int, line.split())) for line in file]
    for wanted in (64917, 65534):
        if any(first <= wanted < first + count for first, _, count in ranges):
            return wanted
    return max(first + count - 1 for first, _, count in ranges)


def _become(uid: int, kernel: Any) -> None:
    if uid == 0:
        raise OSError(1, "root, and no other uid to become")
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    kernel.set_dumpable(True)  # else our own uid_map is root's


def _build_root(kernel: Any) -> None:
    """Builds a root of our own: standard library, time zones and five devices, read-only; nothing else is in it."""
    shown = _library()
    if os.path.isdir(_ZONES):
        shown[_ZONES] = os.path.realpath(_ZONES)
    kernel.mount(None, "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("sandbox", "/tmp", "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "size=1m,mode=755")
    os.mkdir("/tmp/.old")
    kernel.pivot_root("/tmp", "/tmp/.old")
    os.chdir("/")
    for path, real in shown.items():
        if os.path.isdir(f"/.old{real}"):
            os.makedirs(path, exist_ok=True)
        else:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            open(path, "w").close()
        kernel.mount(f"/.old{real}", path, None, kernel.MS_BIND | kernel.MS_REC)
        kernel.protect(path)
        for name in ("site-packages", "dist-packages"):
            if os.path.isdir(f"{path}/{name}"):
                kernel.mount("none", f"{path}/{name}", "tmpfs", kernel.MS_RDONLY, "size=4k")
    os.mkdir("/dev")
    for name in _DEVICES:
        open(f"/dev/{name}", "w").close()
        kernel.mount(f"/.old/dev/{name}", f"/dev/{name}", None, kernel.MS_BIND)
    os.symlink("/tmp/.stdin", "/dev/stdin")
    os.makedirs("/tmp", exist_ok=True)
    kernel.detach("/.old")
    os.rmdir("/.old")
    kernel.protect("/", below=False)


def _import_by_descriptor() -> None:
    """Imports the library through descriptors of its folders from here on.

    Another user may not be let through the folders above them, as where the interpreter lies below root's home.
    """
    places = {path: f"{_HELD}{os.open(path, os.O_PATH)}" for path in _library()}  # type: ignore[attr-defined,unused-ignore]

    def moved(path: str) -> str:
        above = next((one for one in places if path == one or path.startswith(f"{one}/")), "")
        return places[above] + path[len(above) :] if above else path

    sys.path[:] = [moved(os.path.abspath(path)) for path in sys.path]
    for module in list(sys.modules.values()):
        if isinstance(getattr(module, "__path__", None), list):
            module.__path__ = [moved(path) for path in module.__path__]
    sys.path_importer_cache.clear()


def _library() -> dict[str, str]:
    """Returns folders and files that the standard library is imported from, each with what it is a link to."""
    found: dict[str, str] = {}
    for path in map(os.path.abspath, sys.path):
        if os.path.exists(path) and not any(path == one or path.startswith(f"{one}/") for one in found):
            found[path] = os.path.realpath(path)
    return found


# -- the server --------------------------------------------------------------------------------


class _Server:
    """Waits in one thread for a run, for its end, for a word from our side."""

    def __init__(self, tier: str, kernel: Any, frames: Any, control: socket.socket, own_bytes: int) -> None:
        self.own_bytes = own_bytes
        self.tier, self.kernel, self.frames, self.control = tier, kernel, frames, control
        self.version = kernel.landlock_version()
        self.rules = -1
        self.filter = kernel.filter_program(True, 1)  # a child is process 1 of its namespace
        self.processes = MAX_PROCESSES
        if tier == "landlock":
            if self.version < LANDLOCK_MIN:
                raise OSError(38, f"Landlock version {self.version}: {LANDLOCK_MIN} is needed")
            rights = [(path, kernel.READ) for path in [*_library(), _ZONES] if os.path.exists(path)]
            rights += [(f"/dev/{name}", kernel.READ_WRITE_FILE) for name in _DEVICES]
            self.rules = kernel.landlock_rules(self.version, rights)
            self.processes += 192 + _tasks_of(os.getuid())
        self.started = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)  # type: ignore[attr-defined,unused-ignore]
        held = [int(path.removeprefix(_HELD)) for path in _library() if path.removeprefix(_HELD).isdigit()]
        self.kept = sorted([self.started, *held])

    def serve(self) -> None:
        sys.argv, sys.orig_argv, sys.executable = ["submission.py"], [], ""
        os.environ.clear()
        sys.modules.pop("__main__")
        gc.collect()
        gc.freeze()
        while True:
            data, descriptors, _, _ = socket.recv_fds(self.control, 4096, 8)
            if not data:
                return
            if len(descriptors) == 4:
                self.run(data, descriptors)

    def run(self, job: bytes, descriptors: list[int]) -> None:
        try:
            flags = self.kernel.NEWPID | self.kernel.NEWNS if self.tier == "full" else 0
            pid = self.kernel.fork(flags)
        except OSError as error:
            for one in descriptors:
                os.close(one)
            self.control.send(b"E" + str(error).encode("utf-8", "replace"))
            return
        if pid == 0:
            _child(self, JOB.unpack(job), descriptors)
        for one in descriptors:
            os.close(one)
        process = os.pidfd_open(pid)
        try:
            is_over = self._watch(process, pid, JOB.unpack(job)[0])
            _, status, usage = os.wait4(pid, 0)
        finally:
            os.close(process)
        is_started = False
        with contextlib.suppress(BlockingIOError):
            is_started = os.read(self.started, 8) != b""
        self.control.send(b"D" + ENDED.pack(status, usage.ru_utime + usage.ru_stime, is_started, is_over))

    def _watch(self, process: int, pid: int, cpu_s: float) -> bool:
        """Waits until a run has ended and returns whether that was for computing too long.

        By the process's own clock: a limit of the system counts whole ticks, which on a busy machine can be half as
        much again as it really had.
        """
        clock = (~pid << 3) | 2  # the clock of all its threads, as clock_getcpuclockid gives it
        poller = select.poll()
        poller.register(process, select.POLLIN)
        poller.register(self.control, select.POLLIN)
        while True:
            left = cpu_s - time.clock_gettime(clock)
            ready = [descriptor for descriptor, _ in poller.poll(max(2, int(1000 * left)))] if left > 0 else []
            if process in ready:
                return False
            if self.control.fileno() in ready:
                word = self.control.recv(16)
                if word == b"P":  # who is it? our side sees it under another number
                    socket.send_fds(self.control, [b"P"], [process])
                    continue
            elif left > 0:
                continue
            signal.pidfd_send_signal(process, signal.SIGKILL)  # told to, or too long, or our side is gone
            select.select([process], [], [])
            return left <= 0


def _standard_streams() -> None:
    """Opens Python's own streams once, over a pipe so that they never seek; a child puts its descriptors below."""
    for standard, descriptor in zip((0, 1), os.pipe(), strict=True):
        os.dup2(descriptor, standard)
        os.close(descriptor)
    os.dup2(1, 2)
    for descriptor, name, mode, errors, buffering in (
        (0, "stdin", "r", "surrogateescape", -1),
        (1, "stdout", "w", "surrogateescape", -1),
        (2, "stderr", "w", "backslashreplace", 1),
    ):
        stream = open(descriptor, mode, buffering, "utf-8", errors, closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _tasks_of(uid: int) -> int:
    """Counts the threads of all processes of a user, as its limit on processes does."""
    found = 0
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError):  # it has ended
            if name.isdigit() and os.stat(f"/proc/{name}").st_uid == uid:
                found += len(os.listdir(f"/proc/{name}/task"))
    return found


# -- the child ---------------------------------------------------------------------------------


def _child(server: _Server, job: tuple[Any, ...], descriptors: list[int]) -> NoReturn:
    """Goes from fork to end, whatever happens between: nothing returns to the server's loop."""
    leave = os._exit
    try:
        status = _run_child(server, job, descriptors)
    except BaseException:  # noqa: BLE001  (a process of its own: its end tells our side that there is no answer)
        status = 1
    while True:
        leave(status)


def _run_child(server: _Server, job: tuple[Any, ...], descriptors: list[int]) -> int:
    import mmap

    cpu_s, memory_bytes, frame_bytes, mode = job
    asked, answers, out, err = descriptors
    kernel, frames, is_full = server.kernel, server.frames, server.tier == "full"
    told = _Told(mmap.mmap(answers, frame_bytes), frames)
    if is_full:
        size = f"size={TMP_BYTES},nr_inodes={TMP_FILES},mode=700"
        kernel.mount("tmp", "/tmp", "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, size)
    os.chdir("/tmp" if is_full else "/")
    with open(asked, "rb", closefd=False) as file:
        source, entry_or_text, calls = frames.decode(file.read(), frames.Budget(1 << 40))
    for standard, descriptor in enumerate((_stdin(entry_or_text if mode == PROGRAM else "", is_full), out, err)):
        os.dup2(descriptor, standard)
    rules = server.rules
    if is_full and server.version:
        rights = [("/", kernel.READ), ("/dev", kernel.READ_WRITE_FILE), ("/tmp", kernel.OWN)]
        rules = kernel.landlock_rules(server.version, rights)
    _limit(cpu_s, memory_bytes + frame_bytes + server.own_bytes, server.processes)
    if is_full:
        kernel.drop_capabilities()
    kernel.set_dumpable(False)
    kernel.die_with_parent()
    kernel.no_new_privileges()
    if server.version:
        kernel.landlock(rules)
    for last, next_ in zip([2, *server.kept], [*server.kept, 1024], strict=True):
        os.closerange(last + 1, next_)
    kernel.seccomp(server.filter if is_full else kernel.filter_program(False, os.getpid()))
    os.write(server.started, (1).to_bytes(8, sys.byteorder))
    os.close(server.started)
    sys.modules["random"].seed(0)  # a fork seeds it by chance: the same submission, the same answers
    sys.setrecursionlimit(sys.getrecursionlimit() + 20)  # our own frames
    if mode == PROGRAM:
        return _run_program(source, told)
    _run_calls(source, entry_or_text, calls, told)
    return 0


def _stdin(text: str, is_full: bool) -> int:
    data = text.encode("utf-8", "surrogatepass")
    if not data:
        return os.open("/dev/null", os.O_RDONLY)
    if is_full and len(data) <= TMP_BYTES // 2:  # `/dev/stdin` is a link to it
        descriptor = os.open("/tmp/.stdin", os.O_RDWR | os.O_CREAT, 0o600)
    else:
        descriptor = os.memfd_create("stdin")  # type: ignore[attr-defined,unused-ignore]
    with open(descriptor, "wb", closefd=False) as file:
        file.write(data)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _limit(cpu_s: float, memory_bytes: int, processes: int) -> None:
    """Sets the limits; that on time is for a server that does not watch. A namespace's process 1 ignores a soft one."""
    import resource

    seconds = 2 * int(cpu_s) + 2
    for what, most in (
        (resource.RLIMIT_CPU, seconds), (resource.RLIMIT_AS, memory_bytes), (resource.RLIMIT_FSIZE, MAX_FILE_BYTES),
        (resource.RLIMIT_NOFILE, MAX_FILES), (resource.RLIMIT_NPROC, processes), (resource.RLIMIT_STACK, STACK_BYTES),
        (resource.RLIMIT_CORE, 0), (resource.RLIMIT_MEMLOCK, 0), (resource.RLIMIT_MSGQUEUE, 0),
    ):  # fmt: skip
        _, hard = resource.getrlimit(what)
        value = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (value, value))


class _Told:
    """Writes records into memory shared with our side: a length, a letter, what it says. A length of 0 ends them.

    v: a value · r: it raised, text · n: no value, text · e: the end of the run: a word, a line, text.
    """

    def __init__(self, memory: Any, frames: Any) -> None:
        self.memory, self.frames = memory, frames
        self.at, self.most = 0, len(memory) - 4 * MAX_TEXT - 64
        self.budget = frames.Budget()

    def value(self, value: object, is_listed: bool) -> None:
        """Writes a value; raises MemoryError, and what the code of the value raises."""
        most = max(0, self.most - self.at)
        try:
            data = self.frames.encode(value, self.budget, most, is_listed)
        except self.frames.FrameError as error:
            self._put(b"n", str(error).encode("utf-8", "replace"))
        except RecursionError:
            self._put(b"n", b"nested too deep")
        else:
            self._put(b"v", data)

    def raised(self, text: str) -> None:
        self._put(b"r", text.encode("utf-8", "replace"))

    def end(self, word: str, text: str = "") -> None:
        self.most = len(self.memory) - 8
        self._put(b"e", f"{word}\n{text}".encode("utf-8", "replace"))

    def _put(self, letter: bytes, data: bytes) -> None:
        size = 1 + len(data)
        if self.at + 4 + size > self.most:
            letter, data, size = b"n", b"too large", 10
        if self.at + 4 + size > len(self.memory) - 8:
            return
        self.memory[self.at + 4 : self.at + 4 + size] = letter + data
        self.memory[self.at : self.at + 4] = size.to_bytes(4, "big")
        self.at += 4 + size


def _said(error: BaseException) -> str:
    """Returns type and message of an exception; the message may be the code's own, and fail."""
    name = type(error).__name__
    try:
        text = str(error)
    except BaseException:  # noqa: BLE001  (the code's own `__str__`)
        text = ""
    return f"{name}{': ' if text else ''}{text}"[:MAX_TEXT]


def _module(name: str) -> ModuleType:
    """Makes a real, registered module: dataclasses, pickle and typing look modules up by name."""
    module = types.ModuleType(name)
    module.__dict__["__builtins__"] = __builtins__
    module.__dict__["__file__"] = "submission.py"
    sys.modules["__main__"] = sys.modules[name] = module
    return module


def _compiled(source: str, told: _Told) -> types.CodeType | None:
    try:
        return compile(source, "submission.py", "exec", dont_inherit=True)
    except MemoryError:
        told.end("memory", "while it was compiled")
    except BaseException as error:  # noqa: BLE001  (SyntaxError, ValueError, RecursionError, ...: told to our side)
        told.end("syntax", _said(error))
    return None


def _run_calls(source: str, entry: str, calls: list[Any], told: _Told) -> None:
    code = _compiled(source, told)
    if code is None:
        return
    names = _module("submission").__dict__  # not `__main__`: a guarded main program is not what was asked for
    try:
        exec(code, names)
        function = names.get(entry)
        if function is None:
            told.end("no entry", f"`{entry}` is not defined")
            return
        for args, kwargs, is_listed in calls:
            try:
                told.value(function(*args, **kwargs), is_listed)
            except MemoryError:
                told.raised("MemoryError")
                raise
            except BaseException as error:  # noqa: BLE001  (SystemExit too: it is this call's answer)
                told.raised(_said(error))
    except MemoryError:
        told.end("memory", "MemoryError")
    except BaseException as error:  # noqa: BLE001  (told to our side: no call was made)
        told.end("raised", _said(error))
    else:
        told.end("ok")


def _run_program(source: str, told: _Told) -> int:
    """Runs a program as `python submission.py` would and returns its exit code."""
    code = _compiled(source, told)
    if code is None:
        return 1
    status = 0
    try:
        exec(code, _module("__main__").__dict__)
    except SystemExit as error:
        status = _exit_code(error.code)
    except MemoryError:
        told.end("memory", "MemoryError")
        status = 1
    except BaseException as error:  # noqa: BLE001  (as Python does at its top level)
        traceback.print_exception(type(error), error, error.__traceback__ and error.__traceback__.tb_next)
        status = 1
    threading = sys.modules["threading"]
    threading.__dict__["_shutdown"]()
    sys.modules["atexit"].__dict__["_run_exitfuncs"]()
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        status = status or 120
    return status


def _exit_code(code: object) -> int:
    if code is None or isinstance(code, int):
        return (code or 0) & 0xFF
    sys.stderr.write(f"{code}\n")
    return 1


if __name__ == "__main__":
    main()
