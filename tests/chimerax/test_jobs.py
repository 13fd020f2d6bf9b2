"""Tests of background jobs: queue, progress, cancelling, and maps that change or close during a job."""

import sys
import threading
import time

import numpy as np
import pytest

from chimerax_library import draw_frame
from made_maps import RESULT, add_map, blobs


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


def wait(session, condition):
    """Run queued calls on the main thread until the condition is true."""
    assert session.ui.run_until(condition, 60)


def running(job):
    """Return whether the job has begun to predict."""
    return job.stage == "predicting" and job.progress[0] >= 1


def test_command_in_the_background(run, session, volume, weights, queue):
    """`block false` returns immediately, the map appears later, and no task is left."""
    assert run(f"superem #1 model {weights} block false") is None
    job, = queue.list()
    assert job in session.tasks.list()
    wait(session, lambda: job.state == "finished")
    assert job.result.name == RESULT and job.report.tiles_run > 0
    assert f"{RESULT} #2 of blobs #1" in job.lines[0] and "stopped" not in session.log.text()
    assert "tiles" in "".join(session.log.statuses) and session.log.statuses[-1] == ""
    assert not queue.list() and not session.tasks.list()


@pytest.mark.parametrize(("in_script", "is_gui", "keyword", "blocks"), [
    (False, True, "", False),
    (True, True, "", True),
    (False, False, "", True),
    (False, True, "block true", True),
    (True, False, "block false", False),
])
def test_when_it_blocks(run, session, volume, monkeypatch, in_script, is_gui, keyword, blocks):
    """In scripts and without a window, the command waits; `block` overrides this."""
    from chimerax.superem import cmd

    class Queue:
        def submit(self, request):
            called.append("background")

        def run_now(self, request):
            called.append("blocking")

    called = []
    monkeypatch.setattr(cmd, "jobs", lambda _session: Queue())
    monkeypatch.setattr(session.ui, "is_gui", is_gui)
    monkeypatch.setattr(session, "in_script", in_script)
    run(f"superem #1 {keyword}")
    assert called == ["blocking" if blocks else "background"]


def test_interrupt_leaves_nothing(run, session, volume, monkeypatch):
    """Ctrl-C stops a blocking command, and nothing is opened."""
    from chimerax.superem import prediction

    def interrupted(_part, _seen, _settings, progress):
        progress(1, 9)
        raise KeyboardInterrupt

    monkeypatch.setattr(prediction, "predict", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run("superem #1")
    assert {m.name for m in session.models.list() if len(m.id) == 1} == {"blobs"}
    assert session.log.statuses[-1] == ""


def test_first_use_says_where_time_goes(session, monkeypatch):
    """A message announces that PyTorch will be loaded, unless it is loaded already."""
    from chimerax.superem.prediction import announce

    announce(session)
    assert not session.log.text("note")
    monkeypatch.delitem(sys.modules, "torch")
    announce(session)
    assert "PyTorch" in session.log.text("note")


def test_same_result_as_blocking(run, session, volume, weights, submit):
    """A background job and the blocking command give the same map."""
    now = run(f"superem #1 model {weights} device cpu")
    job = submit(volume)
    wait(session, lambda: job.state == "finished")
    assert np.array_equal(now.full_matrix(), job.result.full_matrix())


def test_one_at_a_time(session, submit, queue, gate):
    """The second job waits for the first; both report their states on the main thread."""
    seen = []
    handler = queue.triggers.add_handler(
        "changed", lambda _name, job: seen.append((threading.current_thread(), job, str(job.state))))
    first, second = submit(add_map(session)), submit(add_map(session))
    wait(session, lambda: running(first))
    assert second.state == "pending" and queue.list() == [first, second]
    gate.set()
    wait(session, lambda: second.state == "finished")
    handler.remove()
    assert {thread for thread, _job, _state in seen} == {threading.main_thread()}
    for job in (first, second):
        states = list(dict.fromkeys(state for _thread, other, state in seen if other is job))
        assert states == ["pending", "running", "finished"]


def test_session_that_is_saved_while_jobs_run(session, volume, submit, gate, tmp_path):
    """A session file cannot hold jobs; one warning names them all."""
    from chimerax.core.session import save

    jobs = [submit(volume), submit(add_map(session, name="other"))]
    wait(session, lambda: running(jobs[0]))
    save(session, str(tmp_path / "half.cxs"))
    assert session.log.text("warning").count("The session file will not hold") == 1
    assert "from blobs #1, other #2." in session.log.text("warning")
    gate.set()
    wait(session, lambda: jobs[1].state == "finished")
    session.log.lines.clear()
    save(session, str(tmp_path / "whole.cxs"))
    assert "will not hold" not in session.log.text("warning")


def test_cancel_stops_within_two_seconds(run, session, submit, queue, gate):
    """`superem cancel` ends the running and the waiting job, and leaves nothing."""
    jobs = [submit(add_map(session)) for _ in range(2)]
    wait(session, lambda: running(jobs[0]))
    began = time.monotonic()
    assert run("superem cancel") == 2
    wait(session, lambda: not queue.list())
    assert time.monotonic() - began < 2
    assert [job.state for job in jobs] == ["terminated", "terminated"]
    assert {m.name for m in session.models.list() if m.id and len(m.id) == 1} == {"blobs"}
    assert not session.tasks.list()


def test_task_manager_stops_a_job(session, volume, submit, queue, gate):
    """A job's name has its map, the map's number and the task's number; the Task Manager can also show and stop a waiting job."""
    from datetime import timedelta

    job, waiting = submit(volume), submit(volume)
    wait(session, lambda: running(job))
    assert str(job) == f"superem of blobs #1, ID {job.id}"
    assert waiting.start_time.strftime("%H") and waiting.runtime == timedelta()
    session.tasks[waiting.id].terminate()
    session.tasks[job.id].terminate()
    wait(session, lambda: not queue.list())
    assert job.state == waiting.state == "terminated"
    assert waiting.runtime >= timedelta()


def test_cancel_when_idle(run, session):
    """`superem cancel` says that there is nothing to stop."""
    assert run("superem cancel") == 0
    assert "not running" in session.log.text("note")


def test_map_closed_meanwhile(session, volume, submit, queue, gate):
    """Closing the map ends its job at the next progress report, without a result."""
    job = submit(volume)
    wait(session, lambda: running(job))
    session.models.close([volume])
    wait(session, lambda: not queue.list())
    assert job.state == "terminated" and job.result is None
    assert not session.models.list() and "closed" in session.log.text("note")


def test_map_closed_while_waiting(session, submit, queue, gate):
    """Closing a map before its turn ends its job; the next job runs."""
    first, second, third = (submit(add_map(session)) for _ in range(3))
    wait(session, lambda: running(first))
    session.models.close([second.request.volume])
    gate.set()
    wait(session, lambda: not queue.list())
    assert [j.state for j in (first, second, third)] == ["finished", "terminated", "finished"]


def test_many_maps_closed_while_waiting(session, submit, queue, gate):
    """Hundreds of jobs that end without having run do not hold up the one after them."""
    first, closed = submit(add_map(session)), add_map(session)
    waiting, last = [submit(closed) for _ in range(300)], submit(add_map(session))
    wait(session, lambda: running(first))
    session.models.close([closed])
    gate.set()
    wait(session, lambda: not queue.list())
    assert {job.state for job in waiting} == {"terminated"}
    assert first.state == last.state == "finished"


def test_working_folder_changed_while_waiting(run, session, volume, weights, submit, queue, gate, monkeypatch, tmp_path):
    """A relative path of a weights file means the file that it meant when the command was given."""
    first = submit(volume)
    wait(session, lambda: running(first))
    monkeypatch.chdir(weights.parent)
    run(f"superem #1 model {weights.name} block false")
    second = queue.list()[1]
    monkeypatch.chdir(tmp_path)
    gate.set()
    wait(session, lambda: not queue.list())
    assert second.error is None and second.result.name == RESULT


def test_map_moved_meanwhile(run, session, volume, submit, gate):
    """The result lies where the map is at the end."""
    job = submit(volume)
    wait(session, lambda: running(job))
    run("move 10,20,30 models #1")
    gate.set()
    wait(session, lambda: job.state == "finished")
    assert job.result.scene_position.same(volume.scene_position)
    assert not volume.scene_position.is_identity()


def test_values_changed_meanwhile(session, volume, submit, gate):
    """The result is that of the initial values, and a warning says so."""
    old = volume.full_matrix().max()
    job = submit(volume)
    wait(session, lambda: running(job))
    volume.data.array[...] *= 100
    volume.data.values_changed()
    gate.set()
    wait(session, lambda: job.state == "finished")
    assert job.result.full_matrix().max() < 2 * old
    assert "changed while superem ran" in session.log.text("warning")


def test_origin_changed_meanwhile(run, session, volume, submit, gate):
    """The result moves along with the map, and so does the map that colours it."""
    options = {"subregion": ((4, 4, 4), (35, 30, 35)), "reliability": True}
    job, unmoved = submit(volume, **options), submit(add_map(session), **options)
    wait(session, lambda: running(job))
    run("volume #1 originIndex 10,20,30")
    gate.set()
    wait(session, lambda: unmoved.state == "finished")
    assert np.allclose(np.subtract(job.result.data.origin, unmoved.result.data.origin), (-12, -24, -36))
    expected = next(m for m in session.models.list() if m.name == f"{job.result.name} expected Q")  # the first is that of `job`
    assert np.allclose(expected.data.ijk_to_xyz((1, 1, 1)), job.result.data.origin)
    assert not session.log.text("warning") and "both enclose" in "\n".join(job.lines)


def test_voxel_size_changed_meanwhile(run, session, volume, submit, gate):
    """The result has the earlier voxel size; a warning says so, and the log does not say that the maps now enclose the same."""
    job = submit(volume)
    wait(session, lambda: running(job))
    run("volume #1 voxelSize 0.8")
    gate.set()
    wait(session, lambda: job.state == "finished")
    warning = "The voxel size or the axes of blobs #1 were changed while superem ran."
    assert warning in session.log.text("warning") and warning in job.lines[-1]
    assert np.allclose(job.result.data.step, 1)
    assert "Å³ with the voxel size before the run." in "\n".join(job.lines)


def test_a_cell_that_is_hardly_skewed_is_not_one_that_changed(session, submit):
    """Angles that pass as right ones do not look like axes that were changed during the run."""
    job = submit(add_map(session, cell_angles=(90.009, 90, 89.991)))
    wait(session, lambda: job.state == "finished")
    assert not session.log.text("warning")


def test_bad_input_fails_with_one_sentence(session, submit, queue):
    """A user error ends the job and is logged once; the next job runs."""
    bad, good = submit(add_map(session, np.full((9, 9, 9), 2, np.float32))), submit(add_map(session))
    wait(session, lambda: not queue.list())
    assert bad.state == "failed" and "same density" in bad.error
    assert session.log.text("error").count("same density") == 1
    assert good.state == "finished"


def test_unexpected_error_is_reported(session, volume, submit, queue, monkeypatch):
    """A defect on the worker thread is reported on the main thread, and leaves no task."""
    from chimerax.superem import prediction

    monkeypatch.setattr(prediction, "predict", lambda *_: 1 / 0)
    job = submit(volume)
    wait(session, lambda: not queue.list())
    assert job.state == "failed" and "division by zero" in job.error
    assert "division by zero" in session.log.text("bug")
    session.log.lines.clear()  # or the fixture `session` would fail


@pytest.mark.parametrize(("kind", "text", "said", "told"), [
    ("OSError", "\nIt is gone\n", "It is gone", "bug"), ("OSError", "", "blobs #2 cannot be read (OSError).", "bug"),
    ("UserError", "\nIt is gone\n", "It is gone", "error")])
def test_a_map_that_cannot_be_read_does_not_hold_up_the_others(
        session, volume, submit, queue, monkeypatch, kind, text, said, told):
    """ChimeraX reads the values of large maps only when needed, from files that may have been deleted."""
    from chimerax.core.errors import UserError
    from chimerax.superem import prediction

    error = {"OSError": OSError, "UserError": UserError}[kind](text)
    maps, read = [volume, add_map(session), add_map(session)], prediction.read

    def gone(request):
        if request.volume is maps[1]:
            raise error
        return read(request)

    monkeypatch.setattr(prediction, "read", gone)
    made = [submit(v) for v in maps]
    wait(session, lambda: not queue.list())
    assert [job.state for job in made] == ["finished", "failed", "finished"]
    assert made[1].error == said and said in session.log.text(told)
    session.log.lines.clear()  # or the fixture `session` would fail


@pytest.mark.parametrize("block", ["true", "false"])
def test_a_map_beyond_memory(run, session, volume, weights, queue, monkeypatch, block):
    """Too little memory is a user error, not a defect, also in the background."""
    from chimerax.core.errors import UserError

    def too_large(*_arguments, **_keywords):
        raise MemoryError

    sentence = "blobs #1 does not fit in memory; choose a part of it."
    monkeypatch.setattr(type(volume), "region_matrix", too_large)
    if block == "true":
        with pytest.raises(UserError, match=sentence):
            run(f"superem #1 model {weights} block true")
    else:
        run(f"superem #1 model {weights} block false")
        assert not queue.list() and sentence in session.log.text("error")


@pytest.mark.parametrize(("where", "said"), [("predict", "an unexpected error: OSError"), ("show", "its result: OSError")])
def test_an_error_without_words(session, volume, submit, queue, monkeypatch, where, said):
    """The message then ends with the type of the error."""
    from chimerax.superem import prediction

    def wordless(*_arguments):
        raise OSError

    monkeypatch.setattr(prediction, where, wordless)
    job = submit(volume)
    wait(session, lambda: not queue.list())
    assert job.error.endswith(said)
    session.log.lines.clear()  # or the fixture `session` would fail


def test_a_whole_map_is_read_once(volume, monkeypatch):
    """Reading is slow, and the network's context is the same as the requested part."""
    from chimerax.superem import volumes
    from chimerax.superem.prediction import Request, read

    reads, density_of = [], volumes.density_of
    monkeypatch.setattr(volumes, "density_of", lambda *asked: reads.append(asked) or density_of(*asked))
    part, seen = read(Request(volume))
    assert part is seen and len(reads) == 1


@pytest.mark.parametrize("cancelled", [False, True])
def test_leaving_chimerax_waits_for_the_thread(session, volume, submit, queue, gate, cancelled):
    """A thread killed inside PyTorch would crash ChimeraX, even if its job has just been cancelled."""
    jobs = [submit(volume), submit(volume)]
    wait(session, lambda: running(jobs[0]))
    if cancelled:
        jobs[0].cancel()
    session.triggers.activate_trigger("app quit", None)
    assert "superem of blobs #1" not in {thread.name for thread in threading.enumerate()}
    wait(session, lambda: not queue.list())
    assert {job.state for job in jobs} == {"terminated"}


def test_model_number_taken_meanwhile(session, volume, submit, gate):
    """If its model number is taken, the result gets another one and is not lost."""
    job = submit(volume, model_id=(5,))
    wait(session, lambda: running(job))
    other = add_map(session)
    session.models.assign_id(other, (5,))
    gate.set()
    wait(session, lambda: job.state == "finished")
    assert job.result.id not in {None, (5,)}
    assert "modelId 5 cannot be used: model #5 exists already." in job.lines


def test_parent_of_the_model_number_closed_meanwhile(session, volume, submit, gate):
    """The result gets another number and is not lost."""
    parent = add_map(session)
    job = submit(volume, model_id=(*parent.id, 5))
    wait(session, lambda: running(job))
    session.models.close([parent])
    gate.set()
    wait(session, lambda: job.state == "finished")
    assert len(job.result.id) == 1
    assert "modelId 2.5 cannot be used: there is no model #2." in job.lines


def test_a_result_that_cannot_be_contoured_is_kept(session, volume, submit, monkeypatch):
    """A failure to match the levels must not cost an hour's work: the result is shown at ChimeraX's own level."""
    from chimerax.superem import volumes

    def too_large(*_arguments):
        raise MemoryError

    monkeypatch.setattr(volumes, "match_levels", too_large)
    job = submit(volume)
    wait(session, lambda: job.state == "finished")
    sentence = f"{RESULT} #2 is not contoured at a level to match blobs #1: MemoryError"
    assert sentence in job.lines and sentence in session.log.text("bug")
    draw_frame(session)
    assert job.result.display and len(job.result.surfaces[0].vertices)
    session.log.lines.clear()  # or the fixture `session` would fail


def test_progress_and_time_left(session, submit, gate):
    """Progress counts up to its total, with an estimate of the time left."""
    job = submit(add_map(session, blobs((90, 40, 40))))
    wait(session, lambda: running(job))
    done, total = job.progress
    assert 0 < done < total
    gate.set()
    wait(session, lambda: job.state == "finished")
    assert job.progress == (total, total) and job.seconds_left == 0


def test_session_close_stops_jobs(session, volume, submit, queue, gate):
    """Opening another session closes the map and so ends the job."""
    job = submit(volume)
    wait(session, lambda: running(job))
    session.reset()
    wait(session, lambda: not queue.list())
    assert job.state == "terminated" and not session.models.list()
