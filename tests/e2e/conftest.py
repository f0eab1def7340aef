"""One whole `make reasoner` on the pocket profile, shared by all that need a finished run."""

import shutil

import pytest
from flows import RUN, TRAINED, World, sets


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """One for the flow, the ladder of its run, and the uninstallation, in this order."""
    made = World(tmp_path_factory.mktemp("world"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def flow(world):
    """The finished `make reasoner`; a copy of its run, as it left it, is in the world's folder `finished`."""
    done = world.call("make", "reasoner", "PROFILE=pocket", f"RUN={RUN}", f"ARGS={' '.join(sets(*TRAINED))}")
    assert done.returncode == 0, done.stderr
    shutil.copytree(world.runs / RUN, world.folder / "finished")
    return done
