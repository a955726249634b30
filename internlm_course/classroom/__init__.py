"""The classroom: labs are built from one source, run in JupyterLab, and compared by nbval with values that leave the kernel as JSON."""
