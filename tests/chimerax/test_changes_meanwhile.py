"""Tests of what changes while a job runs or waits: maps closed, moved or edited, model numbers, the working folder."""

from contextlib import contextmanager

import numpy as np
import pytest

from made_maps import RESULT, add_map
from panels import running
from panels import wait_without_window as wait


@pytest.fixture
def meanwhile(session, queue, gate):
    """Hold a job after its first batch while the body of a `with` runs; then let all jobs end."""

    @contextmanager
    def hold(job):
        wait(session, lambda: running(job))
        yield
        gate.set()
        wait(session, lambda: not queue.list())

    return hold


def test_map_closed_meanwhile(session, volume, submit, queue, gate):
    """Closing the map ends its job at the next progress report, without a result."""
    job = submit(volume)
    wait(session, lambda: running(job))
    session.models.close([volume])
    wait(session, lambda: not queue.list())
    assert job.state == "terminated" and job.result is None
    assert not session.models.list() and "closed" in session.log.text("note")


def test_map_closed_while_waiting(session, submit, meanwhile):
    """Closing a map before its turn ends its job; the next job runs."""
    first, second, third = (submit(add_map(session)) for _ in range(3))
    with meanwhile(first):
        session.models.close([second.request.volume])
    assert [j.state for j in (first, second, third)] == ["finished", "terminated", "finished"]


def test_many_maps_closed_while_waiting(session, submit, meanwhile):
    """Hundreds of jobs that end without having run do not hold up the one after them."""
    first, closed = submit(add_map(session)), add_map(session)
    waiting, last = [submit(closed) for _ in range(300)], submit(add_map(session))
    with meanwhile(first):
        session.models.close([closed])
    assert {job.state for job in waiting} == {"terminated"}
    assert first.state == last.state == "finished"


def test_working_folder_changed_while_waiting(run, volume, weights, submit, queue, meanwhile, monkeypatch, tmp_path):
    """A relative path of a weights file means the file that it meant when the command was given."""
    first = submit(volume)
    with meanwhile(first):
        monkeypatch.chdir(weights.parent)
        run(f"superem #1 model {weights.name} block false")
        second = queue.list()[1]
        monkeypatch.chdir(tmp_path)
    assert second.error is None and second.result.name == RESULT


def test_map_moved_meanwhile(run, volume, submit, meanwhile):
    """The result lies where the map is at the end."""
    job = submit(volume)
    with meanwhile(job):
        run("move 10,20,30 models #1")
    assert job.state == "finished"
    assert job.result.scene_position.same(volume.scene_position)
    assert not volume.scene_position.is_identity()


def test_values_changed_meanwhile(session, volume, submit, meanwhile):
    """The result is that of the initial values, and a warning says so."""
    old = volume.full_matrix().max()
    job = submit(volume)
    with meanwhile(job):
        volume.data.array[...] *= 100
        volume.data.values_changed()
    assert job.state == "finished"
    assert job.result.full_matrix().max() < 2 * old
    assert "changed while superem ran" in session.log.text("warning")


def test_origin_changed_meanwhile(run, session, volume, submit, meanwhile):
    """The result moves along with the map, and so does the map that colours it."""
    options = {"subregion": ((4, 4, 4), (35, 30, 35)), "reliability": True}
    job, unmoved = submit(volume, **options), submit(add_map(session), **options)
    with meanwhile(job):
        run("volume #1 originIndex 10,20,30")
    assert unmoved.state == "finished"
    assert np.allclose(np.subtract(job.result.data.origin, unmoved.result.data.origin), (-12, -24, -36))
    expected = next(m for m in session.models.list() if m.name == f"{job.result.name} expected Q")  # the first is that of `job`
    assert np.allclose(expected.data.ijk_to_xyz((1, 1, 1)), job.result.data.origin)
    assert not session.log.text("warning") and "both enclose" in "\n".join(job.lines)


def test_voxel_size_changed_meanwhile(run, session, volume, submit, meanwhile):
    """The result has the earlier voxel size; a warning says so, and the log does not say that the maps now enclose the same."""
    job = submit(volume)
    with meanwhile(job):
        run("volume #1 voxelSize 0.8")
    assert job.state == "finished"
    warning = "The voxel size or the axes of blobs #1 were changed while superem ran."
    assert warning in session.log.text("warning") and warning in job.lines[-1]
    assert np.allclose(job.result.data.step, 1)
    assert "Å³ with the voxel size and axes before the run." in "\n".join(job.lines)


def test_a_cell_that_is_hardly_skewed_is_not_one_that_changed(session, submit):
    """Angles that pass as right ones do not look like axes that were changed during the run."""
    job = submit(add_map(session, cell_angles=(90.009, 90, 89.991)))
    wait(session, lambda: job.state == "finished")
    assert not session.log.text("warning")


def test_model_number_taken_meanwhile(session, volume, submit, meanwhile):
    """If its model number is taken, the result gets another one and is not lost."""
    job = submit(volume, model_id=(5,))
    with meanwhile(job):
        other = add_map(session)
        session.models.assign_id(other, (5,))
    assert job.state == "finished"
    assert job.result.id not in {None, (5,)}
    assert "modelId 5 cannot be used: model #5 exists already." in job.lines


def test_parent_of_the_model_number_closed_meanwhile(session, volume, submit, meanwhile):
    """The result gets another number and is not lost."""
    parent = add_map(session)
    job = submit(volume, model_id=(*parent.id, 5))
    with meanwhile(job):
        session.models.close([parent])
    assert job.state == "finished"
    assert len(job.result.id) == 1
    assert "modelId 2.5 cannot be used: there is no model #2." in job.lines
