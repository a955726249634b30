# %% [markdown] name="title"
# # 实验三：预训练三分钟 · Lab 3: three minutes of pre-training
#
# 讲义：[第 3 讲](../lectures/zh/03-pretraining.md) · Lecture: [lecture 3](../lectures/en/03-pretraining.md)
#
# 随机的权重、两个核、三分钟：你的曲线会不会落在预期的带子里？训练之后，把讲义里的零件一个个写出来：RoPE、`wqkv`、注意力、学习率、每字节比特数、MFU、显存。
# **先预测，再运行，再观察，再解释**：见到“先预测”，请把答案写进它下面那一格，再往下运行；运行过后，答案可以展开来对照。
#
# Random weights, two cores, three minutes: will your curve lie within the expected band? Then you write the lecture's parts one by one: RoPE, `wqkv`,
# attention, the schedule, bits per byte, MFU, memory. **Predict, run, look, explain**: where it says “Predict”, write your answer into the cell below it before
# you go on; after the run there is an answer to unfold and compare.
#
# | 练习 · Exercise | 分 · points |
# |---|---|
# | 1 RoPE | 3 |
# | 2 拆开 wqkv · the wqkv split | 2 |
# | 3 因果的分组查询注意力 · causal attention with grouped queries | 3 |
# | 4 预热与余弦 · warm-up and cosine | 2 |
# | 5 每字节比特数 · bits per byte | 2 |
# | 6 RoPE 的基与“针”的深度 · RoPE base and needle depth | 2 |
# | 7 MFU | 2 |
# | 8 切分之后的显存 · memory after sharding | 3 |
#
# 不做练习也能运行到底：未作答时由课程包代劳。
#
# The lab runs to its end unsolved, too: where you have not answered yet, the package goes on.

# %% name="setup" setup=true
import math

import numpy as np

from internlm_course.lab.answers import lab03 as own
from internlm_course.lab.check import (Lab, attempt, numbers, seeded, self_check,
                                       show_values)
from internlm_course.model import sizes

lab = Lab('03_pretraining', minutes=5, gigabytes=2,
          points=dict(rope=3, split=2, attention=3, schedule=2, bits=2, slow=2, mfu=2,
                      memory=3))
course = lab.course

# %% [markdown] name="rows-text"
# ## 1 一行里有什么 · What a row holds
#
# 讲义 · Lecture 3：[第 1 节](../lectures/zh/03-pretraining.md#1-分词器) /
# [section 1](../lectures/en/03-pretraining.md#1-the-tokenizer);
# [第 8 节](../lectures/zh/03-pretraining.md#8-会坏在哪里) /
# [section 8](../lectures/en/03-pretraining.md#8-what-goes-wrong)
#
# 两万页直接取自微型世界（清洗在实验 2），切成词元，装进每行 256 个位置的格子。
#
# **先预测**：下面打印的第一行里有几篇文档？第二篇的第一个词元，位置编号是多少？
#
# Twenty thousand pages straight from the micro-world (lab 2 does the cleaning), as tokens, packed into rows of 256.
#
# **Predict**: how many documents are in the first row, printed below? What position does the first token of the second one have?

# %% [markdown] name="rows-guess"
# **我的预测 · My prediction**（双击此处填写 · double-click here and write）：

# %% name="rows"
import dataclasses

import torch

from internlm_course.data.tokens import tokenize_pages
from internlm_course.model import load_tokenizer
from internlm_course.pretrain.batches import rows_of
from internlm_course.pretrain.config import CONFIGS, read_config
from internlm_course.pretrain.loop import positions_in_documents, pretrain
from internlm_course.world import web, world

PAGES = 20_000
config = read_config(CONFIGS / 'lab.toml')
phase = config.phase('short')
base = course.base()
tokenizer = load_tokenizer(base.path)
training, validation = tokenize_pages(web.pages(PAGES, 0), base.path)
row = rows_of(training, dataclasses.replace(phase, steps=1), config.seed)[:1].clip(0)
places = positions_in_documents(torch.from_numpy(row).long(), tokenizer.bos_token_id)[0]
print(tokenizer.decode(row[0]), '\n')
print(f'{int((places == 0).sum())} documents; positions · 位置: {places.tolist()}')

# %% name="check-rows" check=""
# NBVAL_CHECK_OUTPUT
show_values('rows', dict(domains=sorted(training),
                         tokens=sum(len(document) for documents in training.values()
                                    for document in documents),
                         starts=(places == 0).nonzero()[:, 0].tolist()))

# %% [markdown] name="rows-look"
# **看什么**：文档的开头 `<s>` 在哪里，位置编号在哪里回到零？
#
# **What to look for**: where does `<s>` open a document, and where do the positions return to zero?
#
# <details><summary>答案 · Answer</summary>
#
# 有几个 `<s>` 就有几篇；每到一处，位置就从零数起，所以第二篇的第一个词元是零。模型据此加掩码，文档互不相见。没有这一条，同样多的词元之后，“针”几乎找不到；
# 有了，几乎都找得到（讲义第 8 节）。
#
# There are as many documents as `<s>`; at each of them the positions start again, so the first token of the second one has zero. The model masks accordingly:
# documents do not see each other. Without this, after the same number of tokens, the needle was hardly ever found; with it, nearly always (lecture, section 8).
#
# </details>

# %% [markdown] name="predict-text"
# ## 2 先预测 · Predict first
#
# 讲义 · Lecture 3：[第 7 节](../lectures/zh/03-pretraining.md#7-缩放律开跑之前先预测) /
# [section 7](../lectures/en/03-pretraining.md#7-scaling-laws-and-prediction-before-the-run)
#
# 先跑 60 步，就能说出全程要多久、占多少内存。
#
# **先预测**：你自己先猜，600 步、每步 2048 个词元，要几秒？最终损失会是多少奈特？
#
# The first 60 steps tell how long the whole will take, and how much memory.
#
# **Predict**: guess yourself before the machine does. 600 steps of 2048 tokens each: how many seconds? What final loss, in nats?

# %% [markdown] name="predict-guess"
# **我的预测 · My prediction**（双击此处填写 · double-click here and write）：

# %% name="predict"
from internlm_course.pretrain.predict import (SCALING, compare, fit_scaling, predict,
                                              read_points)

law = (fit_scaling([point for point in read_points() if point['fitted']])
       if SCALING.exists() else None)
said = lab.keep('prediction',
                lambda out: dataclasses.asdict(
                    predict(config, phase, training, base.path, law=law)),
                phase=dataclasses.asdict(phase), model=dict(config.model),
                pages=PAGES).metrics
print(f'{said["tokens"]:,} tokens: about {said["seconds"]:.0f} s, '
      f'{said["memory_bytes"] / 1e9:.2f} GB'
      + (f', final loss {said["loss"]:.3f}' if said['loss'] else ''))

# %% name="train"
from internlm_course.lab.plots import LossCurve
from internlm_course.pretrain.predict import Prediction, final_loss

curve = LossCurve(band=lab.band())
mine = lab.keep('three-minutes',
                lambda out: pretrain(config, phase, training, validation, base.path,
                                     out, on_step=curve, device='cpu'),
                phase=dataclasses.asdict(phase), model=dict(config.model), pages=PAGES)
if mine.cached:
    curve.points = mine.metrics['curve']
    curve.draw('fetched: trained before · 之前训练过')
print(f'ln V = {math.log(len(tokenizer)):.2f}; {mine.metrics["parameters"]:,} '
      f'parameters; {mine.metrics["tokens_per_second"]:,} tokens a second')
for name, found in compare(Prediction(**said), mine.metrics).items():
    print(f'{name:8} predicted · 预测 {found["predicted"]:>12,.3f}   measured · 实测 '
          f'{found["measured"]:>12,.3f}   {found["error"]:+.1%}')

# %% name="check-curve" check="" tolerance={"relative": 0.1}
# NBVAL_CHECK_OUTPUT
show_values('curve', dict(first=mine.metrics['curve'][0][1],
                          last=final_loss(mine.metrics['curve'])))

# %% [markdown] name="train-look"
# **看什么**：灰带是几个随机种子的范围。陡降之后的第一个拐弯，学到的是什么？带子多宽？与你的猜测比，60 步之后的预测差多少？
#
# **What to look for**: the grey band is the range over several seeds. What has been learnt at the first bend? How wide is the band? And how far off was the
# prediction after 60 steps, beside your own guess?
#
# <details><summary>答案 · Answer</summary>
#
# 陡降学的是哪些词元常见，第一个拐弯之后学句式，再往后才是事实和算术，所以曲线后面很平。60 步的预测通常与实测只差一点：每一步的活一样多，
# 损失则由几次小训练拟合的幂律给出。带子很窄，比它还小的差别，换一个种子就可能反过来，不要当真。
#
# The steep part learns which tokens are frequent; after the first bend come the forms of sentences, and only later facts and sums, which is why the curve is so
# flat behind. The prediction from 60 steps is usually close to what is measured: every step is the same work, and the loss comes from a power law fitted to a
# few small trainings. The band is narrow; a difference smaller than it might turn round with another seed, so believe none.
#
# </details>

# %% [markdown] name="rope-text"
# ## 3 结构的零件 · Parts of the architecture
#
# 讲义 · Lecture 3：[第 2.1 节](../lectures/zh/03-pretraining.md#21-注意力) /
# [section 2.1](../lectures/en/03-pretraining.md#21-attention);
# [第 2.2 节](../lectures/zh/03-pretraining.md#22-rope) /
# [section 2.2](../lectures/en/03-pretraining.md#22-rope);
# [第 2.3 节](../lectures/zh/03-pretraining.md#23-分组查询注意力) /
# [section 2.3](../lectures/en/03-pretraining.md#23-grouped-query-attention);
# [第 2.4 节](../lectures/zh/03-pretraining.md#24-wqkv-怎样排列) /
# [section 2.4](../lectures/en/03-pretraining.md#24-how-wqkv-is-packed)
#
# **练习 1（3 分）** 写出 `rope(x, theta)`：`x` 的形状为 `[length, d]`，第 $m$ 行位于位置 $m$，从 0 数起。第 $i$ 个分量与第 $i + d/2$ 个配对，这一对 $x_1, x_2$
# 转过 $m\,\theta^{-2i/d}$ 弧度：前一个变成 $x_1\cos - x_2\sin$，后一个变成 $x_2\cos + x_1\sin$。返回同样形状的数组。
#
# **先预测**：查询和键同时向后移 10 个位置，它们的内积会变吗？
#
# **Exercise 1 (3 points)** Write `rope(x, theta)`: `x` is `[length, d]`, and row $m$ stands at position $m$, counted from 0. Component $i$ pairs with component
# $i + d/2$; turn the pair $x_1, x_2$ by $m\,\theta^{-2i/d}$ radians: the first becomes $x_1\cos - x_2\sin$, the second $x_2\cos + x_1\sin$. Return an array of
# the same shape.
#
# **Predict**: move a query and a key by 10 positions both: does their product change?

# %% [markdown] name="rope-guess"
# **我的预测 · My prediction**（双击此处填写 · double-click here and write）：

# %% name="rope" exercise=true
def rope(x: np.ndarray, theta: float) -> np.ndarray:
    ### BEGIN SOLUTION
    length, d = x.shape
    angle = np.arange(length)[:, None] * theta ** (-2 * np.arange(d // 2) / d)
    first, second = x[:, :d // 2], x[:, d // 2:]
    return np.concatenate([first * np.cos(angle) - second * np.sin(angle),
                           second * np.cos(angle) + first * np.sin(angle)], axis=1)
    ### END SOLUTION

# %% name="rope-light"
rng = seeded('rope-light')
self_check(rope, own.rope,
           [(numbers(rng, 5, 4), 100.0), (numbers(rng, 3, 8), 50_000.0)],
           hint='一对是 i 与 i + d/2，不是相邻两个；指数是 -2i/d · A pair is i and i '
                '+ d/2, not two neighbours; the exponent is -2i/d.')
rope_used = attempt(rope, own.rope)
query, key = numbers(rng, 1, 8), numbers(rng, 1, 8)
turned_query = rope_used(np.repeat(query, 40, 0), 1000.0)
turned_key = rope_used(np.repeat(key, 40, 0), 1000.0)
for m, n in ((3, 1), (13, 11), (33, 31), (13, 1)):
    print(f'query at {m:2}, key at {n:2}: product '
          f'{turned_query[m] @ turned_key[n]:+.4f}')

# %% name="check-rope" check="rope" points=3
# NBVAL_CHECK_OUTPUT
rng = seeded('rope')
cases = [(numbers(rng, length, d), theta)
         for length, d, theta in ((4, 4, 10.0), (3, 6, 10_000.0),
                                  (6, 8, rng.uniform(20, 500)))]
lab.check('rope', rope=(rope, own.rope, cases))

# %% [markdown] name="rope-answer"
# <details><summary>答案 · Answer</summary>
#
# 不变：上面前三行相隔都是两个位置，内积相同；第四行相隔更远，就不同了。两边转过的角度之差只看距离。
#
# It does not: in the first three lines above the two are two positions apart each time, and the products agree; in the fourth they are farther apart, and it
# differs. What counts is the difference of the two angles, and that depends on the distance alone.
#
# </details>

# %% [markdown] name="split-text"
# **练习 2（2 分）** 写出 `split_wqkv(wqkv, heads, kv_heads)`：`wqkv` 的行按键值头分成 `kv_heads` 组，每组先是几个查询头（共 `heads` 个，各组一样多），
# 再是一个键，最后是一个值，每头 $d$ 行。返回三个矩阵 `(q, k, v)`，头的次序不变。
#
# **先预测**：只有一个键值头时，按“先全部 Q，再全部 K，再全部 V”去切，结果会错吗？
#
# **Exercise 2 (2 points)** Write `split_wqkv(wqkv, heads, kv_heads)`: the rows of `wqkv` are in `kv_heads` groups, one for each key-value head; in each group
# first some query heads (`heads` in all, as many in each group), then a key, at last a value, $d$ rows a head. Return the three matrices `(q, k, v)`, heads in
# their order.
#
# **Predict**: with a single key-value head, would cutting it as “all Q, all K, all V” be wrong?

# %% [markdown] name="split-guess"
# **我的预测 · My prediction**（双击此处填写 · double-click here and write）：

# %% name="split" exercise=true
def split_wqkv(wqkv: np.ndarray, heads: int,
               kv_heads: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    ### BEGIN SOLUTION
    rows, width = wqkv.shape
    groups = wqkv.reshape(kv_heads, heads // kv_heads + 2,
                          rows // (heads + 2 * kv_heads), width)
    return (groups[:, :-2].reshape(-1, width), groups[:, -2].reshape(-1, width),
            groups[:, -1].reshape(-1, width))
    ### END SOLUTION

# %% name="split-light"
rng = seeded('split-light')
self_check(split_wqkv, own.split_wqkv,
           [(numbers(rng, 10, 2), 3, 1), (numbers(rng, 16, 2), 4, 2)],
           hint='先变形为 [组, 组内的头, d, 宽] · Reshape to [group, head in the '
                'group, d, width] first.')
split_used = attempt(split_wqkv, own.split_wqkv)
names = np.array([[f'{kind}{i}'] for group in range(2)
                  for kind, i in [*(('q', 4 * group + j) for j in range(4)),
                                  ('k', group), ('v', group)]])
print('rows of wqkv, one a head · 各行:', *names[:, 0])
for cards in (1, 2):
    for card, part in enumerate(np.split(names, cards)):
        q, k, v = split_used(part, 8 // cards, 2 // cards)
        print(f'{cards} card(s), card {card}:', *q[:, 0], '|', *k[:, 0], '|', *v[:, 0])

# %% name="check-split" check="split" points=2
# NBVAL_CHECK_OUTPUT
rng = seeded('split')
cases = [(numbers(rng, (heads + 2 * kv) * d, 3), heads, kv)
         for heads, kv, d in ((4, 2, 2), (6, 3, 4), (3, 1, 5))]
lab.check('split', split=(split_wqkv, own.split_wqkv, cases))

# %% [markdown] name="split-answer"
# <details><summary>答案 · Answer</summary>
#
# 不会：一组之内本来就是 Q、K、V 的次序，看上面各行的前半，`q0` 到 `v0`。有两组就错了：第二组的查询头排在第一组的键和值后面。只在一个键值头的模型上试过的代码，
# 会一直显得是对的。
#
# It would not: within one group the order is Q, K, V; see the first half of the rows above, `q0` to `v0`. With two groups it is wrong, because the second
# group's query heads stand behind the first one's key and value. Code that was only tried on a model with one key-value head would seem right all the time.
#
# </details>

# %% [markdown] name="attention-text"
# **练习 3（3 分）** 写出 `attention(q, k, v)`：`q` 为 `[heads, length, d]`，`k`、`v` 为 `[kv_heads, length, d]`。相邻的 $g$ 个查询头合用一个键值头，$g$
# 是两种头数之比；分数除以 $\sqrt d$，再做 softmax；每个位置只看自己和之前的。返回 `[heads, length, d]`。
#
# **Exercise 3 (3 points)** Write `attention(q, k, v)`: `q` is `[heads, length, d]`, `k` and `v` are `[kv_heads, length, d]`. Each $g$ neighbouring query heads
# share a key-value head, $g$ being the ratio of the two numbers of heads; scores are divided by $\sqrt d$ before the softmax; a position sees itself and what
# came before. Return `[heads, length, d]`.

# %% name="attention" exercise=true
def attention(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
    ### BEGIN SOLUTION
    groups, length = len(q) // len(k), q.shape[1]
    k, v = np.repeat(k, groups, axis=0), np.repeat(v, groups, axis=0)
    scores = q @ k.transpose(0, 2, 1) / math.sqrt(q.shape[-1])
    scores = np.where(np.tri(length, dtype=bool), scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True) @ v
    ### END SOLUTION

# %% name="attention-light"
rng = seeded('attention-light')
self_check(attention, own.attention,
           [(numbers(rng, 2, 3, 4), numbers(rng, 1, 3, 4), numbers(rng, 1, 3, 4)),
            (numbers(rng, 4, 5, 2), numbers(rng, 2, 5, 2), numbers(rng, 2, 5, 2))],
           hint='头 0、1 用键头 0，头 2、3 用键头 1；先加掩码再 softmax · Heads 0, 1 '
                'use key head 0, heads 2, 3 key head 1; mask before the softmax.')
attention_used = attempt(attention, own.attention)
q, k, v = numbers(rng, 2, 6, 4), numbers(rng, 1, 6, 4), numbers(rng, 1, 6, 4)
before = attention_used(q, k, v)
k[:, 4:], v[:, 4:] = 9, 9  # another future
print('positions that change when tokens 4 and 5 change · 改动第 4、5 个词元，'
      '哪些位置会变:',
      [position for position in range(6)
       if not np.allclose(before[:, position], attention_used(q, k, v)[:, position])])

# %% name="check-attention" check="attention" points=3
# NBVAL_CHECK_OUTPUT
rng = seeded('attention')
cases = [(numbers(rng, heads, n, d), numbers(rng, kv, n, d), numbers(rng, kv, n, d))
         for heads, kv, n, d in ((4, 2, 3, 4), (6, 2, 4, 2))]
lab.check('attention', attention=(attention, own.attention, cases))

# %% [markdown] name="schedule-text"
# ## 4 学习率与损失 · Schedule and loss
#
# 讲义 · Lecture 3：[第 4 节](../lectures/zh/03-pretraining.md#4-优化器与学习率) /
# [section 4](../lectures/en/03-pretraining.md#4-optimiser-and-schedule);
# [第 3 节](../lectures/zh/03-pretraining.md#3-损失以及每字节比特数) /
# [section 3](../lectures/en/03-pretraining.md#3-loss-and-bits-per-byte)
#
# **练习 4（2 分）** 写出 `learning_rate(step, steps, warmup, peak, floor)`：前 `warmup` 步（`step` 从 0 数起）线性上升，第 `warmup - 1` 步恰好到 `peak`；
# 然后从第 `warmup` 步的 `peak` 起沿余弦下降，到第 `steps` 步时是 `floor * peak`。
#
# **Exercise 4 (2 points)** Write `learning_rate(step, steps, warmup, peak, floor)`: a linear rise over the first `warmup` steps (`step` counts from 0) that
# reaches `peak` at step `warmup - 1`; then a cosine from `peak` at step `warmup` down to `floor * peak` at step `steps`.

# %% name="schedule" exercise=true
def learning_rate(step: int, steps: int, warmup: int, peak: float,
                  floor: float) -> float:
    ### BEGIN SOLUTION
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / (steps - warmup)
    return peak * (floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2)
    ### END SOLUTION

# %% name="schedule-light"
from internlm_course.lab import plots

self_check(learning_rate, own.learning_rate,
           [(step, 1000, 50, 3e-4, 0.1) for step in (0, 20, 49, 50, 525, 999)],
           hint='余弦从预热之后才开始；降到 floor，不是降到 0 · The cosine begins '
                'after the warm-up; it ends at the floor, not at 0.')
rate_used = attempt(learning_rate, own.learning_rate)
drawing, axes = plots.figure(7, 2.4)
for floor in (phase.floor, 0.1, 1.0):
    axes.plot([rate_used(step, phase.steps, phase.warmup, phase.learning_rate, floor)
               for step in range(phase.steps)], label=f'floor {floor:g}')
axes.set(xlabel=plots.label('步', 'step'),
         ylabel=plots.label('学习率', 'learning rate'))
axes.legend(frameon=False)
plots.show(drawing, 'Learning rate over steps for three floors: warm-up, then a '
                    'cosine.')

# %% name="check-schedule" check="schedule" points=2
# NBVAL_CHECK_OUTPUT
rng = seeded('schedule')
cases = [(step, 800, 40, 3e-4, rng.choice([0.05, 0.1, 0.2]))
         for step in (0, rng.randrange(1, 39), 39, 40, rng.randrange(100, 700), 799)]
lab.check('schedule', schedule=(learning_rate, own.learning_rate, cases))

# %% [markdown] name="bits-text"
# **练习 5（2 分）** 写出 `bits_per_byte(nats, text)`：`nats` 是 `text` 每个词元的损失（奈特）。返回整段文本的比特数除以它的 UTF-8 字节数。
#
# **先预测**：中文一个字三个字节。按每个词元的损失看，与按每字节比特数看，哪种语言更难，结论会不会颠倒？
#
# **Exercise 5 (2 points)** Write `bits_per_byte(nats, text)`: `nats` is the loss of each token of `text`, in nats. Return the bits of the whole text over its
# bytes in UTF-8.
#
# **Predict**: a Chinese character is three bytes. By loss a token and by bits a byte, can it be another language that is the harder one?

# %% [markdown] name="bits-guess"
# **我的预测 · My prediction**（双击此处填写 · double-click here and write）：

# %% name="bits" exercise=true
def bits_per_byte(nats: list[float], text: str) -> float:
    ### BEGIN SOLUTION
    return sum(nats) / math.log(2) / len(text.encode())
    ### END SOLUTION

# %% name="bits-light"
from internlm_course.model import load_model

self_check(bits_per_byte, own.bits_per_byte,
           [([0.5, 1.0], 'ab c'), ([2.0, 0.1, 0.3], '巴黎。')],
           hint='ln 2 奈特是一比特；字节不是字符 · ln 2 nats are a bit; bytes are not '
                'characters.')
bits_used = attempt(bits_per_byte, own.bits_per_byte)


def losses(model, text: str) -> list[float]:
    """The loss of each token of a text, in nats."""
    ids = torch.tensor([tokenizer.encode(text)])
    with torch.no_grad():
        logits = model(input_ids=ids).logits[0, :-1].float()
    return torch.nn.functional.cross_entropy(logits, ids[0, 1:],
                                             reduction='none').tolist()


models = {name: load_model(artifact.path, dtype=torch.float32)
          for name, artifact in dict(mine=mine, base=base).items()}
for lang in ('en', 'zh'):
    text = world.JOINT[lang].join(world.tell(seeded(f'{lang}-{i}'), lang)
                                  for i in range(40))
    for name, model in models.items():
        nats = losses(model, text)
        print(f'{lang} {name:5} {sum(nats) / len(nats):.3f} nats a token, '
              f'{bits_used(nats, text):.3f} bits a byte')

# %% name="check-bits" check="bits" points=2
# NBVAL_CHECK_OUTPUT
rng = seeded('bits')
cases = [([round(rng.expovariate(1), 3) for _ in range(rng.randrange(3, 9))], text)
         for text in ('The capital', '首都是北京。', 'Pi π 3.14')]
lab.check('bits', bits=(bits_per_byte, own.bits_per_byte, cases))

# %% [markdown] name="bits-answer"
# <details><summary>答案 · Answer</summary>
#
# 会：看上面 `mine` 的两行。每个词元的损失要看一个词元装下多少文本，换一个分词器就变；每字节比特数不看分词器，所以两种语言、两个模型之间用它来比。
#
# It can: see the two lines of `mine` above. Loss a token depends on how much text a token holds, and changes with the tokenizer; bits a byte do not, so they
# are what to compare languages and models by.
#
# </details>

# %% [markdown] name="slow-text"
# ## 5 RoPE 的基与“针” · RoPE base and the needle
#
# 讲义 · Lecture 3：[第 5 节](../lectures/zh/03-pretraining.md#5-三个阶段) /
# [section 5](../lectures/en/03-pretraining.md#5-three-phases)
#
# **练习 6（2 分）** 写出 `slow_pairs(d, theta, context)`：头宽为 `d` 时，$d/2$ 对分量里，有几对的波长 $2\pi\,\theta^{2i/d}$ 比 `context`
# 长（在这个长度里转不满一圈）？
#
# **先预测**：base 在 256 的长度上训练，基为 50,000。把“针”藏到 500 个词元之前，它找得到吗？不训练、只把基改成 1,000,000，比得上真正的长上下文训练吗？
#
# **Exercise 6 (2 points)** Write `slow_pairs(d, theta, context)`: in a head of width `d`, how many of the $d/2$ pairs have a wavelength $2\pi\,\theta^{2i/d}$
# longer than `context`, so that they complete no turn within it?
#
# **Predict**: base was trained at length 256 with base 50,000. Will it find a needle 500 tokens back? If the base is set to 1,000,000 without any training,
# does that match a real training on long contexts?

# %% [markdown] name="slow-guess"
# **我的预测 · My prediction**（双击此处填写 · double-click here and write）：

# %% name="slow" exercise=true
def slow_pairs(d: int, theta: float, context: int) -> int:
    ### BEGIN SOLUTION
    return sum(2 * math.pi * theta ** (2 * i / d) > context for i in range(d // 2))
    ### END SOLUTION

# %% name="slow-light"
self_check(slow_pairs, own.slow_pairs,
           [(128, 50_000.0, 4096), (128, 1_000_000.0, 32_768), (64, 50_000.0, 256),
            (8, 10.0, 100)],
           hint='对数是 d/2；一圈是 2π · There are d/2 pairs; a turn is 2π.')
slow_used = attempt(slow_pairs, own.slow_pairs)
print('InternLM2, d = 128      tiny, d = 32')
for (theta, context), (theta_tiny, context_tiny) in zip(
        [(5e4, 4096), (5e4, 32_768), (1e6, 32_768)],
        [(5e4, 256), (5e4, 1024), (1e6, 1024)]):
    print(f'{theta:9,.0f} @ {context:6,}: {slow_used(128, theta, context):2}   '
          f'{theta_tiny:9,.0f} @ {context_tiny:5,}: '
          f'{slow_used(32, theta_tiny, context_tiny):2}')

# %% name="check-slow" check="slow" points=2
# NBVAL_CHECK_OUTPUT
rng = seeded('slow')
cases = [(128, 50_000.0, 4096), (64, 1_000_000.0, 1024)]
cases += [(rng.choice([64, 96, 128]), rng.choice([1e4, 5e4, 1e6]),
           rng.randrange(100, 40_000)) for _ in range(6)]
lab.check('slow', slow=(slow_pairs, own.slow_pairs, cases))

# %% name="needle"
import random

# shares of four first contexts
DEPTHS, SHARES, ITEMS = (0.0, 0.25, 0.5, 0.75, 1.0), (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1), 6


def found(model, share: float, depth: float) -> tuple[float, float]:
    """The share of secrets that the model's likeliest next token names, and the mean
    length of the items in tokens."""
    right, lengths, rng = 0, [], random.Random(f'needle-{share}-{depth}')
    facts = {lang: round(share * most) for lang, most in world.FAR.items()}
    for i in range(ITEMS):
        item = world.needle(rng, ('en', 'zh')[i % 2], facts, depth)
        ids = tokenizer.encode(item.prompt)
        with torch.no_grad():
            likeliest = int(model(input_ids=torch.tensor([ids]),
                                  logits_to_keep=1).logits[0, -1].argmax())
        right += tokenizer.decode([likeliest]).strip() == item.answer
        lengths.append(len(ids))
    return right / ITEMS, sum(lengths) / ITEMS


long = course.long()
models |= {'base, θ = 1,000,000': load_model(base.path, dtype=torch.float32,
                                             rope_theta=1e6),
           'long, θ = 1,000,000': load_model(long.path, dtype=torch.float32)}
names = {'base': 'base, θ = 50,000'}
maps = {names.get(name, name): [[found(model, share, depth) for share in SHARES]
                                for depth in DEPTHS]
        for name, model in models.items() if name != 'mine'}
drawing, axes = plots.figure(9, 2.8)
drawing.delaxes(axes)
for place, (name, cells) in enumerate(maps.items(), 1):
    axes = drawing.add_subplot(1, len(maps), place)
    plots.heat_map(axes, [[share for share, _ in line] for line in cells])
    axes.set_xticks(range(len(SHARES)), [f'{length:.0f}' for _, length in cells[0]])
    axes.set_yticks(range(len(DEPTHS)),
                    [f'{depth:.0%}' for depth in DEPTHS] if place == 1 else [])
    axes.set(title=name, xlabel=plots.label('词元', 'tokens'),
             ylabel=plots.label('深度', 'depth') if place == 1 else None)
plots.show(drawing, 'Share of needles found by depth and length: ' + '; '.join(
    f'{n}: {[[s for s, _ in line] for line in c]}' for n, c in maps.items()))
beyond = {name: float(np.mean([line[-1][0] for line in cells]))
          for name, cells in maps.items()}
print('at the greatest length · 最长处: '
      f'{", ".join(f"{name}: {share:.0%}" for name, share in beyond.items())}')

# %% name="check-needle" check=""
# NBVAL_CHECK_OUTPUT
before, swapped, after = beyond.values()
show_values('needle', dict(long_finds_nine_of_ten=after >= 0.9,
                           training_gains=after - before >= 0.3,
                           more_than_swapping=after > swapped))

# %% [markdown] name="needle-look"
# **看什么**：每格是找到“针”的比例，深度 0% 是藏在最前面。base 在哪个长度上开始失手？要紧的是长度还是深度？只换基、不训练，最长处变好了还是变坏了？
#
# **What to look for**: each cell is the share of needles found; a depth of 0% is the very beginning. At which length does base begin to fail? Is it the length
# that matters, or the depth? At the greatest length, did swapping the base alone, without training, help or harm?
#
# <details><summary>答案 · Answer</summary>
#
# 在训练过的 256 以内，base 几乎都找得到，不论深度；过了这个长度，找到的越来越少，最长处就几乎找不到了。只换基，慢的几对又慢了回来，
# 可是模型没有在新的角度上练过，最长处仍不如训练过的。用一小部分词元做的长上下文阶段，才让最长处也几乎都找得到。
#
# Within the 256 of its training base finds nearly all, at any depth; beyond it fewer and fewer, and at the greatest length hardly any. With the base swapped,
# the slow pairs are slow again, but the model has not practised on the new angles, and at the greatest length it still falls short of the trained one. Only
# the long phase, with a small part of the tokens, finds nearly all there, too.
#
# </details>

# %% [markdown] name="mfu-text"
# ## 6 规模 · Scale
#
# 讲义 · Lecture 3：[第 6.2 节](../lectures/zh/03-pretraining.md#62-mfu) /
# [section 6.2](../lectures/en/03-pretraining.md#62-mfu);
# [第 6.1 节](../lectures/zh/03-pretraining.md#61-内存用笔算) /
# [section 6.1](../lectures/en/03-pretraining.md#61-memory-by-arithmetic)
#
# **练习 7（2 分）** 写出 `mfu(weights, layers, width, length, tokens_per_second, peak)`：每个词元的运算量是 $6N$（`weights`，矩阵里的权重）加注意力的 $6Lhs$
# （`layers`、`width`、`length`；已因掩码减半）；乘上每秒词元数 `tokens_per_second`，除以峰值 `peak`（每秒运算次数）。
#
# **先预测**：你刚才的训练用上了这台机器矩阵乘法峰值的几成？
#
# **Exercise 7 (2 points)** Write `mfu(weights, layers, width, length, tokens_per_second, peak)`: a token takes $6N$ operations for the weights in matrices
# (`weights`) and $6Lhs$ for attention (`layers`, `width`, `length`), already halved for the mask; multiply by `tokens_per_second`, and divide by `peak`
# (operations a second).
#
# **Predict**: what share of this machine's peak in matrix products did your training reach?

# %% [markdown] name="mfu-guess"
# **我的预测 · My prediction**（双击此处填写 · double-click here and write）：

# %% name="mfu" exercise=true
def mfu(weights: int, layers: int, width: int, length: int, tokens_per_second: float,
        peak: float) -> float:
    ### BEGIN SOLUTION
    return tokens_per_second * (6 * weights + 6 * layers * width * length) / peak
    ### END SOLUTION

# %% name="mfu-light"
from internlm_course.machine import cpu_dtype
from internlm_course.pretrain.meter import gemm_flops, matmul_parameters

self_check(mfu, own.mfu, [(7_359_000_000, 32, 4096, 4096, 4000.0, 312e12),
                          (1_900_000, 4, 192, 256, 22_000.0, 8e11)],
           hint='正向 2，反向 4，一共 6 · Two forward and four backward make six.')
mfu_used = attempt(mfu, own.mfu)
shape = models['base'].config
dtype = str(cpu_dtype()).removeprefix('torch.')
peak = gemm_flops('cpu', dtype)
reached = mfu_used(matmul_parameters(shape), shape.num_hidden_layers, shape.hidden_size,
                   phase.sequence_length, mine.metrics['tokens_per_second'], peak)
print(f'peak of {dtype} products here · 本机峰值: {peak / 1e9:,.0f} GFLOP/s; your run '
      f'· 你的训练: {reached:.0%}')
seven = sizes.released()['7b']
for length in (4096, 32_768, 262_144):
    weights = 6 * matmul_parameters(seven)
    attention_work = 6 * seven.num_hidden_layers * seven.hidden_size * length
    print(f'7B at {length:>7,}: {weights / 1e9:.1f} GFLOP a token for weights, '
          f'{attention_work / 1e9:.1f} for attention')

# %% name="check-mfu" check="mfu" points=2
# NBVAL_CHECK_OUTPUT
rng = seeded('mfu')
cases = [(rng.randrange(10**6, 10**10), rng.randrange(2, 60), 64 * rng.randrange(2, 90),
          rng.choice([256, 4096, 32_768]), rng.uniform(1e3, 1e5),
          rng.uniform(1e12, 1e15)) for _ in range(4)]
lab.check('mfu', mfu=(mfu, own.mfu, cases))

# %% [markdown] name="mfu-answer"
# <details><summary>答案 · Answer</summary>
#
# 远不到十成，比例打印在上面：峰值是两个大矩阵相乘量出来的，而这里的矩阵很小，中间还夹着 softmax、归一化、损失和优化器。后三行：长度到了几十万，
# 注意力的运算就超过了权重的。
#
# Far from all of it; the share is printed above. The peak is measured on a product of large matrices, and here they are small, with softmax, norms, loss and
# optimiser between them. And in the three last lines: at lengths of some hundred thousand, attention takes more operations than the weights.
#
# </details>

# %% [markdown] name="memory-text"
# **练习 8（3 分）** 写出 `card_bytes(parameters, cards, cut)`：混合精度 AdamW，每个参数 `weights` 2 字节、`gradients` 2 字节、`states` 12 字节；`cut`
# 里列出的几样平分到 `cards` 块卡上，其余每块卡各存一份。返回每块卡上的字节数，是一个字典，键就是这三个名字。
#
# **先预测**：20B 要几块 80 GB 的卡才放得下（全部切开，不计激活值）？
#
# **Exercise 8 (3 points)** Write `card_bytes(parameters, cards, cut)`: mixed-precision AdamW takes 2 bytes a parameter for `weights`, 2 for `gradients`, 12 for
# `states`. What `cut` names is divided over the `cards`; of the rest each card has a copy. Return the bytes on each card, as a dict with these three names as
# its keys.
#
# **Predict**: how many cards of 80 GB does 20B need, everything cut, activations not counted?

# %% [markdown] name="memory-guess"
# **我的预测 · My prediction**（双击此处填写 · double-click here and write）：

# %% name="memory" exercise=true
def card_bytes(parameters: int, cards: int, cut: list[str]) -> dict[str, float]:
    ### BEGIN SOLUTION
    each = dict(weights=2, gradients=2, states=12)
    return {name: parameters * size / (cards if name in cut else 1)
            for name, size in each.items()}
    ### END SOLUTION

# %% name="memory-light"
from internlm_course.model import parameter_count

WAYS = {'full copies · 整份复制': [], 'ZeRO-1': ['states'],
        'ZeRO-2': ['states', 'gradients'],
        'ZeRO-3, FSDP2': ['states', 'gradients', 'weights']}
self_check(card_bytes, own.card_bytes, [(1000, 8, cut) for cut in WAYS.values()],
           hint='只切 cut 里的；主权重也算状态 · Cut only what `cut` names; the '
                'master weights are states, too.')
card_used = attempt(card_bytes, own.card_bytes)
print(f'{"GB a card, 8 cards":26}' + ''.join(f'{name:>8}' for name in sizes.released()))
for way, cut in WAYS.items():
    print(f'{way:26}' + ''.join(
        f'{sum(card_used(parameter_count(config_), 8, cut).values()) / 1e9:8.1f}'
        for config_ in sizes.released().values()))
for name, config_ in sizes.released().items():
    fits = next(cards for cards in range(1, 99)
                if sum(card_used(parameter_count(config_), cards,
                                 WAYS['ZeRO-3, FSDP2']).values()) <= 80e9)
    print(f'{name}: at least {fits} card(s) of 80 GB · 至少 {fits} 块')

# %% name="check-memory" check="memory" points=3
# NBVAL_CHECK_OUTPUT
rng = seeded('memory')
CUTS = ([], ['states'], ['gradients', 'states'], ['weights', 'gradients', 'states'],
        ['weights'])
cases = [(rng.randrange(10**9, 10**11), rng.choice([4, 8, 64]), cut) for cut in CUTS]
lab.check('memory', memory=(card_bytes, own.card_bytes, cases))

# %% [markdown] name="memory-answer"
# <details><summary>答案 · Answer</summary>
#
# 四块，刚刚放得下，所以实际上不够：激活值还没有算。每个参数一共 16 字节，其中十二份是优化器的状态，因此先切它最见效。
#
# Four, and only just, so in truth it is not enough: activations are not counted. A parameter takes 16 bytes in all, and twelve of them are the optimiser's
# states, which is why cutting these first helps most.
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
