"""Measure maps with cctbx. Run by the interpreter that has cctbx; never imported by the rest.

Reads a JSON list of jobs from standard input, {"map": path, "model": path, "resolution": Å, "q": bool}, and writes one line of
JSON for each as soon as it is done. Maps are MRC files whose first voxel is at the cell's origin, models are PDB files in the
same frame. Needs no other file of this project.
"""

import json
import sys

# isort: off
# cctbx first: it crashes if scipy or gemmi were imported before it
from cctbx import maptbx, miller
from cctbx.maptbx.qscore import calc_qscore
from iotbx.map_manager import map_manager
from iotbx.map_model_manager import map_model_manager
from iotbx.pdb import input as pdb_input
from libtbx.utils import null_out
from mmtbx.maps import mtriage
from mmtbx.maps.correlation import five_cc
from mmtbx.model import manager as model_manager

import numpy as np
# isort: on


def measure(job: dict) -> dict:
    """Run mtriage with default parameters inside its own mask, and compute CC_mask and CC_box as map_model_cc does."""
    manager = map_manager(job["map"], log=null_out())
    symmetry = manager.crystal_symmetry()
    structure = pdb_input(job["model"]).construct_hierarchy().extract_xray_structure(crystal_symmetry=symmetry)
    structure.scattering_type_registry(table="electron")
    params = mtriage.master_params().extract()
    params.mask_maps = True
    params.compute.d99 = params.compute.d_model_b0 = False
    result = mtriage.mtriage(map_data=manager.map_data(), xray_structure=structure, params=params).get_results().masked
    cc = five_cc(
        map=manager.map_data(), xray_structure=structure, d_min=job["resolution"], compute_cc_box=True,
        compute_cc_volume=False, compute_cc_peaks=False, map_calc=model_map(manager, structure, job["resolution"])
    ).result
    out = {
        "d_model": result.d_model,
        "d_fsc05": result.d_fsc_model_05,
        "d_fsc0143": result.d_fsc_model_0143,
        "cctbx_cc_mask": cc.cc_mask,
        "cctbx_cc_box": cc.cc_box,
    }
    if job["q"]:
        model = model_manager(model_input=pdb_input(job["model"]), crystal_symmetry=symmetry, log=null_out())
        both = map_model_manager(model=model, map_manager=manager)
        q = calc_qscore(both, shells=list(np.linspace(0.1, 2, 20)), n_probes=32)["qscore_per_atom"]
        out["cctbx_q"] = float(np.nanmean(list(q)))
    return out


def model_map(manager, structure, d_min: float):
    """Return the model's map in the box, from structure factors to `d_min`; five_cc's own method fails in a P1 box (2025.11)."""
    f_calc = structure.structure_factors(d_min=d_min).f_calc()
    gridding = maptbx.crystal_gridding(
        unit_cell=structure.unit_cell(),
        space_group_info=structure.space_group_info(),
        pre_determined_n_real=manager.map_data().all(),
    )
    return miller.fft_map(crystal_gridding=gridding, fourier_coefficients=f_calc).real_map_unpadded()


if __name__ == "__main__":
    for job in json.load(sys.stdin):
        print(json.dumps(measure(job)), flush=True)
