"""Tests of the panel's estimates: which requests are answered, how durations are worded, and how the thread ends."""

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from panels import open_panel, wait


def test_settled_answers_are_not_asked_again(chimerax):
    """The latest request is answered, a known answer is given immediately, and requests in between are dropped."""
    from chimerax.superem.panel.estimates import AnswerThread

    worked, answers = [], []

    def work(number, _stopped):
        worked.append(number)
        return np.sqrt(number) if number > 0 else "no root"

    session = SimpleNamespace(ui=SimpleNamespace(thread_safe=lambda call, *arguments: call(*arguments)))
    thread = AnswerThread(session, work, lambda *answer: answers.append(answer))
    thread._working = True  # as if a first request were in progress
    thread.ask(4)
    thread.ask(9)
    thread._work()
    thread.ask(9)
    assert worked == [9] and answers == [(9, 3.0), (9, 3.0)]
    for _ in range(2):  # an error may have been fixed meanwhile
        thread._working = True
        thread.ask(-1)
        thread._work()
    assert worked == [9, -1, -1] and answers[2:] == [(-1, "no root")] * 2


def test_nothing_is_worked_out_for_a_panel_that_was_closed(chimerax):
    """Neither the request in progress nor the one that waits is answered."""
    from chimerax.superem.panel.estimates import AnswerThread

    worked, answers, later = [], [], []

    def work(number, _stopped):
        worked.append(number)
        thread.ask(2)
        thread.forget()
        return number

    session = SimpleNamespace(ui=SimpleNamespace(thread_safe=lambda call, *arguments: later.append((call, arguments))))
    thread = AnswerThread(session, work, lambda *answer: answers.append(answer))
    thread._working, thread._waiting = True, 1
    thread._work()
    for call, arguments in later:
        call(*arguments)
    assert worked == [1] and not answers


@pytest.mark.parametrize(("subregion", "shape"), [("all", (40, 36, 44)), ("shown", (21 + 17, 5 + 17, 11 + 17))])
def test_the_estimate_is_for_the_voxels_that_the_network_sees(run, volume, subregion, shape):
    """Those are the part, zyx, and 20 Å around it: 17 voxels here, as far as the map goes."""
    from chimerax.superem.panel.choices import Choices
    from chimerax.superem.panel.estimates import question

    run("volume #1 region 0,0,0,10,4,20")
    asked = question(volume, Choices(subregion=subregion))
    assert asked.shape == shape and asked.step == pytest.approx((1.2, 1.2, 1.2))


def test_choices_that_cost_nothing_need_no_new_estimate(volume):
    """The filter's resolution and the colours take no time worth telling; another tiling does."""
    from chimerax.superem.panel.choices import Choices
    from chimerax.superem.panel.estimates import question

    asked = question(volume, Choices())
    assert asked == question(volume, Choices(resolution=4.0, reliability=True)) != question(volume, Choices(tiling="fast"))


def test_what_was_timed_beside_a_job_is_not_kept(window, volume, monkeypatch):
    """As when Run is pressed while the estimate is made: the job slows it down, so it is made again after the job."""
    from chimerax.superem.core.devices import available
    from chimerax.superem.core.estimate import Estimate
    from chimerax.superem.job import Queue
    from chimerax.superem.panel import estimates

    running = []

    def slowed(_asked, _stopped):
        running.append("a job")
        return Estimate(1, 2**20, 0, 5000.0, available()[-1])

    monkeypatch.setattr(estimates, "estimate_run", slowed)
    monkeypatch.setattr(Queue, "list", lambda _queue: list(running))
    tool = open_panel(window)
    assert wait(window, lambda: "waits for the running job" in tool.estimate.text())
    monkeypatch.setattr(estimates, "estimate_run", lambda *_: Estimate(1, 2**20, 0, 50.0, available()[-1]))
    running.clear()
    tool._choices_changed()  # as when a job ends
    assert wait(window, lambda: tool.estimate.text().startswith("About 50 seconds"))
    tool.delete()


@pytest.mark.parametrize(("seconds", "words"), [
    (2, "10 seconds"), (44, "40 seconds"), (100, "2 minutes"), (7200, "2.0 hours"), (79200, "22 hours")])
def test_durations_are_coarse(chimerax, seconds, words):
    """Durations are rounded to the accuracy of the estimate."""
    from chimerax.superem.panel.estimates import duration

    assert duration(seconds) == words


@pytest.mark.parametrize("closed", [False, True])
def test_leaving_chimerax_waits_for_the_estimate(window, volume, monkeypatch, closed):
    """The estimate also runs the network, and may still be loading PyTorch after the panel was closed."""
    from chimerax.superem.panel import estimates

    began, ended = threading.Event(), threading.Event()

    def slow(_asked, stopped):
        began.set()
        while not stopped():
            time.sleep(0.01)
        time.sleep(0.2)
        ended.set()

    monkeypatch.setattr(estimates, "estimate_run", slow)
    tool = open_panel(window)
    assert wait(window, began.is_set)
    thread = tool._estimates
    if closed:
        tool.delete()
    window.triggers.activate_trigger("app quit", None)
    assert ended.is_set() and not thread._thread.is_alive()
    assert wait(window, lambda: thread._quit_handler is None), "what has ended is waited for no more"
    if not closed:
        tool.delete()


def test_a_change_of_the_map_asks_for_a_new_estimate(tool, run, volume):
    """The shown part, or a corrected voxel size, changes what a run will take; other changes do not."""
    def asked():
        return tool.estimate.text().startswith("Estimating")

    tool.form._set(tool.form._subregion, "shown")
    for command in ("volume #1 region 0,0,0,20,20,20", "volume #1 voxelSize 1.5"):
        assert wait(tool.session, lambda: tool.estimate.text().startswith("About"))
        run("volume #1 level 0.4")
        assert not asked()
        run(command)
        assert asked(), command


def test_a_change_of_the_model_asks_for_a_new_estimate(tool, volume):
    """The estimate is of the model that is now chosen."""
    tool.form._set(tool.form._model, "")
    assert wait(tool.session, lambda: tool.estimate.text().startswith("About"))
    tool.form._set(tool.form._model, "/nowhere/x.safetensors")
    assert wait(tool.session, lambda: "/nowhere/x.safetensors" in tool.estimate.text(), 10)
