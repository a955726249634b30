"""Agents: Lagent lets the served model call a calculator, and long multiplication shows what a tool is worth.

Nothing is patched into it: `agent` and `calculator` hold subclasses."""
from internlm_course.agents.agent import Answer, multiply, solve

__all__ = ['Answer', 'multiply', 'solve']
