# %% [markdown] name="title"
# # 实验模板：一个词元有多长 · A lab to copy: how long is a token
#
# 一个实验的全部部件，各有一份：讲解、准备、练习、亮灯、核对、收尾。
#
# Every part of a lab, once: text, set-up, exercise, light, check, end.
#
# | 练习 · Exercise | 分 · points |
# |---|---|
# | 1 每个词元的字节数 · bytes a token | 2 |

# %% name="setup" setup=true
from internlm_course.lab.answers import template as own
from internlm_course.lab.check import Lab, attempt, seeded, self_check, show_values

lab = Lab('00_template', minutes=1, gigabytes=1, points=dict(length=2))

# %% [markdown] name="length-text"
# ## 1 词元的长度 · The length of a token
#
# **先预测**：同样的意思，汉字一个占三个字节，英文字母一个占一个字节。哪种文字的词元更长？
#
# **Predict**: a Chinese character takes three bytes, an English letter one. Which language has the longer tokens?

# %% [markdown] name="length-guess"
# **我的预测 · My prediction**（双击此处填写 · double-click here and write）：

# %% [markdown] name="length-task"
# **练习 1（2 分）** 写出 `bytes_a_token(text, tokens)`：`text` 是一段文字，`tokens` 是切成的词元，
# 返回平均每个词元的 UTF-8 字节数。没有词元时返回 `0.0`。
#
# **Exercise 1 (2 points)** Write `bytes_a_token(text, tokens)`: `text` is a text, `tokens` the list of tokens that it
# was cut into. Return how many bytes of UTF-8 a token has on average; `0.0` where there are no tokens.

# %% name="length" exercise=true
def bytes_a_token(text: str, tokens: list[str]) -> float:
    ### BEGIN SOLUTION
    return len(text.encode()) / len(tokens) if tokens else 0.0
    ### END SOLUTION

# %% name="length-light"
self_check(bytes_a_token, own.bytes_a_token,
           [('token', ['to', 'ken']), ('词元', ['词元']), ('', [])],
           hint='字节不是字符 · Bytes are not characters.')
length_used = attempt(bytes_a_token, own.bytes_a_token)
for text in ('The capital of Peru is Lima.', '秘鲁的首都是利马。'):
    tokens = text.split() if text.isascii() else list(text)
    print(f'{length_used(text, tokens):4.1f} bytes a token: {tokens}')

# %% name="check-length" check="length" points=2
# NBVAL_CHECK_OUTPUT
rng = seeded('length')
cases = [('', []), ('词元', ['词', '元'])]
for _ in range(6):
    tokens = [rng.choice(['a', 'to', 'ken', '词', '词元', 'é']) for _ in range(rng.randrange(2, 9))]
    cases.append((''.join(tokens), tokens))
lab.check('length', length=(bytes_a_token, own.bytes_a_token, cases))

# %% [markdown] name="length-answer"
# <details><summary>答案 · Answer</summary>
#
# 按字节算，两边差不多：一个汉字三个字节，一个英文词连空格五六个字节。
#
# In bytes they are close: three for a character, five or six for an English word with its blank.
#
# </details>

# %% name="check-tour" check=""
# NBVAL_CHECK_OUTPUT
show_values('tour', dict(bytes=[len(text.encode()) for text in ('Lima', '利马')]))

# %% name="end"
lab.finish()
