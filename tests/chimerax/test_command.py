"""Tests of the installed command in a real ChimeraX: `run(session, "superem #1 ...")`."""

import html

import numpy as np
import pytest

from made_maps import RESULT, add_map


def test_returns_a_new_volume_beside_the_input(run, session, volume, weights):
    """One map gives one new map named after it; the input stays shown and unchanged."""
    before = volume.full_matrix().copy()
    result = run(f"superem #1 model {weights}")
    assert result.id == (2,) and result.name == RESULT
    assert volume.display and result.display
    assert np.array_equal(volume.full_matrix(), before)
    assert np.allclose(result.data.step, 1)


def test_several_maps_give_a_list(run, session, weights):
    """`superem #1-3` returns three maps, in order."""
    for name in "abc":
        add_map(session, name=name)
    results = run(f"superem #1-3 model {weights}")
    assert [r.name for r in results] == [RESULT.replace("blobs", name) for name in "abc"]


def test_one_of_several_maps_fails(run, session, weights):
    """The others are made all the same; one error at the end says which failed and why."""
    from chimerax.core.errors import UserError

    for array in (None, np.full((9, 9, 9), 2, np.float32), None, np.full((9, 9, 9), 3, np.float32)):
        add_map(session, array)
    with pytest.raises(UserError) as caught:
        run(f"superem #1-4 model {weights}")
    assert str(caught.value).startswith("No map could be made from blobs #2 or blobs #4: blobs #2 has the same density, 2,")
    assert "blobs #4 has the same density, 3," in str(caught.value)
    assert [m.name for m in session.models.list() if len(m.id) == 1] == ["blobs"] * 4 + [RESULT] * 2
    with pytest.raises(UserError, match="No map could be made from blobs #1 or blobs #3: ") as caught:
        run(f"superem #1,3 model {weights} device cuda:99")
    assert str(caught.value).count("Device cuda:99") == 1


def test_an_unexpected_error_with_one_of_several_maps(run, session, weights, monkeypatch):
    """It does not keep the others from being made, and is reported."""
    from chimerax.core.errors import UserError
    from chimerax.superem import prediction

    read, maps = prediction.read, [add_map(session), add_map(session)]

    def gone(request):
        if request.volume is maps[0]:
            raise OSError("The file is gone.")
        return read(request)

    monkeypatch.setattr(prediction, "read", gone)
    with pytest.raises(UserError, match="No map could be made from blobs #1: The file is gone."):
        run(f"superem #1-2 model {weights}")
    assert RESULT in {m.name for m in session.models.list()}
    assert "superem of blobs #1 failed: The file is gone." in session.log.text("bug")
    session.log.lines.clear()  # or the fixture `session` would fail


def test_keywords(run, session, volume, weights):
    """modelId, hideMaps, grid, tiling, rotations and batchSize take effect."""
    result = run(f"superem #1 model {weights} modelId 7 hideMaps true grid input tiling fast rotations 4 batchSize 2 device cpu")
    assert result.id == (7,) and not volume.display
    assert result.data.size == volume.data.size
    assert np.allclose(result.data.step, volume.data.step)


def test_log_says_what_was_done(run, session, volume, weights):
    """The log has device, model, tiles, time, levels and volumes, and the caution; progress is in the status line."""
    run(f"superem #1 model {weights}")
    note = session.log.text("note")
    for words in ("identity", "cpu", "tiles run", " s.", "Level", "Å³", "refine"):
        assert words.lower() in note.lower(), words
    assert any("of" in status and "tiles" in status for status in session.log.statuses)
    assert session.log.statuses[-1] == ""


def test_usage(run, session):
    """`usage superem` lists the keywords as users type them."""
    run("usage superem")
    text = session.log.text()
    for keyword in ("device", "model", "tiling", "rotations", "batchSize", "grid", "subregion", "step", "modelId",
                    "hideMaps", "block"):
        assert keyword in text
    for values in ("auto, cuda, cuda:N, mps, or cpu", "one of normal, fast, or paper", "one of 1, 4, 8, or 24"):
        assert values in text


def test_model_in_a_folder_with_a_space(run, session, volume, weights, tmp_path):
    """A quoted path is taken literally, even with a backslash before a letter such as n."""
    path = tmp_path / "new weights" / r"of\north.safetensors"
    path.parent.mkdir()
    path.write_bytes(weights.read_bytes())
    assert run(f'superem #1 model "{path}"').name == r"blobs superem (model of\north)"


def test_result_as_input(run, session, volume, weights):
    """A result is processed again with a warning, and its name does not grow."""
    result = run(f"superem #1 model {weights}")
    assert "itself" not in session.log.text("warning")
    again = run(f"superem #{result.id_string} model {weights}")
    assert f"{result.name} #{result.id_string} is itself a super-resolved map" in session.log.text("warning")
    assert again.name == result.name


@pytest.mark.parametrize(("options", "words"), [
    ("", ""), ("device cpu batchSize 2 rotations 1", " (rotations 1)"), ("rotations 4", ""), ("grid 1A subregion shown", ""),
    ("resolution 3.8 subregion 2,2,2,40,30,35", " (resolution 3.8, subregion 2,2,2,40,30,35)"),
    ("tiling fast grid input resolution 4 step 2", " (tiling fast, grid input, resolution 4, step 2)")])
def test_results_are_told_apart(run, session, volume, options, words):
    """The name says which settings are not the default and change the map."""
    assert run(f"superem #1 {options}").name == f"blobs superem{words}"


def test_shown_part_is_named(run, session, volume, weights):
    """The name gives its corners, since another part may be shown later; so does the name of its expected Q-score."""
    run("volume #1 region 5,6,7,30,28,26")
    name = run(f"superem #1 model {weights} subregion shown reliability true").name
    assert name == "blobs superem (model identity, subregion 5,6,7,30,28,26)"
    assert f"{name} expected Q" in {m.name for m in session.models.list()}


def test_a_map_too_coarse_is_doubted(run, session, volume):
    """The bundled model, which is made for 3 to 6 Å, causes a warning, but gives a result."""
    assert run("superem #1 resolution 4").name == "blobs superem (resolution 4)"
    assert "not to be trusted" not in session.log.text("warning")
    run("superem #1 resolution 8")
    assert "A map of 8 Å is coarser than the 3 to 6 Å" in session.log.text("warning")


def test_models(run, session):
    """`superem models` prints the bundle's version and lists every bundled model, the default first."""
    import chimerax.superem.nets.store as store

    cards = run("superem models")
    assert [c.name for c in cards] == [c.name for c in store.bundled()]
    table = session.log.text()
    bundle = session.toolshed.find_bundle("ChimeraX-SuperEM", session.logger)
    assert f"SuperEM for ChimeraX {bundle.version}" in table
    for card in cards:
        assert card.name in table and html.escape(card.summary) in table and card.validation
        assert all(f"<tr><td>{html.escape(name)}<td" in table for name in card.validation)  # one line each


def test_models_are_shown_as_a_table(run, session, monkeypatch):
    """ChimeraX is told that the text is HTML, or it would show the tags."""
    logged = []
    monkeypatch.setattr(session.logger, "info", lambda text, **options: logged.append((text, options)))
    run("superem models")
    options, = (options for text, options in logged if "<table" in text)
    assert options["is_html"] is True


def test_default_model(run, session, volume):
    """Without keywords, the bundled model is used, and its values are finite."""
    import chimerax.superem.nets.store as store

    result = run("superem #1")
    assert store.DEFAULT in session.log.text("note")
    assert np.isfinite(result.full_matrix()).all() and result.full_matrix().std() > 0


def test_session_keeps_the_result(run, session, volume, weights, tmp_path):
    """Saving and restoring a session restores the result's values and level."""
    result = run(f"superem #1 model {weights}")
    matrix, level = result.full_matrix().copy(), result.surfaces[0].level
    path = tmp_path / "kept.cxs"
    with open(path, "wb") as file:
        session.save(file, version=3, include_maps=True)
    session.models.close(session.models.list())
    with open(path, "rb") as file:
        session.restore(file)
    restored = next(m for m in session.models.list() if m.name == RESULT)
    assert np.array_equal(restored.full_matrix(), matrix)
    assert restored.surfaces[0].level == level
