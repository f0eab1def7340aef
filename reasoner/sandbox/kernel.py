"""Asks Linux for namespaces, mounts, Landlock and seccomp, by system call. Standard library only.

It runs in the server, a process of its own; on other systems nothing here is called. The filter is a list of what is
allowed, with the numbers of x86_64 and aarch64; anything else gets EPERM, as an ordinary exception in honest code,
and calls newer than the list get ENOSYS, so that the C library takes an older one.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct

# -- calls -------------------------------------------------------------------------------------

NEWNS, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET = 0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 4096, 16384, 1 << 18
MNT_DETACH = 2
_MACHINES = {"x86_64": 0, "aarch64": 1, "arm64": 1}
_NUMBERS = {
    "clone": (56, 220), "capset": (126, 91), "pivot_root": (155, 41), "seccomp": (317, 277),
    "mount_setattr": (442, 442), "landlock_create_ruleset": (444, 444), "landlock_add_rule": (445, 445),
    "landlock_restrict_self": (446, 446),
}  # fmt: skip

_libc = ctypes.CDLL(None, use_errno=True)
_held = ctypes.PyDLL(None, use_errno=True)  # keeps Python's lock while it calls: for `clone`
_column = _MACHINES.get(platform.machine()) if struct.calcsize("P") == 8 else None


def machine() -> int:
    """Returns which column of the numbers is ours; raises `OSError` where there is none."""
    if _column is None:
        raise OSError(errno.ENOSYS, f"no table of system calls for {platform.machine()}")
    return _column


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def _call(name: str, *args: object) -> int:
    sent = [ctypes.c_long(arg) if isinstance(arg, int) else arg for arg in args]
    return _check(int(_libc.syscall(ctypes.c_long(_NUMBERS[name][machine()]), *sent)), name)


def unshare(flags: int, what: str) -> None:
    _check(_libc.unshare(flags), what)


def mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    parts = [None if part is None else os.fsencode(part) for part in (source, target, kind, data)]
    _check(_libc.mount(parts[0], parts[1], parts[2], ctypes.c_ulong(flags), parts[3]), f"mount on {target}")


def detach(target: str) -> None:
    _check(_libc.umount2(os.fsencode(target), MNT_DETACH), f"umount of {target}")


def protect(target: str, below: bool = True) -> None:
    """Makes a mount (and those below it) read-only, without devices and set-uid programs; other flags stay."""
    attributes = struct.pack("=QQQQ", MS_RDONLY | MS_NOSUID | MS_NODEV, 0, 0, 0)
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    _call("mount_setattr", -100, os.fsencode(target), 0x8000 if below else 0, buffer, len(attributes))


def pivot_root(new: str, old: str) -> None:
    _call("pivot_root", os.fsencode(new), os.fsencode(old))


def _prctl(option: int, value: int, what: str) -> None:
    _check(_libc.prctl(option, *(ctypes.c_ulong(one) for one in (value, 0, 0, 0))), what)


def set_dumpable(is_dumpable: bool) -> None:
    _prctl(4, int(is_dumpable), "PR_SET_DUMPABLE")


def die_with_parent() -> None:
    _prctl(1, 9, "PR_SET_PDEATHSIG")


def no_new_privileges() -> None:
    _prctl(38, 1, "PR_SET_NO_NEW_PRIVS")


def drop_capabilities() -> None:
    header = ctypes.create_string_buffer(struct.pack("=Ii", 0x20080522, 0), 8)
    _call("capset", header, ctypes.create_string_buffer(24))


def few_arenas() -> None:
    """Has threads share two heaps: glibc sets 64 MiB of addresses aside for each, which the limit on memory counts."""
    if hasattr(_libc, "mallopt"):
        _libc.mallopt(-8, 2)


def fork(flags: int) -> int:
    """Forks as `os.fork` does, into new namespaces."""
    ctypes.pythonapi.PyOS_BeforeFork()
    pid = int(
        _held.syscall(ctypes.c_long(_NUMBERS["clone"][machine()]), ctypes.c_long(flags | 17), *[ctypes.c_long(0)] * 4)
    )
    if pid == 0:
        ctypes.pythonapi.PyOS_AfterFork_Child()
    else:
        ctypes.pythonapi.PyOS_AfterFork_Parent()
        _check(pid, "clone")
    return pid


# -- Landlock ----------------------------------------------------------------------------------

READ_FILE, READ_DIR = 1 << 2, 1 << 3
_EXECUTE, _WRITE_FILE, _MAKE_CHAR, _MAKE_BLOCK, _TRUNCATE, _IOCTL = 1, 1 << 1, 1 << 6, 1 << 11, 1 << 14, 1 << 15
_OF_FILES = _EXECUTE | _WRITE_FILE | READ_FILE | _TRUNCATE | _IOCTL
READ = READ_FILE | READ_DIR
READ_WRITE_FILE = READ_FILE | _WRITE_FILE
OWN = 0xFFFF & ~(_EXECUTE | _MAKE_CHAR | _MAKE_BLOCK | _IOCTL)  # all but to run programs and make devices


def landlock_version() -> int:
    """Returns the version of Landlock; 0 where the kernel has none, or it is switched off."""
    try:
        return _call("landlock_create_ruleset", 0, 0, 1)
    except OSError:
        return 0


def landlock_rules(version: int, rights: list[tuple[str, int]]) -> int:
    """Returns a descriptor of rules that allow these rights below these paths, and no other file, port or process."""
    files = (1 << {1: 13, 2: 14, 3: 15, 4: 15}.get(version, 16)) - 1
    attributes = struct.pack("=QQQ", files, 3, 3)[: 8 if version < 4 else 16 if version < 6 else 24]
    rules = _call("landlock_create_ruleset", attributes, len(attributes), 0)
    for path, right in rights:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)  # type: ignore[attr-defined,unused-ignore]
        allowed = right & files & (0xFFFF if os.path.isdir(path) else _OF_FILES)
        _call("landlock_add_rule", rules, 1, struct.pack("=Qi", allowed, place), 0)
        os.close(place)
    return rules


def landlock(rules: int) -> None:
    _call("landlock_restrict_self", rules, 0)


# -- seccomp -----------------------------------------------------------------------------------

_ALLOWED = """
    read:0:63 write:1:64 close:3:57 fstat:5:80 lseek:8:62 mmap:9:222 mprotect:10:226 munmap:11:215 brk:12:214
    rt_sigaction:13:134 rt_sigprocmask:14:135 rt_sigreturn:15:139 pread64:17:67 pwrite64:18:68 readv:19:65
    writev:20:66 preadv:295:69 pwritev:296:70 preadv2:327:286 pwritev2:328:287 access:21:- pipe:22:- select:23:-
    sched_yield:24:124 mremap:25:216 msync:26:227 madvise:28:233 dup:32:23 dup2:33:- pause:34:- nanosleep:35:101
    getitimer:36:102 alarm:37:- setitimer:38:103 getpid:39:172 sendfile:40:71 socketpair:53:199 sendto:44:206
    recvfrom:45:207 sendmsg:46:211 recvmsg:47:212 shutdown:48:210 getsockname:51:204 getpeername:52:205
    setsockopt:54:208 getsockopt:55:209 sendmmsg:307:269 recvmmsg:299:243 exit:60:93 uname:63:160 flock:73:32
    fsync:74:82 fdatasync:75:83 ftruncate:77:46 getdents64:217:61 getcwd:79:17 chdir:80:49 fchdir:81:50 rename:82:-
    mkdir:83:- rmdir:84:- creat:85:- link:86:- unlink:87:- symlink:88:- readlink:89:- umask:95:166
    gettimeofday:96:169 getrlimit:97:163 getrusage:98:165 sysinfo:99:179 times:100:153 getuid:102:174 getgid:104:176
    geteuid:107:175 getegid:108:177 getppid:110:173 getpgrp:111:- getgroups:115:158 getresuid:118:148
    getresgid:120:150 getpgid:121:155 getsid:124:156 rt_sigpending:127:136 rt_sigtimedwait:128:137
    rt_sigsuspend:130:133 sigaltstack:131:132 statfs:137:43 fstatfs:138:44 getpriority:140:141
    sched_getparam:143:121 sched_getscheduler:145:120 sched_get_priority_max:146:125 sched_get_priority_min:147:126
    sched_getaffinity:204:123 arch_prctl:158:- gettid:186:178 time:201:- futex:202:98 epoll_create:213:-
    epoll_ctl:233:21 epoll_wait:232:- epoll_pwait:281:22 epoll_pwait2:441:441 epoll_create1:291:20
    set_tid_address:218:96 restart_syscall:219:128 timer_create:222:107 timer_settime:223:110 timer_gettime:224:108
    timer_getoverrun:225:109 timer_delete:226:111 clock_gettime:228:113 clock_getres:229:114 clock_nanosleep:230:115
    exit_group:231:94 open:2:- openat:257:56 openat2:437:437 stat:4:- lstat:6:- newfstatat:262:79 statx:332:291
    mkdirat:258:34 unlinkat:263:35 renameat:264:38 renameat2:316:276 linkat:265:37 symlinkat:266:36
    readlinkat:267:78 faccessat:269:48 faccessat2:439:439 pselect6:270:72 ppoll:271:73 poll:7:-
    set_robust_list:273:99 eventfd:284:- eventfd2:290:19 timerfd_create:283:85 timerfd_settime:286:86
    timerfd_gettime:287:87 signalfd:282:- signalfd4:289:74 dup3:292:24 pipe2:293:59 getcpu:309:168 getrandom:318:278
    membarrier:324:283 copy_file_range:326:285 mlock2:325:284 mlock:149:228 munlock:150:229 pkey_mprotect:329:288
    pkey_alloc:330:289 pkey_free:331:290 rseq:334:293 close_range:436:436 wait4:61:260 waitid:247:95 getdents:78:-
    fadvise64:221:223
"""
"""name:x86_64:aarch64. Not among them: sockets but pairs, new processes and programs, signals to others, mounts,
namespaces, tracing, keys, System V memory, queues, io_uring, splice, memfd_create, fallocate (it passes the limit on
the size of files), set*id, scheduling."""

_ALLOWED_ON_OWN_FILES = """
    chmod:90:- fchmod:91:52 fchmodat:268:53 utimensat:280:88 utimes:235:- utime:132:- futimesat:261:- truncate:76:45
"""
"""Calls that Landlock does not check: allowed only where the process sees no file of anyone else."""

_NEWEST = 450
_AUDIT = (0xC000003E, 0xC00000B7)
_ALLOW, _KILL, _EPERM, _ENOSYS = 0x7FFF0000, 0x80000000, 0x50000 | errno.EPERM, 0x50000 | 38
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN, _JUMP = 0x20, 0x15, 0x35, 0x45, 0x06, 0x05
_NUMBER, _ARCHITECTURE, _ARGUMENT = 0, 4, 16
_ALL_NEW = 0x7E020080
_THREAD = 0x10000
_PRCTL = (15, 16, 0x53564D41)  # names of threads and of memory
_IOCTL_ALLOWED = (0x5401, 0x802C542A, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
_FCNTL = (0, 1, 2, 3, 4, 5, 6, 7, 9, 36, 37, 38, 1030, 1032)  # no F_SETOWN: it signals other processes
_BY_ARGUMENT = {
    "clone": (56, 220), "prctl": (157, 167), "ioctl": (16, 29), "fcntl": (72, 25),
    "kill": (62, 129), "tgkill": (234, 131), "prlimit64": (302, 261), "clone3": (435, 435),
}  # fmt: skip


def filter_program(is_private: bool, pid: int) -> bytes:
    """Returns the filter for one process; `is_private` where it sees no file, and no process, of anyone else."""
    column = machine()
    steps: list[bytes] = []

    def add(code: int, value: int, yes: int = 0, no: int = 0) -> None:
        steps.append(struct.pack("=HBBI", code, yes, no, value))

    def one_of(name: str, argument: int, values: tuple[int, ...]) -> None:
        add(_EQUAL, _BY_ARGUMENT[name][column], 0, 2 * len(values) + 2)
        add(_LOAD, _ARGUMENT + 8 * argument)
        for value in values:
            add(_EQUAL, value, 0, 1)
            add(_RETURN, _ALLOW)
        add(_RETURN, _EPERM)

    add(_LOAD, _ARCHITECTURE)
    add(_EQUAL, _AUDIT[column], 1, 0)
    add(_RETURN, _KILL)
    add(_LOAD, _NUMBER)
    add(_AT_LEAST, _NEWEST + 1, 0, 1)  # x32's numbers too
    add(_RETURN, _ENOSYS)
    entries = (_ALLOWED + (_ALLOWED_ON_OWN_FILES if is_private else "")).split()
    numbers = sorted(int(number) for entry in entries if (number := entry.split(":")[1 + column]) != "-")
    tree = _allow(_ranges(numbers))
    for at, step in enumerate(tree):
        steps.append(step or struct.pack("=HBBI", _JUMP, 0, 0, len(tree) - at - 1))
    add(_EQUAL, _BY_ARGUMENT["clone3"][column], 0, 1)  # its flags are behind a pointer: the C library takes `clone`
    add(_RETURN, _ENOSYS)
    add(_EQUAL, _BY_ARGUMENT["clone"][column], 0, 6)
    add(_LOAD, _ARGUMENT)
    add(_ANY_BIT, _ALL_NEW, 0, 1)
    add(_RETURN, _EPERM)
    add(_ANY_BIT, _THREAD, 0, 1)
    add(_RETURN, _ALLOW)
    add(_RETURN, _EPERM)
    one_of("prctl", 0, _PRCTL)
    one_of("ioctl", 1, _IOCTL_ALLOWED)
    one_of("fcntl", 1, _FCNTL)
    one_of("kill", 0, (pid,))
    one_of("tgkill", 0, (pid,))
    one_of("prlimit64", 0, (0, pid))
    add(_RETURN, _EPERM)
    return b"".join(steps)


def _ranges(numbers: list[int]) -> list[tuple[int, int]]:
    """Returns sorted numbers as ranges: (first, after the last)."""
    found: list[tuple[int, int]] = []
    for number in numbers:
        if found and found[-1][1] == number:
            found[-1] = (found[-1][0], number + 1)
        else:
            found.append((number, number + 1))
    return found


def _allow(ranges: list[tuple[int, int]]) -> list[bytes | None]:
    """Returns steps that allow these numbers, by halves: the kernel tries every number when a filter is installed.

    None stands for a jump behind the last step, for any other number.
    """
    if len(ranges) > 1:
        half = len(ranges) // 2
        low = _allow(ranges[:half])
        return [struct.pack("=HBBI", _AT_LEAST, len(low), 0, ranges[half][0]), *low, *_allow(ranges[half:])]
    ((first, after),) = ranges
    return [
        struct.pack("=HBBI", _AT_LEAST, 0, 2, first),
        struct.pack("=HBBI", _AT_LEAST, 1, 0, after),
        struct.pack("=HBBI", _RETURN, 0, 0, _ALLOW),
        None,
    ]


def seccomp(program: bytes) -> None:
    """Allows only what the filter allows from here on. Needs `no_new_privileges`."""
    steps = ctypes.create_string_buffer(program, len(program))
    whole = struct.pack("@HP", len(program) // 8, ctypes.addressof(steps))
    _call("seccomp", 1, 0, whole)
