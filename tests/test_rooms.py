"""Which package may import from which, and no circles."""

import ast
import pathlib

import jssl

ROOT = pathlib.Path(jssl.__file__).parent
# From the bottom up; a room imports from those before it and, within a line, from its neighbours, but never in a
# circle.
ORDER = (
    ("errors", "types", "rng", "schedules", "settings", "storage", "compile_cache"),
    ("parallel",),
    ("losses", "metrics", "clustering"),
    ("data", "models"),
    ("methods",),
    ("train",),
    ("evaluation", "report"),
    ("config", "config_help", "configs", "search_space"),
    ("runs",),
    (
        "cli",
        "main",
        "evaluate",
        "embed",
        "select",
        "probe_curves",
        "page",
        "sweep",
        "plan",
        "convert",
        "export",
    ),
)
FLOOR = {room: floor for floor, rooms in enumerate(ORDER) for room in rooms}


def module_of(path):
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in ROOT.rglob("*.py")}


def imported(path, everywhere):
    """Modules of the library that a file imports when it is loaded; with `everywhere` those within functions, too."""
    found, tree = set(), ast.parse(path.read_text())
    nodes = ast.walk(tree) if everywhere else outside_functions(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            children = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {child if child in MODULES else node.module for child in children}
    return {name for name in found if name.split(".")[0] == "jssl"}


def outside_functions(node):
    for child in ast.iter_child_nodes(node):
        typing_only = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test)
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and not typing_only:
            yield child
            yield from outside_functions(child)


def room(module):
    return module.split(".")[1]


def test_every_module_is_in_a_room_of_the_order():
    assert {room(module) for module in MODULES if module != "jssl"} <= FLOOR.keys()


def test_arrows_go_down():
    arrows = {
        f"{module} -> {other}"
        for module, path in MODULES.items()
        for other in imported(path, everywhere=True)
        if "jssl" not in (module, other) and FLOOR[room(other)] > FLOOR[room(module)]
    }
    assert not arrows


def test_no_module_imports_itself_by_way_of_others():
    arrows = {module: imported(path, everywhere=False) & MODULES.keys() for module, path in MODULES.items()}
    # The names that a room gives out are not a module's own: a file of the room does not go through them.
    while arrows:
        leaves = {module for module, others in arrows.items() if not others - {module}}
        assert leaves, f"in a circle, or above one: {arrows}"
        arrows = {module: others - leaves for module, others in arrows.items() if module not in leaves}
