"""The tool of the course's agent: a calculator for whole numbers, as a Lagent action.

It walks the syntax tree and runs nothing.
"""
import ast
import operator
from fractions import Fraction

from lagent.actions import BaseAction, tool_api

OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
             ast.UAdd: operator.pos, ast.USub: operator.neg}
LONGEST = 100  # characters; with + - * / alone this also bounds the size of any result


def calculate(expression: str) -> str:
    """The value of an expression of whole numbers, + - * / and brackets.

    A quotient that does not come out even is rounded to 6 digits.

    Raises:
        ValueError: one sentence that starts with 'Error:', which the agent hands back to the model.
    """
    if len(expression) > LONGEST:
        raise ValueError(f'Error: the expression is longer than {LONGEST} characters.')
    try:
        value = _value(ast.parse(expression.strip(), mode='eval').body)
    except ZeroDivisionError:
        raise ValueError('Error: division by zero.') from None
    except (SyntaxError, MemoryError, RecursionError):
        raise ValueError(f'Error: {expression!r} is not an expression.') from None
    return str(value) if value.denominator == 1 else f'{float(value):.6g}'


def _value(node: ast.expr) -> Fraction:
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return Fraction(node.value)
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        return OPERATORS[type(node.op)](_value(node.left), _value(node.right))
    if isinstance(node, ast.UnaryOp) and type(node.op) in OPERATORS:
        return OPERATORS[type(node.op)](_value(node.operand))
    raise ValueError('Error: only whole numbers, + - * / and brackets are allowed.')


class Calculator(BaseAction):
    """Computes + - * / ( )."""

    __tool_name__ = 'calculator'

    @tool_api
    def run(self, expression: str) -> str:
        """Computes + - * / ( ).

        Args:
            expression (str): whole numbers, + - * / and brackets
        """
        return calculate(str(expression))
