"""Cached predictions of our networks; raw ones are cached, so that blurs can be compared without predicting again."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

from superem.core import density as density_module
from superem.core import normalise, predict, runner, sharpness, tiles
from superem.core.density import DensityMap
from superem.nets import store

from .metrics.cache import Cache, digest, source

#: A cached prediction is valid as long as the code that made it is the same.
SOURCE = source(density_module, normalise, predict, runner, tiles)

Blur = list[list[float]]


def weights_digest(model: store.Model) -> str:
    """Return a digest of everything in a weights file that raw predictions depend on."""
    weights = [part for name, value in model.network.state_dict().items() for part in (name, value.numpy())]
    card = model.card
    return digest(*weights, card.architecture, card.options, card.tile, card.margin, card.normalisation)


class Predictor:
    """One model as the evaluation runs it: `superem.core.predict.enhance` on the CPU, with its raw predictions cached.

    Parameters
    ----------
    model : weights and card.
    cache : holds raw predictions, by the weights themselves: a new card alone causes no new prediction.
    tiling, rotations : as in `enhance`; without `rotations`, as many as the card says.
    blur, follow : used instead of the card's.
    """

    def __init__(self, model: store.Model, cache: Cache, tiling: str = "normal", rotations: int | None = None,
                 blur: Blur | None = None, follow: float | None = None) -> None:
        card = model.card
        self.blur = card.blur if blur is None else blur
        self.follow = card.follow if follow is None else follow
        self.model = replace(model, card=replace(card, blur=[], follow=0))
        self.cache, self.tiling = cache, tiling
        self.rotations = predict.orientations(rotations, card)
        code = sys.modules[type(model.network).__module__]
        self._key = digest(SOURCE, source(code), weights_digest(model), tiling, self.rotations)
        #: Digest of all that affects results, whatever else the file says.
        self.identity = digest(weights_digest(model), self.rotations, self.blur, self.follow)

    def __call__(self, density: DensityMap, resolution: float | None = None, finest: float = 0.0) -> DensityMap:
        """Return the super-resolved map of one on the 1 Å grid.

        Without a `resolution` (Å), it is found from the map, and is never finer than `finest`.
        """
        key = digest(self._key, density.array, density.step)
        raw = self.cache.array(key, lambda: predict.enhance(
            density, self.model, tiling=self.tiling, rotations=self.rotations, device="cpu").density.array)
        if self.blur or self.follow:
            scale = normalise.NORMALISATIONS[self.model.card.normalisation](density.array)
            lr, sr = scale.apply(density.array), scale.apply(raw)
            raw = scale.restore(sharpness.limit(lr, sr, self.blur, self.follow, resolution, finest=finest).array)
        return replace(density, array=raw, name=f"{density.name} superem")


def predictors(names: list[str], cache: Cache, tiling: str = "normal", rotations: int | None = None, tile: int | None = None,
               blurs: list[Blur] | None = None, taken: tuple[str, ...] = ()) -> dict[str, Predictor]:
    """Return our models by their labels in tables.

    A label is the card's name, or the file's name if several cards share theirs. A part of the weights' digest is added if the
    label is already used or in `taken`. Each table in `blurs` adds one more variant of each model.
    """
    models = [store.load(name) for name in names]
    shared = Counter(model.card.name for model in models)
    found: dict[str, Predictor] = {}
    for name, model in zip(names, models, strict=True):
        label = model.card.name if shared[model.card.name] == 1 else Path(name).stem
        if label in found or label in taken:
            label = f"{label} {model.sha256[:6]}"
        if tile:
            model = replace(model, card=replace(model.card, tile=tile))
        found[label] = Predictor(model, cache, tiling, rotations)
        for n, table in enumerate(blurs or (), 1):
            found[f"{label}, blur {n}"] = Predictor(model, cache, tiling, rotations, table)
    return found


def label_of(predictor: Predictor, outcome: dict) -> str:
    """Return the label under which an evaluation holds a model.

    Raises
    ------
    SystemExit
        If it holds only other models.
    """
    for label, identity in outcome["models"].items():
        if identity == predictor.identity:
            return label
    raise SystemExit(f"The evaluation is of other weights than {predictor.model.card.name}, or of other settings than its card's:"
                     " run training.evaluate again.")
