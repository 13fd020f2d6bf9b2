"""Tests that the stand-ins have the members of ChimeraX's own classes, and no additional parameters."""

import inspect

import pytest

from stand_ins import install
from stand_ins.interface import RECORDED

#: Real class to stand-in: the real menu button is two classes and a generator of its items, the stand-in is one class.
SAME = {"ToolWindow": "MainToolWindow", "ItemMenuButton": "ModelMenuButton", "ItemsGenerator": "ModelMenuButton"}


@pytest.fixture(scope="module")
def classes(chimerax):
    """The module of the stand-in classes."""
    install()
    from stand_ins import widgets

    return widgets


@pytest.mark.parametrize("member", RECORDED, ids=".".join)
def test_member_is_there(classes, member):
    """Each recorded member exists, as an attribute of the class or set by its methods."""
    _file, name, attribute = member
    found = getattr(classes, SAME.get(name, name))
    assert hasattr(found, attribute) or f"self.{attribute} = " in inspect.getsource(found)


@pytest.mark.parametrize("name", ["MainToolWindow", "ModelMenuButton"])
def test_parameters_are_real(classes, name):
    """A stand-in's methods have no parameters that the real ones lack, so code that works here works in ChimeraX."""
    found = getattr(classes, name)
    for attribute in {a for _, owner, a in RECORDED if SAME.get(owner, owner) == name}:
        if not inspect.isfunction(getattr(found, attribute, None)):
            continue
        real = {p for (_, owner, a), names in RECORDED.items()
                if a == attribute and SAME.get(owner, owner) == name for p in names or ()}
        taken = inspect.signature(getattr(found, attribute)).parameters.values()
        assert {p.name for p in taken if p.kind is not p.VAR_KEYWORD} <= real
