"""Tests of the wheel's content and requirements, and of installing, updating and uninstalling it."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
#: Packages pinned by ChimeraX 1.7 to 1.12 that torch or our own dependencies could change (prereqs/ and pyproject.toml there).
PINNED = {"numpy", "scipy", "setuptools", "filelock", "networkx", "jinja2"}


def requirements(wheel):
    """Return the wheel's requirements, by lower-case name."""
    from packaging.requirements import Requirement

    with zipfile.ZipFile(wheel) as files:
        name = next(n for n in files.namelist() if n.endswith(".dist-info/METADATA"))
        lines = files.read(name).decode().split("\n\n")[0].splitlines()
    asked = (Requirement(line.partition(": ")[2]) for line in lines if line.startswith("Requires-Dist"))
    return {r.name.lower(): r for r in asked}


def test_wheel_holds_every_file(wheel):
    """The wheel has each module, weights file, icon and help page of src/."""
    with zipfile.ZipFile(wheel) as files:
        held = {n for n in files.namelist() if n.startswith("chimerax/superem/")}
    wanted = {
        "chimerax/superem/" + str(path.relative_to(ROOT / "src"))
        for pattern in ("*.py", "weights/*.*", "icons/*.png", "docs/**/*.*")
        for path in (ROOT / "src").rglob(pattern)
    }
    assert wanted <= held
    assert any(name.endswith(".safetensors") for name in held)


def test_wheel_holds_the_licence(wheel):
    """The licence requires that every copy includes it."""
    with zipfile.ZipFile(wheel) as files:
        name = next(n for n in files.namelist() if n.endswith(".dist-info/LICENSE"))
        assert files.read(name) == (ROOT / "LICENSE").read_bytes()


def test_name_that_every_chimerax_finds(wheel):
    """ChimeraX 1.7 and 1.8 take a bundle's name from the wheel's name, and compare it in mixed case."""
    assert wheel.name.startswith("ChimeraX_SuperEM-")


def test_dependencies_move_nothing_that_chimerax_pins(wheel):
    """No pinned package is required; torch may be the last version for Intel Macs, but not one that requires setuptools 77."""
    from packaging.specifiers import SpecifierSet
    from superem.core.devices import TORCH

    asked = requirements(wheel)
    assert not PINNED & set(asked)
    assert {"torch", "mrcfile", "safetensors", "tqdm", "chimerax-core", "chimerax-map"} <= set(asked)
    assert str(asked["torch"].specifier) == str(SpecifierSet(TORCH.removeprefix("torch")))  # as in the pip commands of messages
    assert asked["torch"].specifier.contains("2.2.2") and asked["torch"].specifier.contains("2.12.0")
    assert not asked["torch"].specifier.contains("2.13.0")
    for version in ("1.7", "1.8", "1.9", "1.10", "1.11.1", "1.12"):
        assert asked["chimerax-core"].specifier.contains(version)


def test_toolshed_finds_the_bundle(chimerax):
    """The toolshed's own search finds the command and the tool in the wheel's metadata."""
    bundle = chimerax.toolshed.find_bundle("ChimeraX-SuperEM", chimerax.logger, installed=True)
    assert {c.name for c in bundle.commands} == {"superem", "superem models", "superem cancel"}
    assert [t.name for t in bundle.tools] == ["SuperEM"]
    assert bundle._get_api(chimerax.logger).api_version == 1


def test_import_is_light(chimerax):
    """Neither the package nor its command imports torch or Qt."""
    import chimerax.superem

    code = ("import sys, chimerax_library; chimerax_library.start_session(); import chimerax; chimerax.__path__.append({!r}); "
            "import chimerax.superem.cmd, chimerax.superem.bundle; "
            "print([m for m in ('torch', 'Qt', 'PyQt6') if m in sys.modules])")
    folder = str(Path(chimerax.superem.__file__).parents[1])
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code.format(folder)], cwd=ROOT / "scripts",
                          capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")


def test_runs_on_a_cluster_without_chimerax(wheel, tmp_path):
    """After `pip install --no-deps` of the wheel, `python -m chimerax.superem` runs without ChimeraX."""
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target",
                    str(tmp_path), str(wheel)], check=True)
    # Without ChimeraX, `chimerax` is the folder that pip created; here the installed library must be kept out.
    code = ("import sys, runpy, types; chimerax = types.ModuleType('chimerax'); chimerax.__path__ = [{!r}]; "
            "sys.modules['chimerax'] = chimerax; sys.argv = ['superem', '--help']; "
            "runpy.run_module('chimerax.superem', run_name='__main__', alter_sys=True)")
    done = subprocess.run([sys.executable, "-c", code.format(str(tmp_path / "chimerax"))],
                          capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout


def older(wheel, folder):
    """Return a copy of the wheel as version 0.0.1, with one additional module."""
    version = wheel.name.split("-")[1]
    path = folder / wheel.name.replace(version, "0.0.1", 1)
    with zipfile.ZipFile(wheel) as files, zipfile.ZipFile(path, "w") as written:
        for name in files.namelist():
            data = files.read(name)
            if name.endswith("METADATA"):
                data = data.replace(f"\nVersion: {version}".encode(), b"\nVersion: 0.0.1")
            elif name.endswith("RECORD"):
                data = data.replace(f"-{version}.dist-info".encode(), b"-0.0.1.dist-info") + b"chimerax/superem/gone.py,,\n"
            written.writestr(name.replace(f"-{version}.dist-info", "-0.0.1.dist-info"), data)
        written.writestr("chimerax/superem/gone.py", "")
    return path


@pytest.mark.skipif(sys.platform == "win32", reason="pip's user folder lies elsewhere on Windows")
def test_update_and_uninstall_leave_nothing(wheel, tmp_path):
    """In a session in another process, an update takes effect at the next start, and uninstalling leaves no file of ours."""
    code = """
import sys
from pathlib import Path
from chimerax_library import start_session
session = start_session()
from chimerax.core.commands import run
older, wheel = sys.argv[1:]
site = Path(session.toolshed._site_dir)
run(session, f"toolshed install {older} noDeps true")
assert (site / "chimerax" / "superem" / "gone.py").exists()
assert session.toolshed.find_bundle("ChimeraX-SuperEM", session.logger).version == "0.0.1"
run(session, f"toolshed install {wheel} noDeps true")
assert "must be restarted" in session.log.text("error")
assert session.toolshed.find_bundle("ChimeraX-SuperEM", session.logger).version == "0.0.1"

def uninstall():
    run(session, "toolshed uninstall ChimeraX-SuperEM")
    left = [str(path) for path in site.rglob("*") if path.is_file() and "superem" in str(path).lower()]
    assert not left, left

uninstall()
run(session, f"toolshed install {wheel} noDeps true")
assert session.toolshed.find_bundle("ChimeraX-SuperEM", session.logger).version == wheel.split("-")[-4]
assert len(list(site.glob("ChimeraX_SuperEM-*.dist-info"))) == 1
uninstall()
session.triggers.activate_trigger("end restore session", session)
assert not session.log.text("bug"), session.log.text("bug")
print("clean")
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code,
                           str(older(wheel, tmp_path)), str(wheel)], cwd=ROOT / "scripts",
                          capture_output=True, text=True)
    assert done.stdout.strip().endswith("clean"), done.stdout + done.stderr


def test_devel_install(tmp_path):
    """`devel install` of the source folder builds and installs the bundle; `toolshed uninstall` removes it."""
    folder = tmp_path / "SuperEM"
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "bundle_info.xml", folder)
    code = """
import sys
from pathlib import Path
from chimerax_library import start_session
session = start_session()
from chimerax.core.commands import devel, run
devel.register_command(session.logger)
site = Path(session.toolshed._site_dir)
run(session, f"devel install {sys.argv[1]} noDeps true")
assert session.toolshed.find_bundle("ChimeraX-SuperEM", session.logger)
assert (site / "chimerax" / "superem" / "cmd.py").exists()
run(session, "toolshed uninstall ChimeraX-SuperEM")
assert not (site / "chimerax" / "superem").exists()
print("clean")
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code, str(folder)], cwd=ROOT / "scripts", text=True,
                          env={**os.environ, "PYTHONPATH": str(Path(sys.prefix) / "wheel-tools")}, capture_output=True)
    assert done.stdout.strip().endswith("clean"), done.stdout + done.stderr


def test_versions_agree():
    """CITATION.cff and CHANGELOG.md have the version of bundle_info.xml."""
    from xml.etree import ElementTree

    version = ElementTree.parse(ROOT / "bundle_info.xml").getroot().get("version")
    assert f"version: {version}" in (ROOT / "CITATION.cff").read_text("utf-8")
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text("utf-8")
