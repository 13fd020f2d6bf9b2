"""Tests that weights files rebuild the network they were made from, and that damaged files are refused in one sentence."""

import errno
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from superem.core.density import MapError
from superem.nets import store

from superem import nets

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def card():
    """A card of a small U-Net."""
    return store.Card("tiny", "unet", {"widths": [8, 8], "depths": [1, 1]}, 32, 4, "robust", "for tests")


@pytest.fixture
def weights(tmp_path, card):
    """A weights file of a small network with random weights, and the network."""
    torch.manual_seed(0)
    network = nets.build(card.architecture, **card.options)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    path = tmp_path / "tiny.safetensors"
    store.save(path, network, card)
    return path, network


def test_others_may_read_a_weights_file(weights):
    """The file has the usual permissions, so that a group can share it."""
    path, _ = weights
    plain = path.with_name("plain")
    plain.touch()
    assert path.stat().st_mode == plain.stat().st_mode


def test_a_file_that_cannot_be_written_whole_is_left_as_it_was(weights, card, monkeypatch):
    """Rewriting the card of the only copy of some weights must not lose them if the disk is full."""
    path, network = weights
    before, write = path.read_bytes(), Path.write_bytes

    def on_full_disk(self, content):
        write(self, content[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", on_full_disk)
        with pytest.raises(MapError, match="tiny.safetensors cannot be written .No space left"):
            store.save(path, network, replace(card, summary="new words"))
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]


def test_a_file_rebuilds_its_network(weights, card):
    """The card is the same, outputs agree to the rounding of float16, parameters are float32, and dropout is off."""
    path, network = weights
    model = store.load(str(path))
    assert model.card == card and len(model.sha256) == 64
    assert not model.network.training
    assert {p.dtype for p in model.network.parameters()} == {torch.float32}
    x = torch.rand(1, 1, 16, 16, 16)
    torch.testing.assert_close(model.network(x), network(x), rtol=0.01, atol=0.01)


def test_the_card_is_read_without_the_weights(weights, card):
    assert store.read_card(weights[0]) == card


def test_the_list_of_models_needs_no_torch():
    """Loading torch would take seconds."""
    code = "import sys; from superem.cli import main; main(['--list-models']); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert store.DEFAULT in done.stdout and done.stdout.splitlines()[-1] == "False"


@pytest.mark.parametrize("changes, words", [
    ({"margin": 16}, "tiles of 32 voxels with a margin of 16"), ({"margin": -1}, "margin of -1"),
    ({"normalisation": "other"}, 'normalisation "other"'), ({"normalisation": ["robust"]}, "cannot be followed"),
    ({"tile": "32"}, "cannot be followed"), ({"follow": None}, "cannot be followed"), ({"follow": 2}, "follow the input's by 2"),
    ({"rotations": 3}, "asks for 3 orientations"),
    ({"blur": [[3.0, "a"]]}, "cannot be followed"), ({"blur": [[4.0, 0.5], [3.0, 0.2]]}, "table for blur does not rise"),
    ({"reliability": [0.1, 0.2]}, "cannot be followed"), ({"reliability": [[0.0, 0.1], [1.0, float("nan")]]}, "reliability"),
])
def test_a_card_that_cannot_be_followed_is_refused(tmp_path, weights, card, changes, words):
    path = tmp_path / "other.safetensors"
    store.save(path, weights[1], replace(card, **changes))
    with pytest.raises(store.WeightsError, match=words):
        store.load(str(path))


@pytest.mark.parametrize("keep", [0, 5, 100, 0.5, 0.99])
def test_a_file_cut_short_is_refused(weights, keep):
    """A truncated file is refused, however much of it is left."""
    path = weights[0]
    content = path.read_bytes()
    path.write_bytes(content[: keep if keep == 0 or keep >= 1 else int(keep * len(content))])
    with pytest.raises(store.WeightsError, match="damaged"):
        store.load(str(path))


@pytest.mark.parametrize("options", [{"widths": [16, 16]}, {"norm": True, "depth": 3}, [8]])
def test_weights_of_another_architecture_are_refused(weights, options):
    """The error names the architecture."""
    path = weights[0]
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    stored = json.loads(header["__metadata__"][store.METADATA_KEY])
    stored["options"] = {**stored["options"], **options} if isinstance(options, dict) else options
    header["__metadata__"][store.METADATA_KEY] = json.dumps(stored)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])
    with pytest.raises(store.WeightsError, match='does not fit the architecture "unet"'):
        store.load(str(path))


def test_a_discriminator_is_refused(tmp_path):
    """A discriminator is one of our networks, but makes no map."""
    path = tmp_path / "critic.safetensors"
    options = {"channels": 16}
    store.save(path, nets.build("discriminator", **options), store.Card("critic", "discriminator", options, 32, 4, "robust"))
    with pytest.raises(store.WeightsError, match="judges maps and makes none"):
        store.load(str(path))


def test_a_pickle_is_refused(tmp_path):
    """PyTorch's own files are pickles, which can run code, so they are never opened."""
    path = tmp_path / "weights.pt"
    torch.save({"a": torch.zeros(3)}, path)
    with pytest.raises(store.WeightsError, match="not a SuperEM weights file"):
        store.load(str(path))


@pytest.mark.parametrize("content", [bytes(64), 64 * b"\xff", b"# Model card\n" * 9])
def test_any_other_file_is_refused(tmp_path, content):
    """Also one that begins with a number too large for a header, or for a computer."""
    path = tmp_path / "other.safetensors"
    path.write_bytes(content)
    with pytest.raises(store.WeightsError, match="not a SuperEM weights file"):
        store.load(str(path))


def test_a_missing_model_names_the_ones_there_are():
    """A misspelt name is answered with the list of models."""
    with pytest.raises(store.WeightsError, match=f"bundled models are: .*{store.DEFAULT}"):
        store.load("no-such-model")


@pytest.mark.parametrize("error", [PermissionError(errno.EACCES, "Permission denied"),
                                   OSError(errno.ENAMETOOLONG, "File name too long")])
def test_a_file_that_cannot_be_reached_gives_one_sentence(monkeypatch, error):
    """As in a folder without access; root has access to everything, so the error is made here."""

    def fail(*_arguments, **_options):
        raise error

    monkeypatch.setattr("pathlib.Path.is_file", fail)
    with pytest.raises(store.WeightsError, match=f"^The weights file x.safetensors cannot be read: {error.strerror}.$"):
        store.find("x.safetensors")


def test_a_home_folder_of_an_unknown_user_is_refused():
    with pytest.raises(store.WeightsError, match="There is no model or weights file"):
        store.find("~nobody-of-this-name/x.safetensors")


def test_every_bundled_model_loads_and_is_small():
    """The default model is bundled, every bundled model loads, and no file is over 10 MB."""
    cards = store.bundled()
    assert cards and cards[0].name == store.DEFAULT
    for card in cards:
        path = store.find(card.name)
        assert path.stat().st_size < 10_000_000
        assert store.load(card.name).card == card
        assert card.summary and card.training and card.validation
