"""Tests of the panel with real Qt widgets: running, cancelling, reports, and opening it again."""

import time

import numpy as np
import pytest

from made_maps import RESULT, add_map
from panels import jobs, open_panel, wait


def test_there_is_one_panel(tool):
    """Opening it again returns the same one."""
    assert open_panel(tool.session) is tool


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


def test_cancel_stops_within_two_seconds(tool, volume, monkeypatch):
    """Cancel ends a long job quickly, and leaves no map, task or row."""
    from chimerax.superem.panel.choices import Choices
    from Qt.QtWidgets import QProgressBar, QPushButton

    monkeypatch.setattr("chimerax.superem.meter.MIN_SECONDS", 0)  # a quick computer may end the job within this time
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
