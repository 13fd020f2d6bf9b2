"""Fixtures: a real ChimeraX session with the wheel of this checkout installed, its maps, its jobs and the panel."""

import os
import threading
import time
from pathlib import Path

import pytest

from build_wheel import build
from chimerax_library import draw_frame, start_session
from made_maps import add_map, blobs
from panels import give_window, jobs, open_panel, wait

# Two threads of PyTorch block each other as soon as another program runs. PyTorch reads this when it is first imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built by ChimeraX's bundle builder."""
    return build(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def chimerax(wheel):
    """The one ChimeraX session of this process, with the bundle installed from the wheel."""
    session = start_session()
    from chimerax.core.commands import run

    run(session, f"toolshed install {wheel} noDeps true")
    return session


@pytest.fixture
def session(chimerax):
    """The session, empty before and after each test: no models, no tasks, no log."""
    chimerax.log.lines.clear()
    chimerax.log.statuses.clear()
    yield chimerax
    draw_frame(chimerax)
    chimerax.models.close(chimerax.models.list())
    leftover = chimerax.tasks.list()
    for task in leftover:
        task.terminate()
    assert chimerax.ui.run_until(lambda: not chimerax.tasks.list())
    assert not leftover, "a task was left running"
    assert "bug" not in {level for level, _text in chimerax.log.lines}, chimerax.log.text("bug")


@pytest.fixture
def run(session):
    """Return a function that runs a ChimeraX command and draws a frame."""
    from chimerax.core.commands import run as run_command

    def run_and_draw(command):
        result = run_command(session, command)
        draw_frame(session)
        return result

    return run_and_draw


@pytest.fixture(scope="session")
def weights(chimerax, tmp_path_factory) -> Path:
    """A weights file of an identity network: the result is the resampled input."""
    from chimerax.superem.nets import build as network
    from chimerax.superem.nets.store import Card, save

    path = tmp_path_factory.mktemp("weights") / "identity.safetensors"
    options = {"widths": (4, 8), "depths": (1, 1)}  # an untrained UNet is the identity
    save(path, network("unet", **options), Card("identity", "unet", options, 32, 4, "robust", "For tests.",
                                                reliability=[[0, 0], [2, 0.6]]))
    return path


@pytest.fixture
def volume(session):
    """A small map that is shown."""
    return add_map(session)


@pytest.fixture(params=["method", "object"])
def recolouring(request, session, monkeypatch):
    """Surfaces keep their recolouring by `color sample` as a method (ChimeraX 1.7 to 1.10) or as an object (from 1.11 on)."""
    from chimerax.surface.colorvol import VolumeColor

    if request.param == "object":
        made = VolumeColor.__init__

        def make(self, surface, *args, **keywords):
            made(self, surface, *args, **keywords)
            surface.auto_recolor_vertices = self

        monkeypatch.setattr(VolumeColor, "__init__", make)
        monkeypatch.setattr(VolumeColor, "__call__", VolumeColor._auto_recolor, raising=False)


@pytest.fixture(scope="session")
def demo_map() -> Path:
    """The deposited map that the demonstration uses."""
    path, = (Path(__file__).resolve().parents[2] / "demo" / "data").glob("*.mrc.gz")
    return path


@pytest.fixture
def window(session, monkeypatch):
    """A session with a window."""
    give_window(session, monkeypatch)
    yield session
    wait(session, session.ui.calls.empty)


@pytest.fixture
def tool(window, weights):
    """The open panel, set to the identity network."""
    from chimerax.superem.panel.choices import Choices

    tool = open_panel(window)
    tool.form.set_choices(Choices(device="cpu", model=str(weights)))
    yield tool
    if tool in window.tools.list():
        tool.delete()


@pytest.fixture
def result(tool, volume):
    """The super-resolved map of `volume`, made by the Run button."""
    wait(tool.session, lambda: tool.form.map_menu.value is volume)
    tool.run_button.click()
    assert wait(tool.session, lambda: not jobs(tool.session))
    return tool.compare.after.value


@pytest.fixture
def pair(session):
    """Two maps of the same blobs, the second one sharper."""
    from chimerax.core.commands import run
    from chimerax.std_commands import hide, show, transparency
    from chimerax.superem.panel.compare import Pair

    draw_frame(session)
    for module in (hide, show, transparency):
        module.register_command(session.logger)
    before, after = add_map(session, name="before"), add_map(session, blobs() ** 2, name="after")
    for volume in (before, after):
        run(session, f"volume #{volume.id_string} level 0.3 style surface")
    draw_frame(session)
    return Pair(before, after)


@pytest.fixture
def queue(session):
    """The session's queue of jobs."""
    from chimerax.superem.job import jobs

    return jobs(session)


@pytest.fixture
def submit(queue, weights):
    """Return a function that submits a job for a map, with the identity network."""
    from chimerax.superem.prediction import Request, Settings

    def submit(volume, reliability=False, **options):
        return queue.submit(Request(volume, Settings(model=str(weights), device="cpu", reliability=reliability), **options))

    return submit


@pytest.fixture
def gate(monkeypatch, session):
    """Hold every prediction after its first batch until the gate is opened."""
    from chimerax.superem import prediction

    gate = threading.Event()
    predict = prediction.predict

    def held(part, seen, settings, progress):
        def wait(done, total):
            going = progress(done, total)
            while going and done >= 1 and not gate.is_set():
                time.sleep(0.01)
                going = progress(done, total)
            return going

        return predict(part, seen, settings, wait)

    monkeypatch.setattr(prediction, "predict", held)
    yield gate
    gate.set()
