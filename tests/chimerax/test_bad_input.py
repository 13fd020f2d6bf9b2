"""Tests of bad input: each raises a UserError of one clear sentence, and nothing is opened, closed or changed."""

import numpy as np
import pytest

from made_maps import add_map, blobs


@pytest.fixture
def refused(run, session):
    """Return a function that runs a command that must be refused, and returns the error's sentence."""
    from chimerax.core.errors import UserError

    def refuse(command):
        before = [(m.id, m.display) for m in session.models.list()]
        with pytest.raises(UserError) as caught:
            run(command)
        assert [(m.id, m.display) for m in session.models.list()] == before
        assert not session.tasks.list()
        sentence = str(caught.value)
        assert "\n" not in sentence and len(sentence) < 300
        return sentence

    return refuse


def test_no_map(refused, session):
    """If the given model is not a map, the error names it, and does not list what is open."""
    from chimerax.core.models import Model

    session.models.add([Model("not a map", session)])
    assert "#1 is not a map" in refused("superem #1")


def test_nothing_open(refused):
    """There is no model with this number."""
    assert "needs a map" in refused("superem #1")


@pytest.mark.parametrize("words", ["", " blobs", " 1", " stop", " #1,#2"])
def test_maps_that_are_not_named_by_number(refused, volume, words):
    """A name, an unknown word, or nothing is given instead of a number."""
    assert "as in 'superem #1'" in refused(f"superem{words}")


@pytest.mark.parametrize(("options", "words"), [
    ("step 0", "Must be greater than or equal to 1"), ("step 1,-2,1", "Must be greater than or equal to 1"),
    ("step 40", "(step 40) has a voxel size of 48"), ("step 1,1,20", "(step 1,1,20) has a voxel size"),
    ("subregion 90,1,1,95,9,9", "(subregion 90,1,1,95,9,9) has no voxels: the map has 44 x 36 x 40"),
    ("subregion -9,1,1,-5,9,9", "(subregion -9,1,1,-5,9,9) has no voxels"),
    ("subregion 0,0,0,3,3,3", "(subregion 0,0,0,3,3,3) has the same density"),
    ("subregion 1,1,1,9,9,1 step 2", "(subregion 1,1,1,9,9,1, step 2)"),
])
def test_part_that_cannot_be_worked_on(refused, session, options, words):
    """The error is about the part, not about the map, which is fine."""
    array = blobs()
    array[:5, :5, :5] = 0
    add_map(session, array)
    assert words in refused(f"superem #1 {options}")


def test_surroundings_that_cannot_be_worked_on(refused, session):
    """The network sees more than the part; a part that is fine is not blamed for what lies around it."""
    array = blobs()
    array[0, 0, 0] = np.nan
    add_map(session, array)
    assert "(subregion 9,9,9,20,20,20), with the 20 Å around it that the network sees, has values that are not" in refused(
        "superem #1 subregion 9,9,9,20,20,20")


@pytest.mark.parametrize(("attribute", "words"), [("channel", "one channel"), ("time", "one map of a series")])
def test_one_of_many(refused, session, attribute, words):
    """A channel of a colour image and one time of a series are refused."""
    volume = add_map(session)
    setattr(volume.data, attribute, 1)
    assert words in refused("superem #1")


def test_copy_of_a_channel_works(run, session, weights):
    """The advice given for a channel leads to a map that superem accepts."""
    add_map(session).data.channel = 1
    run("volume copy #1")
    assert run(f"superem #2 model {weights}").name == "blobs copy superem (model identity)"


def test_skewed_cell(refused, session):
    """A cell angle is not 90 degrees."""
    add_map(session, cell_angles=(90, 90, 120))
    assert "skewed" in refused("superem #1")


@pytest.mark.parametrize(("change", "words"), [
    (lambda a: np.full_like(a, 3.0), "same density"),
    (lambda a: -1 - a, "no positive density"),
    (lambda a: np.where(a > 1, np.nan, a), "not finite"),
    (lambda a: np.where(a > 1, np.inf, a), "not finite"),
    (lambda a: a[:1], "single plane"),
], ids=["constant", "negative", "nan", "infinite", "plane"])
def test_density(refused, session, weights, change, words):
    """The density cannot be used."""
    volume = add_map(session, change(blobs()).astype(np.float32))
    volume.display = False
    assert words in refused(f"superem #1 model {weights}")


@pytest.mark.parametrize("size", [0.001, 400])
def test_voxel_size(refused, session, weights, size):
    """No microscope gives such a voxel size."""
    add_map(session, step=(size, size, size))
    assert "voxel size" in refused(f"superem #1 model {weights}")


@pytest.mark.parametrize("change", [lambda a: a > 0.5, lambda a: np.clip(4 * a - 1, 0, 1)], ids=["hard", "soft"])
def test_mask(run, session, weights, change):
    """A mask is processed, with a warning."""
    add_map(session, change(blobs()).astype(np.float32))
    assert run(f"superem #1 model {weights}")
    assert "blobs #1 looks like a mask" in session.log.text("warning")


def test_spikes_are_no_mask(run, session, weights):
    """A few equal, very high voxels, such as detector defects, do not make a map look like a mask."""
    array = blobs()
    array[::20, ::20, ::20] = 50
    add_map(session, array)
    assert run(f"superem #1 model {weights}")
    assert "mask" not in session.log.text("warning")


@pytest.mark.parametrize(("keywords", "words"), [("model nonesuch", "no model"), ("device tpu", "cuda:N"), ("", "one channel")])
def test_known_at_once(refused, session, weights, keywords, words):
    """Errors that can be found without reading the map are raised by the command, not later by its job."""
    volume = add_map(session)
    volume.data.channel = None if keywords else 1
    assert words in refused(f"superem #1 {keywords or f'model {weights}'} block false")


def test_smaller_than_a_tile(run, session, weights):
    """A map smaller than a tile is padded, and works."""
    add_map(session, blobs((9, 11, 10)))
    assert run(f"superem #1 model {weights}").data.size == (12, 13, 11)


@pytest.mark.parametrize(("device", "words"), [("cuda:99", "cuda:99"), ("tpu", "auto, cuda, cuda:N, mps, or cpu")])
def test_device(refused, volume, weights, device, words):
    """The requested device does not exist."""
    assert words in refused(f"superem #1 model {weights} device {device}")


def test_unknown_model(refused, volume):
    """The model does not exist."""
    assert "no model" in refused("superem #1 model nonesuch")


@pytest.mark.parametrize("damage", ["truncated", "not weights", "other architecture"])
def test_weights(refused, volume, weights, tmp_path, damage):
    """A weights file is truncated, is something else, or does not fit its architecture."""
    from chimerax.superem.nets import build
    from chimerax.superem.nets.store import Card, save

    path = tmp_path / "bad.safetensors"
    if damage == "truncated":
        path.write_bytes(weights.read_bytes()[:-100])
    elif damage == "not weights":
        path.write_text("this is a text file, not weights")
    else:
        save(path, build("unet", widths=(4, 8), depths=(1, 1)), Card("bad", "generator", {}, 25, 4, "minmax"))
    assert path.name in refused(f"superem #1 model {path}")


def test_model_id(refused, run, session, volume):
    """The model number is taken, its parent does not exist, or one number is given for two maps."""
    add_map(session)
    assert "#2 exists" in refused("superem #1 modelId 2")
    for block in ("true", "false"):
        assert refused(f"superem #1 modelId 5.1 block {block}") == "modelId 5.1 cannot be used: there is no model #5."
    assert "several maps" in refused("superem #1-2 modelId 9")
    assert "hidden and closed with its input, #1." in refused("superem #1 modelId 1.2")


def test_model_id_in_the_group_of_the_input(run, session, volume, weights):
    """Input and result may belong to one model."""
    from chimerax.core.models import Model

    group = Model("group", session)
    session.models.add([group])
    group.add([volume])
    assert run(f"superem #{volume.id_string} model {weights} modelId 2.7").id == (2, 7) and volume.id == (2, 1)


def test_torch_is_missing(refused, volume, weights, monkeypatch):
    """Without PyTorch, the error says how to install it."""
    import sys

    monkeypatch.setitem(sys.modules, "torch", None)
    assert 'pip install "torch' in refused(f"superem #1 model {weights}")
