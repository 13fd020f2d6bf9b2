"""Tests of how results are recognised and named, even after they are renamed."""

import pytest

from chimerax_library import open_map
from made_maps import add_map, blobs


@pytest.fixture
def result(run, volume, weights):
    """The super-resolved map of `volume`."""
    return run(f"superem #1 model {weights}")


def warned(session):
    """Return whether the log says that a map is itself a result."""
    return "is itself a super-resolved map" in session.log.text("warning")


def test_a_result_that_was_saved(run, session, volume, weights, result, tmp_path):
    """ChimeraX renames it after the file, but it is still recognised as a result."""
    from chimerax.map.volume import save_map

    save_map(session, str(tmp_path / "result.mrc"), None, models=[result])
    assert result.name == "result.mrc"
    again = run(f"superem #2 model {weights}")
    assert warned(session) and again.name == "result.mrc superem (model identity)"


@pytest.mark.parametrize("kind", ["result", "reliability"])
def test_a_file_of_the_command_line(run, session, weights, tmp_path, kind):
    """Its header identifies it, whatever the file's name."""
    from chimerax.core.errors import UserError
    from chimerax.superem import provenance
    from chimerax.superem.core.density import DensityMap
    from chimerax.superem.core.mrc import write_mrc
    from chimerax.superem.core.predict import enhance
    from chimerax.superem.nets.store import load

    report = enhance(DensityMap(blobs()), load(str(weights)), device="cpu").report
    labels = provenance.labels(report, "emd_1.map")
    write_mrc(tmp_path / "any.mrc", DensityMap(blobs(), name="any"),
              labels if kind == "result" else [provenance.EXPECTED_Q_LABEL, *labels[1:]])
    open_map(session, tmp_path / "any.mrc")
    if kind == "result":
        run(f"superem #1 model {weights}")
        assert warned(session)
    else:
        with pytest.raises(UserError, match="any.mrc #1: the Q-score to expect, not density"):
            run(f"superem #1 model {weights}")


@pytest.mark.parametrize(("name", "file"), [
    ("emd_1461.mrc superem", "emd_1461_superem.mrc"), ("a/b.map.gz superem", "a_b_superem.mrc"), ("emdb 1461", "emdb_1461.mrc"),
    ("emd_1461.map superem (resolution 3.8, subregion 20,20,20,60,60,60)",
     "emd_1461_superem_resolution_3.8_subregion_20_20_20_60_60_60.mrc"),
    ("x superem (model my: net)", "x_superem_model_my_net.mrc"), ("???", "map.mrc")])
def test_name_of_the_file(session, volume, name, file):
    """The proposed name has one suffix and no spaces, and is recognised as a result's when the file is opened."""
    from chimerax.superem.names import is_result
    from chimerax.superem.panel.compare import save_name

    volume.name = name
    assert save_name(volume) == file
    volume.name = file
    assert is_result(volume) == ("superem" in name)


@pytest.mark.parametrize("name", ["x superem expected Q", "x superem (step 2) expected Q", "x_superem_step_2_expected_Q.mrc",
                                  "x superem expected Q copy", "superem input"])
def test_other_names(session, volume, name):
    """A map of the expected Q-score is not a result, nor is any other map just because its name has the word."""
    from chimerax.superem.names import is_result

    volume.name = name
    assert not is_result(volume)


@pytest.mark.parametrize("words", ["", " (model identity)"])
@pytest.mark.parametrize("kind", ["copy", "gaussian"])
def test_copies_and_filtered_ones(session, volume, words, kind):
    """Copies and filtered maps that ChimeraX names after a result count as results, with or without options in the name."""
    from chimerax.superem.names import is_result

    volume.name = f"x superem{words} {kind}"
    assert is_result(volume)


def test_range_of_numbers_with_expected_q(run, session, volume, weights):
    """A map of the expected Q-score within a range of numbers is left out, and the log says so; alone it is refused."""
    from chimerax.core.errors import UserError

    result = run(f"superem #1 model {weights} reliability true")
    name = f"{result.name} expected Q"
    expected, = (m for m in session.models.list() if m.name == name)
    assert expected.id == (3,)
    made = run(f"superem #1-3 model {weights}")
    assert len(made) == 2 and f"{name} #3: the Q-score to expect, not density; left out." in session.log.text("note")
    with pytest.raises(UserError, match="specify the map that superem should work on"):
        run(f"superem #3 model {weights}")


@pytest.mark.parametrize("file", ["blobs_superem.mrc", "blobs_superem_model_identity_resolution_4.mrc"])
def test_pair_of_a_session_after_save(session, volume, result, tmp_path, file):
    """A saved result has its file's name, from which its input is found after a session is opened."""
    from chimerax.core.session import open as open_session
    from chimerax.core.session import save
    from chimerax.map.volume import save_map
    from chimerax.superem.names import newest_pair

    volume.name = "blobs.map"
    save_map(session, str(tmp_path / file), None, models=[result])
    save(session, path := str(tmp_path / "saved.cxs"))
    open_session(session, path)
    assert [v.name for v in newest_pair(session)] == ["blobs.map", file]


def test_pair_of_a_session_that_was_opened(run, session, volume, weights, result, tmp_path):
    """The newest result is found by its name; maps of the expected Q-score, and results whose input is closed, do not count."""
    from chimerax.core.session import open as open_session
    from chimerax.core.session import save
    from chimerax.superem.names import newest_pair

    run(f"superem #1 model {weights} resolution 3.8 reliability true")
    other = add_map(session, name="other")
    run(f"superem #{other.id_string} model {weights}")
    session.models.close([other])
    path = str(tmp_path / "pair.cxs")
    save(session, path)
    open_session(session, path)
    before, after = newest_pair(session)
    assert (before.name, after.name) == ("blobs", "blobs superem (model identity, resolution 3.8)")
    session.models.close([before])
    assert newest_pair(session) is None


def test_pair_of_maps_that_were_renamed(session, volume, result):
    """Within the session that made a result, its input is known, whatever the names are."""
    from chimerax.superem.names import newest_pair

    volume.name, result.name = "one", "two"
    add_map(session, name="three")
    assert newest_pair(session) == (volume, result)


@pytest.mark.parametrize(("step", "subregion", "words"), [
    (1, "all", []), ((1, 1, 1), "all", []), ((2, 2, 2), "all", ["step 2"]), ((1, 1, 2), "all", ["step 1,1,2"]),
    (1, ((1, 2, 3), (9, 8, 7)), ["subregion 1,2,3,9,8,7"]), (3, "shown", ["subregion shown", "step 3"])])
def test_a_part_is_named_as_it_was_asked_for(session, step, subregion, words):
    """Also if only one axis has a step."""
    from chimerax.superem.names import part_words

    assert part_words(step, subregion) == words
