"""Reading and writing of MRC2014 and CCP4 map files, placed in space as ChimeraX places them."""

from __future__ import annotations

import gzip
import math
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path

import mrcfile
import numpy as np
from scipy.spatial.transform import Rotation

from .density import DensityMap, MapError
from .files import replaced
from .memory import require

READABLE_MODES = {0: "int8", 1: "int16", 2: "float32", 6: "uint16", 12: "float16"}
# In header bytes 152-155 of files written by IMOD; bytes are signed if bit 0 of the flags that follow is set.
IMOD_STAMP = 1146047817
ROTATION_LABEL = "Chimera rotation:"  # ChimeraX's label for a rotated grid: axis and degrees
NSTART_ERROR = 1e-3  # voxels; an origin this close to whole voxels is also written as NSTART


def read_mrc(path: str | Path, voxel_size: float | None = None) -> DensityMap:
    """Read a map file, plain or compressed (.gz, .bz2), with its axes reordered to x, y, z.

    The origin is that of ChimeraX: in a .mrc file, the ORIGIN record if it is not zero, else NSTART times the voxel
    size; in a .map or .ccp4 file, always NSTART times the voxel size.

    Parameters
    ----------
    path : str or Path
        The file.
    voxel_size : float, optional
        Voxel size in Å to use instead of the header's.

    Raises
    ------
    MapError
        If the file cannot be read, is cut short, does not fit in memory, or is not one map of real density on a
        rectangular grid.
    """
    path = Path(path)
    try:
        if path.is_fifo():
            raise MapError(f"{path} is a pipe; SuperEM needs a file, which may be compressed (.gz, .bz2).")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about flaws in the header; those that matter are checked below
            with mrcfile.open(path, permissive=True, header_only=True) as file:
                header = file.header.copy()
            _check_header(path, header)
            _check_size(path, header)
            with mrcfile.open(path, permissive=True) as file:
                data = file.data
            if data is None and int(header.nsymbt) > 0:
                data = _read_without_operators(path, header)
    except MapError:
        raise
    except FileNotFoundError:
        raise MapError(f"There is no file {path}.") from None
    except (gzip.BadGzipFile, EOFError, zlib.error, ValueError, ArithmeticError) as error:  # mrcfile divides by header fields
        raise MapError(f"{path} is not a map file, or is damaged or cut short ({error}).") from error
    except MemoryError as error:
        raise MapError(f"{path} does not fit in memory, or its header is damaged.") from error
    except OSError as error:
        raise MapError(f"{path} cannot be read ({error.strerror or error}).") from error
    if data is None:
        raise MapError(f"{path} is cut short: it holds less density than its header says.")
    if data.ndim != 3 or (int(header.ispg) == 0 and int(header.mz) == 1 and int(header.nz) > 1):
        what = "a stack of volumes" if data.ndim == 4 else "an image or a stack of images"
        raise MapError(f"{path} holds {what}; SuperEM needs one three-dimensional map.")
    if int(header.mode) == 0 and _is_unsigned(header):
        data = data.view(np.uint8)

    axes = [int(header.mapc), int(header.mapr), int(header.maps)]  # axis of columns, rows and sections: 1 = x
    if sorted(axes) != [1, 2, 3]:
        axes = [1, 2, 3]
    data = data.transpose([2 - axes.index(a) for a in (3, 2, 1)])
    starts = [int(header.nxstart), int(header.nystart), int(header.nzstart)]
    start = [starts[axes.index(a)] for a in (1, 2, 3)]
    step = _step(path, header, voxel_size)
    array = np.ascontiguousarray(data, np.float32)
    return DensityMap(array, _origin(path, header, step, start), step, _rotation(path, header), path.name)


def _read_without_operators(path: Path, header: np.recarray) -> np.ndarray | None:
    """Return the data of a file that lacks the symmetry operators in its header, as some old EMDB entries do.

    None if the file is cut short.
    """
    kind, shape = mrcfile.utils.data_dtype_from_header(header), mrcfile.utils.data_shape_from_header(header)
    size = kind.itemsize * math.prod(int(n) for n in shape)
    with mrcfile.open(path, permissive=True, header_only=True) as file:
        file._iostream.seek(header.nbytes)
        rest = file._iostream.read(size + 1)
    return np.frombuffer(rest, kind).reshape(shape) if len(rest) == size else None


def read_labels(path: str | Path) -> list[str]:
    """Return the labels in the header of a map file that `read_mrc` can read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with mrcfile.open(path, permissive=True, header_only=True) as file:
            return _labels(file.header)


def _labels(header: np.recarray) -> list[str]:
    return [label.decode("latin-1").rstrip("\0 ") for label in header.label]


def _check_header(path: Path, header: np.recarray) -> None:
    """Raise MapError unless the header is that of a map of density on a rectangular grid."""
    if not header.map.item().startswith(b"MAP"):
        raise MapError(f"{path} is not an MRC or CCP4 map file (it lacks the word MAP in its header); "
                       "ChimeraX opens more kinds of map, and can save them as one.")
    if int(header.mode) not in READABLE_MODES:
        raise MapError(f"{path} has data of mode {int(header.mode)}; only real numbers can be read: modes "
                       + ", ".join(f"{mode} ({kind})" for mode, kind in READABLE_MODES.items()) + ".")
    angles = [float(header.cellb[name]) for name in ("alpha", "beta", "gamma")]
    unset = any(not 0 < a < 180 for a in angles)  # ChimeraX treats such a cell as rectangular
    if not unset and any(abs(a - 90) > 0.01 for a in angles):
        raise MapError(f"{path} has a skewed cell (angles {', '.join(f'{a:g}' for a in angles)} degrees); "
                       "SuperEM needs a rectangular grid.")


def _check_size(path: Path, header: np.recarray) -> None:
    """Raise MapError if the header's size is zero or does not fit in memory, before memory is allocated for it."""
    nx, ny, nz = (int(header[name]) for name in ("nx", "ny", "nz"))
    if min(nx, ny, nz) < 1:
        raise MapError(f"{path} is not a map file, or is damaged: it has {nx} x {ny} x {nz} voxels by its header.")
    kind = np.dtype(READABLE_MODES[int(header.mode)])
    bytes_each = kind.itemsize if kind == np.float32 else kind.itemsize + 4  # other types are converted to float32
    require(nx * ny * nz * bytes_each, f"{path} has {nx} x {ny} x {nz} voxels by its header and",
            "if that is not its size, the file is damaged")


def _step(path: Path, header: np.recarray, voxel_size: float | None) -> tuple[float, float, float]:
    """Return the voxel size (xyz) in Å."""
    if voxel_size is not None:
        return (voxel_size,) * 3
    cell = [float(header.cella[a]) for a in "xyz"]
    counts = [int(header.mx), int(header.my), int(header.mz)]
    if min(counts) <= 0 or not all(0 < c < math.inf for c in cell):
        raise MapError(f"{path} has no voxel size in its header; give it (option --voxel-size).")
    x, y, z = (c / n for c, n in zip(cell, counts, strict=True))
    return x, y, z


def _origin(path: Path, header: np.recarray, step: Sequence[float], start: Sequence[int]) -> tuple[float, float, float]:
    """Return the position (xyz, Å) of the first voxel, by the rules of ChimeraX's reader."""
    origin = [float(header.origin[a]) for a in "xyz"]
    suffixes = [s.lower() for s in path.suffixes if s.lower() not in (".gz", ".bz2")]
    is_ccp4 = bool(suffixes) and suffixes[-1] in (".map", ".ccp4")
    # Some programs leave garbage in these records: values so large that float32 cannot tell neighbouring voxels apart.
    usable = np.all(np.isfinite(origin)) and all(np.float32(o + s) != np.float32(o) for o, s in zip(origin, step, strict=True))
    if not is_ccp4 and any(origin) and usable:
        x, y, z = origin
        return x, y, z
    limit = 10 * max(int(header[n]) for n in ("nx", "ny", "nz", "mx", "my", "mz"))
    if any(abs(n) > limit for n in start):
        return 0.0, 0.0, 0.0
    x, y, z = (n * s for n, s in zip(start, step, strict=True))
    return x, y, z


def _rotation(path: Path, header: np.recarray) -> np.ndarray:
    """Return the rotation (3, 3) of the grid from the label that ChimeraX writes; the identity if there is none."""
    for text in _labels(header):
        if text.startswith(ROTATION_LABEL):
            try:
                x, y, z, angle = (float(v) for v in text[len(ROTATION_LABEL):].split())
                length = math.hypot(x, y, z)
                if not (0 < length < math.inf and math.isfinite(angle)):
                    raise ValueError("an axis without a direction")
            except ValueError as error:
                raise MapError(f"{path} has a label in its header, {text!r}, that gives no rotation; remove it first.") from error
            return Rotation.from_rotvec(np.array([x, y, z]) / length * angle, degrees=True).as_matrix()
    return np.eye(3)


def _is_unsigned(header: np.recarray) -> bool:
    """Return whether IMOD wrote the bytes of a mode 0 file as unsigned."""
    stamp, flags = np.frombuffer(header.extra2.tobytes()[40:48], header.nx.dtype)
    return int(stamp) == IMOD_STAMP and not int(flags) & 1


class _NewFile(mrcfile.mrcfile.MrcFile):
    """A new file, whose statistics are computed plane by plane: for the whole map at once, this takes as much memory again."""

    def update_header_stats(self) -> None:
        """Set minimum, maximum, mean and standard deviation of the density in the header."""
        mean = np.mean([plane.mean(dtype=float) for plane in self.data])
        self.header.dmin, self.header.dmax, self.header.dmean = self.data.min(), self.data.max(), mean
        self.header.rms = np.sqrt(np.mean([np.square(plane - mean).mean(dtype=float) for plane in self.data]))


def write_mrc(path: str | Path, density: DensityMap, labels: Sequence[str] = (), overwrite: bool = True) -> None:
    """Write a map as MRC2014, mode 2, atomically: the file is complete, or does not appear.

    ORIGIN holds the origin; NSTART agrees with it if the grid is not rotated and the origin is a whole number of
    voxels, and is zero otherwise.

    Parameters
    ----------
    path : str or Path
        The file. It is compressed if its name ends in .gz.
    density : DensityMap
        The map.
    labels : sequence of str
        Up to ten header lines (nine for a rotated grid), cut at 80 characters.
    overwrite : bool
        Replace an existing file.

    Raises
    ------
    MapError
        If the file cannot be written.
    """
    step, origin = np.asarray(density.step), np.asarray(density.origin)
    lines = list(labels)
    start = np.rint(origin / step).astype(int)
    rotated = not np.allclose(density.rotation, np.eye(3), atol=1e-9)
    if rotated:
        lines.insert(0, _rotation_line(density.rotation))
    if rotated or np.abs(origin / step - start).max() > NSTART_ERROR:
        start[:] = 0
    path = Path(path)
    with replaced(path, overwrite) as part:
        with _NewFile(part, "w+") as file:
            file.set_data(density.array)
            file.set_volume()
            header = file.header
            header.cella.x, header.cella.y, header.cella.z = step * density.shape[::-1]
            header.origin.x, header.origin.y, header.origin.z = origin
            header.nxstart, header.nystart, header.nzstart = start
            header.label[:] = b""
            for n, line in enumerate(lines[:10]):
                header.label[n] = line.encode("ascii", "replace")[:80]
            header.nlabl = min(len(lines), 10)
        if path.suffix.lower() == ".gz":  # not by mrcfile, which would store the time and the temporary name
            part.write_bytes(gzip.compress(part.read_bytes(), 6, mtime=0))


def _rotation_line(rotation: np.ndarray) -> str:
    """Return the label for a rotated grid as ChimeraX writes it: axis and angle in degrees."""
    vector = Rotation.from_matrix(rotation).as_rotvec(degrees=True)
    angle = float(np.linalg.norm(vector))
    x, y, z = vector / angle
    return f"{ROTATION_LABEL} {x:12.8f} {y:12.8f} {z:12.8f} {angle:12.8f}"
