"""What ships with the package and what makes it: checkpoints, their range over seeds, the scaling law, the expected
curve."""
