"""Agents: Lagent lets the served model call a calculator, and long multiplication shows what a tool is worth."""
