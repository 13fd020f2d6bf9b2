"""Weights files: safetensors with a model card in the metadata, never pickle.

The card holds all that rebuilds the network and says what it is worth, so a file that a user trained and one
that ships in the bundle are read alike.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.files import replaced
from . import build

if TYPE_CHECKING:
    from torch import nn

#: Where the bundle's own weights are.
FOLDER = Path(__file__).resolve().parent.parent / "weights"
#: The model that is used when none is named.
DEFAULT = "unet"
SUFFIX = ".safetensors"
METADATA_KEY = "superem"
#: Longest header, bytes, that the format allows.
LONGEST_HEADER = 100_000_000


class WeightsError(ValueError):
    """A weights file that cannot be used; the message is one sentence for the user."""


@dataclass(frozen=True)
class Card:
    """What a weights file says of itself.

    Attributes
    ----------
    name
        What the user types.
    architecture, options
        Passed to `nets.build`.
    tile, margin
        Preferred tile edge and dead margin, voxels of 1 Å.
    normalisation
        A name in `core.normalise.NORMALISATIONS`.
    rotations
        Orientations that predictions are averaged over, unless the user names a number: one of `core.runner.ROTATION_COUNTS`.
    blur
        (resolution, sigma) pairs, Å: how a prediction is blurred, by what its input could tell (`core.sharpness`).
    follow
        How far, from 0 to 1, its amplitudes at low frequencies follow those of its input (`core.sharpness`).
    reliability
        (local detail, Q-score) pairs, network units: what Q-score to expect where (`core.reliability`); empty if unknown.
    summary
        One line for the user: what the model is for.
    training, validation
        What it was trained on and for how long; figures on the validation maps.
    version
        Of these weights.
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
    """A network ready to run (in eval mode, on the CPU), its card, and the file's SHA-256."""

    network: nn.Module
    card: Card
    sha256: str


def save(path: str | Path, network: nn.Module, card: Card) -> None:
    """Write the network's weights and its card as one safetensors file.

    Weights are stored as float16, whose rounding (0.05 %) is far below what training resolves, and computed
    with as float32. A file of this name is replaced once the new one is whole.

    Raises
    ------
    MapError
        If it cannot be written.
    """
    from safetensors import torch

    state = {k: v.detach().cpu().half().contiguous() for k, v in network.state_dict().items()}
    content = torch.save(state, metadata={METADATA_KEY: json.dumps(asdict(card))})
    with replaced(Path(path)) as part:
        part.write_bytes(content)  # not by safetensors' save_file, which makes a file that nobody else may read


def read_card(path: str | Path) -> Card:
    """The card of a weights file, read without torch.

    Raises
    ------
    WeightsError
        If the file is not there, is cut short, or is no SuperEM weights file.
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
        raise WeightsError(f"The weights file {path} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError, MemoryError) as error:
        raise WeightsError(f"{path} is not a SuperEM weights file, or it is damaged.") from error


def bundled() -> list[Card]:
    """Cards of the models in the bundle, the default first."""
    cards = [read_card(path) for path in sorted(FOLDER.glob("*" + SUFFIX))]
    return sorted(cards, key=lambda card: (card.name != DEFAULT, card.name))


def find(name_or_path: str) -> Path:
    """The weights file that a name (of a bundled model) or a path stands for.

    Raises
    ------
    WeightsError
        If it stands for none; the sentence lists the names that there are.
    """
    inside = FOLDER / (name_or_path + SUFFIX)
    if inside.parent == FOLDER and inside.is_file():
        return inside
    path = Path(name_or_path).expanduser()
    if path.is_file():
        return path
    names = ", ".join(card.name for card in bundled()) or "none"
    raise WeightsError(f'There is no model or weights file "{name_or_path}"; the bundled models are: {names}.')


def load(name_or_path: str = DEFAULT) -> Model:
    """Rebuild the network that a weights file holds.

    Raises
    ------
    WeightsError
        If the file is missing, damaged, does not fit the architecture that it names, holds no generator, or has a card that
        cannot be followed.
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
    """Refuse a card that asks for what there is not: ValueError, or TypeError where something is of another kind."""
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
