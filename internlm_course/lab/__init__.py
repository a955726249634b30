"""What a lab needs while a student works in it: JupyterLab and her copies, checks, plots, the chat window, answers."""
