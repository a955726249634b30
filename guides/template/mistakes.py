"""Known-wrong answers to the exercise of the template."""
from internlm_course.grading.mistakes import Mistake

LENGTH = """
def bytes_a_token(text, tokens):
    return {value} if tokens else {none}
"""


def length(value='len(text.encode()) / len(tokens)', none='0.0'):
    return LENGTH.format(value=value, none=none)


MISTAKES = dict(length=dict(bytes_a_token=[
    Mistake('characters-for-bytes', length(value='len(text) / len(tokens)'),
            'Take one Chinese character as a token of its own: how many bytes does a file need for it?',
            '拿一个汉字单独作一个词元：存进文件里，它占几个字节？'),
    Mistake('tokens-a-byte', length(value='len(tokens) / len(text.encode())'),
            'A longer token should make your number larger: does it?',
            '词元越长，你的数应当越大：是这样吗？'),
    Mistake('a-whole-number', length(value='len(text.encode()) // len(tokens)'),
            'Take five bytes in two tokens: what is the mean?',
            '五个字节、两个词元：平均是多少？'),
    Mistake('nothing-without-tokens', length(none='None'),
            'Read again what the exercise asks for where there are no tokens.',
            '再读一遍题目：没有词元时该返回什么？')]))
