"""Known-wrong answers to the template's exercise, each a mistake that students make: {exercise: {the mistake: the
cell}}."""

LENGTH = """
def bytes_a_token(text, tokens):
    return {value} if tokens else {none}
"""


def length(value='len(text.encode()) / len(tokens)', none='0.0'):
    return LENGTH.format(value=value, none=none)


WRONG = dict(length={
    'characters for bytes': length(value='len(text) / len(tokens)'),
    'tokens a byte': length(value='len(tokens) / len(text.encode())'),
    'a whole number': length(value='len(text.encode()) // len(tokens)'),
    'nothing where there are no tokens': length(none='None')})
