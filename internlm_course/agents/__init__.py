"""Agents: Lagent lets the served model call a calculator, and long multiplication shows what a tool is worth."""
from internlm_course.agents.agent import TOOL_PROMPT, Answer, agent_messages, call_text, multiplication_problems, multiply, solve

__all__ = ['TOOL_PROMPT', 'Answer', 'agent_messages', 'call_text', 'multiplication_problems', 'multiply', 'solve']
