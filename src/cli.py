"""The command line, which needs no ChimeraX: it reads a map file and writes a super-resolved one."""

from __future__ import annotations

import argparse
import math
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from . import names, provenance
from .core import limits, predict, tiles
from .core.density import DensityMap, MapError, check
from .core.devices import REQUESTS, DeviceError, choose, import_torch
from .core.levels import level_for_surface, surface_volume
from .core.memory import require_memory
from .core.mrc import read_labels, read_mrc, write_mrc
from .core.resample import grid_shape_origin
from .meter import Meter, status_text
from .nets import store
from .outputs import require_space, require_writable, write_json, written

OK, FAILED, INTERRUPTED = 0, 1, 130  # argparse itself exits with 2 on wrong usage
LOGGED_EVERY = 30.0  # seconds between lines of progress where there is no terminal to show a bar
SHOWN_AT_FIRST, BINS = 0.01, 10_000  # ChimeraX opens a map at a contour around 1 % of its voxels, found in a histogram


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = _parser()
    args = parser.parse_intermixed_args(arguments)  # accepts options between the two file names
    try:
        if args.list_models:
            for card in store.bundled():
                print(f"{card.name} {card.version}: {card.summary}")
            return OK
        _check_usage(parser, args)
        return OK if _run(args) else FAILED
    except (MapError, DeviceError, store.WeightsError) as error:
        print(f"superem: {error}", file=sys.stderr)
        return FAILED
    except MemoryError:
        print("superem: memory is short; close other programs, or cut a part out of the map first.", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("superem: interrupted; no file is left half written", file=sys.stderr)
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="superem", usage=f"python -m {__package__} INPUT.mrc OUTPUT.mrc [options]   (--help lists them)",
        description="Super-resolve a cryo-EM map.",
        epilog=f"{provenance.CAUTION} Exit code: 0 if every file was written, 1 if not, 2 for wrong options, 130 if interrupted.")
    parser._negative_number_matcher = re.compile(r"-\.?\d")  # as in later versions of Python; it takes -1e-3 for a number, too
    add = parser.add_argument
    add("input", nargs="?", type=Path, metavar="INPUT.mrc", help="map to work on: MRC or CCP4, also .gz")
    add("output", nargs="?", type=Path, metavar="OUTPUT.mrc", help="super-resolved map to write")
    add("--model", metavar="NAME|PATH", default=store.DEFAULT, help="bundled model, or a weights file (default: %(default)s)")
    add("--device", default="auto", help=f"{REQUESTS} (default: %(default)s)")
    add("--tiling", choices=tiles.PRESETS, default="normal", help="how tiles overlap (default: %(default)s)")
    add("--rotations", type=int, choices=predict.ROTATION_COUNTS,
        help="orientations to average over (default: as many as the model asks for)")
    add("--batch-size", type=_positive, metavar="N", help="tiles at once (default: what suits the device)")
    add("--grid", choices=predict.GRIDS, default="1A", help="grid of the output: 1 Å voxels or the input's (default: 1A)")
    add("--resolution", type=float, metavar="Å", help="decides how sharp the output may be (best left out: found from the map)")
    add("--reliability", type=Path, metavar="Q.mrc", help="also write a map of the Q-score to expect at each place")
    add("--no-skip", action="store_true", help="run the network on empty tiles too")
    add("--voxel-size", type=float, metavar="Å", help="voxel size of the input, instead of the one in its header")
    add("--level", type=float, help="contour level of the input, to be matched (default: ChimeraX's for a new map)")
    add("--json", type=Path, metavar="REPORT.json", help="write settings, versions and checksums here")
    add("--overwrite", action="store_true", help="replace files that exist")
    add("--list-models", action="store_true", help="list the bundled models and exit")
    add("--version", action="version", version=f"SuperEM {provenance.version()}")
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of 1 or more")
    return int(text)


def _check_usage(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Check the file names and the contour level before hours of computation."""
    if args.input is None or args.output is None:
        parser.error("an input and an output file are needed")
    if args.level is not None and not np.isfinite(args.level):
        parser.error("the contour level must be a finite number")
    for path in filter(None, (args.output, args.reliability)):
        if path.suffix != ".mrc":
            parser.error(f"the output's name must end in .mrc, unlike {path}")
    outputs = list(filter(None, (args.output, args.reliability, args.json)))
    try:
        os.getcwd()
    except FileNotFoundError:  # without one, PyTorch's libraries fail, too
        raise MapError("The working folder does not exist any more; change to another one first.") from None
    resolved = [os.path.realpath(path) for path in (args.input, *outputs)]
    sources = (args.input, store.find(args.model))
    if len(set(resolved)) < len(resolved) or any(_is_same(source, path) for source in sources for path in outputs):
        parser.error("input, model, outputs and report must be different files")
    for path in outputs:
        if os.path.exists(path) and not args.overwrite:  # unlike Path.exists, no error where access is denied
            parser.error(f"{path} exists; use --overwrite to replace it")
        require_writable(path)


def _is_same(one: Path, other: Path) -> bool:
    """Return whether both names refer to one existing file, through a link or where names ignore upper and lower case."""
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def _keep_to_processors() -> None:
    """Limit PyTorch's threads to the CPU time that the job is allowed.

    With more threads, the allowance is used up sooner and all of them are paused together.
    """
    allowed = limits.processors()
    if allowed is not None:
        torch = import_torch()
        torch.set_num_threads(max(1, min(torch.get_num_threads(), int(allowed))))


def _run(args: argparse.Namespace) -> bool:
    """Run the prediction; return whether every file was written under the requested name."""
    _keep_to_processors()
    choose(args.device)  # report a missing device before reading any file
    model = store.load(args.model)
    density = read_mrc(args.input, args.voxel_size)
    _check_kind(args.input)
    sha256 = provenance.file_sha256(args.input) if args.json else None  # now: the file may change or vanish during the run
    name = args.input.name
    check(density)
    require_memory(density, args.grid)
    shape = density.shape if args.grid == "input" else grid_shape_origin(density)[0]
    require_space([path for path in (args.output, args.reliability) if path], 4 * math.prod(shape))
    level = _contour_level(density, args.level)
    volume = surface_volume(density.array, level, density.step)
    with _progress(name) as meter:
        enhanced = predict.enhance(
            density, model, tiling=args.tiling, device=args.device, batch_size=args.batch_size,
            skip_empty=not args.no_skip, rotations=args.rotations, grid=args.grid,
            resolution=args.resolution, reliability=args.reliability is not None, progress=meter)
    report, result = enhanced.report, enhanced.density
    del density  # its memory may be needed for the rest, as may be that of the expected Q-scores once they are written
    labels = provenance.labels(report, name)
    write_map = partial(write_mrc, overwrite=args.overwrite)
    output = written(args.output, partial(write_map, density=result, labels=labels))
    reliability = report_file = None
    if enhanced.reliability:
        labels = [provenance.EXPECTED_Q_LABEL, *labels[1:]]
        reliability = written(args.reliability, partial(write_map, density=enhanced.reliability, labels=labels))
    del enhanced
    output_level, output_volume = _matched_level(result, volume)
    if args.json:
        record = provenance.record(
            report, input=str(args.input), input_sha256=sha256, output=output and str(output),
            reliability=reliability and str(reliability),
            voxel_size=result.step, origin=result.origin, shape_zyx=result.shape,
            levels={"input_level": level, "input_volume": volume, "output_level": output_level, "output_volume": output_volume})
        report_file = written(args.json, partial(write_json, content=record, overwrite=args.overwrite))
    print(report.summary(), *report.notes)
    if report.doubt:
        print(report.doubt, file=sys.stderr)
    matched = "" if output_level is None else f"; level {output_level:.6g} of the output encloses {output_volume:,.0f} Å³"
    print(f"Level {level:.6g} of the input encloses {volume:,.0f} Å³{matched}.")
    if output:
        nz, ny, nx = result.shape
        print(f"Wrote {output}: {nx} x {ny} x {nz} voxels of {' x '.join(f'{s:.4g}' for s in result.step)} Å. "
              f"{provenance.CAUTION}")
    return (output, reliability, report_file) == (args.output, args.reliability, args.json)


@contextmanager
def _progress(name: str) -> Iterator[Meter]:
    """Show progress on standard error: a bar in a terminal, occasional lines in the log of a job."""
    if not sys.stderr.isatty():
        meter = Meter(lambda *progress: print(status_text(name, *progress), file=sys.stderr, flush=True))
        meter.every = LOGGED_EVERY
        yield meter
        return
    with tqdm(desc=name, file=sys.stderr, bar_format="{percentage:3.0f}%|{bar}| {desc}") as bar:

        def show(done: float, total: int, seconds_left: float | None) -> None:
            bar.n, bar.total = done, total
            bar.set_description_str(status_text(name, done, total, seconds_left))

        yield Meter(show)


def _check_kind(path: Path) -> None:
    """Refuse a map of expected Q-scores; warn of a super-resolved map."""
    labels = read_labels(path)
    if names.says_expected_q(path.name, labels):
        raise MapError(f"{path} holds the Q-score to expect, not density; give the original map.")
    if names.says_result(path.name, labels):
        print(f"superem: {path} is itself a super-resolved map, and so an estimate; give the original map.", file=sys.stderr)


def _contour_level(density: DensityMap, asked: float | None) -> float:
    """Return the contour level of the input: `asked`, or by default that at which ChimeraX opens a map.

    By default, it is the upper edge of the bin that holds the percentile, and so lies above a background of equal values.
    """
    low, high = float(density.array.min()), float(density.array.max())
    if asked is None:
        width = (high - low) / (BINS - 1)  # the outermost bins have their centres at the extremes
        counts, _ = np.histogram(density.array, BINS, (low - width / 2, high + width / 2))
        found = int(counts.cumsum().searchsorted((1 - SHOWN_AT_FIRST) * density.array.size))
        return min(low + (found + 0.5) * width, high - width / 2)  # above the maximum, ChimeraX would show nothing
    if not low < asked < high:
        raise MapError(
            f"There is no contour at level {asked:g}: the density of {density.name} lies between {low:g} and {high:g}.")
    return asked


def _matched_level(result: DensityMap, volume: float) -> tuple[float, float] | tuple[None, None]:
    """Return the contour level that encloses `volume` Å³ and the volume that it does enclose; None twice if memory is short."""
    try:
        return level_for_surface(
            result.array, volume, result.step, lambda level: surface_volume(result.array, level, result.step))
    except MemoryError:
        print("superem: memory is too short to find the contour level of the output.", file=sys.stderr)
        return None, None
