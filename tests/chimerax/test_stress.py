"""A stress test: twenty runs that are started, cancelled and closed at random moments, on maps that change meanwhile."""

import gc
import random
import threading
from pathlib import Path

import numpy as np
import pytest

from made_maps import add_map, blobs
from panels import give_window, jobs, open_panel, wait

RUNS = 20
MEGABYTES = 50


def resident() -> float:
    """Return the resident memory of this process, MB (Linux)."""
    gc.collect()
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024


def pause(session, chance, longest=0.5):
    """Process events for a random time."""
    wait(session, lambda: False, chance.random() * longest)


def close_panel(session, tool, _volume):
    """Close the panel and open a new one."""
    tool.delete()
    open_panel(session)


def change_values(_session, _tool, volume):
    """Change the map's values in place, as an editing command would."""
    volume.data.array[:] *= 0.5
    volume.data.values_changed()


def cancel_all(session, _tool, _volume):
    """Cancel all jobs."""
    from chimerax.superem.job import jobs as queue

    queue(session).cancel_all()


DEEDS = {
    "nothing": lambda session, tool, volume: None,
    "cancel": cancel_all,
    "close the map": lambda session, tool, volume: session.models.close([volume]),
    "move the map": lambda session, tool, volume: move(volume),
    "change the map": change_values,
    "close the panel": close_panel,
    "run another": lambda session, tool, volume: tool.run(),
}


def move(volume):
    """Move the map by 10 Å."""
    from chimerax.geometry import translation

    volume.position = translation((10, 0, 0)) * volume.position


def one_run(session, weights, chance):
    """Start one run and do something random meanwhile; then close everything but the panel, and return what was done."""
    from chimerax.superem.panel.choices import Choices

    tool = open_panel(session)
    volume = add_map(session, blobs(seed=chance.randrange(3)))
    assert wait(session, lambda: tool.form.map_menu.value is volume, 10)
    tool.form.set_choices(Choices("cpu", str(weights), chance.choice(["normal", "fast", "paper"])))
    tool.run()
    pause(session, chance)
    deed = chance.choice(list(DEEDS))
    DEEDS[deed](session, tool, volume)
    pause(session, chance)
    if chance.random() < 0.5:
        cancel_all(session, tool, volume)
    closed_early = volume.deleted
    assert wait(session, lambda: not jobs(session), 120), deed
    made = [m for m in session.models.list(type=type(volume)) if m is not volume]
    assert all(np.isfinite(m.full_matrix()).all() for m in made)
    if closed_early:
        assert not made, "a map that was closed has left a result"
    session.models.close(session.models.list())
    assert not session.tasks.list()
    assert wait(session, session.ui.calls.empty, 10)
    return deed


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="resident memory is read from Linux's /proc")
def test_twenty_runs(session, monkeypatch, weights):
    """There is no exception (the fixture checks), no leftover volume or task, and memory use does not grow."""
    give_window(session, monkeypatch)
    chance = random.Random(5)
    for _ in range(3):  # so that what PyTorch and Qt load once is not counted
        one_run(session, weights, chance)
    before = resident()
    done = [one_run(session, weights, chance) for _ in range(RUNS)]
    assert set(done) == set(DEEDS), "choose a seed with which everything happens"
    grown = resident() - before
    for tool in session.tools.list():
        tool.delete()
    wait(session, session.ui.calls.empty)
    assert session.models.list() == [] and session.tasks.list() == []
    assert wait(session, lambda: not [t for t in threading.enumerate() if t.name.startswith("superem")], 10)
    assert grown < MEGABYTES, f"memory grew by {grown:.0f} MB"
