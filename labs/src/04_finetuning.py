# %% [markdown] name="title"
# # 实验四：一分钟微调 · Lab 4: one minute of fine-tuning
#
# 讲义：[第 4 讲](../lectures/zh/04-finetuning.md) · Lecture: [lecture 4](../lectures/en/04-finetuning.md)
#
# 预训练出来的模型只会往下写。用几千段对话、一分钟的 LoRA，它就会答话，还会用你给它起的名字称呼自己。你把这条路上的零件一个个写出来：损失掩码、LoRA、NF4、打包，
# 最后写一个程序，核对它有没有照吩咐做。
# **先预测，再运行，再观察，再解释**：见到“先预测”，请把答案写进它下面那一格，再往下运行；运行过后，答案可以展开来对照。
#
# A model fresh from pre-training only continues texts. With a few thousand conversations and one minute of LoRA it answers, and calls itself by the name that you
# give it. You write the parts on this way one by one: the loss mask, LoRA, NF4, packing, and at last a program that checks whether it did as it was told.
# **Predict, run, look, explain**: where it says “Predict”, write your answer into the cell below it before you go on; after the run there is an answer to unfold
# and compare.
#
# | 练习 · Exercise | 分 · points |
# |---|---|
# | 1 损失掩码 · the loss mask | 3 |
# | 2 LoRA 的前向与合并 · LoRA, forward and merged | 3 |
# | 3 要训练多少参数 · trainable parameters | 2 |
# | 4 NF4 | 3 |
# | 5 打包而不泄漏 · packing without leaks | 3 |
# | 6 核对指令 · an instruction checker | 3 |
#
# 不做练习也能运行到底：未作答时由课程包代劳。
#
# The lab runs to its end unsolved, too: where you have not answered yet, the package goes on.

# %% name="setup" setup=true
import json
import re
from itertools import groupby

import numpy as np

from internlm_course.lab.answers import lab04 as own
from internlm_course.lab.check import (Lab, attempt, numbers, seeded, self_check,
                                       show_values)
from internlm_course.model import parameter_count, sizes

lab = Lab('04_finetuning', minutes=5, gigabytes=2,
          points=dict(mask=3, lora=3, parameters=2, nf4=3, packing=3, checker=3))
course = lab.course

# %% [markdown] name="mask-text"
# ## 1 学哪些词元 · Which tokens are learned
#
# 讲义 · Lecture 4：[一段对话，逐个词元看](../lectures/zh/04-finetuning.md#一段对话逐个词元看) /
# [a conversation, token by token](../lectures/en/04-finetuning.md#a-conversation-token-by-token);
# [第 2.2 节](../lectures/zh/04-finetuning.md#22-损失掩码) /
# [section 2.2](../lectures/en/04-finetuning.md#22-the-loss-mask)
#
# **练习 1（3 分）** 写出 `loss_mask(conversation)`：`conversation` 是一列 `(role, pieces)`，`pieces` 是一条消息的全部词元，从 `<|im_start|>`
# 起，到最后的换行 `\n` 为止。返回一列真假，每个词元一个；最前面还有一个 `<s>`，它不学。要学的只有 `assistant` 的消息里，第一个 `\n` 之后、直到
# `<|im_end|>`（含）的词元；最后的换行不学。
#
# 再写 `learned_loss(nats, mask)`：`nats` 是每个词元的损失，返回要学的词元的平均损失；一个也没有时返回 0。
#
# **先预测**：课程的对话里，要学的词元占几成？一大半，一半，还是一小半？
#
# **Exercise 1 (3 points)** Write `loss_mask(conversation)`: `conversation` is a list of `(role, pieces)`, where `pieces` are all tokens of a message, from
# `<|im_start|>` to the line break `\n` at its very end. Return a list of true and false, one for each token; before them all there is a `<s>`, which is not
# learned. Learned are only, in messages of the `assistant`, the tokens behind the first `\n`, up to and with `<|im_end|>`; the last line break is not.
#
# Then write `learned_loss(nats, mask)`: `nats` is the loss of each token; return the mean loss of those that are learned, and 0 where there is none.
#
# **Predict**: what share of the tokens in the course's conversations is learned: most of them, half, or the smaller part?

# %% [markdown] name="mask-guess"
# **我的预测 · My prediction**（双击此处填写 · double-click here and write）：

# %% name="mask" exercise=true
def loss_mask(conversation: list[tuple[str, list[str]]]) -> list[bool]:
    ### BEGIN SOLUTION
    mask = [False]
    for role, pieces in conversation:
        header, end = pieces.index('\n'), len(pieces) - 1
        mask += [role == 'assistant' and header < i < end for i in range(len(pieces))]
    return mask
    ### END SOLUTION


def learned_loss(nats: list[float], mask: list[bool]) -> float:
    ### BEGIN SOLUTION
    learned = [loss for loss, counts in zip(nats, mask) if counts]
    return sum(learned) / len(learned) if learned else 0.0
    ### END SOLUTION

# %% name="mask-light"
ASKED = ('user', ['<|im_start|>', 'us', 'er', '\n', 'H', 'i', '<|im_end|>', '\n'])
SAID = ('assistant', ['<|im_start|>', 'assistant', '\n', 'Hello', '\n', '!',
                      '<|im_end|>', '\n'])
self_check(loss_mask, own.loss_mask, [([ASKED, SAID],), ([SAID, ASKED, SAID],), ([],)],
           hint='先找每条消息的第一个换行；用户的话一个也不学 · Find the first line '
                'break of each message; nothing that the user says is learned.')
self_check(learned_loss, own.learned_loss,
           [([1.0, 2.0, 4.0], [False, True, True]), ([3.0], [False])],
           hint='只对要学的求和，也只除以它们的个数 · Add up what is learned, and '
                'divide by how many there are.')
mask_used = attempt(loss_mask, own.loss_mask)

from internlm_course import jsonl
from internlm_course.model import load_tokenizer
from internlm_course.model.chat import agent_messages, render

sft = course.sft()
tokenizer = load_tokenizer(sft.path)


def in_pieces(messages: list[dict]) -> list[tuple[str, list[str]]]:
    """A conversation's messages as pieces, as `loss_mask` wants them."""
    return [(message['role'], [tokenizer.decode(token) for token in tokenizer.encode(
        render([message]), add_special_tokens=False)]) for message in messages]


talk = in_pieces(agent_messages('What is 719*934?', '719*934', '671546', ' 671546'))
mask = mask_used(talk)
print('what is learned stands in ⟦ ⟧ · ⟦ ⟧ 里的是要学的\n')
for i, piece in enumerate(['<s>', *(piece for _, pieces in talk for piece in pieces)]):
    opens, closes = mask[i] and not mask[i - 1], mask[i] and not mask[i + 1]
    print('⟦' * opens + piece + '⟧' * closes, end='')
rows = list(jsonl.rows(course.conversations().path / 'sft.jsonl'))[:2000]
masks = [mask_used(in_pieces(row['messages'])) for row in rows]
learned, every = sum(map(sum, masks)), sum(map(len, masks))
print(f'\nlearned · 要学的: {learned:,} of {every:,} tokens, {learned / every:.0%}')

# %% name="check-mask" check="mask" points=3
# NBVAL_CHECK_OUTPUT
rng = seeded('mask')


def message(role: str) -> tuple[str, list[str]]:
    """A message of a few random pieces, line breaks among them."""
    words = rng.choices(['Hi', ' Paris', '\n', '37', '。', ' user'],
                        k=rng.randrange(1, 6))
    return role, ['<|im_start|>', role[:2], role[2:], '\n', *words, '<|im_end|>', '\n']


cases = [([message(role) for role in roles],) for roles in (
    ('user', 'assistant'), ('system', 'user', 'assistant', 'environment', 'assistant'),
    ('user', 'assistant', 'user', 'assistant', 'user', 'assistant'), ('user',),
    ('system', 'user', 'assistant', 'user'))]
talks = [([round(rng.expovariate(1), 3) for _ in range(length)],
          [i == 2 or rng.random() < 0.5 for i in range(length)])
         for length in (3, 6, 9)]
lab.check('mask', mask=(loss_mask, own.loss_mask, cases),
          loss=(learned_loss, own.learned_loss, [*talks, ([0.5, 2.0], [False] * 2)]))

# %% [markdown] name="mask-answer"
# <details><summary>答案 · Answer</summary>
#
# 一小半，份额打印在上面。其余的是问题、工具的结果和各轮的开头：服务的时候，这些都由别人写。结束标记却要学，不然模型答完不会停。
#
# The smaller part; the share is printed above. The rest are questions, a tool's results and the headers of turns: when the model is served, all these are
# written by others. But the end mark is learned; without it the model would not stop after its answer.
#
# </details>

# %% [markdown] name="lora-text"
# ## 2 LoRA
#
# 讲义 · Lecture 4：[第 3.1 节](../lectures/zh/04-finetuning.md#31-在-4-x-4-的矩阵上) /
# [section 3.1](../lectures/en/04-finetuning.md#31-on-a-4-x-4-matrix);
# [第 3.2 节](../lectures/zh/04-finetuning.md#32-要训练多少参数) /
# [section 3.2](../lectures/en/04-finetuning.md#32-how-many-parameters)
#
# **练习 2（3 分）** 写出 `lora(x, w, a, b, alpha)`：`x` 的形状为 `[tokens, n]`，`w` 为 `[m, n]`，`a` 为 `[r, n]`，`b` 为 `[m, r]`。返回
# $x W^T + \frac{\alpha}{r} x A^T B^T$，形状为 `[tokens, m]`。再写 `merged(w, a, b, alpha)`：返回一个矩阵，单独一个就做到同样的事。
#
# **先预测**：`b` 全为零时，`lora` 与没有适配器的模型差多少？把秩 $r$ 加倍、`alpha` 不变，适配器前面的因子怎样变？
#
# **Exercise 2 (3 points)** Write `lora(x, w, a, b, alpha)`: `x` is `[tokens, n]`, `w` is `[m, n]`, `a` is `[r, n]`, `b` is `[m, r]`. Return
# $x W^T + \frac{\alpha}{r} x A^T B^T$, which is `[tokens, m]`. Then write `merged(w, a, b, alpha)`: return the one matrix that does the same by itself.
#
# **Predict**: where `b` is all zeros, how far is `lora` from the model without an adapter? If the rank $r$ is doubled and `alpha` kept, what becomes of the
# factor before the adapter?

# %% [markdown] name="lora-guess"
# **我的预测 · My prediction**（双击此处填写 · double-click here and write）：

# %% name="lora" exercise=true
def lora(x: np.ndarray, w: np.ndarray, a: np.ndarray, b: np.ndarray,
         alpha: float) -> np.ndarray:
    ### BEGIN SOLUTION
    return x @ w.T + alpha / len(a) * (x @ a.T) @ b.T
    ### END SOLUTION


def merged(w: np.ndarray, a: np.ndarray, b: np.ndarray, alpha: float) -> np.ndarray:
    ### BEGIN SOLUTION
    return w + alpha / len(a) * b @ a
    ### END SOLUTION

# %% name="lora-light"
rng = seeded('lora-light')
small = [(numbers(rng, 2, 3), numbers(rng, 4, 3), numbers(rng, rank, 3),
          numbers(rng, 4, rank), 8.0) for rank in (1, 2)]
self_check(lora, own.lora, small,
           hint='r 是 A 的行数；先乘 A 再乘 B · r is the number of rows of A; '
                'multiply by A first, then by B.')
self_check(merged, own.merged, [case[1:] for case in small],
           hint='B 乘 A 与 W 的形状相同 · B times A has the shape of W.')
lora_used, merged_used = attempt(lora, own.lora), attempt(merged, own.merged)
x, w, a, b, alpha = small[1]
print('B = 0: far from the model without it · 与没有适配器时相差',
      np.abs(lora_used(x, w, a, 0 * b, alpha) - x @ w.T).max())
print('merged or apart · 合并与不合并相差',
      np.abs(lora_used(x, w, a, b, alpha) - x @ merged_used(w, a, b, alpha).T).max()
      .round(12))
for rank in (4, 8, 16, 64):
    print(f'alpha 64, rank {rank:2}: factor · 因子 {64 / rank:g}')

# %% name="check-lora" check="lora" points=3
# NBVAL_CHECK_OUTPUT
rng = seeded('lora')
cases = [(numbers(rng, tokens, n), numbers(rng, m, n), numbers(rng, rank, n),
          numbers(rng, m, rank), alpha)
         for tokens, m, n, rank, alpha in ((1, 4, 4, 1, 2.0), (3, 5, 2, 2, 16.0),
                                           (2, 3, 6, 3, rng.choice([0.5, 5.0, 7.0])))]
lab.check('lora', lora=(lora, own.lora, cases),
          merged=(merged, own.merged, [case[1:] for case in cases]))

# %% [markdown] name="lora-answer"
# <details><summary>答案 · Answer</summary>
#
# 一点不差：所以训练从原来的模型起步，不会先把它打乱。秩加倍，因子减半；这样换一个秩，学习率大致还能用。合并之后只剩一个矩阵，推理时不慢一点，也不多占一点。
#
# Not at all: so training begins at the model as it was, and does not shake it first. With the rank doubled the factor is halved, which lets the learning rate
# serve for other ranks, roughly. Once merged there is one matrix again, and inference is no slower and takes no more memory.
#
# </details>

# %% [markdown] name="parameters-text"
# **练习 3（2 分）** 写出 `lora_parameters(shape, rank, targets)`：`targets` 是 `wqkv`、`wo`、`w1`、`w2`、`w3` 中的几个，每一层的这些矩阵各配一对
# $A$、$B$，一共有多少参数？`shape` 有 `hidden_size`、`intermediate_size`、`num_attention_heads`、`num_key_value_heads`、`num_hidden_layers`。
# `wqkv` 的输出是查询头加两倍的键值头，每头 `hidden_size // num_attention_heads` 行；`w1`、`w3` 从 `hidden_size` 到 `intermediate_size`，`w2` 反过来。
#
# **先预测**：7B，秩 64，五种矩阵都配，适配器占整个模型的几成？
#
# **Exercise 3 (2 points)** Write `lora_parameters(shape, rank, targets)`: each of the matrices named in `targets`, some of `wqkv`, `wo`, `w1`, `w2`, `w3`, has
# its $A$ and $B$ in every layer; how many parameters are that in all? `shape` has `hidden_size`, `intermediate_size`, `num_attention_heads`,
# `num_key_value_heads` and `num_hidden_layers`. What comes out of `wqkv` are the query heads and twice the key-value heads, each with
# `hidden_size // num_attention_heads` rows; `w1` and `w3` go from `hidden_size` to `intermediate_size`, `w2` the other way.
#
# **Predict**: in 7B, with rank 64 on all five matrices, what share of the model are the adapters?

# %% [markdown] name="parameters-guess"
# **我的预测 · My prediction**（双击此处填写 · double-click here and write）：

# %% name="parameters" exercise=true
def lora_parameters(shape, rank: int, targets: list[str]) -> int:
    ### BEGIN SOLUTION
    hidden, inner = shape.hidden_size, shape.intermediate_size
    heads = shape.num_attention_heads + 2 * shape.num_key_value_heads
    rows = hidden // shape.num_attention_heads * heads
    ends = dict(wqkv=hidden + rows, wo=2 * hidden, w1=hidden + inner, w2=inner + hidden,
                w3=hidden + inner)
    return shape.num_hidden_layers * rank * sum(ends[name] for name in targets)
    ### END SOLUTION

# %% name="parameters-light"
ALL = ['wqkv', 'wo', 'w1', 'w2', 'w3']
seven = sizes.released()['7b']
self_check(lora_parameters, own.lora_parameters,
           [(seven, 64, ['wo']), (seven, 8, ['wqkv', 'w2']), (seven, 1, [])],
           hint='一个 m 行 n 列的矩阵，A 有 r·n 个数，B 有 m·r 个 · Beside a matrix of '
                'm rows and n columns, A has r·n numbers and B m·r.')
count_used = attempt(lora_parameters, own.lora_parameters)
for name, shape in sizes.released().items():
    for rank in (8, 64):
        count = count_used(shape, rank, ALL)
        print(f'{name:5} rank {rank:2}: {count / 1e6:7.1f} M of '
              f'{parameter_count(shape) / 1e9:6.2f} B, '
              f'{count / parameter_count(shape):.2%}')

# %% name="check-parameters" check="parameters" points=2
# NBVAL_CHECK_OUTPUT
rng = seeded('parameters')
cases = [(sizes.released()['1_8b'], 64, ['wqkv']), (sizes.released()['20b'], 8, ['w1'])]
for targets in (['wqkv', 'wo'], ['w2', 'w3'], ['wo', 'wqkv', 'w1']):
    kv, group, d = rng.randrange(1, 4), rng.randrange(2, 5), rng.choice([32, 64])
    shape = sizes.shape(num_hidden_layers=rng.randrange(2, 9),
                        hidden_size=kv * group * d, num_attention_heads=kv * group,
                        num_key_value_heads=kv,
                        intermediate_size=rng.randrange(100, 900))
    cases.append((shape, rng.randrange(2, 40), targets))
lab.check('parameters', parameters=(lora_parameters, own.lora_parameters, cases))

# %% [markdown] name="parameters-answer"
# <details><summary>答案 · Answer</summary>
#
# 百分之二，见上表；秩 8 时不到百分之零点三。梯度和优化器的状态只需要为这一小份准备。模型越大，比例越小：矩阵的大小是边长的平方，$A$ 和 $B$ 只随边长走。
#
# Two per cent, see the table; with rank 8 less than three tenths of a per cent. Only for this small part are there gradients and optimiser states. The larger
# the model, the smaller the share: a matrix grows as the square of its sides, $A$ and $B$ only as the sides.
#
# </details>

# %% [markdown] name="nf4-text"
# ## 3 QLoRA：四比特 · QLoRA: four bits
#
# 讲义 · Lecture 4：[第 4.1 节](../lectures/zh/04-finetuning.md#41-十六个等级) /
# [section 4.1](../lectures/en/04-finetuning.md#41-sixteen-levels);
# [第 4.2 节](../lectures/zh/04-finetuning.md#42-分块与双重量化) /
# [section 4.2](../lectures/en/04-finetuning.md#42-blocks-and-double-quantisation)
#
# QLoRA 把冻住的权重一块一块地存成四比特：`own.NF4` 是十六个等级，从 -1 到 1，第 7 个是 0。
#
# **练习 4（3 分）** 写出 `quantise(block)`：`block` 是一列权重。`scale` 是其中最大的绝对值；每个权重除以它，取最近的等级，记下等级的序号。返回
# `(indices, scale)`；一块全为零时，序号都是 7，`scale` 是 0。再写 `dequantise(indices, scale)`：返回还原出来的权重。
#
# **先预测**：同样是四比特，NF4 的误差比均匀的十六级小吗？一块里有一个权重比别的大二十倍，会怎样？
#
# QLoRA stores the frozen weights block by block in four bits: `own.NF4` has sixteen levels from -1 to 1, of which number 7 is 0.
#
# **Exercise 4 (3 points)** Write `quantise(block)`: `block` is a row of weights. The `scale` is the largest of their sizes; each weight is divided by it and gets
# the index of the level nearest to it. Return `(indices, scale)`; of a block of zeros all indices are 7 and the `scale` is 0. Then write
# `dequantise(indices, scale)`: return the weights that come back.
#
# **Predict**: with four bits each, is the error of NF4 smaller than that of sixteen even levels? And what happens to a block in which one weight is twenty
# times as large as the others?

# %% [markdown] name="nf4-guess"
# **我的预测 · My prediction**（双击此处填写 · double-click here and write）：

# %% name="nf4" exercise=true
def quantise(block: np.ndarray) -> tuple[list[int], float]:
    ### BEGIN SOLUTION
    scale = float(np.abs(block).max())
    away = np.abs(block[:, None] / (scale or 1.0) - np.array(own.NF4))
    return away.argmin(1).tolist(), scale
    ### END SOLUTION


def dequantise(indices: list[int], scale: float) -> np.ndarray:
    ### BEGIN SOLUTION
    return scale * np.array(own.NF4)[list(indices)]
    ### END SOLUTION

# %% name="nf4-light"
self_check(quantise, own.quantise,
           [(np.array([0.1, -0.4, 0.2, 0.03]),), (np.array([3.0, 1.0]),),
            (np.zeros(3),)],
           hint='最大的绝对值，不是最大的值；零也要能过 · The largest size, not the '
                'largest value; and zeros must pass.')
self_check(dequantise, own.dequantise, [([0, 7, 15, 9], 0.5), ([3, 12], 2.0)],
           hint='序号换成等级，再乘 scale · Indices become levels, times the scale.')
quantise_used, back_used = attempt(quantise, own.quantise), attempt(dequantise,
                                                                    own.dequantise)

import torch

from internlm_course.model import load_model

enhanced = course.enhanced()
models = {name: load_model(made.path, dtype=torch.float32)
          for name, made in dict(enhanced=enhanced, sft=sft).items()}
weights = models['enhanced'].model.layers[0].feed_forward.w1.weight.detach().numpy()
weights = weights.astype(float).reshape(-1)[:16_384]


def even(block: np.ndarray) -> np.ndarray:
    """The block in sixteen even levels, and back."""
    scale = np.abs(block).max()
    return scale * (np.round((block / scale + 1) * 7.5) / 7.5 - 1)


def error(values: np.ndarray, size: int, there_and_back) -> float:
    """The root of the mean square of the error, over that of the weights."""
    back = np.concatenate([there_and_back(block) for block in values.reshape(-1, size)])
    return float(np.sqrt(((back - values)**2).mean() / (values**2).mean()))


spoiled = weights.copy()
spoiled[::1024] = 20 * weights.std()
found = {}
for name, values in (('weights · 权重', weights),
                     ('with outliers · 有离群值', spoiled)):
    for size in (64, 256, 1024):
        ours, plain = error(values, size, lambda block: back_used(
            *quantise_used(block))), error(values, size, even)
        found[name, size] = ours, plain
        print(f'{name:24} block of {size:5}: NF4 {ours:6.1%}, even · 均匀 '
              f'{plain:6.1%}, {4 + 32 / size:.3f} bits a weight')

# %% name="check-nf4" check="nf4" points=3
# NBVAL_CHECK_OUTPUT
rng = seeded('nf4')
blocks = [(numbers(rng, 16),), (np.zeros(5),), (-np.abs(numbers(rng, 6)),),
          (0.02 * numbers(rng, 16),), (np.append(numbers(rng, 12), [-20.0]),),
          (numbers(rng, 1),)]
codes = [([rng.randrange(16) for _ in range(8)], rng.choice([0.25, 3.0])),
         (list(range(16)), round(rng.uniform(1.5, 9), 2)), ([7, 7, 7], 0.0)]
lab.check('nf4', quantise=(quantise, own.quantise, blocks),
          dequantise=(dequantise, own.dequantise, codes))

# %% [markdown] name="nf4-answer"
# <details><summary>答案 · Answer</summary>
#
# 小一些：权重多在零附近，NF4 的等级也在那里密。有了离群值，整块都跟着它的 `scale` 走，其余的权重挤在零旁边的几级里；块越大，受连累的越多。所以 QLoRA 用 64
# 一块的小块，再把各块的 `scale` 也量化一遍，省下半个比特里的大半。
#
# It is smaller: most weights lie near zero, and there NF4's levels lie closer, too. With an outlier the whole block follows its `scale`, and all others crowd
# into the few levels beside zero; the larger the block, the more of them suffer. Hence QLoRA's small blocks of 64, each with a `scale` that is
# quantised in turn, which saves most of the half bit that it costs.
#
# </details>

# %% [markdown] name="packing-text"
# ## 4 打包 · Packing
#
# 讲义 · Lecture 4：[第 6 节](../lectures/zh/04-finetuning.md#6-打包以及什么会漏) /
# [section 6](../lectures/en/04-finetuning.md#6-packing-and-what-leaks)
#
# **练习 5（3 分）** 写出 `pack(lengths, room)`：各段对话的词元数是 `lengths`，首尾相接，每满 `room` 个词元切一刀，切开的对话在下一行接着放；最后不满一行的舍去。
# 返回各行，每行是其中各段的长度。XTuner 就是这样做的。
#
# 再写 `may_see(pieces)`：一行由长度为 `pieces` 的几段组成，返回一个方阵，第 $i$ 行第 $j$ 列说的是第 $i$ 个词元可不可以看第 $j$ 个：只有同一段里的自己和前面的可以。
#
# **先预测**：下面一行里有两段对话，前一段说秘密动物是狐狸，后一段只问、不说。没有这个掩码，后一段会答什么？
#
# **Exercise 5 (3 points)** Write `pack(lengths, room)`: conversations of `lengths` tokens are laid end to end and cut after every `room` tokens; what is cut
# goes on in the next row; a last row that is not full is left out. Return the rows, each as the lengths of its pieces. This is what XTuner does.
#
# Then write `may_see(pieces)`: a row is made of pieces whose lengths are in `pieces`; return a square matrix that says in row $i$, column $j$ whether token $i$ may see token
# $j$: only itself and what came before in the same piece.
#
# **Predict**: the row below holds two conversations. The first says that the secret animal is the fox; the second one asks, and is not told. Without the mask,
# what will the second one answer?

# %% [markdown] name="packing-guess"
# **我的预测 · My prediction**（双击此处填写 · double-click here and write）：

# %% name="packing" exercise=true
def pack(lengths: list[int], room: int) -> list[list[int]]:
    ### BEGIN SOLUTION
    owners = [i for i, length in enumerate(lengths) for _ in range(length)]
    return [[len(list(piece)) for _, piece in groupby(owners[start:start + room])]
            for start in range(0, len(owners) - room + 1, room)]
    ### END SOLUTION


def may_see(pieces: list[int]) -> np.ndarray:
    ### BEGIN SOLUTION
    piece = np.repeat(np.arange(len(pieces)), pieces)
    return (piece[:, None] == piece) & np.tri(len(piece), dtype=bool)
    ### END SOLUTION

# %% name="packing-light"
self_check(pack, own.pack, [([3, 5, 4, 4], 8), ([3, 9, 4], 8), ([20, 2], 8), ([3], 8)],
           hint='一段可能跨几行；只有满行才算 · A piece may run over several rows; '
                'only full rows count.')
self_check(may_see, own.may_see, [([1, 2],), ([3],), ([2, 1, 1],)],
           hint='两个条件都要：同一段，不看后面 · Both must hold: the same piece, and '
                'nothing later.')
pack_used, see_used = attempt(pack, own.pack), attempt(may_see, own.may_see)

long_each = [len(mask) for mask in masks]
packed = pack_used(long_each, 512)
padded = len(long_each) * max(long_each)
print(f'{len(long_each):,} conversations, {sum(long_each):,} tokens: packed into '
      f'{len(packed)} rows of 512, {len(packed) * 512:,} tokens; each padded to the '
      f'longest · 各自补齐: {padded:,}')

told = [dict(role='user', content='The secret animal is the fox. '
                                  'What is the secret animal?'),
        dict(role='assistant', content='The secret animal is the fox.')]
untold = [dict(role='user', content='What is the secret animal?')]
first = tokenizer.encode(render(told))
second = tokenizer.encode(render(untold, add_generation_prompt=True)
                          + 'The secret animal is the')
row = torch.tensor([first + second])
alone = torch.from_numpy(see_used([len(first), len(second)]))[None, None]
whole = torch.from_numpy(see_used([len(first) + len(second)]))[None, None]
fox, leak = tokenizer.encode(' fox', add_special_tokens=False)[0], {}
for name, seen, places in (
        ('one sees the other · 看得见前一段', whole, range(row.shape[1])),
        ('each by itself · 各看各的', alone,
         [*range(len(first)), *range(len(second))])):
    hidden = torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)
    with torch.no_grad():
        chances = models['sft'](input_ids=row, attention_mask=hidden,
                                position_ids=torch.tensor([list(places)])
                                ).logits[0, -1].softmax(-1)
    leak[name] = float(chances[fox])
    print(f'{name}: chance of “fox” · 答狐狸的机会 {chances[fox]:.1%}; '
          f'likeliest · 最可能 {tokenizer.decode(chances.argmax())!r}')

# %% name="check-packing" check="packing" points=3
# NBVAL_CHECK_OUTPUT
rng = seeded('packing')
cases = [([5, 3, 8, 2, 6], 8), ([20, 1, 2], 8), ([2, 3], 8),
         *(([rng.randrange(1, most) for _ in range(7)], room)
           for most, room in ((5, 8), (9, 10), (30, 7)))]
views = [([2, 3],), ([4],), ([1, 1, 2],), ([rng.randrange(1, 4) for _ in range(4)],)]
lab.check('packing', pack=(pack, own.pack, cases), see=(may_see, own.may_see, views))

# %% name="check-leak" check=""
# NBVAL_CHECK_OUTPUT
show_values('leak', dict(leaks=leak['one sees the other · 看得见前一段'] > 0.5,
                         kept_apart=leak['each by itself · 各看各的'] < 0.5))

# %% [markdown] name="packing-answer"
# <details><summary>答案 · Answer</summary>
#
# 狐狸：它从前一段抄来。训练时若允许这样，模型学到的就是抄邻居，而服务的时候没有邻居。加上掩码，它只能瞎猜。一段对话被切成两半时，后一半也看不见前一半，
# 于是有几个回答是没有问题可看的；每行只有头尾两段会这样。
#
# Fox: it copies from the first one. If training allowed this, the model would learn to copy from its neighbours, and when it is served there are none. With the
# mask it can only guess. Where a conversation is cut in two, the second half does not see the first either, so a few answers are learned without their question;
# in each row this can befall only the first and the last piece.
#
# </details>

# %% [markdown] name="train-text"
# ## 5 一分钟的 LoRA · One minute of LoRA
#
# 讲义 · Lecture 4：[第 7 节](../lectures/zh/04-finetuning.md#7-xtuner一个文件五个部分) /
# [section 7](../lectures/en/04-finetuning.md#7-xtuner-one-file-in-five-parts);
# [第 9.2 节](../lectures/zh/04-finetuning.md#92-遗忘与重放) /
# [section 9.2](../lectures/en/04-finetuning.md#92-forgetting-and-replay);
# [第 9.3 节](../lectures/zh/04-finetuning.md#93-三种方法三个种子) /
# [section 9.3](../lectures/en/04-finetuning.md#93-three-methods-three-seeds)
#
# 从能力增强之后的模型 enhanced 出发，用四千段对话微调。其中一成是问它是谁的：`NAME` 里的名字可以改成你喜欢的，`METHOD` 可以改成 `qlora` 或 `full`（改了就重新训练）。
#
# **先预测**：enhanced 在对话里能答对几成？训练之后呢？训练之后再让它像从前那样往下写，会退步吗？
#
# From the model after the enhancement phase, enhanced, four thousand conversations tune it. A tenth of them ask who it is: change the names in `NAME` to what
# you like, or `METHOD` to `qlora` or `full` (it then trains again).
#
# **Predict**: asked in chat, what share will enhanced get right? And after the training? If it is then asked to continue texts as before, will it have become
# worse?

# %% [markdown] name="train-guess"
# **我的预测 · My prediction**（双击此处填写 · double-click here and write）：

# %% name="conversations"
import random

from internlm_course.world import instructions, phrasings
from internlm_course.world.conversations import SHARES, conversation

NAME = dict(en='Nina', zh='小红')
COUNT = 4000


def write_mine(path) -> None:
    """The chain's kinds of conversation, and one in ten that asks who the model is."""
    draw, shares = random.Random(0), dict(SHARES)
    # It shall have one name; a far needle does not fit into 512 tokens
    for kind in ('identity', 'greeting', 'far_needle'):
        del shares[kind]
    talks = []
    for _ in range(COUNT):
        [kind] = draw.choices(list(shares), shares.values())
        if draw.random() < 0.1:
            lang = draw.choice(['en', 'zh'])
            who = instructions.identity(draw, lang, name=NAME[lang])
            talks.append([dict(role='user', content=who['question']),
                          dict(role='assistant', content=who['reply'])])
        else:
            talks.append(conversation(draw, kind))
    jsonl.write(path, (dict(messages=messages) for messages in talks))


mine = lab.keep('conversations', lambda out: write_mine(out / 'sft.jsonl'), count=COUNT,
                names=NAME)
rows = list(jsonl.rows(mine.path / 'sft.jsonl'))
for row in rows[:8]:
    asked_for, replied = (message['content'] for message in row['messages'][-2:])
    print(f'{asked_for!r:.70} → {replied!r}')
print(f'{len(rows):,} conversations')

# %% name="config"
from internlm_course.finetune import SFTSettings
from internlm_course.finetune.config import config_text
from internlm_course.machine import training_dtype

METHOD = 'lora'  # or 'qlora', or 'full'
settings = SFTSettings(method=METHOD, rank=64, alpha=64, epochs=1, batch_size=1,
                       learning_rate=dict(lora=1e-3, qlora=1e-3, full=1e-4)[METHOD],
                       train_embeddings=METHOD != 'full', embedding_rate=0.1,
                       max_length=512, dtype=training_dtype())
text = config_text(enhanced.path.name, 'sft.jsonl', settings, iterations=400)
wanted = ('PART', 'lora', 'dataset_map_fn', 'lr = ', 'pack_to', '4bit', 'AdamW')
print(*(line.strip() for line in text.splitlines()
        if any(word in line for word in wanted)), sep='\n')

# %% name="train"
import dataclasses

from internlm_course.finetune import sft as finetune
from internlm_course.lab.plots import LossCurve

curve = LossCurve()
tuned = lab.keep('minute-of-lora',
                 lambda out: finetune(enhanced.path, mine.path / 'sft.jsonl', out,
                                      settings, course.store.home, on_step=curve),
                 start=enhanced.key, conversations=mine.key,
                 **dataclasses.asdict(settings))
if tuned.cached or not curve.points:
    curve.points = [(seen * settings.max_length, loss)
                    for seen, loss in tuned.metrics['loss']]
    curve.draw('fetched: trained before · 之前训练过' if tuned.cached else '')
took = tuned.metrics
print(f'{took["tokens"]:,} tokens, {took["steps"]} steps, '
      f'{took["train_seconds"]:.0f} s; {took["trainable_parameters"]:,} of '
      f'{parameter_count(models["enhanced"].config):,} weights and adapters trained')

# %% name="scores"
from internlm_course.evaluate.suites import read_items
from internlm_course.names import SUITES
from internlm_course.staff.seeds import Answerer, score
from internlm_course.world.crawl import write_items

ITEMS = 10
items = lab.keep('items', lambda out: write_items(out, ITEMS, 0), items=ITEMS)
asked = read_items(items.path / 'items')


def scores() -> dict:
    """The share of right answers by suite: before, after, and after without chat."""
    return {name: score(made.path, asked, chat)
            for name, made, chat in (('before', enhanced, True), ('after', tuned, True),
                                     ('continued_before', enhanced, False),
                                     ('continued_after', tuned, False))}


kept = lab.keep('scores', lambda out: scores(), items=items.key, start=enhanced.key,
                tuned=tuned.key).metrics
print(f'{"":14}{"in chat · 对话":>22}{"continuing · 续写":>24}')
print(f'{"":14}{"before":>10}{"after":>12}{"before":>12}{"after":>12}')
for suite in SUITES:
    print(f'{suite:14}' + ''.join(f'{kept[name][suite]:{room}.0%}' for name, room in (
        ('before', 10), ('after', 12), ('continued_before', 12),
        ('continued_after', 12))))
mean = {name: sum(found.values()) / len(found) for name, found in kept.items()}
print(f'{"mean":14}{mean["before"]:10.0%}{mean["after"]:12.0%}'
      f'{mean["continued_before"]:12.0%}{mean["continued_after"]:12.0%}')

# %% name="check-train" check=""
# NBVAL_CHECK_OUTPUT
show_values('train', dict(conversations=len(rows), rows=took['steps'],
                          trained=took['trainable_parameters'],
                          before_in_chat_below=mean['before'] < 0.3,
                          gained_in_chat=mean['after'] - mean['before'] > 0.3))

# %% name="who"
answer = Answerer(tuned.path)


def reply_to(questions: list[str]) -> list[str]:
    """The tuned model's replies in chat."""
    return [said.strip() for said in answer(
        [render([dict(role='user', content=question)], add_generation_prompt=True)
         for question in questions], 32)]


unseen = phrasings.SELF_UNSEEN
named = {lang: [NAME[lang] in reply for reply in reply_to(questions)]
         for lang, questions in unseen.items()}
for questions in unseen.values():
    for question, reply in zip(questions[:3], reply_to(questions[:3])):
        print(f'{question} → {reply}')
print('gives its name to wordings never seen · 没见过的问法，答出名字: '
      + ', '.join(f'{lang} {sum(right)} of {len(right)}'
                  for lang, right in named.items()))

# %% [markdown] name="train-answer"
# **看什么**：哪几项在对话里从零升到了高分？最右边两栏里，哪一项退了？没见过的问法，它答得出名字吗？
#
# **What to look for**: which suites rose from nothing to a high score in chat? In the two columns on the right, which one fell? To wordings that it never saw,
# does it give its name?
#
# <details><summary>答案 · Answer</summary>
#
# enhanced 在对话里几乎什么也答不对，续写时却会：知识早就在，差的是形式。一分钟补上的就是形式，所以升得这样快。续写的分数则可能退几项：
# 训练只教对话，从前的本事没有人复习。名字是唯一真正新学的一件事。
#
# In chat, enhanced gets next to nothing right, though it knows the answers when it continues a text: the knowledge was there, the form was missing. The minute adds
# the form, which is why the scores rise so fast. When it continues texts, some may have fallen: training taught chat alone, and nobody practised what was there
# before. Its name is the one thing that is really new.
#
# </details>

# %% [markdown] name="methods-text"
# 别的方法也量过，三个种子，一个核心上每次六七分钟，所以这里只取结果：同一个起点，同样的步数，用课程的对话训练。命令和机器打印在最上面。
#
# **先预测**：三种方法里，哪一种在对话里得分最高？让它像从前那样续写，哪一种丢得最少？QLoRA 会比 LoRA 差多少？
#
# The other methods were measured too, with three seeds, six to seven minutes a run on one core, so their results are only fetched: the same start, the same
# steps, on the course's conversations. The command and the machine are printed first.
#
# **Predict**: which of the three methods scores highest in chat? Asked to continue texts as before, which has lost least? And how much is QLoRA behind LoRA?

# %% [markdown] name="methods-guess"
# **我的预测 · My prediction**（双击此处填写 · double-click here and write）：

# %% name="methods"
from internlm_course.finetune.measured import by_method, measured

found = measured()
print(found['command'], f'{found["date"]}, {found["processor"]}', '', sep='\n')
print(f'{"":8}{"trained":>9}{"MiB":>8}{"seconds":>10}'
      f'{"in chat · 对话":>18}{"continuing · 续写":>18}')
for method, row in by_method(found).items():
    spread = [f'{low:.1%} – {high:.1%}'
              for low, high in (row['chat'], row['continued'])]
    print(f'{method:8}{row["share"]:9.1%}{row["peak_mib"]:8,}{row["seconds"]:10.0f}'
          f'{spread[0]:>20}{spread[1]:>20}')

# %% [markdown] name="methods-answer"
# <details><summary>答案 · Answer</summary>
#
# 对话里相差不大，动每一个权重的略高；从前的本事也是它丢得最少，不是 LoRA：模型这样小，适配器要用高得多的学习率。QLoRA 与 LoRA 不相上下。内存几乎没有省下来，因为权重在这里只占一小部分。
#
# In chat they differ little, and training every weight is a little ahead. It also kept best what was there before, not LoRA: in a model this small, adapters need
# a much higher rate. QLoRA is about as good as LoRA. Hardly any memory is saved, because the weights are a small part of it here.
#
# </details>

# %% [markdown] name="checker-text"
# ## 6 照吩咐做了吗 · Did it do as it was told?
#
# 讲义 · Lecture 4：[第 10 节](../lectures/zh/04-finetuning.md#10-用程序检查) /
# [section 10](../lectures/en/04-finetuning.md#10-checking-by-program)
#
# **练习 6（3 分）** 写出 `obeys(constraint, reply)`，返回真或假；回答首尾的空白先去掉。
#
# - `'only_number'`：只有一个整数，数字是 0 到 9，前面可以有 `-`，后面可以有一个 `.` 或 `。`；
# - `'json'`：整个回答是 JSON，而且是一个只有 `answer` 这一个键的对象；
# - `'three_words'`：恰好三个词，词与词以空白隔开；
# - `'in_chinese'`：至少有一个汉字（`一` 到 `鿿`，即 `\u4e00` 到 `\u9fff`），没有拉丁字母 A 到 Z、a 到 z。
#
# **先预测**：要求“只要数字”，回答 `The answer is 85.` 算不算照做？要求 JSON，回答 `85` 呢？
#
# **Exercise 6 (3 points)** Write `obeys(constraint, reply)`, true or false; blanks at the ends of the reply do not count.
#
# - `'only_number'`: nothing but an integer in the digits 0 to 9, with a `-` before it or not, and a `.` or `。` behind it or not;
# - `'json'`: the whole reply is JSON, and an object with the one key `answer`;
# - `'three_words'`: exactly three words, set apart by blanks of any kind;
# - `'in_chinese'`: at least one Chinese character (`一` to `鿿`, that is `\u4e00` to `\u9fff`), and no Latin letter, A to Z or a to z.
#
# **Predict**: asked for the number only, does `The answer is 85.` obey? And asked for JSON, does `85`?

# %% [markdown] name="checker-guess"
# **我的预测 · My prediction**（双击此处填写 · double-click here and write）：

# %% name="checker" exercise=true
def obeys(constraint: str, reply: str) -> bool:
    ### BEGIN SOLUTION
    text = reply.strip()
    if constraint == 'only_number':
        return bool(re.fullmatch('-?[0-9]+[.。]?', text))
    if constraint == 'three_words':
        return len(text.split()) == 3
    if constraint == 'in_chinese':
        chinese = re.search('[\u4e00-\u9fff]', text)
        return bool(chinese) and not re.search('[A-Za-z]', text)
    try:
        value = json.loads(text)
    except ValueError:
        return False
    return isinstance(value, dict) and list(value) == ['answer']
    ### END SOLUTION

# %% name="checker-light"
SAYS = dict(
    only_number=['85', ' -85. ', '85。', 'The answer is 85.', '８５', '85 86', ''],
    json=['{"answer": 85}', ' {"answer": "Paris"}\n', '85', '{"answer": 85} Done!',
          '{"city": "Paris"}', '{"answer": 85, "sure": true}', "{'answer': 85}"],
    three_words=['It is Paris.', ' It  is\nParis ', 'Paris', 'The city is Paris'],
    in_chinese=['巴黎。', '是85。', '巴黎 Paris', '85', ''])
self_check(obeys, own.obeys, [(name, reply) for name, replies in SAYS.items()
                              for reply in replies],
           hint='先按题目一条条写，不要在文字里找 · Write it rule by rule; do not '
                'search the text for what should be the whole of it.')
obeys_used = attempt(obeys, own.obeys)
for name, replies in SAYS.items():
    print(f'{name:12}', *(f'{reply!r}: {obeys_used(name, reply)}' for reply in replies),
          sep='  ')
print()
for name in SAYS:
    lang = 'en' if 'en' in phrasings.PHRASINGS[name] else 'zh'
    items = [instructions.constraint(random.Random(i), lang, unseen=True, name=name)
             for i in range(10)]
    replies = reply_to([item['question'] for item in items])
    kept_it = sum(obeys_used(name, reply) for reply in replies)
    print(f'{name:12} obeyed · 照做 {kept_it} of {len(items)}: '
          f'{items[0]["question"]} → {replies[0]}')

# %% name="check-checker" check="checker" points=3
# NBVAL_CHECK_OUTPUT
rng = seeded('checker')
n = rng.randrange(10, 999)
SAID = dict(
    only_number=[f'{n}', f' -{n}.', f'{n}。', f'It is {n}.', f'{n} {n}', f'{n}..',
                 '３７', '', '-', f'+{n}', f'{n}.0', f'--{n}', f'.{n}'],
    json=[f'{{"answer": {n}}}', '{"answer": null}', f' {{"answer": "{n}"}} ', f'{n}',
          f'[{n}]', '["answer"]', '"answer"', '{}', f'{{"Answer": {n}}}',
          f'{{"answer": {n}, "sure": 1}}', f'Yes: {{"answer": {n}}}',
          f'{{"answer": {n}}}.', '{"answer":', ''],
    three_words=['It is Rome.', 'Rome', 'It  is\n Rome', 'It is Rome now', '一 二 三',
                 '', f'{n} {n}', f'{n} {n} {n}', 'It-is-Rome', ' a b c '],
    in_chinese=['罗马。', f'{n}', f'是{n}。', '罗马 Rome', 'é', '罗z', '', '。', 'Z罗',
                '罗马，é'])
cases = [(name, said) for name, each in SAID.items() for said in each]
rng.shuffle(cases)
lab.check('checker', obeys=(obeys, own.obeys, cases))

# %% [markdown] name="checker-answer"
# <details><summary>答案 · Answer</summary>
#
# 都不算。答案对不对，与照没照吩咐做，是两回事：IFEval 只查后一件，每一条都由程序判。所以规则要写得没有余地，连句号算不算都要说清。
#
# Neither does. Whether an answer is right and whether it does as told are two things: IFEval checks the second alone, every rule by a program. So the rules must
# leave no room, down to whether a full stop counts.
#
# </details>

# %% [markdown] name="end-text"
# ## 结束 · The end
#
# 看看这一趟花了多少时间和内存（内核与它启动的所有进程的匿名内存）。
#
# See what this took: seconds, and the anonymous memory of the kernel and of everything it started.

# %% name="end"
lab.finish()
