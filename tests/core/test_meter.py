"""Tests of the time left that is reported during a prediction."""

import itertools

import pytest

from superem import meter


def test_time_left_when_the_work_begins_again(monkeypatch):
    """The CPU starts from the beginning after a GPU has failed for ten minutes."""
    seconds, posted = iter((0, 600, 601, 701, 801)), []
    monkeypatch.setattr(meter.time, "monotonic", lambda: next(seconds))
    count = meter.Meter(lambda *progress: posted.append(progress))
    for done in (0, 2, 0, 1, 2):
        count(done, 10)
    assert [left for *_, left in posted] == [None, pytest.approx(2400), None, pytest.approx(900), pytest.approx(800)]


def test_time_left(monkeypatch):
    """Parts of a tile count; the time left is reported once a second has passed and a quarter of a tile is done."""
    seconds, posted = iter(range(9, 99)), []
    monkeypatch.setattr(meter.time, "monotonic", lambda: next(seconds))
    count = meter.Meter(lambda *progress: posted.append(progress))
    for done in (0, 0.1, 0.2, 0.4, 0.6, 1, 2):
        assert count(done, 2)
    assert posted == [(0, 2, None), (0.1, 2, None), (0.2, 2, None), (0.4, 2, pytest.approx(12)), (0.6, 2, pytest.approx(28 / 3)),
                      (1, 2, pytest.approx(5)), (2, 2, 0)]
    seconds = itertools.count(step=0.3)
    count = meter.Meter(lambda *progress: posted.append(progress))
    for done in (0, 1, 2, 3, 4, 5):
        count(done, 6)
    assert [left for _done, total, left in posted if total == 6] == [None] * 4 + [pytest.approx(x) for x in (0.6, 0.3)]


def test_reports_come_now_and_then_and_the_end_at_once(monkeypatch):
    """The end is reported immediately and only once; further calls are reported only after the usual interval."""
    seconds, posted = iter((1000, 1000.1, 1000.2, 1000.3, 1000.35, 1000.4, 1000.7)), []
    monkeypatch.setattr(meter.time, "monotonic", lambda: next(seconds))
    count = meter.Meter(lambda *progress: posted.append(progress))
    told = [count(done, 4) and len(posted) for done in (0, 1, 2, 3, 4, 4, 4)]
    assert posted == [(0, 4, None), (3, 4, None), (4, 4, 0), (4, 4, 0)] and told == [1, 1, 1, 2, 3, 3, 4]


def test_work_goes_on_until_it_is_cancelled():
    answers = iter((False, False, True))
    count = meter.Meter(lambda *_progress: None, lambda: next(answers))
    assert [count(done, 3) for done in range(3)] == [True, True, False]


@pytest.mark.parametrize(("seconds", "words"), [(59.6, "1:00"), (3599, "59:59"), (3600, "1 h 00 min"), (7525, "2 h 05 min")])
def test_time_left_in_words(seconds, words):
    """Minutes and seconds, or hours and minutes, which cannot be taken for each other."""
    assert meter.status_text("x", 1, 9, seconds) == f"x: 1 of 9 tiles, {words} left"
