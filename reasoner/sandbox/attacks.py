"""Holds the attacks on the sandbox, and the bait that is laid out for them.

An attack that succeeds does no harm: it forks a few children that sleep, asks a signal of nobody, leaves one file in a
folder of its own. What holds against all of them is no proof that nothing gets through.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import socket
import tempfile
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reasoner.sandbox.pool import Pool


@dataclass(frozen=True)
class Attack:
    """Is one thing that must not work; its `source` defines `attack(facts)`, which returns what it could do.

    `limits` go to the request; `ends`, kinds of answers or ends of a run, count as held; `seen` looks outside.
    """

    name: str
    source: str
    ends: tuple[str, ...] = ("value",)
    limits: dict[str, Any] = field(default_factory=dict)
    seen: Callable[[Bait], str] = lambda bait: ""
    is_slow: bool = False


class Bait:
    """Plants a secret, a folder that anyone may write to and listeners for the attacks, and looks after them."""

    def __enter__(self) -> Bait:
        self.folder = Path(tempfile.mkdtemp(prefix="reasoner-selftest-"))
        self.folder.chmod(0o777)
        key = self.folder / ".ssh" / "id_selftest"
        key.parent.mkdir()
        key.write_text(secrets.token_hex(16), encoding="ascii")
        key.parent.chmod(0o755)
        key.chmod(0o666)
        abstract = f"\0reasoner-selftest-{secrets.token_hex(8)}"
        self.listeners = {
            "TCP": socket.create_server(("127.0.0.1", 0)),
            "UDP": socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
            "an abstract socket": socket.socket(socket.AF_UNIX, socket.SOCK_STREAM),
        }
        self.listeners["UDP"].bind(("127.0.0.1", 0))
        self.listeners["an abstract socket"].bind(abstract)
        self.listeners["an abstract socket"].listen()
        for listener in self.listeners.values():
            listener.setblocking(False)
        self.facts = {
            "mark": f"reasoner-leak-{secrets.token_hex(4)}",
            "key": str(key),
            "folder": str(self.folder),
            "planted": hashlib.sha256(_PLANTED.encode("ascii")).hexdigest(),
            "home": os.path.expanduser("~"),
            "ours": str(Path(__file__).resolve()),
            "tcp": self.listeners["TCP"].getsockname()[1],
            "udp": self.listeners["UDP"].getsockname()[1],
            "abstract": abstract,
            "pid": os.getpid(),
        }
        return self

    def __exit__(self, *_: object) -> None:
        for listener in self.listeners.values():
            listener.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def heard(self) -> str:
        """Returns what arrived at a listener; empty where nothing did."""
        for name, listener in self.listeners.items():
            with contextlib.suppress(BlockingIOError):
                if listener.type == socket.SOCK_DGRAM:
                    listener.recv(1)
                else:
                    listener.accept()[0].close()
                return f"{name} was reached"
        return ""

    def written(self) -> str:
        """Returns what was left in a folder, or done to the key; empty where nothing was."""
        places = (self.folder, *map(Path, ("/var/tmp", "/dev/shm", "/tmp", "/", self.facts["home"])))
        left = [path for place in places for path in place.glob(f"{self.facts['mark']}*")]
        for path in left:
            path.unlink()
        key = Path(self.facts["key"])
        if key.stat().st_mode & 0o777 != 0o666 or not key.stat().st_size:
            return "changed a file"
        return f"left {left[0]}" if left else ""

    def left(self, pool: Pool) -> str:
        """Returns how many processes are left below the servers of a pool when nothing runs; empty where none is."""
        allowed = 1 if pool.tier == "full" else 0
        for _ in range(20):
            count = pool.processes() - 1
            if count <= allowed:
                return ""
            time.sleep(0.01)
        return f"{count - allowed} processes are left"


_PRELUDE = """
import ctypes, os, socket, sys
from contextlib import suppress
libc = ctypes.CDLL(None, use_errno=True)
got = []
def tried(name, function, *args):
    try:
        result = function(*args)
    except BaseException:
        return
    if result not in (-1, None, False, b"", "", [], {}):
        got.append(name)
def done(name, function, *args):
    tried(name, lambda: function(*args) == 0)
def read(path):
    with open(path, "rb") as file:
        return file.read(64)
"""

_PLANTED = secrets.token_hex(8)


def _source(text: str) -> str:
    return _PRELUDE + textwrap.dedent(text)


ATTACKS = (
    Attack("honest code", f"# planted: {_PLANTED}\n" + _source("""
        import asyncio, bisect, dataclasses, decimal, json, sqlite3, statistics, threading, zoneinfo
        @dataclasses.dataclass
        class Point:
            x: "int"
        def attack(facts):
            found = []
            thread = threading.Thread(target=found.append, args=(Point(2).x,))
            thread.start(); thread.join()
            async def one():
                await asyncio.sleep(0)
                return 3
            found.append(asyncio.run(one()))
            print("printed")
            import colorsys, difflib, html.parser, xml.etree.ElementTree, hashlib
            found.append(len(hashlib.sha256(b"").digest()))
            return [] if found == [2, 3, 32] else ["not run as honest code"]
        """)),
    Attack("read files", _source("""
        def others(path):
            return [name for name in os.listdir(path) if not os.__file__.startswith(f"{path}/{name}/")]
        def attack(facts):
            for name in ("key", "ours"):
                tried("read " + facts[name], read, facts[name])
            for path in ("/etc/passwd", "/etc/shadow", "/etc/hostname", "/bin/sh", "/sys/kernel/uevent_seqnum"):
                tried("read " + path, read, path)
            for path in (facts["folder"], "/home", "/etc", "/var"):
                tried("list " + path, others, path)
            tried("list a home", others, facts["home"])
            for held in range(3, 64):
                for up in range(1, 9):
                    for flags in (os.O_RDONLY, os.O_RDONLY | os.O_DIRECTORY):
                        tried(f"open {up} above {held}", lambda: os.open("../" * up, flags, dir_fd=held) > 0)
                    tried(f"read from {held}", lambda: os.open("../" * up + facts["key"][1:], flags, dir_fd=held) > 0)
            return got
        """)),
    Attack("write files", _source("""
        def attack(facts):
            for path in (facts["folder"], "/var/tmp", "/dev/shm", "/tmp", "/", os.path.expanduser("~")):
                with suppress(OSError):
                    open(path + "/" + facts["mark"], "w").close()
                    os.symlink("x", path + "/" + facts["mark"] + "-2")
            for name in ("chmod", "truncate"):
                done(name, getattr(libc, name), facts["key"].encode(), 0)
            tried("write to the library", open, os.__file__, "r+b")
            return got
        """), seen=lambda bait: bait.written()),
    Attack("environment", _source("""
        def attack(facts):
            tried("see variables", lambda: [k for k in os.environ if k != "LD_LIBRARY_PATH"])
            for pid in ("self", "1", os.getppid(), facts["pid"]):
                for name in ("environ", "cmdline", "maps", "mem", "root/etc/passwd", "fd"):
                    tried(f"read /proc/{pid}/{name}", read, f"/proc/{pid}/{name}")
            tried("list processes", lambda: [n for n in os.listdir("/proc") if n.isdigit()])
            return got
        """)),
    Attack("network", _source("""
        def attack(facts):
            tried("TCP", lambda: socket.create_connection(("127.0.0.1", facts["tcp"]), 0.2))
            def udp():
                s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                return s.sendto(b"x", ("127.0.0.1", facts["udp"]))
            tried("UDP", udp)
            def unix():
                s = socket.socket(socket.AF_UNIX)
                s.connect(facts["abstract"])
                return True
            tried("abstract socket", unix)
            for family, kind in ((2, 1), (2, 2), (10, 1), (1, 1), (16, 3), (17, 3), (38, 5), (40, 1)):
                tried(f"socket {family} {kind}", libc.socket, family, kind, 0)
            def passed():
                a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
                return a.sendto(b"x", facts["abstract"])
            tried("a pair's datagram to an abstract socket", passed)
            return got
        """), seen=lambda bait: bait.heard()),
    Attack("new processes", _source("""
        import subprocess, multiprocessing, time
        def forked(fork):
            pid = fork()
            if pid == 0:
                time.sleep(1); os._exit(0)
            return pid if pid > 0 else -1
        def attack(facts):
            for _ in range(5):
                tried("fork", forked, os.fork)
            tried("vfork, by number", forked, lambda: libc.syscall(58 if os.uname().machine == "x86_64" else 220, 17))
            tried("clone", forked, lambda: libc.syscall(56 if os.uname().machine == "x86_64" else 220, 17, 0, 0, 0, 0))
            tried("clone3", forked, lambda: libc.syscall(435, ctypes.create_string_buffer(88), 88))
            tried("run a program", lambda: subprocess.run([sys.executable or "/bin/true"], timeout=2).returncode == 0)
            tried("posix_spawn", lambda: os.posix_spawn("/bin/true", ["true"], {}))
            tried("multiprocessing", lambda: multiprocessing.get_context("fork").Process(target=print).start() or 1)
            return got
        """)),
    Attack("another program in its place", _source("""
        def attack(facts):
            for path in ("/bin/true", "/bin/sh", "/usr/bin/env"):
                tried("exec " + path, os.execv, path, [path])
            return got
        """)),
    Attack("a daemon that stays", _source("""
        import threading, time
        def attack(facts):
            def stay():
                while True:
                    time.sleep(0.05)
            threading.Thread(target=stay, daemon=True).start()
            threading.Thread(target=stay).start()
            with suppress(OSError):
                if os.fork() == 0:
                    os.setsid()
                    if os.fork() == 0:
                        time.sleep(2)
                    os._exit(0)
                got.append("fork twice")
            return got
        """)),
    Attack("signals to others", _source("""
        import fcntl, signal
        def attack(facts):
            for pid in {1, os.getppid(), facts["pid"], -1} - {os.getpid(), 0}:
                tried(f"kill {pid}", lambda: os.kill(pid, 0) or True)
                tried(f"tgkill {pid}", lambda: libc.tgkill(pid, pid, 0) == 0)
                tried(f"pidfd {pid}", os.pidfd_open, pid)
            ends = os.pipe()
            def own(pid):
                return fcntl.fcntl(ends[0], fcntl.F_SETOWN, pid) == 0
            tried("F_SETOWN", own, facts["pid"])
            return got
        """)),
    Attack("tracing", _source("""
        def attack(facts):
            for pid in {1, os.getppid(), facts["pid"]} - {os.getpid(), 0}:
                done(f"ptrace {pid}", libc.ptrace, 0x4206, pid, 0, 0)
                buffer = ctypes.create_string_buffer(16)
                vector = (ctypes.c_size_t * 2)(ctypes.addressof(buffer), 16)
                tried(f"read memory of {pid}", libc.process_vm_readv, pid, vector, 1, vector, 1, 0)
                done(f"limits of {pid}", libc.prlimit, pid, 7, None, ctypes.create_string_buffer(16))
            tried("PTRACE_TRACEME", lambda: libc.ptrace(0, 0, 0, 0) == 0)
            return got
        """)),
    Attack("mounts, namespaces, root", _source("""
        def attack(facts):
            tried("mount", lambda: libc.mount(b"x", b"/tmp", b"tmpfs", 0, None) == 0)
            tried("umount", lambda: libc.umount2(b"/tmp", 2) == 0)
            for flag in (0x10000000, 0x20000, 0x40000000, 0x20000000):
                tried(f"unshare {flag:#x}", lambda: libc.unshare(flag) == 0)
            tried("chroot", lambda: libc.chroot(b"/tmp") == 0)
            tried("setns", lambda: libc.setns(0, 0) == 0)
            tried("setuid", lambda: os.setuid(0) or True)
            tried("be root", lambda: 0 in os.getresuid())
            tried("setgroups", lambda: os.setgroups([0]) or True)
            return got
        """)),
    Attack("doors of the kernel", _source("""
        def attack(facts):
            is_x86 = os.uname().machine == "x86_64"
            names = {"io_uring_setup": (425, 425), "bpf": (321, 280), "perf_event_open": (298, 241),
                     "userfaultfd": (323, 282), "keyctl": (250, 219), "add_key": (248, 217), "memfd_create": (319, 279),
                     "memfd_secret": (447, 447), "open_by_handle_at": (304, 265), "fallocate": (285, 47),
                     "shmget": (29, 194), "msgget": (68, 186), "mq_open": (240, 180), "personality": (135, 92),
                     "fanotify_init": (300, 262), "pidfd_getfd": (438, 438), "seccomp": (317, 277),
                     "landlock_create_ruleset": (444, 444), "splice": (275, 76), "vmsplice": (278, 75)}
            buffer = ctypes.create_string_buffer(256)
            for name, numbers in names.items():
                ctypes.set_errno(0)
                result = libc.syscall(numbers[not is_x86], buffer, 0, 0, 0, 0, 0)
                if result != -1 or ctypes.get_errno() not in (1, 38):
                    got.append(name)
            tried("x32", lambda: is_x86 and libc.syscall(0x40000000 + 39) > 0)
            return got
        """)),
    Attack("memory", _source("""
        def attack(facts):
            held = []
            for _ in range(24):
                held.append(bytearray(32 << 20))
            return ["take 768 MiB"]
        """), ends=("memory",), limits={"memory_bytes": 256 << 20}),
    Attack("a full disk", _source("""
        def attack(facts):
            total = 0
            with suppress(OSError):
                for number in range(40):
                    with open(f"/tmp/{number}", "wb") as file:
                        total += file.write(bytes(1 << 20))
            with suppress(OSError):
                with open("/tmp/large", "wb") as file:
                    file.write(bytes(2 << 20))
                got.append("write a file of 2 MiB")
            return got + [f"write {total} bytes"] * (total > 20 << 20)
        """)),
    Attack("endless output", "def attack(facts):\n    while True:\n        print('x' * 1000)\n", ends=("output",)),
    Attack("a long sleep", "import time\ndef attack(facts):\n    time.sleep(60)\n    return []\n",
           ends=("wall",), limits={"wall_s": 0.2}),
    Attack("a deaf loop", _source("""
        import signal
        def attack(facts):
            for number in signal.valid_signals():
                with suppress(OSError, ValueError):
                    signal.signal(number, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            while True:
                pass
        """), ends=("wall", "cpu"), limits={"wall_s": 0.2}),
    Attack("sys.exit(0)", "import sys\ndef attack(facts):\n    return ['go on'] if sys.exit(0) else []\n",
           ends=("raised",)),
    Attack("os._exit(0)", "import os\ndef attack(facts):\n    os._exit(0)\n", ends=("died",)),
    Attack("always equal", "class A:\n    __eq__ = lambda *_: True\ndef attack(facts):\n    return A()\n",
           ends=("none",)),
    Attack("find an earlier submission", _source("""
        import gc, hashlib
        def attack(facts):
            seen, send = os.pipe()
            blocks = {id(one) >> 20 for one in gc.get_objects()}
            libc.sbrk.restype = ctypes.c_ssize_t
            blocks |= {(libc.sbrk(0) >> 20) - back for back in range(16)}
            for block in blocks:
                data = b""
                for page in range(block << 20, (block + 1) << 20, 4096):
                    if libc.write(send, ctypes.c_void_p(page), 4096) == 4096:  # no crash where nothing is mapped
                        data += os.read(seen, 4096)
                for part in data.split(b"# planted: ")[1:]:
                    if hashlib.sha256(part[:16]).hexdigest() == facts["planted"]:
                        return ["find what was sent for another run"]
            return got
        """)),
    Attack("false frames", _source("""
        import gc, mmap
        def attack(facts):
            for one in gc.get_objects() + [v for o in gc.get_objects() if hasattr(o, "__dict__")
                                           for v in list(vars(o).values())]:
                if type(one) is mmap.mmap:
                    one[:] = b"\\xff" * len(one)
            for descriptor in range(3, 64):
                with suppress(OSError):
                    os.write(descriptor, b"\\xff" * 100)
            os._exit(0)
        """), ends=("died",)),
    Attack("a broken encoder", _source("""
        def attack(facts):
            for name, module in list(sys.modules.items()):
                if "frames" in name or name in ("struct", "json"):
                    for key in list(vars(module)):
                        if callable(vars(module)[key]):
                            vars(module)[key] = lambda *_, **__: b"l\\xff\\xff\\xff\\xff"
            return []
        """), ends=("value", "died", "none")),
    Attack("endless computing", "def attack(facts):\n    while True:\n        pass\n", ends=("cpu",), is_slow=True),
    Attack("endless computing in C", "def attack(facts):\n    return sum(__import__('itertools').repeat(1))\n",
           ends=("cpu",), is_slow=True),
)  # fmt: skip
