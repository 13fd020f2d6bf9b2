"""Tests of jobs: in the background or blocking, their queue and progress, cancelling them, and leaving ChimeraX."""

import sys
import threading
import time

import numpy as np
import pytest

from made_maps import RESULT, add_map, blobs
from panels import running
from panels import wait_without_window as wait


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
