"""Tests of what happens to the map of the expected Q-score, and to its colour key, when the result is closed."""

import types

import numpy as np
import pytest

from chimerax_library import draw_frame
from made_maps import RESULT, add_map

NAME = f"{RESULT} expected Q"


@pytest.fixture
def reliable(run, volume, weights):
    """Return a function that runs `superem #1 reliability true` and returns the result."""
    return lambda: run(f"superem #1 model {weights} reliability true")


def expected_qs(session):
    """Return the open maps of the expected Q-score."""
    return [m for m in session.models.list() if m.name == NAME]


@pytest.mark.parametrize("before", ["", "color sample #2 map #1", "move x 9 models #2", "turn y 50 models #2"])
def test_closed_with_its_result(run, session, volume, reliable, before):
    """It is closed wherever it is, and also if the result has been recoloured; the log says so."""
    reliable()
    if before:
        run(before)
    assert len(expected_qs(session)) == 1
    run("close #2")
    assert not expected_qs(session) and not volume.deleted
    assert f"{NAME} #3: closed" in session.log.text("note")


def test_closed_with_its_result_of_a_session_file(run, session, volume, reliable, tmp_path):
    """After a session is opened, it is closed and moved with its result, even if SuperEM has not been used since."""
    from chimerax.core.session import open as open_session
    from chimerax.core.session import save
    from chimerax.geometry import translation

    reliable()
    path = str(tmp_path / "reliability.cxs")
    save(session, path)
    for handler in session.superem_expected_q:
        handler.remove()
    del session.superem_expected_q
    open_session(session, path)
    result = next(m for m in session.models.list() if m.name == RESULT)
    result.position = translation((0, 0, 7))
    expected, = expected_qs(session)
    assert expected.position.same(result.position)
    result.data.set_origin((1, 2, 3))
    assert np.allclose(expected.data.ijk_to_xyz((1, 1, 1)), (1, 2, 3))
    session.models.close([result])
    assert expected.deleted


def test_saved_to_a_file_it_goes_with_its_result_still(session, volume, reliable, tmp_path):
    """ChimeraX then renames it after the file, in which the name is written differently."""
    from chimerax.geometry import translation
    from chimerax.map.volume import save_map
    from chimerax.superem.panel.compare import save_name

    result = reliable()
    expected, = expected_qs(session)
    save_map(session, str(tmp_path / save_name(expected)), None, models=[expected])
    assert expected.name == "blobs_superem_model_identity_expected_Q.mrc"
    result.position = translation((0, 0, 7))
    assert expected.position.same(result.position)
    session.models.close([result])
    assert expected.deleted


def test_a_result_that_cannot_be_colored_is_kept(run, session, volume, reliable, monkeypatch):
    """A failure to colour the result must not cost an hour's work."""
    from chimerax.superem import prediction

    monkeypatch.setattr(prediction, "open_expected_q", lambda *_: 1 / 0)
    result = reliable()
    assert not result.deleted and result.display
    assert f"{RESULT} #2 could not be colored by the Q-score to expect: division by zero" in session.log.text("bug")
    session.log.lines.clear()  # or the fixture `session` would fail


def test_left_open_if_it_is_used(run, session, volume, reliable):
    """It stays open if it is shown, or colours another map."""
    result = reliable()
    expected, = expected_qs(session)
    run(f"color sample #1 map #{expected.id_string} palette 0,red:1,blue")
    run("close #2")
    volume.set_parameters(surface_levels=[0.4])
    draw_frame(session)
    assert result.deleted and not expected.deleted and len(np.unique(volume.surfaces[0].vertex_colors, axis=0)) > 3
    session.models.close([expected])
    reliable().display = False
    expected, = expected_qs(session)
    expected.display = True
    draw_frame(session)
    session.models.close([m for m in session.models.list() if m.name == RESULT])
    assert not expected.deleted


@pytest.mark.parametrize("recoloured", [False, True])
def test_two_results_of_one_map(run, session, volume, reliable, recoloured):
    """Each map belongs to one of the results; if recolouring hides which, none is closed before the last result is."""
    reliable()
    second = reliable()
    if recoloured:
        run(f"color sample #{second.id_string} map #1")
    run("close #2")
    assert len(expected_qs(session)) == 1 + recoloured
    session.models.close([second])
    assert not expected_qs(session)


def test_other_maps_stay(run, session, volume, reliable):
    """Closing other maps has no effect on it, and a map with a similar name on another grid is not closed."""
    reliable()
    other = add_map(session, name=f"mine {NAME}")
    run("close #1")
    assert len(expected_qs(session)) == 1
    run("close #2")
    assert not expected_qs(session) and not other.deleted


@pytest.mark.parametrize(("labels", "closed"), [(("Q=0.1", "0.3", "0.5", "0.7"), True), (("min", "", "", "max"), False)])
def test_key_is_closed_with_it(session, volume, reliable, monkeypatch, labels, closed):
    """The colour key is closed too, unless the user has changed it."""
    import sys

    from chimerax.core.models import Model

    key = Model("Color key", session)
    key.rgbas_and_labels = [((0, 0, 0, 1), label) for label in labels]
    module = types.SimpleNamespace(get_model=lambda _session, create: None if create or key.deleted else key)
    monkeypatch.setitem(sys.modules, "chimerax.color_key.model", module)
    monkeypatch.setitem(sys.modules, "chimerax.color_key", types.SimpleNamespace(model=module))
    result = reliable()
    session.models.add([key])
    monkeypatch.setattr(session.ui, "is_gui", True)
    session.models.close([result])
    assert key.deleted == closed
