"""The source code of service and client, as documents name it: what modules call, and what coroutines change."""

import ast
from collections.abc import Iterator, Sequence
from functools import cache

from tests.docs.documents import ROOT

SERVICE = ROOT / "service" / "jobledger_service"
CLIENT = ROOT / "client" / "jobledger_client"
GENERATED = "# Generated"
MUTATORS = {
    *("add", "append", "appendleft", "clear", "discard", "extend", "insert", "move_to_end"),
    *("pop", "popitem", "popleft", "remove", "setdefault", "update"),
}


@cache
def modules() -> dict[str, ast.Module]:
    """Return the hand-written modules of service and client by name: `core/write/committer`, `client/_stream`."""
    files = {path.relative_to(SERVICE): path for path in sorted(SERVICE.rglob("*.py"))}
    files |= {"client" / path.relative_to(CLIENT): path for path in sorted(CLIENT.rglob("*.py"))}
    texts = {str(name).removesuffix(".py"): path.read_text() for name, path in files.items()}
    return {name: ast.parse(text) for name, text in texts.items() if not text.startswith(GENERATED)}


def calls(names: Sequence[str]) -> set[tuple[str, str]]:
    """Return the modules that call functions of these names, each with the name."""
    return {
        (module, name)
        for module, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and (name := _last_name(node.func)) in names
    }


def async_functions() -> set[tuple[str, str]]:
    """Return the coroutine functions, by module and name."""
    return {(module, function.name) for module, function in _async_functions()}


def divided_changes() -> set[tuple[str, str]]:
    """Return the coroutine functions that await, and change what outlives them: attributes of self, outer names."""
    return {
        (module, function.name)
        for module, function in _async_functions()
        if _awaits(nodes := list(_own_nodes(function))) and _changes_state(nodes)
    }


def _async_functions() -> Iterator[tuple[str, ast.AsyncFunctionDef]]:
    for module, tree in modules().items():
        yield from ((module, node) for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef))


def _own_nodes(function: ast.AsyncFunctionDef) -> Iterator[ast.AST]:
    """Yield the nodes of a function, without those of functions and classes within it."""
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            waiting.extend(ast.iter_child_nodes(node))


def _awaits(nodes: Sequence[ast.AST]) -> bool:
    return any(isinstance(node, ast.Await | ast.AsyncFor | ast.AsyncWith) for node in nodes)


def _changes_state(nodes: Sequence[ast.AST]) -> bool:
    outer = {name for node in nodes if isinstance(node, ast.Nonlocal | ast.Global) for name in node.names}
    return any(
        _is_of_self(target) or (isinstance(target, ast.Name) and target.id in outer)
        for node in nodes
        for target in _targets(node)
    )


def _targets(node: ast.AST) -> Iterator[ast.expr]:
    """Yield what a statement or a call of a mutator changes."""
    match node:
        case ast.Assign(targets=targets) | ast.Delete(targets=targets):
            for target in targets:
                yield from target.elts if isinstance(target, ast.Tuple) else [target]
        case ast.AugAssign(target=target) | ast.AnnAssign(target=target):
            yield target
        case ast.Call(func=ast.Attribute(attr=name, value=ast.Attribute() as changed)) if name in MUTATORS:
            yield changed


def _is_of_self(target: ast.expr) -> bool:
    is_attribute = False
    while isinstance(target, ast.Attribute | ast.Subscript):
        is_attribute = is_attribute or isinstance(target, ast.Attribute)
        target = target.value
    return is_attribute and isinstance(target, ast.Name) and target.id == "self"


def _last_name(function: ast.expr) -> str:
    match function:
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
        case ast.Subscript(value=value):
            return _last_name(value)
    return ""
