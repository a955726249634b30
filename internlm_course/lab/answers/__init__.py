"""Answers of the labs, a module a lab: what its checks compare with, and what goes on where an exercise is open."""
