"""Grading: reads notebooks that students worked in, and compares the values that their checks printed with the reference's.

It needs neither the course nor torch.
"""
