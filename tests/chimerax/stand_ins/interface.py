"""The interface, in ChimeraX's source, of the classes that the stand-ins replace; compares it with any copy of that source.

    python tests/chimerax/stand_ins/interface.py PATH     # PATH: src/bundles/ui/src of a ChimeraX source tree

prints each recorded signature that the source no longer has, and exits with their number.
"""

import ast
import sys
from pathlib import Path

#: (file below chimerax.ui, class, name) -> parameters in ChimeraX 1.7.1; None for a class attribute or property.
#: The 1.12 development source has the same, with one more parameter at the end of `manage`.
RECORDED: dict[tuple[str, str, str], list[str] | None] = {
    ("gui.py", "MainToolWindow", "__init__"): ["self", "tool_instance", "**kw"],
    ("gui.py", "ToolWindow", "manage"): ["self", "placement", "fixed_size", "allowed_areas", "initially_hidden"],
    ("gui.py", "ToolWindow", "destroy"): ["self"],
    ("gui.py", "ToolWindow", "shown"): None,
    ("gui.py", "ToolWindow", "ui_area"): None,
    ("widgets/item_chooser.py", "ModelMenuButton", "__init__"): ["self", "session", "no_value_button_text", "**kw"],
    ("widgets/item_chooser.py", "ItemsGenerator", "__init__"): [
        "self", "list_func", "key_func", "filter_func", "item_text_func", "class_filter", "**kw"],
    ("widgets/item_chooser.py", "ItemMenuButton", "__init__"): [
        "self", "autoselect", "balloon_help", "no_value_button_text", "no_value_menu_text", "special_items",
        "autoselect_single_item", "**kw"],
    ("widgets/item_chooser.py", "ItemMenuButton", "value"): None,
    ("widgets/item_chooser.py", "ItemMenuButton", "value_changed"): None,
    ("widgets/item_chooser.py", "ItemMenuButton", "AUTOSELECT_FIRST_DISPLAYED"): None,
    ("widgets/item_chooser.py", "ItemMenuButton", "AUTOSELECT_NONE"): None,
    ("widgets/item_chooser.py", "ItemMenuButton", "AUTOSELECT_SINGLE"): None,
}


def read(folder: Path) -> dict[tuple[str, str, str], list[str] | None]:
    """Return the members of RECORDED's classes in a source tree, methods with their parameters."""
    found: dict[tuple[str, str, str], list[str] | None] = {}
    for file, name in {(file, name) for file, name, _ in RECORDED}:
        tree = ast.parse((folder / file).read_text(encoding="utf-8"))
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and node.name == name:
                found.update({(file, name, member): value for member, value in _members(node).items()})
    return found


def _members(node: ast.ClassDef) -> dict[str, list[str] | None]:
    members: dict[str, list[str] | None] = {}
    for item in ast.walk(node):
        if isinstance(item, ast.FunctionDef):
            is_property = any(isinstance(d, ast.Name) and d.id == "property" for d in item.decorator_list)
            members.setdefault(item.name, None if is_property else parameters(item.args))
        elif isinstance(item, ast.Assign):
            for target in item.targets:
                if isinstance(target, ast.Name):
                    members.setdefault(target.id, None)
                elif isinstance(target, ast.Attribute):
                    members.setdefault(target.attr, None)
    return members


def parameters(arguments: ast.arguments) -> list[str]:
    """Return the names of a function's parameters, in order."""
    names = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    return names + ([f"**{arguments.kwarg.arg}"] if arguments.kwarg else [])


def differences(found: dict[tuple[str, str, str], list[str] | None]) -> list[str]:
    """Return a line for each recorded member that is missing from `found` or differs."""
    lines = []
    for key, wanted in RECORDED.items():
        if key not in found:
            lines.append(f"{key}: missing")
        elif wanted is not None and (found[key] or [])[: len(wanted)] != wanted:
            lines.append(f"{key}: {found[key]}, recorded {wanted}")
    return lines


if __name__ == "__main__":
    lines = differences(read(Path(sys.argv[1])))
    print("\n".join(lines) or f"All {len(RECORDED)} recorded members agree.")
    sys.exit(len(lines))
