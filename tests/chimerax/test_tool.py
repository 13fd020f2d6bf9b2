"""Tests of the panel with real Qt widgets: choosing, running, stopping, comparing and reopening."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from chimerax_library import draw_frame
from made_maps import RESULT, add_map
from panels import jobs, open_panel, wait

ROOT = Path(__file__).resolve().parents[2]


def test_there_is_one_panel(tool):
    """Opening it again returns the same one."""
    assert open_panel(tool.session) is tool


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


def test_run_composes_a_command(tool, volume, weights, monkeypatch):
    """All choices are in the command, as the command line accepts them."""
    import chimerax.superem.tool as module
    from chimerax.superem.panel.choices import Choices

    commands = []
    monkeypatch.setattr(module, "run", lambda _session, command: commands.append(command))
    wait(tool.session, lambda: tool.form.map_menu.value is volume)
    tool.form.set_choices(Choices("cpu", str(weights), "fast", "shown", "input", "4", 3, 3.5, True))
    tool.run_button.click()
    assert commands == [f"superem #{volume.id_string} device cpu model {weights} tiling fast subregion shown "
                        "grid input rotations 4 batchSize 3 resolution 3.5 reliability true"]


def test_run_makes_a_map_in_the_background(tool, volume, result):
    """When the job ends, the map, the report and the comparison appear."""
    assert result.name == RESULT
    assert tool.compare.before.value is volume
    assert f"superem #{volume.id_string} device cpu" in tool.session.log.text()
    assert "both enclose" in tool.report.text() and "identity" in tool.report.text()


def test_command_that_blocks(tool, volume):
    """The result of a blocking command is reported and compared like that of a job."""
    from chimerax.core.commands import run

    model = tool.form.choices.model
    result = run(tool.session, f"superem #1 model {model} device cpu block true")
    assert wait(tool.session, lambda: tool.compare.pair is not None, 5)
    assert tool.compare.pair.maps == (volume, result)
    assert "both enclose" in tool.report.text()
    tool.delete()
    run(tool.session, f"superem #1 model {model} device cpu block true")
    assert "deleted" not in tool.session.log.text("bug")


def test_key_to_the_colours(window, volume, weights, monkeypatch):
    """With a window, a colour key explains the colours."""
    from chimerax.core import commands

    keys, run = [], commands.run

    def run_but_key(session, command, **options):  # the library lacks `key`
        return keys.append(command) if command.startswith("key ") else run(session, command, **options)

    monkeypatch.setattr(commands, "run", run_but_key)
    run(window, f"superem #1 model {weights} reliability true block true")
    assert keys == ["key #d73027:Q=0.1 #fdae61:0.3 #ffffbf:0.5 #4575b4:0.7 fontSize 18"]


def test_second_result_takes_the_place_of_the_first(tool, volume, result, monkeypatch):
    """Two results of one map would cover each other, so the earlier one is hidden; results of other maps are not."""
    from chimerax.superem.panel.compare import Pair

    commands = []
    monkeypatch.setattr(Pair, "_run", lambda _pair, command: commands.append(command))  # the library lacks `hide`
    tool.run_button.click()
    assert wait(tool.session, lambda: not jobs(tool.session))
    assert tool.compare.after.value is not result and commands == [f"hide #!{result.id_string} models"]
    tool.form.map_menu.value = add_map(tool.session, name="other")
    tool.run_button.click()
    assert wait(tool.session, lambda: not jobs(tool.session))
    assert tool.compare.before.value.name == "other" and len(commands) == 1


def test_blend_after_a_run(tool, volume, result):
    """Both maps are shown, opaque, with the slider in the middle; if only the result is shown, the slider is at its end."""
    assert volume.display and result.display and tool.compare.blend.value() == 50
    tool.compare.blend.setValue(80)
    assert [v.surfaces[0].rgba[3] for v in (volume, result)] == pytest.approx([0.2, 0.8], abs=0.01)
    volume.display = False
    tool.compare.compare(result, volume)
    tool.compare.compare(volume, result)
    assert tool.compare.blend.value() == 100


def test_blend_of_a_coloured_result(tool, volume, weights, monkeypatch):
    """A reopened panel has the slider where it was, also for a map coloured by reliability."""
    from chimerax.core.commands import run
    from chimerax.std_commands import show, transparency

    for module in (show, transparency):
        module.register_command(tool.session.logger)
    with monkeypatch.context() as patch:
        patch.setattr(tool.session.ui, "is_gui", False)  # with a window, `key` is run, which the library lacks
        result = run(tool.session, f"superem #1 model {weights} reliability true")
    assert result.surfaces[0].vertex_colors is not None
    tool.compare.blend.setValue(70)
    assert wait(tool.session, lambda: "transparency" in tool.session.log.text(), 5)
    tool.delete()
    again = open_panel(tool.session)
    assert again.compare.blend.value() == 70
    again.delete()


def test_panel_that_is_opened_after_a_command(window, volume, weights):
    """It compares the maps of the latest job whose maps are both open."""
    from chimerax.core.commands import run

    results = [run(window, f"superem #1 model {weights} block true") for _ in range(2)]
    for shown in reversed(results):
        tool = open_panel(window)
        assert tool.compare.pair.maps == (volume, shown)
        tool.delete()
        window.models.close([shown])
    tool = open_panel(window)
    assert tool.compare.pair is None
    tool.delete()


@pytest.mark.parametrize("other", [False, True])
def test_panel_that_is_opened_after_reliability(window, volume, weights, monkeypatch, other):
    """Run works on the hidden input, not on the result; if another map is shown, that is chosen."""
    from chimerax.core.commands import run
    from chimerax.superem.names import newest_pair

    shown = add_map(window, name="shown") if other else None
    window.models.assign_id(volume, (7,))  # so that the other map comes first
    with monkeypatch.context() as patch:
        patch.setattr(window.ui, "is_gui", False)  # with a window, `key` is run, which the library lacks
        run(window, f"superem #{volume.id_string} model {weights} reliability true")
    assert not volume.display and newest_pair(window)[0] is volume
    tool = open_panel(window)
    assert wait(window, lambda: tool.form.map_menu.value is (shown or volume), 3)
    tool.delete()


def test_map_that_is_renamed_meanwhile(tool, volume):
    """The rows of running and waiting jobs show the new name and number."""
    wait(tool.session, lambda: tool.form.map_menu.value is volume)
    tool.run_button.click()
    tool.run_button.click()
    volume.name = "lobster"
    tool.session.models.assign_id(volume, (7,))
    texts = [label.text() for label in tool.jobs.findChildren(type(tool.report))]
    assert [text.split(":")[0] for text in texts] == ["lobster #7"] * 2
    assert wait(tool.session, lambda: not jobs(tool.session))
    assert tool.compare.after.value.name.startswith("lobster superem")


def test_report_and_caution(tool, result):
    """The caution is in the panel, apart from the report."""
    from chimerax.superem.provenance import CAUTION

    assert CAUTION[1:] in tool.caution.text() and CAUTION not in tool.report.text()


def test_cancel_stops_within_two_seconds(tool, volume):
    """Cancel ends a long job quickly, and leaves no map, task or row."""
    from chimerax.superem.panel.choices import Choices
    from Qt.QtWidgets import QProgressBar, QPushButton

    tool.form.set_choices(Choices("cpu", tool.form.choices.model, "paper"))
    wait(tool.session, lambda: tool.form.map_menu.value is volume)
    tool.run_button.click()
    job, = jobs(tool.session)
    assert wait(tool.session, lambda: job.stage == "predicting" and job.seconds_left is not None)
    assert tool.jobs.findChild(QProgressBar).value() == int(100 * job.progress[0])
    assert " left" in tool.jobs.findChildren(type(tool.report))[0].text()
    began = time.monotonic()
    tool.jobs.findChild(QPushButton).click()
    assert wait(tool.session, lambda: not jobs(tool.session), 10)
    assert time.monotonic() - began < 2
    assert tool.session.models.list(type=type(volume)) == [volume]
    assert "stopped" in tool.report.text()
    assert wait(tool.session, lambda: tool.jobs.findChild(QPushButton) is None, 5)


def test_waiting_jobs_are_seen(tool, volume):
    """Two runs give two rows; the second waits, and can be cancelled before it starts."""
    from Qt.QtWidgets import QPushButton

    wait(tool.session, lambda: tool.form.map_menu.value is volume)
    tool.run_button.click()
    tool.run_button.click()
    rows = tool.jobs.findChildren(QPushButton)
    assert len(rows) == len(jobs(tool.session)) == 2
    assert "waiting for" in tool.jobs.findChildren(type(tool.report))[1].text()
    rows[1].click()
    assert len(jobs(tool.session)) == 1
    assert wait(tool.session, lambda: not jobs(tool.session))


def test_map_closed_meanwhile(tool, volume):
    """Closing the map ends its job, the panel says why, and Run is disabled."""
    tool.form.set_choices(tool.form.choices)
    wait(tool.session, lambda: tool.form.map_menu.value is volume)
    tool.run_button.click()
    tool.session.models.close([volume])
    assert wait(tool.session, lambda: not jobs(tool.session))
    assert tool.session.models.list() == []
    assert "its map was closed" in tool.report.text()
    assert not tool.run_button.isEnabled()


def test_a_command_that_is_refused(tool, volume, tmp_path, monkeypatch):
    """An unusable weights file is reported in the panel, and raised to ChimeraX, which shows and logs the error."""
    from chimerax.core.errors import UserError
    from chimerax.superem.panel.choices import Choices

    raised = []
    monkeypatch.setattr("sys.excepthook", lambda _kind, error, _trace: raised.append(error))
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"no weights")
    tool.form.set_choices(Choices("cpu", str(broken)))
    wait(tool.session, lambda: tool.form.map_menu.value is volume)
    tool.run_button.click()
    assert "broken.safetensors" in tool.report.text() and not jobs(tool.session)
    assert [type(error) for error in raised] == [UserError]


def test_a_failed_job_is_reported(tool):
    """An error found only when the map is read is reported in the panel."""
    volume = add_map(tool.session, np.full((9, 9, 9), 2, np.float32))
    wait(tool.session, lambda: tool.form.map_menu.value is volume)
    tool.run_button.click()
    assert wait(tool.session, lambda: not jobs(tool.session))
    assert "same density" in tool.report.text()


def test_maps_of_one_name(tool):
    """The rows of two maps with the same name differ by their numbers."""
    for volume in (add_map(tool.session), add_map(tool.session)):
        wait(tool.session, lambda: tool.form.map_menu.value is not None)
        tool.form.map_menu.value = volume
        tool.run_button.click()
    texts = [label.text() for label in tool.jobs.findChildren(type(tool.report))]
    assert [text.split(":")[0] for text in texts] == ["blobs #1", "blobs #2"]
    assert wait(tool.session, lambda: not jobs(tool.session))


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


@pytest.mark.parametrize("name", ["blend", "level"])
def test_slider_held_still_settles_when_let_go(tool, result, monkeypatch, name):
    """A slider held still runs its commands when it is released, not before."""
    from chimerax.superem.panel.compare import Pair
    from chimerax.superem.panel.comparebox import SETTLE

    commands = []
    monkeypatch.setattr(Pair, "_run", lambda _pair, command: commands.append(command))
    slider = getattr(tool.compare, name)
    slider.setSliderDown(True)
    slider.setSliderPosition(slider.minimum() + 40)
    rest = time.monotonic() + 1.5 * SETTLE / 1000
    assert wait(tool.session, lambda: time.monotonic() > rest)
    assert not commands
    slider.setSliderDown(False)
    assert commands


def test_flip_soon_after_a_move_of_blend(tool, result, monkeypatch):
    """A pending move of the slider, by key or wheel, is dropped when Flip shows one map alone."""
    from chimerax.superem.panel.compare import Pair
    from chimerax.superem.panel.comparebox import SETTLE

    commands = []
    monkeypatch.setattr(Pair, "_run", lambda _pair, command: commands.append(command))
    tool.compare.blend.setValue(60)
    tool.compare.flip.click()
    rest = time.monotonic() + 1.5 * SETTLE / 1000
    assert wait(tool.session, lambda: time.monotonic() > rest)
    assert [command.split()[0] for command in commands] == ["hide"]


def test_levels_that_differ_are_brought_together_by_dragging(tool):
    """From the slider's first move on, both contours enclose about the volume that the panel shows."""
    from chimerax.superem.volumes import contoured_volume, density_of

    maps = add_map(tool.session, name="one"), add_map(tool.session, name="other")
    for volume, level in zip(maps, (0.5, 1.0), strict=True):
        volume.set_parameters(surface_levels=[level])
    draw_frame(tool.session)
    tool.compare.compare(*maps)
    assert wait(tool.session, tool.compare.level.isEnabled)
    tool.compare.level.setSliderDown(True)
    for move in (2, 5):
        tool.compare.level.setSliderPosition(tool.compare.level.value() + move)
        said = float(re.search("about ([0-9,]+) Å³", tool.compare._volume.text())[1].replace(",", ""))
        for volume in maps:
            assert contoured_volume(density_of(volume), volume.surfaces[0].level) == pytest.approx(said, rel=0.2)


def test_volume_of_a_masked_map_is_told_as_it_is(tool):
    """At the left end of the slider there is not enough density inside the mask: the panel says what both contours enclose."""
    from chimerax.superem.volumes import contoured_volume, density_of

    masked, smooth = add_map(tool.session, name="masked"), add_map(tool.session, name="smooth")
    masked.data.array[masked.data.array < 0.3] = 0
    masked.data.values_changed()
    for volume in (masked, smooth):
        volume.set_parameters(surface_levels=[0.4])
    draw_frame(tool.session)
    tool.compare.compare(masked, smooth)
    assert wait(tool.session, tool.compare.level.isEnabled)
    tool.compare.level.setValue(0)
    assert wait(tool.session, lambda: tool.compare._volume.text().startswith("Levels set: both enclose ") and
                "about" not in tool.compare._volume.text())
    said = float(re.search("([0-9,]+) Å³", tool.compare._volume.text())[1].replace(",", ""))
    for volume in (masked, smooth):
        assert contoured_volume(density_of(volume), volume.surfaces[0].level) == pytest.approx(said, rel=0.02)


@pytest.mark.parametrize("name", ["flip", "blend"])
def test_maps_that_are_apart_come_together(tool, result, monkeypatch, name):
    """Flipping and blending need both maps in one place, so they first undo side by side."""
    from chimerax.core.commands import run as run_command
    from chimerax.std_commands import show, transparency

    def run(session, command):
        commands.append(command)
        if command.startswith("show"):  # `tile` is not in the library
            run_command(session, command)

    for module in (show, transparency):
        module.register_command(tool.session.logger)
    commands = []
    monkeypatch.setattr("chimerax.superem.panel.compare.run", run)
    tool.compare.blend.setValue(70)
    tool.compare.beside.click()
    assert tool.compare.blend.value() == 50, "both are opaque, and the slider says otherwise"
    commands.clear()
    tool.compare.flip.click() if name == "flip" else tool.compare.blend.setValue(40)
    assert commands[0].startswith("tile off") and not tool.compare.beside.isChecked()


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
