"""Grading: reads notebooks that students worked in, compares what their checks printed with the reference's.

It needs neither the course nor torch.
"""
