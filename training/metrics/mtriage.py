"""Run cctbx in another interpreter, so that its libraries need not coexist with PyTorch's."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from superem.core.density import DensityMap
from superem.core.mrc import write_mrc

from .atoms import Atoms, to_gemmi

WORKER = Path(__file__).with_name("mtriage_worker.py")


class CctbxError(RuntimeError):
    """cctbx could not be run; the message says why."""


def mtriage(
    python: str | Path, maps: Iterable[tuple[DensityMap, Atoms, float]], qscore: bool = False
) -> Iterator[dict]:
    """Measure maps with `phenix.mtriage` at its defaults, and cctbx's CC_mask and CC_box.

    Parameters
    ----------
    python : the interpreter that has cctbx-base.
    maps : (map, atoms, reported resolution in Å) each.
    qscore : whether to compute cctbx's Q-score too, which takes longer than all the rest.

    Yields
    ------
    dict: d_model, d_fsc05, d_fsc0143 (Å; None if the curve does not fall so far), cctbx_cc_mask, cctbx_cc_box, cctbx_q.

    Raises
    ------
    CctbxError
        If the interpreter fails.
    """
    with tempfile.TemporaryDirectory(prefix="mtriage-") as folder:
        jobs = []
        for number, (density, atoms, resolution) in enumerate(maps):
            stem = Path(folder) / str(number)
            write_mrc(stem.with_suffix(".mrc"), DensityMap(density.array, step=density.step))
            to_gemmi(atoms, density).write_pdb(str(stem.with_suffix(".pdb")))
            jobs.append({"map": f"{stem}.mrc", "model": f"{stem}.pdb", "resolution": resolution, "q": qscore})
        if not jobs:
            return
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        environment.pop("PYTHONPATH", None)
        try:
            # stderr goes to a file, since a full pipe would make the processes wait for each other
            with open(Path(folder) / "errors", "w+") as errors, subprocess.Popen(
                [str(python), str(WORKER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True,
                env=environment,
            ) as process:
                assert process.stdin is not None and process.stdout is not None
                process.stdin.write(json.dumps(jobs))
                process.stdin.close()
                yield from (json.loads(line) for line in process.stdout if line.startswith("{"))
                if process.wait():
                    errors.seek(0)
                    last = errors.read().strip().splitlines()[-1:] or [f"status {process.returncode}"]
                    raise CctbxError(f"cctbx failed in {python}: {last[0]}")
        except OSError as error:
            raise CctbxError(f"{python} could not be run ({error}).") from error
