"""Network architectures, by the names that weights files use. Importing this package does not import torch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

#: name in a weights file: (module, class)
ARCHITECTURES = {
    "generator": ("generator", "Generator"),
    "discriminator": ("discriminator", "Discriminator"),
    "unet": ("unet", "UNet"),
}


def build(architecture: str, **options: object) -> nn.Module:
    """Build a network with newly initialised weights; `options` are the parameters of its class.

    Raises
    ------
    ValueError
        If there is no architecture of that name, or it does not accept these options.
    """
    if architecture not in ARCHITECTURES:
        known = ", ".join(sorted(ARCHITECTURES))
        raise ValueError(f'There is no network architecture "{architecture}"; there are {known}.')
    module, name = ARCHITECTURES[architecture]
    try:
        return getattr(import_module(f".{module}", __name__), name)(**options)
    except TypeError as error:
        raise ValueError(f"The architecture {architecture} cannot be built: {error}") from error
