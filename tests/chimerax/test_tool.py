"""The panel with real Qt widgets: choosing, running, stopping, comparing and coming back."""

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
    """Opening it again gives the same one."""
    assert open_panel(tool.session) is tool


def test_menu_follows_the_models(tool):
    """The map menu takes the first map, knows of others and forgets closed ones; Run needs a map."""
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
    """All that is chosen is in the command, spelt so that the command line reads it back."""
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
    """Run returns at once; the map, the report and the comparison come when the job has ended."""
    assert result.name == RESULT
    assert tool.compare.before.value is volume
    assert f"superem #{volume.id_string} device cpu" in tool.session.log.text()
    assert "both enclose" in tool.report.text() and "identity" in tool.report.text()


def test_command_that_blocks(tool, volume):
    """A result that a typed command or a script waited for is reported and compared as those of jobs are."""
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
    """Where there is a window a key says what the colours stand for."""
    from chimerax.core import commands

    keys, run = [], commands.run

    def run_but_key(session, command, **options):  # `key` is not in the library
        return keys.append(command) if command.startswith("key ") else run(session, command, **options)

    monkeypatch.setattr(commands, "run", run_but_key)
    run(window, f"superem #1 model {weights} reliability true block true")
    assert keys == ["key #d73027:Q=0.1 #fdae61:0.3 #ffffbf:0.5 #4575b4:0.7 fontSize 18"]


def test_second_result_takes_the_place_of_the_first(tool, volume, result, monkeypatch):
    """Two results over each other cannot be told apart: the earlier one is hidden, and that of another map is not."""
    from chimerax.superem.panel.compare import Pair

    commands = []
    monkeypatch.setattr(Pair, "_run", lambda _pair, command: commands.append(command))  # `hide` is not in the library
    tool.run_button.click()
    assert wait(tool.session, lambda: not jobs(tool.session))
    assert tool.compare.after.value is not result and commands == [f"hide #!{result.id_string} models"]
    tool.form.map_menu.value = add_map(tool.session, name="other")
    tool.run_button.click()
    assert wait(tool.session, lambda: not jobs(tool.session))
    assert tool.compare.before.value.name == "other" and len(commands) == 1


def test_blend_after_a_run(tool, volume, result):
    """Both maps are shown, opaque, and the slider can be dragged to either side; a result alone has it at its end."""
    assert volume.display and result.display and tool.compare.blend.value() == 50
    tool.compare.blend.setValue(80)
    assert [v.surfaces[0].rgba[3] for v in (volume, result)] == pytest.approx([0.2, 0.8], abs=0.01)
    volume.display = False
    tool.compare.compare(result, volume)
    tool.compare.compare(volume, result)
    assert tool.compare.blend.value() == 100


def test_blend_of_a_coloured_result(tool, volume, weights, monkeypatch):
    """A panel that is opened anew has the slider where it was, also where a map is coloured by reliability."""
    from chimerax.core.commands import run
    from chimerax.std_commands import show, transparency

    for module in (show, transparency):
        module.register_command(tool.session.logger)
    with monkeypatch.context() as patch:
        patch.setattr(tool.session.ui, "is_gui", False)  # `key`, which is run where there is a window, is not in the library
        result = run(tool.session, f"superem #1 model {weights} reliability true")
    assert result.surfaces[0].vertex_colors is not None
    tool.compare.blend.setValue(70)
    assert wait(tool.session, lambda: "transparency" in tool.session.log.text(), 5)
    tool.delete()
    again = open_panel(tool.session)
    assert again.compare.blend.value() == 70
    again.delete()


def test_panel_that_is_opened_after_a_command(window, volume, weights):
    """It compares the maps of the last job, as far as both are open."""
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
    """The input is hidden, and yet what Run is to work on, not its result; another map that is shown stays chosen."""
    from chimerax.core.commands import run
    from chimerax.superem.names import newest_pair

    shown = add_map(window, name="shown") if other else None
    window.models.assign_id(volume, (7,))  # the other one, #2, comes first
    with monkeypatch.context() as patch:
        patch.setattr(window.ui, "is_gui", False)  # `key`, which is run where there is a window, is not in the library
        run(window, f"superem #{volume.id_string} model {weights} reliability true")
    assert not volume.display and newest_pair(window)[0] is volume
    tool = open_panel(window)
    assert wait(window, lambda: tool.form.map_menu.value is (shown or volume), 3)
    tool.delete()


def test_map_that_is_renamed_meanwhile(tool, volume):
    """The rows of its jobs have its new name, that of a job that waits, too; and its new number."""
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
    """The line of caution stands in the panel whatever the report says."""
    from chimerax.superem.provenance import CAUTION

    assert CAUTION[1:] in tool.caution.text() and CAUTION not in tool.report.text()


def test_cancel_stops_within_two_seconds(tool, volume):
    """Cancel ends a long job soon and leaves no map, no task and no row."""
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
    """Two runs are two rows; the second waits, and can be cancelled before it starts."""
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
    """Closing the map ends its job, the panel says why, and is ready again."""
    tool.form.set_choices(tool.form.choices)
    wait(tool.session, lambda: tool.form.map_menu.value is volume)
    tool.run_button.click()
    tool.session.models.close([volume])
    assert wait(tool.session, lambda: not jobs(tool.session))
    assert tool.session.models.list() == []
    assert "its map was closed" in tool.report.text()
    assert not tool.run_button.isEnabled()


def test_a_command_that_is_refused(tool, volume, tmp_path, monkeypatch):
    """A weights file that is none is one sentence in the panel, and goes on to ChimeraX, which shows and logs it."""
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
    """What is found wrong once the map is read is one sentence in the panel."""
    volume = add_map(tool.session, np.full((9, 9, 9), 2, np.float32))
    wait(tool.session, lambda: tool.form.map_menu.value is volume)
    tool.run_button.click()
    assert wait(tool.session, lambda: not jobs(tool.session))
    assert "same density" in tool.report.text()


def test_maps_of_one_name(tool):
    """Rows of two maps that have the same name tell them apart by their numbers."""
    for volume in (add_map(tool.session), add_map(tool.session)):
        wait(tool.session, lambda: tool.form.map_menu.value is not None)
        tool.form.map_menu.value = volume
        tool.run_button.click()
    texts = [label.text() for label in tool.jobs.findChildren(type(tool.report))]
    assert [text.split(":")[0] for text in texts] == ["blobs #1", "blobs #2"]
    assert wait(tool.session, lambda: not jobs(tool.session))


def test_estimate_before_the_run(tool, volume):
    """Time and memory are foretold before anything is run, off the main thread."""
    assert wait(tool.session, lambda: tool.estimate.text().startswith("About"))
    assert "of memory" in tool.estimate.text() and "tile" in tool.estimate.text()


def test_estimate_stays_when_a_job_ends(tool, volume):
    """What was said of the same choices is still true; taken away and said again it would move all below it."""
    assert wait(tool.session, lambda: tool.estimate.text().startswith("About"))
    tool.run_button.click()
    assert wait(tool.session, lambda: not jobs(tool.session))
    assert tool.estimate.text().startswith("About")
    tool.form._batch.setValue(3)
    assert tool.estimate.text().startswith("Estimating")
    tool.form._batch.setValue(0)
    assert wait(tool.session, lambda: tool.estimate.text().startswith("About"))


def test_resolution_that_is_given(tool):
    """One step up from "found from the map" leads to the least that the command takes, and no value between is given."""
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
    """Leaving the file dialog empty-handed leaves the model as it was; a file shows by its name, the folder is in its tip."""
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
    """A map that will be refused is known before the run."""
    monkeypatch.setattr("chimerax.superem.panel.estimates.free_memory", lambda: 2**20)
    assert wait(tool.session, lambda: "Only 1 MB are free" in tool.estimate.text())


def test_devices_are_those_that_are_there(tool):
    """The menu lists what the core finds, each with its name."""
    from chimerax.superem.core.devices import available

    assert wait(tool.session, lambda: "best" not in tool.form._device.itemText(0))
    texts = [tool.form._device.itemText(i) for i in range(tool.form._device.count())]
    assert all(any(device.label in text for text in texts[1:]) for device in available())


def test_pytorch_that_is_missing(window, volume, monkeypatch):
    """The panel opens, and says what mends it; what was mended is estimated."""
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
    tool._choices_changed()  # as at the end of a job, or when something else is chosen and this again
    assert wait(window, lambda: "About 60 seconds for 2 tiles on CPU" in tool.estimate.text())
    tool.delete()


@pytest.mark.parametrize("name", ["blend", "level"])
def test_slider_held_still_settles_when_let_go(tool, result, monkeypatch, name):
    """A slider that rests under the mouse gives its commands when it is let go, not before."""
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
    """The move, by a key or the wheel, does not settle after Flip, which shows one map alone."""
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
    """Both contours enclose what the panel says, from the first move of the slider on."""
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


@pytest.mark.parametrize("name", ["flip", "blend"])
def test_maps_that_are_apart_come_together(tool, result, monkeypatch, name):
    """Flipping and blending compare maps in one place, so they lay those that are side by side together first."""
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
    """Opening the panel loads PyTorch on no thread but its own: with that one held back, it is not loaded at all."""
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
