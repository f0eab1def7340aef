"""Fixtures that more than one tier uses; which worker runs what; which skips CI takes; what a test costs."""

import contextlib
import os
import re
import shutil
import time
from pathlib import Path

import psutil
import pytest

from reasoner.bases import locate

# -- which worker runs what ----------------------------------------------------------------------

ONE_WORLD = ("tests/e2e/test_flow.py", "tests/e2e/test_flow_ladder.py", "tests/e2e/test_flow_uninstall.py")
"""Files that share a whole training: one worker runs them, in this order."""
TIERS = ("e2e", "contract", "unit")
"""With several workers the longest come first, and the short ones fill what is left."""


def pytest_collection_modifyitems(items):
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: TIERS.index(item.path.relative_to(Path(__file__).parent).parts[0]))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        """Gives a worker a file at a time, or the files of one world."""

        def _split_scope(self, nodeid):
            file = super()._split_scope(nodeid)
            return "one world" if file in ONE_WORLD else file

    return Scheduling(config, log)


# -- skips ---------------------------------------------------------------------------------------

EXPECTED_SKIPS = (
    r"^needs a CUDA device",
    r"^(humaneval|mbpp) is not in ",  # a public set of problems that this machine has not got
    r"^(full|landlock) cannot be built: ",  # that some tier holds here is tested by itself
    r"^the interpreter lies where this tier's user may not read$",
    r"^this kernel's Landlock is too old$",
)
"""Reasons for which CI lets a test be skipped. Any other skip fails there: it would hide a test for good."""


def refuse_unexpected_skip(report):
    if not (report.skipped and os.environ.get("CI")) or hasattr(report, "wasxfail"):
        return
    path, line, reason = report.longrepr
    reason = reason.removeprefix("Skipped: ")
    if not any(re.search(expected, reason) for expected in EXPECTED_SKIPS):
        report.outcome = "failed"
        report.longrepr = f"{path}:{line}: skipped, which CI does not expect (tests/conftest.py): {reason}"


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report():
    refuse_unexpected_skip((yield).get_result())


# -- processor time ------------------------------------------------------------------------------


def pytest_addoption(parser):
    parser.addoption(
        "--cpu-durations", type=int, default=0, metavar="N",
        help="show the N files and the N tests that took most processor time, which a busy machine does not change",
    )  # fmt: skip


def cpu_seconds():
    """Returns the seconds of processor that this process has used, with all that it started, ended or not."""
    own = os.times()
    total = own.user + own.system + own.children_user + own.children_system
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            total += sum(child.cpu_times()[:4])
    return total


used_s = 0.0


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    global used_s
    report = (yield).get_result()
    refuse_unexpected_skip(report)
    if item.config.getoption("--cpu-durations"):
        before, used_s = used_s, cpu_seconds()
        report.cpu_s = used_s - before


def pytest_terminal_summary(terminalreporter, config):
    num = config.getoption("--cpu-durations")
    tests, files = {}, {}
    for report in (one for stats in terminalreporter.stats.values() for one in stats) if num else ():
        if (seconds := getattr(report, "cpu_s", None)) is not None:
            name = report.nodeid if report.when == "call" else f"{report.nodeid} ({report.when})"
            for table, key in ((tests, name), (files, report.nodeid.partition("::")[0])):
                known = table.get(key, (0.0, 0.0))
                table[key] = known[0] + seconds, known[1] + report.duration
    for title, table in (("files", files), ("tests", tests)):
        if table:
            total = [sum(column) for column in zip(*table.values(), strict=True)]
            terminalreporter.section(f"processor time, wall time: {title} ({total[0]:.0f} s, {total[1]:.0f} s)")
        for name, (cpu, wall) in sorted(table.items(), key=lambda row: -row[1][0])[:num]:
            terminalreporter.write_line(f"{cpu:8.2f} s {wall:8.2f} s  {name}")


# -- fixtures ------------------------------------------------------------------------------------


@pytest.fixture
def model_folder(tmp_path):
    """A copy of the shipped base, to be spoiled."""
    target = tmp_path / "model"
    shutil.copytree(locate.shipped()["pocket"], target)
    return target


@pytest.fixture(scope="session")
def quick():
    """`quick(limit, call, *args)`: what the call returns; fails where it takes its thread longer than `limit` seconds.

    For algorithms that could blow up, which then do so every time. A garbage collection or a busy machine falls into
    one try: the best of three counts.
    """

    def measured(limit, call, *args):
        tries = []
        while len(tries) < 3:
            started = time.thread_time()
            found = call(*args)
            tries.append(time.thread_time() - started)
            if tries[-1] < limit:
                return found
        raise AssertionError(f"{tries} s of {limit} s: {str(args)[:60]}")

    return measured
