"""Tests of the panel's form with real Qt widgets: its menus and fields, and what it says before a run."""

import os
import subprocess
import sys
from pathlib import Path

from made_maps import add_map
from panels import jobs, open_panel, wait

ROOT = Path(__file__).resolve().parents[2]


def test_menu_follows_the_models(tool):
    """The map menu chooses the first map, and another one when that is closed; Run needs a map."""
    assert not tool.run_button.isEnabled()
    first = add_map(tool.session, name="first")
    assert wait(tool.session, lambda: tool.run_button.isEnabled())
    second = add_map(tool.session, name="second")
    assert tool.form.map_menu.value is first
    tool.session.models.close([first])
    assert wait(tool.session, lambda: tool.form.map_menu.value is second)
    tool.session.models.close([second])
    assert wait(tool.session, lambda: not tool.run_button.isEnabled())


def test_estimate_before_the_run(tool, volume):
    """Time and memory are estimated before a run, on another thread."""
    assert wait(tool.session, lambda: tool.estimate.text().startswith("About"))
    assert "of memory" in tool.estimate.text() and "tile" in tool.estimate.text()


def test_estimate_stays_when_a_job_ends(tool, volume):
    """The estimate for unchanged choices stays valid; removing and adding it again would move everything below."""
    assert wait(tool.session, lambda: tool.estimate.text().startswith("About"))
    tool.run_button.click()
    assert wait(tool.session, lambda: not jobs(tool.session))
    assert tool.estimate.text().startswith("About")
    tool.form._batch.setValue(3)
    assert tool.estimate.text().startswith("Estimating")
    tool.form._batch.setValue(0)
    assert wait(tool.session, lambda: tool.estimate.text().startswith("About"))


def test_resolution_that_is_given(tool):
    """One step up from "found from the map" is the lowest resolution that the command accepts, with nothing in between."""
    from chimerax.superem.core.predict import RESOLUTIONS

    spin = tool.form._resolution
    assert spin.text() == "Found from the map" and tool.form.choices.resolution == 0
    spin.stepUp()
    assert tool.form.choices.resolution == RESOLUTIONS[0]
    spin.setValue(RESOLUTIONS[0] - 0.05)
    assert tool.form.choices.resolution == RESOLUTIONS[0]
    spin.setValue(3.83)
    assert tool.form.choices.resolution == 3.83


def test_weights_file_that_is_not_chosen(tool, weights, monkeypatch):
    """Cancelling the file dialog keeps the model; a chosen file shows its name, with its full path in the tooltip."""
    from Qt.QtCore import Qt

    asked = []

    def dialog(*_arguments):
        asked.append(tool.form.choices.model)
        return chosen, ""

    monkeypatch.setattr("chimerax.superem.panel.form.QFileDialog.getOpenFileName", dialog)
    menu = tool.form._model
    for chosen in ("", "/elsewhere/my.safetensors"):
        menu.setCurrentIndex(menu.count() - 1)
        menu.activated.emit(menu.count() - 1)
        assert tool.form.choices.model == (chosen or str(weights))
    assert asked == [str(weights)] * 2 and menu.currentText() == "my.safetensors"
    assert menu.currentData(Qt.ItemDataRole.ToolTipRole) == chosen


def test_estimate_beyond_the_memory_that_is_free(tool, volume, monkeypatch):
    """The panel says before the run that a map will be refused."""
    monkeypatch.setattr("chimerax.superem.panel.estimates.free_memory", lambda: 2**20)
    assert wait(tool.session, lambda: "Only 1 MB are free" in tool.estimate.text())


def test_devices_are_those_that_are_there(tool):
    """The menu lists the devices that the core finds, with their names."""
    from chimerax.superem.core.devices import available

    assert wait(tool.session, lambda: "best" not in tool.form._device.itemText(0))
    texts = [tool.form._device.itemText(i) for i in range(tool.form._device.count())]
    assert all(any(device.label in text for text in texts[1:]) for device in available())


def test_pytorch_that_is_missing(window, volume, monkeypatch):
    """The panel opens and says how to install PyTorch; once that is done, it shows an estimate."""
    from chimerax.superem.core.devices import Device, DeviceError
    from chimerax.superem.core.estimate import Estimate
    from chimerax.superem.panel import estimates

    def missing(*_arguments):
        raise DeviceError("SuperEM needs PyTorch; install it with: pip install torch")

    monkeypatch.setattr(estimates, "available", missing)
    monkeypatch.setattr("chimerax.superem.core.estimate.estimate", missing)
    monkeypatch.setattr("chimerax.superem.nets.store.load", lambda _name: None)
    tool = open_panel(window)
    assert wait(window, lambda: "pip install torch" in tool.estimate.text())
    found = Estimate(2, 2**30, 0, 60.0, Device("cpu", "CPU"))
    monkeypatch.setattr("chimerax.superem.core.estimate.estimate", lambda *_, **_keywords: found)
    tool._choices_changed()  # as at the end of a job, or when choices change and change back
    assert wait(window, lambda: "About 60 seconds for 2 tiles on CPU" in tool.estimate.text())
    tool.delete()


def test_torch_is_not_loaded_by_opening(tmp_path):
    """Only the panel's own thread loads PyTorch: if that thread is held back, PyTorch is not loaded."""
    (tmp_path / "chimerax").mkdir()
    (tmp_path / "chimerax" / "superem").symlink_to(ROOT / "src")
    program = """
import sys
from chimerax_library import start_session
session = start_session()
import chimerax
chimerax.__path__.append(sys.argv[1])
import stand_ins
stand_ins.install()
from chimerax.superem.panel import estimates
estimates.threading.Thread.start = lambda thread: None
from chimerax.superem.tool import SuperEMTool
from chimerax_library import draw_frame
from made_maps import add_map
add_map(session)
tool = SuperEMTool(session)
tool._ask()
assert tool._estimates._working and tool._devices._working
sys.exit("torch" in sys.modules)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "scripts"), str(ROOT / "tests" / "chimerax")])}
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "chimerax")], env=environment,
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
