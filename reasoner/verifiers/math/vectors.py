"""Vectors as sums of multiples of the unit vectors i, j and k."""

import re

from reasoner.verifiers.math import tree as t

_AXIS = re.compile(r"(?:(?:hat|vec|overrightarrow) Sym\(name=')?([ijk])(?:'\))?")


def components(node: t.Node) -> list[t.Node] | None:
    """Returns the three components of a vector in i, j and k; None for anything else, such as a multiple of i alone."""
    found = _along(node)
    names = {one.name for one in t.walk(node) if isinstance(one, t.Sym)}
    if not found or not any(len(name) > 1 or name in "jk" for name in names if _AXIS.fullmatch(name)):
        return None
    return [found.get(axis, t.ZERO) for axis in "ijk"]


def _along(node: t.Node) -> dict[str, t.Node] | None:
    match node:
        case t.Sym(name) if axis := _AXIS.fullmatch(name):
            return {axis[1]: t.number(1)}
        case t.Neg(inner):
            found = _along(inner)
            return found and {axis: t.Neg(value) for axis, value in found.items()}
        case t.Add(parts):
            total: dict[str, t.Node] = {}
            for part in map(_along, parts):
                if part is None:
                    return None
                total |= {axis: t.Add((total[axis], value)) if axis in total else value for axis, value in part.items()}
            return total
        case t.Mul(parts):
            vectors = [(i, found) for i, part in enumerate(parts) if (found := _along(part))]
            if len(vectors) != 1:
                return None
            ((at, found),) = vectors
            return {axis: t.Mul((*parts[:at], value, *parts[at + 1 :])) for axis, value in found.items()}
        case t.Div(above, below):
            found = _along(above)
            return found and {axis: t.Div(value, below) for axis, value in found.items()}
    return None
