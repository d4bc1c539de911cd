"""Sizes that are calculated from others, in one form: sums of symbols, and of their sums divided and rounded down."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Final

import sympy  # type: ignore[import-untyped, unused-ignore]
from torch.utils._sympy.functions import FloorDiv, Max, Min

#: Numerator and denominator, at most, of what a size is multiplied by before it is rounded.
_MOST: Final = 64


def normal(expression: Any) -> Any:
    """An expression of sizes, remainders and what is rounded up said by what is rounded down.

    ``s + (-s) % 8`` becomes ``8 * ((s + 7) // 8)``, which says that an array may be as long.
    """
    if not expression.args:
        return expression
    name = type(expression).__name__
    parts = [normal(each) for each in expression.args]
    if name in ("Mod", "PythonMod") and _is_positive(parts[1]):
        return sympy.expand(parts[0] - parts[1] * floor_of(parts[0], parts[1]))
    if name == "FloorDiv" and _is_positive(parts[1]):
        return floor_of(parts[0], parts[1])
    if name in ("FloorDiv", "CleanDiv") and parts[1].is_Symbol:
        above, below = sympy.fraction(sympy.cancel(parts[0] / parts[1]))
        if below == 1 and above.is_polynomial():  # what is multiplied by a size, and divided by it
            return above
    inner = expression.args[0]
    if name in ("CeilToInt", "FloorToInt", "TruncToInt") and type(inner).__name__ in ("IntTrueDiv", "FloatTrueDiv"):
        above, below = map(_whole, inner.args)
        if below.is_number and below < 0:
            above, below = -above, -below
        if _is_positive(below) and (name != "TruncToInt" or min(_terms(above).values()) >= 0):
            return -floor_of(-above, below) if name == "CeilToInt" else floor_of(above, below)
    if name in ("CeilToInt", "FloorToInt", "TruncToInt") and inner.is_Mul:
        found = _share(inner, name)
        if found is not None:
            return found
    if name == "floor":
        above, below = sympy.fraction(sympy.together(parts[0]))
        if _is_positive(below):
            return floor_of(above, below)
    found = expression.func(*parts)
    return _with_bounds(sympy.expand(found)) if found.is_Add or found.is_Mul else found


def _with_bounds(expression: Any) -> Any:
    """A sum with the larger or the smaller of two as the larger or smaller of two sums, where one of them is a number.

    ``s + max(0, 8 - s)``, what is filled up to 8, is ``max(s, 8)``.
    """
    terms = _terms(expression)
    others = {"Max": Min, "Min": Max}
    bounded = [each for each, times in terms.items() if type(each).__name__ in others and abs(times) == 1]
    if len(bounded) != 1 or expression == bounded[0]:
        return expression
    (each,) = bounded
    times, rest = terms[each], expression - terms[each] * each
    sums = [sympy.expand(rest + times * part) for part in each.args]
    function = type(each) if times > 0 else others[type(each).__name__]
    return function(*sums) if any(one.is_Integer for one in sums) else expression


def _whole(expression: Any) -> Any:
    """The whole number that an expression of real ones is, in one form; itself where it is none."""
    if type(expression).__name__ == "ToFloat":
        return normal(expression.args[0])
    is_whole = expression.is_Float and float(expression).is_integer()
    return sympy.Integer(int(expression)) if is_whole else normal(expression)


def _share(product: Any, name: str) -> Any:
    """A size times a real number, rounded; None: of a number that is no simple fraction, or of something else."""
    numbers = [each for each in product.args if each.is_Number]
    sizes = [each for each in product.args if type(each).__name__ == "ToFloat"]
    if len(numbers) != 1 or len(sizes) != 1 or len(product.args) != 2:
        return None
    share = Fraction(float(numbers[0])).limit_denominator(_MOST)
    # 0.3 is no fraction of ten, but times a size it is rounded to what three tenths of that are.
    if float(share) != float(numbers[0]) or not 0 < share.numerator <= _MOST:
        return None
    size = normal(sizes[0].args[0])
    if name == "TruncToInt" and min(_terms(size).values()) < 0:
        return None
    if name == "CeilToInt":
        return -floor_of(-share.numerator * size, sympy.Integer(share.denominator))
    return floor_of(share.numerator * size, sympy.Integer(share.denominator))


def _is_positive(expression: Any) -> bool:
    return bool(expression.is_Integer and expression > 0)


def _terms(expression: Any) -> dict[Any, Any]:
    """Each thing that is summed up, 1 for the number, and how often."""
    found: dict[Any, Any] = dict(sympy.expand(expression).as_coefficients_dict())
    return found


def floor_of(above: Any, below: Any) -> Any:
    """A sum divided by a number and rounded down; what the number divides stands before it, and nothing is negative."""
    whole, rest = sympy.Integer(0), sympy.Integer(0)
    for each, times in _terms(above).items():
        least = times // below if each == 1 or times > 0 or times % below == 0 else 0
        whole += least * each
        rest += (times - least * below) * each
    if rest.is_number:
        return sympy.expand(whole + rest // below)
    if all(times <= 0 for each, times in _terms(rest).items() if each != 1):
        return sympy.expand(whole - floor_of(-rest + below - 1, below))
    inner = [each for each in _terms(rest) if each != 1]
    if len(inner) == 1 and _terms(rest)[inner[0]] == 1 and type(inner[0]).__name__ == "FloorDiv":
        first, by = inner[0].args
        if _is_positive(by):
            return sympy.expand(whole + floor_of(first + by * (rest - inner[0]), by * below))
    return sympy.expand(whole + FloorDiv(rest, below))


def without_differences(expression: Any) -> Any:
    """The same without a quotient that is taken away, where it can be said so: ``s - s // 2`` is ``(s + 1) // 2``."""
    terms = _terms(expression)
    for each, times in terms.items():
        if times < 0 and type(each).__name__ == "FloorDiv" and _is_positive(each.args[1]):
            above, below = _of_another(each, terms)
            rest = sympy.expand(below * (expression + each) - above + below - 1)
            return floor_of(rest, below)
    return expression


def _of_another(quotient: Any, terms: Mapping[Any, Any]) -> tuple[Any, Any]:
    """What is divided, and by what: in terms of another quotient that it is taken away from, if it is one of that."""
    above, below = quotient.args
    for each, times in terms.items():
        if times > 0 and type(each).__name__ == "FloorDiv" and _is_positive(each.args[1]):
            first, by = each.args
            more = sympy.expand(above - first)
            if below % by == 0 and more.is_Integer and more % by == 0:
                return each + more // by, below // by
    return above, below
