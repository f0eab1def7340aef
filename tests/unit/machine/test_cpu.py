"""How many threads fit beside other programs."""

from reasoner.machine import cpu


def test_threads_are_the_cores_that_others_leave(monkeypatch):
    """Seconds of processor time since the last look: all of the machine, ours, and the time that went by."""
    seen = iter([(0.0, 0.0, 0.0), (10.0, 19.0, 19.0), (20.0, 38.0, 28.0), (30.0, 58.0, 28.0)])
    monkeypatch.setattr(cpu.Threads, "_now", staticmethod(lambda: next(seen)))
    monkeypatch.setattr(cpu, "free_cores", lambda: 2)
    watch = cpu.Threads()
    assert watch.free() == 2  # busy with ourselves alone
    assert watch.free() == 1  # another program takes one core
    assert watch.free() == 1  # and two: we still need one
