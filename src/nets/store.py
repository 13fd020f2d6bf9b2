"""Weights files: safetensors with a model card in the metadata, never pickle.

The card holds everything needed to rebuild the network and describes its quality, so that a file trained by a user is
read like one that ships in the bundle.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.files import replaced
from . import build

if TYPE_CHECKING:
    from torch import nn

#: Folder of the bundle's own weights.
FOLDER = Path(__file__).resolve().parent.parent / "weights"
#: Model used if none is named.
DEFAULT = "unet"
SUFFIX = ".safetensors"
METADATA_KEY = "superem"
#: Longest header that the format allows, in bytes.
LONGEST_HEADER = 100_000_000


class WeightsError(ValueError):
    """A weights file that cannot be used; the message is one sentence for the user."""


@dataclass(frozen=True)
class Card:
    """Model card: the description of a network in its weights file.

    Attributes
    ----------
    name
        Name that the user types.
    architecture, options
        Passed to `nets.build`.
    tile, margin
        Preferred edge of a tile, and width of its margin, in voxels of 1 Å; predictions in the margin are not used.
    normalisation
        A name in `core.normalise.NORMALISATIONS`.
    rotations
        Number of orientations over which to average predictions by default: one of `core.runner.ROTATION_COUNTS`.
    blur
        (resolution, sigma) pairs, Å: how strongly to blur a prediction, by its input's resolution (`core.sharpness`).
    follow
        How far, from 0 to 1, its amplitudes at low frequencies follow those of its input (`core.sharpness`).
    reliability
        (local detail in network units, Q-score) pairs, to predict the Q-score (`core.reliability`); empty if unknown.
    summary
        One line for the user: what the model is for.
    training, validation
        Training data and duration; figures on the validation maps.
    version
        Version of the weights.
    """

    name: str
    architecture: str
    options: dict[str, Any]
    tile: int
    margin: int
    normalisation: str
    summary: str = ""
    rotations: int = 1
    blur: list[list[float]] = field(default_factory=list)
    follow: float = 0.0
    reliability: list[list[float]] = field(default_factory=list)
    training: dict[str, Any] = field(default_factory=dict)
    validation: dict[str, Any] = field(default_factory=dict)
    version: str = "1"


@dataclass(frozen=True)
class Model:
    """A network ready to run (in eval mode, on the CPU), its card, and the SHA-256 of its weights file."""

    network: nn.Module
    card: Card
    sha256: str


def save(path: str | Path, network: nn.Module, card: Card) -> None:
    """Write the network's weights and its card as one safetensors file.

    Weights are stored as float16, whose rounding (0.05 %) is far below what training resolves, and used as float32. An
    existing file is replaced once the new one is complete.

    Raises
    ------
    MapError
        If the file cannot be written.
    """
    from safetensors import torch

    state = {k: v.detach().cpu().half().contiguous() for k, v in network.state_dict().items()}
    content = torch.save(state, metadata={METADATA_KEY: json.dumps(asdict(card))})
    with replaced(Path(path)) as part:
        part.write_bytes(content)  # not by safetensors' save_file, whose files only their owner may read


def read_card(path: str | Path) -> Card:
    """Return the card of a weights file; does not import torch.

    Raises
    ------
    WeightsError
        If the file is missing, cut short, or not a SuperEM weights file.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 0 < length <= LONGEST_HEADER:
                raise ValueError("no safetensors header")
            header = json.loads(file.read(length))
        stored = json.loads(header["__metadata__"][METADATA_KEY])
        return Card(**{f.name: stored[f.name] for f in fields(Card) if f.name in stored})
    except FileNotFoundError:
        raise WeightsError(f"There is no weights file {path}.") from None
    except OSError as error:
        raise _unreadable(path, error) from error
    except (ValueError, KeyError, TypeError, MemoryError) as error:
        raise WeightsError(f"{path} is not a SuperEM weights file, or it is damaged.") from error


def bundled() -> list[Card]:
    """Return the cards of the models in the bundle, the default first."""
    cards = [read_card(path) for path in sorted(FOLDER.glob("*" + SUFFIX))]
    return sorted(cards, key=lambda card: (card.name != DEFAULT, card.name))


def find(name_or_path: str) -> Path:
    """Return the weights file for the name of a bundled model, or for a path.

    Raises
    ------
    WeightsError
        If there is none, when the message lists the bundled models, or if it cannot be reached.
    """
    inside = FOLDER / (name_or_path + SUFFIX)
    path = Path(os.path.expanduser(name_or_path))  # unlike Path.expanduser, no error for an unknown user
    try:
        if inside.parent == FOLDER and inside.is_file():
            return inside
        if path.is_file():
            return path
    except OSError as error:  # a folder without access, or a name too long
        raise _unreadable(path, error) from error
    names = ", ".join(card.name for card in bundled()) or "none"
    raise WeightsError(f'There is no model or weights file "{name_or_path}"; the bundled models are: {names}.')


def _unreadable(path: Path, error: OSError) -> WeightsError:
    return WeightsError(f"The weights file {path} cannot be read: {error.strerror}.")


def load(name_or_path: str = DEFAULT) -> Model:
    """Return the network in a weights file, with its card.

    Raises
    ------
    WeightsError
        If the file is missing or damaged, does not fit the architecture that it names, holds no generator, or has a
        card with invalid values.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = find(name_or_path)
    card = read_card(path)
    if card.architecture == "discriminator":
        raise WeightsError(f"{path} holds a discriminator, which judges maps and makes none.")
    try:
        _check(card)
    except (TypeError, ValueError) as error:
        raise WeightsError(f"The card of {path} cannot be followed: {error}.") from error
    try:
        network = build(card.architecture, **card.options)
        network.load_state_dict(load_file(str(path)))
    except SafetensorError as error:
        raise WeightsError(f"{path} is damaged: {error}.") from error
    except (RuntimeError, TypeError, ValueError) as error:
        first = str(error).splitlines()[0].rstrip(":. ")
        raise WeightsError(f'{path} does not fit the architecture "{card.architecture}" it names: {first}.') from error
    return Model(network.eval(), card, hashlib.sha256(path.read_bytes()).hexdigest())


def _check(card: Card) -> None:
    """Raise ValueError for a card with values that this version cannot use, or TypeError for one of the wrong type."""
    from ..core.normalise import NORMALISATIONS
    from ..core.runner import ROTATION_COUNTS

    if card.normalisation not in NORMALISATIONS:
        raise ValueError(f'it needs a normalisation "{card.normalisation}" that this version does not have')
    if not 0 <= 2 * card.margin < card.tile:
        raise ValueError(f"it asks for tiles of {card.tile} voxels with a margin of {card.margin}, of which none would be left")
    if not 0 <= card.follow <= 1:
        raise ValueError(f"it lets amplitudes follow the input's by {card.follow}, which is not between 0 and 1")
    if card.rotations not in ROTATION_COUNTS:
        raise ValueError(f"it asks for {card.rotations} orientations, which this version does not have")
    for name, table in (("blur", card.blur), ("reliability", card.reliability)):
        nodes = np.array(table, float).reshape(len(table), 2)
        if not (np.isfinite(nodes).all() and (np.diff(nodes[:, 0]) > 0).all()):
            raise ValueError(f"its table for {name} does not rise, or holds what is no number")
