"""Measure maps against their models: the input, the sharpened input, the released generator and our networks.

    python -m training.evaluate --data DIR --models unet runs/new.safetensors --emgan DIR --controls --json build/evaluation.json

DIR holds pairs.csv (id, resolution, group, split), and <id>/map.mrc.gz with <id>/model.cif.gz. All maps are measured on the
networks' 1 Å grid, to which the input is resampled. `training/metrics` describes the figures; those of mtriage need an
interpreter with cctbx (`requirements/evaluate.txt`), and are left out, with a note, where there is none. Slow results are
cached in `--cache`, so that a second run computes only what is new:

    python -m training.evaluate --data DIR --fast --models build/*.safetensors
    python -m training.evaluate --data DIR --fast --models next --blurs '[]' '[[3.5, 0.3], [4.5, 0.6]]'
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch
from superem.core.density import DensityMap
from superem.core.resample import resample

from . import pairs
from .baselines import ReleasedGenerator, guinier_b, sharpen
from .command import EVALUATION, MEASURING, as_command
from .metrics import Atoms, Reference, evaluate_map_cached, read_atoms
from .metrics.cache import Cache, digest, source
from .metrics.controls import controls
from .metrics.mtriage import WORKER, CctbxError, mtriage
from .metrics.tables import (
    BASELINES,
    INPUT,
    RELEASED,
    SHARPENED,
    control_table,
    gain_table,
    group_tables,
    reach_table,
    summary_table,
)
from .predictions import predictors

DEFAULT_CCTBX = Path(".venv-evaluate/bin/python")
_evaluator: Evaluator  # set in each worker process of `--jobs`


@dataclass(frozen=True)
class Case:
    """One map with its model, on the 1 Å grid; `group` is its protein, `resolution` is in Å.

    `finest` is the best resolution (Å) that the voxels of the original map can hold (`DensityMap.finest`); the 1 Å grid alone
    would suggest a finer one.
    """

    name: str
    group: str
    density: DensityMap
    atoms: Atoms
    resolution: float
    finest: float


def read_cases(data: Path, split: str | None = "validation", ids: list[str] | None = None) -> list[Case]:
    """Read pairs listed in `data`/pairs.csv, in its order: those named in `ids`, or else all pairs of a split."""
    rows = [row for row in pairs.listed(data) if (row["id"] in ids if ids else row["split"] == split)]
    if ids and len(rows) < len(set(ids)):
        missing = ", ".join(sorted(set(ids) - {row["id"] for row in rows}))
        raise SystemExit(f"pairs.csv has no pair named {missing}.")
    if not rows:
        raise SystemExit(f"pairs.csv has no pair in the split {split}.")
    cases = []
    for row in rows:
        map_file, model_file = pairs.files(data, row["id"])
        deposited = pairs.read_map(map_file)
        cases.append(Case(row["id"], row["group"], resample(deposited), read_atoms(model_file), float(row["resolution"]),
                          deposited.finest))
    return cases


@dataclass(frozen=True)
class MapResults:
    """Results for one map: figures, cctbx's figures and controls, each by method label; and notes for the reader."""

    figures: dict[str, dict]
    cctbx: dict[str, dict]
    controls: dict[str, dict]
    notes: list[str]


class Evaluator:
    """The methods that the options name; measures maps with all of them."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.cache = Cache(options.cache)
        self.ours = predictors(options.models, self.cache, options.tiling, options.rotations, options.tile, options.blurs,
                               taken=BASELINES)
        self.released = ReleasedGenerator(options.emgan, options.emgan_stride) if options.emgan else None

    def measure(self, case: Case) -> MapResults:
        """Measure one map with every method."""
        started = time.monotonic()
        reference = Reference.cached(case.atoms, case.density, case.resolution, self.cache)
        maps = {INPUT: case.density, SHARPENED: sharpen(case.density, case.resolution)}
        if self.released:
            volume = reference.atoms.volume
            key = digest("released", self.released.identity, case.density.array, volume)
            array = self.cache.array(key, partial(self.released.enhance, case.density, volume))
            maps[RELEASED] = replace(case.density, array=array)
        ours = {label: partial(method, finest=case.finest) for label, method in self.ours.items()}
        maps |= {label: method(case.density) for label, method in ours.items()}
        before = evaluate_map_cached(case.density, reference, self.cache)
        figures = {}
        for label, density in maps.items():
            found = evaluate_map_cached(density, reference, self.cache, before)
            figures[label] = {key: figure for key, figure in found.items() if key != "cubes"}
        figures[SHARPENED]["b_factor"] = guinier_b(case.density, case.resolution)
        judged = {label: controls(case.density, maps[label], reference, case.resolution, method)
                  for label, method in ours.items()} if self.options.controls else {}
        cctbx, notes = ({}, []) if self.options.fast else measure_with_cctbx(
            self.options.cctbx, maps, reference.atoms, case.resolution, self.cache, self.options.cctbx_qscore)
        seconds = time.monotonic() - started
        say(f"{case.name}: {len(reference.atoms)} atoms, {len(reference.starts)} cubes, {seconds:.0f} s")
        return MapResults(figures, cctbx, judged, notes)


def run(options: argparse.Namespace) -> dict:
    """Evaluate the maps and methods that the options name; return what `--json` writes."""
    cases = read_cases(options.data, options.split, options.ids)
    evaluator = Evaluator(options)
    found = dict(zip((case.name for case in cases), measure_all(cases, evaluator), strict=True))
    notes = list(dict.fromkeys(note for result in found.values() for note in result.notes))
    for note in notes:
        say(note)
    results = {name: result.figures for name, result in found.items()}
    if not notes:  # means over only some of the maps would not be comparable
        results = {name: {label: figures | result.cctbx.get(label, {}) for label, figures in result.figures.items()}
                   for name, result in found.items()}
    return {"resolution": {case.name: case.resolution for case in cases}, "maps": results,
            "controls": {name: result.controls for name, result in found.items() if result.controls},
            "groups": {case.name: case.group for case in cases},
            "notes": notes, "models": {label: predictor.identity for label, predictor in evaluator.ours.items()},
            "tiling": options.tiling, "rotations": options.rotations, "command": command(options, list(evaluator.ours))}


def measure_all(cases: list[Case], evaluator: Evaluator) -> Iterator[MapResults]:
    """Measure maps in their order, `--jobs` at a time, each in a process of its own.

    Raises
    ------
    SystemExit
        If one of these processes is killed.
    """
    jobs = min(evaluator.options.jobs, len(cases))
    if jobs <= 1:
        yield from map(evaluator.measure, cases)
        return
    try:
        with ProcessPoolExecutor(jobs, get_context("spawn"), _start, (evaluator.options,)) as pool:
            yield from pool.map(_measure, cases)
    except BrokenProcessPool:
        raise SystemExit("A process was ended from outside, perhaps for lack of memory: try fewer --jobs.") from None


def _start(options: argparse.Namespace) -> None:
    """Initialise a worker process."""
    global _evaluator
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it immediately and silently
    torch.set_num_threads(options.threads)
    _evaluator = Evaluator(options)


def _measure(case: Case) -> MapResults:
    """Measure a map in a worker process."""
    return _evaluator.measure(case)


def command(options: argparse.Namespace, labels: list[str]) -> str:
    """Return the command line that reproduces the figures, without paths of this machine."""
    words = ["python -m training.evaluate --data ../data/maps --models", *(label for label in labels if ", blur " not in label)]
    for option in ("ids", "blurs"):
        if found := vars(options)[option]:
            words += [f"--{option}", *(value if option == "ids" else f"'{json.dumps(value)}'" for value in found)]
    for option in ("split", "tiling", "tile", "rotations", "emgan_stride"):
        value = getattr(options, option)
        if value != parse(["--data", "."]).__dict__[option]:
            words.append(f"--{option.replace('_', '-')} {value}")
    words += ["--emgan DIR"] * bool(options.emgan) + ["--controls"] * options.controls + ["--fast"] * options.fast
    return " ".join([*words, f"--json build/{(options.json or EVALUATION).name}"])


def say(text: str) -> None:
    """Print progress to standard error, so that standard output holds only tables."""
    print(text, file=sys.stderr, flush=True)


def measure_with_cctbx(python: Path | None, maps: dict[str, DensityMap], atoms: Atoms, resolution: float, cache: Cache,
                       qscore: bool) -> tuple[dict[str, dict], list[str]]:
    """Return cctbx's figures for maps, by label, and notes for the reader."""
    python = python or (DEFAULT_CCTBX if DEFAULT_CCTBX.exists() else None)
    if python is None:
        return {}, ["mtriage was not run: no interpreter with cctbx was named (--cctbx); fsc05 and fsc0143 are our own."]
    keys = {label: digest(source(WORKER), density.array, density.origin, density.step, *atoms.arrays().values(), resolution,
                          qscore)
            for label, density in maps.items()}
    missing = [label for label, key in keys.items() if cache.record(key) is None]
    try:
        records = mtriage(python, [(maps[label], atoms, resolution) for label in missing], qscore)
        for label, record in zip(missing, records, strict=True):
            cache.keep(keys[label], record)  # immediately, so that an interrupted run can resume
    except CctbxError as error:
        return {}, [f"mtriage was not run: {error}"]
    return {label: cache.record(key) or {} for label, key in keys.items()}, []


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(parents=[MEASURING], prog="python -m training.evaluate", description=__doc__.splitlines()[0])
    parser.add_argument("--split", default="validation", help="pairs of this split (%(default)s)")
    parser.add_argument("--ids", nargs="+", help="these pairs, whatever their split")
    parser.add_argument("--models", nargs="*", default=[], metavar="MODEL", help="names of bundled models, or weights files")
    parser.add_argument("--tiling", default="normal", help="tiling that the models predict with (%(default)s)")
    parser.add_argument("--tile", type=int, help="edge of the models' tiles, voxels (as their cards say)")
    parser.add_argument("--blurs", nargs="+", type=json.loads, metavar="TABLE",
                        help="evaluate each model with each of these blurs too: [[resolution, sigma], ...] in Å; predicted once")
    parser.add_argument("--rotations", type=int, help="orientations that the models average over (as many as their cards say)")
    parser.add_argument("--emgan", type=Path, metavar="DIR",
                        help="checkout of the released generator; its weights are a pickle, which can run code: "
                             "name only a folder you trust")
    parser.add_argument("--emgan-stride", type=int, default=4, help="stride of its cubes (%(default)s, as its authors recommend)")
    parser.add_argument("--controls", action="store_true", help="run the negative controls with the models")
    parser.add_argument("--cctbx", type=Path, metavar="PYTHON",
                        help=f"interpreter that has cctbx-base ({DEFAULT_CCTBX}, if it is there)")
    parser.add_argument("--fast", action="store_true",
                        help="compare models in seconds: leave mtriage out, print means, their errors and bars only")
    parser.add_argument("--cctbx-qscore", action="store_true", help="cctbx's Q-score too, to check ours (slow)")
    parser.add_argument("--threads", type=int, default=1, help="PyTorch threads of each job (%(default)s)")
    parser.add_argument("--jobs", type=int, default=1,
                        help="maps to measure at a time, a core and about 1 GB of memory each (%(default)s)")
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--markdown", type=Path, help="write the tables here too")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Run the evaluation; print and write its tables."""
    options = parse(arguments)
    for path in (options.json, options.markdown):
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(options.threads)
    outcome = run(options)
    means, judged = [summary_table(outcome)], control_table(outcome)
    if outcome["models"]:  # baselines alone gain nothing and have no bars
        means, judged = [*means, gain_table(outcome)], [*judged, reach_table(outcome)]
    text = "\n\n".join([*means, *group_tables(outcome), *judged, *outcome["notes"]])
    print("\n\n".join([*means, *judged]) if options.fast else text)
    if options.markdown:
        options.markdown.write_text(text + "\n")
    if options.json:
        options.json.write_text(json.dumps(outcome, indent=1) + "\n")


if __name__ == "__main__":
    as_command(main)
