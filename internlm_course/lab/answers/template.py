"""What the template of a lab asks for (guides/template/lab.py)."""


def bytes_a_token(text: str, tokens: list[str]) -> float:
    """Bytes of UTF-8 in the text for each token; 0 where there is none."""
    return len(text.encode()) / len(tokens) if tokens else 0.0
