"""Tests of jobs that fail, or whose result cannot be contoured: what is reported, and that the others run."""

import numpy as np
import pytest

from chimerax_library import draw_frame
from made_maps import RESULT, add_map
from panels import wait_without_window as wait


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
