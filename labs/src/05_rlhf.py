# %% [markdown] name="title"
# # 实验五：学着让人满意 · Lab 5: learning to please
#
# 讲义：[第 5 讲](../lectures/zh/05-rlhf.md) · Lecture: [lecture 5](../lectures/en/05-rlhf.md)
#
# 什么是好回答？先由人来比较，再由奖励模型打分，再由程序验证。你把这条路上的算式一个个写出来：排序损失、优势、裁剪、KL、组内优势；再写一个骗不了的验证器，
# 再看小模型为这样的奖励练上一分钟；最后从曲线上认出奖励黑客。
# **先预测，再运行，再观察，再解释**：见到“先预测”，请把答案写进它下面那一格，再往下运行；运行过后，答案可以展开来对照。
#
# What is a good reply? First people compare, then a reward model gives scores, then a program verifies. You write the arithmetic on this way: the ranking loss,
# advantages, clipping, KL, advantages within a group; you write a verifier that cannot be fooled, and watch the small model practise for such rewards for a
# minute; at last you recognise a reward hack by its curves. **Predict, run, look, explain**: where it says “Predict”, write your answer into the cell below it
# before you go on; after the run there is an answer to unfold and compare.
#
# | 练习 · Exercise | 分 · points |
# |---|---|
# | 1 排序损失与对数障碍 · ranking loss and barrier | 3 |
# | 2 优势（GAE） · advantages (GAE) | 3 |
# | 3 裁剪的目标 · the clipped objective | 3 |
# | 4 KL 的三个估计 · three estimators of KL | 2 |
# | 5 组内优势 · group advantages | 2 |
# | 6 骗不了的验证器 · a verifier that cannot be fooled | 3 |
# | 7 从曲线诊断 · diagnosis from curves | 2 |
#
# 不做练习也能运行到底：未作答时由课程包代劳。
#
# The lab runs to its end unsolved, too: where you have not answered yet, the package goes on.

# %% name="setup" setup=true
import math
import re

import numpy as np

from internlm_course.lab.answers import lab05 as own
from internlm_course.lab.check import (Lab, attempt, numbers, seeded, self_check,
                                       show_values)

lab = Lab('05_rlhf', minutes=5, gigabytes=2,
          points=dict(ranking=3, gae=3, clip=3, kl=2, groups=2, verifier=3,
                      diagnosis=2))
course = lab.course

# %% [markdown] name="votes-text"
# ## 1 哪个回答更好 · Which reply is better
#
# 讲义 · Lecture 5：[两个回答](../lectures/zh/05-rlhf.md#两个回答) /
# [two replies](../lectures/en/05-rlhf.md#two-replies);
# [第 1 节](../lectures/zh/05-rlhf.md#1-偏好) / [section 1](../lectures/en/05-rlhf.md#1-preferences)
#
# 问题是 `What is the capital of Japan?`，下面有四个回答，两位读者两两比较：一位是程序，只要那个词；一位是小学生，想要完整的句子。
#
# **先预测**：把两位的投票合在一起，哪个回答赢得最多？只看合在一起的票，还看得出两位想要的不同吗？
#
# The question is `What is the capital of Japan?`, and two readers compare four replies in pairs: one is a program that needs the word alone, one a pupil who
# wants a whole sentence.
#
# **Predict**: with the votes of both thrown together, which reply wins most often? Can one still see from them that the two want different things?

# %% [markdown] name="votes-guess"
# **我的预测 · My prediction**（双击此处填写 · double-click here and write）：

# %% name="votes"
REPLIES = dict(word='Tokyo', sentence='The capital of Japan is Tokyo.',
               flattery='What a good question! Japan is a wonderful country.',
               silence='I do not know.')
# (the preferred reply, the other one)
VOTES = dict(
    program=[('word', 'sentence'), ('word', 'flattery'), ('word', 'silence'),
             ('sentence', 'flattery'), ('sentence', 'silence'),
             ('silence', 'flattery')],
    pupil=[('sentence', 'word'), ('sentence', 'flattery'), ('sentence', 'silence'),
           ('word', 'flattery'), ('word', 'silence'),
           ('flattery', 'silence')])
VOTES['both'] = VOTES['program'] + VOTES['pupil']
shares = {}
for reader, votes in VOTES.items():
    shares[reader] = {name: sum(better == name for better, _ in votes)
                      / sum(name in pair for pair in votes) for name in REPLIES}
    print(f'{reader:8}' + ''.join(f'  {name} {share:4.0%}'
                                  for name, share in shares[reader].items()))

# %% name="check-votes" check=""
# NBVAL_CHECK_OUTPUT
show_values('votes', shares)

# %% [markdown] name="votes-look"
# **看什么**：最后一行里，哪两对回答打成了平手？
#
# **What to look for**: which two pairs of replies are level in the last line?
#
# <details><summary>答案 · Answer</summary>
#
# `word` 与 `sentence` 平手，`flattery` 与 `silence` 也平手。两位读者各有清楚的喜好，合在一起却互相抵消：票没有写明是替谁投的。COOL RLHF 的办法是给每个领域
# 一句系统提示，让奖励模型知道这一次按谁的喜好来判。
#
# `word` and `sentence` are level, and so are `flattery` and `silence`. Each reader has a clear preference, and together they cancel out: the votes do not say
# for whom they were cast. COOL RLHF puts a system prompt for each domain before the text, so that the reward model knows whose preference counts this time.
#
# </details>

# %% [markdown] name="ranking-text"
# ## 2 奖励模型的损失 · The reward model's loss
#
# 讲义 · Lecture 5：[第 2.1 节](../lectures/zh/05-rlhf.md#21-排序损失) /
# [section 2.1](../lectures/en/05-rlhf.md#21-the-ranking-loss);
# [第 2.2 节](../lectures/zh/05-rlhf.md#22-对数障碍) /
# [section 2.2](../lectures/en/05-rlhf.md#22-the-barrier)
#
# **练习 1（3 分）** 写出 `ranking_loss(better, worse, gamma)`：由两个分数得 $P = \sigma(r_b - r_w)$，返回焦点排序损失
#
# $$L_{rank} = -\left(1 - 2 \max\left(0, P - \tfrac{1}{2}\right)\right)^{\gamma} \ln P$$
#
# 再写 `penalty(score, bound)`：对数障碍
#
# $$L_{pen} = -\left(\ln(b + x) + \ln(b - x)\right)$$
#
# 其中 $b$ 是 `bound`；$x$ 是 `score`，但先收进 $[-(b - 0.001), b - 0.001]$，免得在边上取对数出错。
#
# **先预测**：一对已经分得很开（分差 3），另一对排反了（分差 -1）。`gamma` 从 0 变成 2，哪一对的损失缩得多？
#
# **Exercise 1 (3 points)** Write `ranking_loss(better, worse, gamma)`: from the two scores follows $P = \sigma(r_b - r_w)$; return the focal ranking loss
#
# $$L_{rank} = -\left(1 - 2 \max\left(0, P - \tfrac{1}{2}\right)\right)^{\gamma} \ln P$$
#
# And `penalty(score, bound)`: the barrier
#
# $$L_{pen} = -\left(\ln(b + x) + \ln(b - x)\right)$$
#
# where $b$ is `bound`; $x$ is `score`, but pulled into $[-(b - 0.001), b - 0.001]$ first, so that no logarithm fails at the edge.
#
# **Predict**: one pair is told apart already (difference 3), another is in the wrong order (difference -1). When `gamma` goes from 0 to 2, whose loss shrinks
# more?

# %% [markdown] name="ranking-guess"
# **我的预测 · My prediction**（双击此处填写 · double-click here and write）：

# %% name="ranking" exercise=true
def ranking_loss(better: float, worse: float, gamma: float) -> float:
    ### BEGIN SOLUTION
    p = 1 / (1 + math.exp(worse - better))
    return -((1 - 2 * max(0, p - 0.5)) ** gamma) * math.log(p)
    ### END SOLUTION


def penalty(score: float, bound: float) -> float:
    ### BEGIN SOLUTION
    inside = min(max(score, 0.001 - bound), bound - 0.001)
    return -math.log(bound + inside) - math.log(bound - inside)
    ### END SOLUTION

# %% name="ranking-light"
self_check(ranking_loss, own.ranking_loss,
           [(3.0, 0.0, 2), (0.0, 1.0, 2), (1.0, 1.0, 2), (2.0, 1.0, 0)],
           hint='P 小于一半时，括号里是 1：排反的一对不打折 · Where P is below one '
                'half, the bracket is 1: a pair in the wrong order has no discount.')
self_check(penalty, own.penalty, [(0.0, 5.0), (4.0, 5.0), (-4.0, 5.0), (7.0, 5.0)],
           hint='两道障碍，上下各一道；分数先收进来 · A barrier on either side; the '
                'score is pulled in first.')
loss_used = attempt(ranking_loss, own.ranking_loss)
penalty_used = attempt(penalty, own.penalty)
for difference in (3.0, 0.0, -1.0):
    plain, focal = (loss_used(difference, 0.0, gamma) for gamma in (0, 2))
    print(f'difference · 分差 {difference:4.0f}: gamma 0 {plain:.4f}, '
          f'gamma 2 {focal:.4f}')


def fit(votes: list, weight: float) -> dict[str, float]:
    """The scores of the replies after 400 steps down the loss of these votes, gamma 0;
    `weight` is the penalty's."""
    scores, rate, h = dict.fromkeys(REPLIES, 0.0), 0.5, 1e-4

    def loss(**other) -> float:
        at = scores | other
        return (sum(loss_used(at[better], at[worse], 0) for better, worse in votes)
                + weight * sum(penalty_used(score, 5.0) for score in at.values()))
    for _ in range(400):
        slopes = {name: (loss(**{name: score + h}) - loss(**{name: score - h})) / 2 / h
                  for name, score in scores.items()}
        scores = {name: scores[name] - rate * slopes[name] for name in scores}
    return scores


fitted = {}
for reader, votes in VOTES.items():
    for weight in (0.0, 0.02):
        fitted[f'{reader}, {weight}'] = scores = fit(votes, weight)
        print(f'{reader:8} penalty · 障碍 {weight:4}: '
              + ', '.join(f'{name} {score:+.2f}' for name, score in scores.items()))

# %% name="check-ranking" check="ranking" points=3
# NBVAL_CHECK_OUTPUT
rng = seeded('ranking')
cases = [(3.0, 0.5, 2), (-0.5, 1.5, 2), (1.0, 1.0, 1), (2.0, 1.0, 0),
         *((round(rng.uniform(-4, 4), 2), round(rng.uniform(-4, 4), 2),
            rng.choice([1, 2, 3])) for _ in range(5))]
edges = [(0.0, 5.0), (5.0, 5.0), (-5.0, 5.0), (9.5, 2.0), (-9.5, 2.0),
         *((round(rng.uniform(-3, 3), 2), rng.choice([3.5, 5.0, 8.0]))
           for _ in range(4))]
lab.check('ranking', ranking=(ranking_loss, own.ranking_loss, cases),
          penalty=(penalty, own.penalty, edges))

# %% [markdown] name="ranking-answer"
# <details><summary>答案 · Answer</summary>
#
# 分得开的那一对缩得多，几乎缩没了；排反的一点不缩。所以梯度都用在还没分清的一对上。后面几行是从投票里学出的分数：只有一位读者时次序清清楚楚；两位合在一起，
# 打平的两对得到同样的分数。没有障碍，每一票都能满足时，分数会一直涨下去；有了它，就停在里面。
#
# The pair that is told apart shrinks, nearly to nothing; the one in the wrong order not at all. So the gradient goes to the pairs that are not settled. The
# other lines are scores learned from the votes: with one reader their order is clear; with both together, the level pairs get the same scores. Without a
# barrier scores go on growing wherever every vote can be satisfied; with it they come to rest.
#
# </details>

# %% [markdown] name="gae-text"
# ## 3 PPO
#
# 讲义 · Lecture 5：[第 3.3 节](../lectures/zh/05-rlhf.md#33-优势) /
# [section 3.3](../lectures/en/05-rlhf.md#33-advantages);
# [第 3.4 节](../lectures/zh/05-rlhf.md#34-比值与裁剪) /
# [section 3.4](../lectures/en/05-rlhf.md#34-ratio-and-clipping)
#
# **练习 2（3 分）** 写出 `gae(rewards, values, gamma, lam)`：一个回答的第 $t$ 个词元得到奖励 $r_t$，评论家在它之前估计 $v_t$。先算意外
#
# $$\delta_t = r_t + \gamma v_{t+1} - v_t$$
#
# 最后一个词元之后的价值是 0；再从后往前累加
#
# $$A_t = \delta_t + \gamma \lambda A_{t+1}$$
#
# 返回各词元优势的列表，次序与词元相同。
#
# **先预测**：六个词元，只有最后一个得到奖励 1，价值处处估计为 0.5。`lam` 为 0 时，哪几个词元的优势不是零？`lam` 为 1 时呢？
#
# **Exercise 2 (3 points)** Write `gae(rewards, values, gamma, lam)`: token $t$ of a reply gets the reward $r_t$, and the critic's estimate before it is $v_t$.
# First the surprise
#
# $$\delta_t = r_t + \gamma v_{t+1} - v_t$$
#
# where the value behind the last token is 0; then, from the last token to the first, its sum
#
# $$A_t = \delta_t + \gamma \lambda A_{t+1}$$
#
# Return a list with the advantage of each token, in their order.
#
# **Predict**: of six tokens only the last one gets a reward, 1, and the value is 0.5 everywhere. Which tokens have an advantage other than zero with `lam` 0?
# And with `lam` 1?

# %% [markdown] name="gae-guess"
# **我的预测 · My prediction**（双击此处填写 · double-click here and write）：

# %% name="gae" exercise=true
def gae(rewards: list[float], values: list[float], gamma: float,
        lam: float) -> list[float]:
    ### BEGIN SOLUTION
    advantages, advantage, ahead = [], 0.0, 0.0
    for reward, value in zip(reversed(rewards), reversed(values)):
        advantage = reward + gamma * ahead - value + gamma * lam * advantage
        advantages.append(advantage)
        ahead = value
    return advantages[::-1]
    ### END SOLUTION

# %% name="gae-light"
self_check(gae, own.gae, [([0.0, 1.0], [0.5, 0.5], 1.0, 0.0),
                          ([0.0, 1.0], [0.25, 0.5], 1.0, 1.0),
                          ([-0.1, 0.2, 1.0], [0.3, 0.4, 0.6], 0.9, 0.95)],
           hint='从最后一个词元算起，它后面的价值和优势都是 0 · Begin with the last '
                'token: behind it, value and advantage are 0.')
gae_used = attempt(gae, own.gae)
for lam in (0.0, 0.9, 0.99, 1.0):
    advantages = gae_used([0.0] * 5 + [1.0], [0.5] * 6, 1.0, lam)
    print(f'lam {lam:4}: ' + ' '.join(f'{advantage:+.3f}' for advantage in advantages))

# %% name="check-gae" check="gae" points=3
# NBVAL_CHECK_OUTPUT
rng = seeded('gae')
cases = [(numbers(rng, length).tolist(), numbers(rng, length).tolist(), gamma, lam)
         for length, gamma, lam in ((1, 0.9, 0.5), (4, 1.0, 1.0), (5, 0.9, 0.0),
                                    (7, 1.0, 0.99), (6, rng.uniform(0.5, 0.99), 0.8))]
lab.check('gae', gae=(gae, own.gae, cases))

# %% [markdown] name="gae-answer"
# <details><summary>答案 · Answer</summary>
#
# `lam` 为 0，只有最后一个词元：价值处处一样，前面毫无意外。`lam` 为 1，六个词元都是 0.5，就是实得的奖励减去估计。居中的值让功劳往前传，越远越淡；
# 报告用 0.99。价值估得越准，越可以少传一些。
#
# With `lam` 0 the last token alone: the value is the same everywhere, so nothing before it is a surprise. With `lam` 1 all six have 0.5, the reward that came
# less the estimate. In between the credit goes back and fades; the report takes 0.99. The better the values, the less need be passed back.
#
# </details>

# %% [markdown] name="clip-text"
# **练习 3（3 分）** 写出 `clipped_objective(new, old, advantages, epsilon)`：三个数组各有每个词元的一个数，`new` 和 `old` 是新旧策略给它的对数概率。
# 比值 $\rho = e^{\mathrm{new} - \mathrm{old}}$，返回
#
# $$\min\left(\rho A, \mathrm{clip}(\rho, 1 - \epsilon, 1 + \epsilon) A\right)$$
#
# 对各词元的平均。PPO 要让它变大。
#
# **先预测**：一个词元的优势是 -1，而新策略给它的机会已是旧的三倍。裁剪会不会放过它？
#
# **Exercise 3 (3 points)** Write `clipped_objective(new, old, advantages, epsilon)`: the three arrays have a number for each token, `new` and `old` the log
# probabilities that the new and the old policy give it. With the ratio $\rho = e^{\mathrm{new} - \mathrm{old}}$, return the mean over the tokens of
#
# $$\min\left(\rho A, \mathrm{clip}(\rho, 1 - \epsilon, 1 + \epsilon) A\right)$$
#
# PPO makes this larger.
#
# **Predict**: a token has the advantage -1, and the new policy gives it already three times the chance of the old one. Will clipping let it go?

# %% [markdown] name="clip-guess"
# **我的预测 · My prediction**（双击此处填写 · double-click here and write）：

# %% name="clip" exercise=true
def clipped_objective(new: np.ndarray, old: np.ndarray, advantages: np.ndarray,
                      epsilon: float) -> float:
    ### BEGIN SOLUTION
    ratio = np.exp(new - old)
    clipped = np.clip(ratio, 1 - epsilon, 1 + epsilon)
    return np.minimum(ratio * advantages, clipped * advantages).mean()
    ### END SOLUTION

# %% name="clip-light"
from internlm_course.lab import plots

self_check(clipped_objective, own.clipped_objective,
           [(np.log(ratios), np.zeros(3), np.array(advantages), 0.2)
            for ratios, advantages in (([0.5, 1.1, 3.0], [1.0, 1.0, 1.0]),
                                       ([0.5, 1.1, 3.0], [-1.0, -1.0, -1.0]),
                                       ([0.9, 2.0, 0.3], [0.5, -1.0, 2.0]))],
           hint='先各乘优势，再取小的 · Multiply both by the advantage first, then '
                'take the smaller one.')
clip_used = attempt(clipped_objective, own.clipped_objective)
ratios = np.linspace(0.2, 3, 57)
drawing, axes = plots.figure(7, 2.6)
for advantage in (1.0, -1.0):
    values = [clip_used(np.log([ratio]), np.zeros(1), np.array([advantage]), 0.2)
              for ratio in ratios]
    axes.plot(ratios, values,
              label=f'{plots.label("优势", "advantage")} {advantage:+.0f}')
axes.set(xlabel=plots.label('比值', 'ratio'), ylabel=plots.label('目标', 'objective'))
axes.legend(frameon=False)
plots.show(drawing, 'Clipped objective over the ratio: with advantage +1 it rises to '
                    '1.2 and stays there; with -1 it is -0.8 up to the ratio 0.8, and '
                    'falls from there on.')

# %% name="check-clip" check="clip" points=3
# NBVAL_CHECK_OUTPUT
rng = seeded('clip')
cases = [(old + np.array([0.0, 0.5, -0.5, 0.05, 0.9]), old,
          np.array([1.0, sign, sign, -sign, -sign]) * scale, epsilon)
         for old, sign, scale, epsilon in (
             (numbers(rng, 5) - 3, 1.0, 1.0, 0.2),
             (numbers(rng, 5) - 3, -1.0, 0.5, 0.2),
             (numbers(rng, 5) - 3, 1.0, round(rng.uniform(0.5, 2), 2), 0.1))]
lab.check('clip', clip=(clipped_objective, own.clipped_objective, cases))

# %% [markdown] name="clip-answer"
# <details><summary>答案 · Answer</summary>
#
# 不会：图上优势为 -1 的线在右边一直往下走。取小的一个，等于说：走得太远时，好事不再多算，坏事照算。所以一个坏词元机会变大，总会被推回来。
#
# It will not: in the plot the line with advantage -1 keeps falling on the right. Taking the smaller one says: beyond the clip, what is good counts no more, and
# what is bad counts in full. So a bad token that has become likelier is always pushed back.
#
# </details>

# %% [markdown] name="kl-text"
# ## 4 GRPO
#
# 讲义 · Lecture 5：[第 6.2 节](../lectures/zh/05-rlhf.md#62-用一组回答代替评论家) /
# [section 6.2](../lectures/en/05-rlhf.md#62-a-group-in-place-of-the-critic);
# [第 6.3 节](../lectures/zh/05-rlhf.md#63-kl-的三个估计) /
# [section 6.3](../lectures/en/05-rlhf.md#63-three-estimators-of-kl)
#
# **练习 4（2 分）** 写出 `kl_estimators(policy, reference)`：两个数组是策略和参考模型给同一批词元的对数概率，词元由策略抽出。令
# $\ln r = \mathrm{reference} - \mathrm{policy}$，返回 `(k1, k2, k3)`，三者依次是 $-\ln r$、$\tfrac{1}{2}(\ln r)^2$、$r - 1 - \ln r$ 的平均。
#
# **先预测**：单看一个词元，哪个估计会是负的？十个词元平均一次，哪个晃得最厉害？
#
# **Exercise 4 (2 points)** Write `kl_estimators(policy, reference)`: the two arrays are the log probabilities that the policy and the reference model give the
# same tokens, which the policy drew. With $\ln r = \mathrm{reference} - \mathrm{policy}$, return `(k1, k2, k3)`, the means of $-\ln r$, of $\tfrac{1}{2}(\ln r)^2$ and of
# $r - 1 - \ln r$, in this order.
#
# **Predict**: which of them can be negative on a single token? And which varies most when ten tokens are averaged at a time?

# %% [markdown] name="kl-guess"
# **我的预测 · My prediction**（双击此处填写 · double-click here and write）：

# %% name="kl" exercise=true
def kl_estimators(policy: np.ndarray,
                  reference: np.ndarray) -> tuple[float, float, float]:
    ### BEGIN SOLUTION
    log_ratio = reference - policy
    return (-log_ratio.mean(), (log_ratio**2).mean() / 2,
            (np.exp(log_ratio) - 1 - log_ratio).mean())
    ### END SOLUTION

# %% name="kl-light"
self_check(kl_estimators, own.kl_estimators,
           [(np.log([0.5, 0.25]), np.log([0.25, 0.5])), (np.log([0.9]), np.log([0.3]))],
           hint='r 是参考比策略；k3 处处不小于零 · r is the reference over the policy; '
                'k3 is nowhere below zero.')
kl_used = attempt(kl_estimators, own.kl_estimators)
p, q = np.array([0.50, 0.30, 0.15, 0.05]), np.array([0.40, 0.30, 0.20, 0.10])
drawn = np.random.default_rng(0).choice(4, size=(2000, 10), p=p)
estimates = np.array([kl_used(np.log(p[tokens]), np.log(q[tokens]))
                      for tokens in drawn])
print(f'exact · 精确值: {(p * np.log(p / q)).sum():.4f} nats')
for name, values in zip(('k1', 'k2', 'k3'), estimates.T):
    print(f'{name}: mean · 平均 {values.mean():.4f}, deviation · 标准差 '
          f'{values.std():.4f}, below zero · 为负 {(values < 0).mean():4.0%}')

# %% name="check-kl" check="kl" points=2
# NBVAL_CHECK_OUTPUT
rng = seeded('kl')
cases = [(policy, policy + shift * numbers(rng, length))
         for length, shift in ((1, 1.0), (4, 0.5), (6, 1.0), (5, 0.05))
         for policy in [numbers(rng, length) - 3]]
lab.check('kl', kl=(kl_estimators, own.kl_estimators, cases))

# %% [markdown] name="kl-answer"
# <details><summary>答案 · Answer</summary>
#
# 只有 k1 会是负的，晃得也最厉害，平均起来却是对的。k2 从不为负、晃得小，平均却略有偏差；k3 两样都占了好处：平均对，且不为负。GRPO 用的是 k3。
#
# Only k1 can be negative; it varies most, and yet its mean is right. k2 is never negative and varies little, but its mean is somewhat off. k3 has the best of
# both: the right mean, and never below zero. GRPO takes k3.
#
# </details>

# %% [markdown] name="groups-text"
# **练习 5（2 分）** 写出 `group_advantages(rewards, size, normalise)`：每道题抽 `size` 个回答，`rewards` 里相邻的 `size` 个奖励属于同一题。优势是奖励减去
# 本组的平均；`normalise` 为真时，再除以本组的标准差（除以个数的那一种）与 0.000001 之和。返回与 `rewards` 一样长的数组。
#
# **先预测**：一道题的回答全对，它教得了什么？除以标准差之后，八个里只对一个的题，与对四个的题，哪一个里对的回答得到的优势大？
#
# **Exercise 5 (2 points)** Write `group_advantages(rewards, size, normalise)`: each question gets `size` replies, and `size` neighbouring `rewards` are those of
# one question. The advantage is the reward less its group's mean; where `normalise` is true, over the sum of the group's standard deviation (the one that
# divides by the count) and 0.000001. Return an array as long as `rewards`.
#
# **Predict**: what can a question teach to which all replies are right? And after the division, in which question does a right reply have the larger advantage:
# where one of eight is right, or four?

# %% [markdown] name="groups-guess"
# **我的预测 · My prediction**（双击此处填写 · double-click here and write）：

# %% name="groups" exercise=true
def group_advantages(rewards: list[float], size: int, normalise: bool) -> np.ndarray:
    ### BEGIN SOLUTION
    groups = np.array(rewards, float).reshape(-1, size)
    advantages = groups - groups.mean(axis=1, keepdims=True)
    if normalise:
        advantages = advantages / (groups.std(axis=1, keepdims=True) + 1e-6)
    return advantages.reshape(-1)
    ### END SOLUTION

# %% name="groups-light"
self_check(group_advantages, own.group_advantages,
           [([1.0, 0.0, 0.0, 0.0], 4, False), ([1.0, 0.0, 1.0, 1.0], 2, True),
            ([0.0, 3.0, 1.0, 0.5], 2, False)],
           hint='先排成每行一题的表，再按行算平均 · Lay the rewards out with a '
                'question in each row first; means are over a row.')
groups_used = attempt(group_advantages, own.group_advantages)
for right in (0, 1, 4, 7, 8):
    rewards = [1.0] * right + [0.0] * (8 - right)
    plain, normal = (groups_used(rewards, 8, normalise) for normalise in (False, True))
    print(f'{right} of 8 right · 对 {right} 个: first reply {plain[0]:+.3f}, '
          f'last {plain[-1]:+.3f}; normalised · 除以标准差 {normal[0]:+.3f}, '
          f'{normal[-1]:+.3f}')

# %% name="check-groups" check="groups" points=2
# NBVAL_CHECK_OUTPUT
rng = seeded('groups')
cases = [([float(rng.random() < 0.5) for _ in range(8)] + [1.0] * 4, 4, True),
         ([round(rng.uniform(-1, 2), 2) for _ in range(6)], 3, False),
         ([round(rng.uniform(-1, 2), 2) for _ in range(10)], 5, True),
         ([rng.choice([0.0, 0.5, 1.0]) for _ in range(12)], 6, False)]
lab.check('groups', groups=(group_advantages, own.group_advantages, cases))

# %% [markdown] name="groups-answer"
# <details><summary>答案 · Answer</summary>
#
# 全对的题什么也教不了：人人都等于平均，优势全是零；全错的也一样。除以标准差之后，八个里只对一个的，那一个的优势大得多（上面第二行）：罕见的成功被放大；
# 对七个的题里，唯一的错同样被放大。于是太难和太易的题分量过重，这是后来有人去掉这一除的原因。
#
# It can teach nothing: each reply equals the mean, so all advantages are zero, as where all are wrong. After the division the single right reply of eight has
# much the larger advantage (second line above): a rare success is magnified, and so is the single failure where seven are right. Questions that are too hard
# or too easy weigh too much, which is why others have since left the division out.
#
# </details>

# %% [markdown] name="verifier-text"
# ## 5 骗不了的验证器 · A verifier that cannot be fooled
#
# 讲义 · Lecture 5：[第 6.1 节](../lectures/zh/05-rlhf.md#61-由程序给奖励) /
# [section 6.1](../lectures/en/05-rlhf.md#61-rewards-by-program)
#
# 奖励若由程序给，模型就会把程序的漏洞找出来。题目是加法，答案是一个整数。
#
# **练习 6（3 分）** 写出 `verified(reply, answer)`，返回真或假。下面几条都做到才算对：
#
# - 去掉首尾空白后，回答只有一行；
# - 里面至多有一个 `=`；
# - `=` 之后的部分（一个也没有，就是整个回答）恰好有一个数，并且等于 `answer`。数是连着的数字 0 到 9，紧挨在前面的 `-` 也算在内。
#
# **先预测**：有人把规则写成“回答里出现了答案”。下面的回答里，哪些骗得过它？
#
# A reward that comes from a program makes the model look for the program's holes. The questions are sums, and an answer is an integer.
#
# **Exercise 6 (3 points)** Write `verified(reply, answer)`, true or false. A reply is right only if all of this holds:
#
# - without the blanks at its ends it is a single line;
# - there is at most one `=` in it;
# - behind the `=` (in the whole reply, where there is none) stands exactly one number, and it equals `answer`. A number is a run of digits, 0 to 9, together
#   with a `-` directly before it.
#
# **Predict**: somebody writes the rule “the answer occurs in the reply”. Which of the replies below fool it?

# %% [markdown] name="verifier-guess"
# **我的预测 · My prediction**（双击此处填写 · double-click here and write）：

# %% name="verifier" exercise=true
def verified(reply: str, answer: int) -> bool:
    ### BEGIN SOLUTION
    text = reply.strip()
    found = re.findall(r'-?[0-9]+', text.rpartition('=')[2])
    return ('\n' not in text and text.count('=') <= 1
            and [int(number) for number in found] == [answer])
    ### END SOLUTION

# %% name="verifier-light"
HONEST = ['85', '37+48=85', '37 + 48 = 85.', 'The answer is 85.', '答案是85。', '85\n']
HACKED = ['83 84 85 86 87', '850', '185', '-85', '37+48=84=85', '37+48=84 or 85',
          '37+48=85\nI think', '37+48', '']
self_check(verified, own.verified, [(reply, 85) for reply in HONEST + HACKED],
           hint='把数一个个取出来再比，不要在文字里找 · Take the numbers out and '
                'compare them; do not search the text.')
verified_used = attempt(verified, own.verified)
print(f'{"reply · 回答":18} {"occurs · 出现":14} {"last · 末尾":14} yours · 你的')
for reply in HONEST + HACKED:
    last = re.findall(r'[0-9]+', reply)[-1:] == ['85']
    print(f'{reply!r:20} {str("85" in reply):16} {str(last):16} '
          f'{verified_used(reply, 85)}')

# %% name="check-verifier" check="verifier" points=3
# NBVAL_CHECK_OUTPUT
rng = seeded('verifier')
cases = []
for a, b in ((rng.randrange(12, 60), rng.randrange(12, 40)) for _ in range(3)):
    c = a + b
    cases += [(reply, c) for reply in (
        f'{c}', f'{a}+{b}={c}', f' {a} + {b} = {c}. ', f'It is {c}.', f'{a}+{b}',
        f'{c - 1} {c} {c + 1}', f'{c}0', f'1{c}', f'-{c}', f'{a}+{b}={c}={c}',
        f'{a}+{b}={c - 1}={c}', f'{a}+{b}={c}\nor so', f'It is\n{c}', f'{c}\n{c}',
        f'{a}+{b}={c}, not {c + 1}', f'{c}={a}+{b}', f'{a}+{b}=', '',
        f'{a}+{b}={c}\n', f'x={c}')]
    cases += [(f'{a}-{c}=-{b}', -b), (f'{a}-{c}={b}', -b), (f'{a}-{c}=- {b}', -b)]
rng.shuffle(cases)
lab.check('verifier', verifier=(verified, own.verified, cases))

# %% [markdown] name="verifier-answer"
# <details><summary>答案 · Answer</summary>
#
# 后九个里的七个：凡是文字里出现 `85` 的都骗得过，`850`、`185`、`-85` 也在内。改成只看最后一个数，仍有四个骗得过：添一个负号，先写一个错的结果，或者在第二行
# 另说一句。模型不用懂得这些漏洞，只要偶尔撞上，奖励就会教它多撞几次。
#
# Seven of the last nine: all in whose text `85` occurs, among them `850`, `185` and `-85`. Looking at the last number alone is still fooled by four: by a minus
# sign, a wrong result before the right one, or another word on a second line. A model need not understand such holes; it only has to hit one now and then, and
# the reward teaches it to do so more often.
#
# </details>

# %% [markdown] name="grpo-text"
# ## 6 为奖励练上一分钟 · A minute of practice for a reward
#
# 讲义 · Lecture 5：[第 6.4 节](../lectures/zh/05-rlhf.md#64-怎样崩溃) /
# [section 6.4](../lectures/en/05-rlhf.md#64-how-it-collapses);
# [第 8 节](../lectures/zh/05-rlhf.md#8-在我们的小世界里) /
# [section 8](../lectures/en/05-rlhf.md#8-in-our-small-world)
#
# 课程的 `sft` 会照着指令换个形式作答，最难的是换一种语言：用中文问、用英文答，或者反过来，它时对时错。它没有更多的范例可学，只有一个验证器：语言对、
# 答案也对才给 1。一步 GRPO：16 道题各抽 8 个回答，验证，算组内优势，让对的更容易再被抽到。
#
# **先预测**：没有人给它看过这些题的正确答案，只告诉它每个回答对不对。一分钟之后，留出的题它多做对几成？原来会的首都，会不会忘？
#
# The course's `sft` can answer in a form that it is told. Hardest is the other language: asked in Chinese to answer in English, or the other way round, it
# gets some right and some wrong. It gets no more examples, only a verifier, which gives 1 where the language and the answer are right. A step of GRPO: 8
# replies are drawn to each of 16 questions and verified, advantages are computed within each group, and what was right becomes likelier.
#
# **Predict**: nobody shows it the right answers to these questions; it is only told of each reply whether it is right. After a minute, by how much will its
# share of held-out questions have risen? And will it forget the capitals that it knew?

# %% [markdown] name="grpo-guess"
# **我的预测 · My prediction**（双击此处填写 · double-click here and write）：

# %% name="rollout"
import torch

from internlm_course.align.grpo import GRPOSettings, grpo
from internlm_course.align.rollout import asked, sample
from internlm_course.marking import is_correct
from internlm_course.model import load_model, load_tokenizer
from internlm_course.world import world
from internlm_course.world.bootcamp import ABROAD, Instructions

sft = course.sft()
tokenizer = load_tokenizer(sft.path)
reference = load_model(sft.path, dtype=torch.float32)
task = Instructions(seed=1, names=ABROAD)
cases = [task.case_generator() for _ in range(16)]
talks = [asked(case['question']) for case in cases for _ in range(8)]
texts = sample(reference, tokenizer, talks, 32, seed=0).texts
groups = [texts[i:i + 8] for i in range(0, len(texts), 8)]
rewards = [[task.verify_score(text, case) for text in group]
           for case, group in zip(cases, groups)]
mixed = [i for i, given in enumerate(rewards) if 0 < sum(given) < 8]
for i in mixed[:2]:
    print(cases[i]['question'])
    for text, reward, advantage in zip(groups[i], rewards[i],
                                       groups_used(rewards[i], 8, False)):
        print(f'  {text!r:40} reward · 奖励 {reward:.0f}, advantage · 优势 '
              f'{advantage:+.3f}')
print(f'{len(mixed)} of {len(cases)} questions have right and wrong replies · '
      '有对有错的题')

# %% name="practice"
import dataclasses


def shares(model) -> dict[str, float]:
    """Of questions that are held out: the share of instructions verified, and the
    share of capitals and the like that are known."""
    held = Instructions(unseen=True, names=ABROAD)
    cases = [held.case_generator() for _ in range(120)]
    known = [world.ask(world.knowledge, seeded(f'known-{i}'), ('en', 'zh')[i % 2],
                       held_out=True) for i in range(60)]
    talks = [asked(question) for question in
             [held.prompt_func(case) for case in cases] + [q.question for q in known]]
    texts = sample(model, tokenizer, talks, 32, seed=None).texts
    return dict(instructions=float(np.mean([held.verify_score(text, case)
                                            for text, case in zip(texts, cases)])),
                knowledge=float(np.mean([is_correct(text, q.reply)
                                         for text, q in zip(texts[120:], known)])))


def practise_for_reward(out) -> dict:
    """GRPO from sft; the metrics of the run."""
    actor = load_model(sft.path, dtype=torch.float32)
    steps = grpo(actor, reference, tokenizer, Instructions(names=ABROAD), settings,
                 on_step=curve)
    return dict(steps=steps, before=shares(reference), after=shares(actor))


settings = GRPOSettings(steps=24, longest=32)
curve = plots.Curves(dict(reward=plots.label('奖励', 'reward')))
run = lab.keep('grpo', practise_for_reward, settings=dataclasses.asdict(settings),
               sft=sft.path.name)
if run.cached:
    curve.records = run.metrics['steps']
    curve.draw('fetched: trained before · 之前训练过')
before, after = run.metrics['before'], run.metrics['after']
for name in before:
    print(f'{name:12} held out · 留出 {before[name]:6.1%} → {after[name]:6.1%}')
print(f'KL to the start · 离起点的 KL: {run.metrics["steps"][-1]["kl"]:.3f} '
      'nats a token')

# %% name="check-grpo" check=""
# NBVAL_CHECK_OUTPUT
rewards = [step['reward'] for step in run.metrics['steps']]
show_values('grpo', dict(gained=sum(rewards[-8:]) > sum(rewards[:8]),
                         still_knows=after['knowledge'] > before['knowledge'] - 0.1))

# %% [markdown] name="grpo-look"
# **看什么**：曲线上的奖励是训练题的，两行比例是留出题的。16 道题里，有几道的八个回答有对有错？其余的题这一步教了什么？
#
# **What to look for**: the reward in the curve is that of training questions, the two lines of shares are of held-out ones. To how many of the 16 questions are
# some of the eight replies right and some wrong? What do the others teach in this step?
#
# <details><summary>答案 · Answer</summary>
#
# 训练题的奖励忽高忽低，因为每一步的题不同，但后半段平均比前半段高。留出题有 120 道，比例大约准到 ±7 个百分点，升几分还证明不了什么；多练几步才看得清，讲义 6.4 有量过的。
# 原来知道的几乎没有忘：KL 的价钱和小步子把它留在起点附近。它不是从范例里学的，答案本来就在它偶尔抽到的回答里，奖励只是让它更常抽到。八个回答全对或全错的题，
# 什么也没有教；一次也抽不到的，这样永远学不会。
#
# The reward of the training questions goes up and down, for each step has other questions, but its second half is higher than its first. A share of 120
# held-out questions is good to about ±7 points, so that a rise by a few proves nothing yet; more steps make it plain, as measured in the lecture, 6.4. What it knew is hardly forgotten: the price of KL and small steps keep it
# near the start. It learned from no example. The right replies were among those that it drew now and then, and the reward made it draw them more often.
# Questions to which all eight replies are right or all are wrong teach nothing; and what is never drawn can never be learned in this way.
#
# </details>

# %% [markdown] name="diagnosis-text"
# ## 7 从曲线诊断 · Diagnosis from curves
#
# 讲义 · Lecture 5：[第 4.1 节](../lectures/zh/05-rlhf.md#41-指标成了目标) /
# [section 4.1](../lectures/en/05-rlhf.md#41-a-measure-that-becomes-a-target)
#
# **练习 7（2 分）** 写出 `diagnose(reward, score, margin)`：两条曲线每步各一个数，`reward` 是奖励模型的分数，`score` 是在留出题上核对出来的分数。一条曲线的变化，
# 是末尾四分之一的平均减去开头四分之一的平均；四分之一是步数除以 4 取整，至少 1 步。返回 `(kind, keep)`，`kind` 取头一个成立的：
#
# - `'learning'`：`score` 的变化大于 `margin`；
# - `'hack'`：`reward` 的变化大于 `margin`；
# - `'collapse'`：`score` 的变化小于 `-margin`；
# - 都不成立，就是 `'standstill'`。
#
# `keep` 是该留下哪一步的检查点：`score` 最高的一步，从 0 数起，同高取最早。
#
# 下面画的是一个只有五种回答的小策略，奖励模型偏爱其中一种空话。**先预测**：KL 的系数从 0 到 4，核对出来的分数各会怎样变？奖励一路上升，能不能说明练得好？
#
# **Exercise 7 (2 points)** Write `diagnose(reward, score, margin)`: each curve has a number for each step, `reward` the reward model's score, `score` the share
# verified on held-out questions. The change of a curve is the mean of its last quarter less the mean of its first; a quarter is the number of steps over 4,
# rounded down, at least 1 step. Return `(kind, keep)`, where `kind` is the first that holds:
#
# - `'learning'`: the change of `score` is greater than `margin`;
# - `'hack'`: the change of `reward` is greater than `margin`;
# - `'collapse'`: the change of `score` is less than `-margin`;
# - where none holds, `'standstill'`.
#
# `keep` is the step whose checkpoint to keep: the one with the highest `score`, counted from 0, the first of equals.
#
# Drawn below is a small policy of only five kinds of replies, one of which, an empty compliment, the reward model likes too much. **Predict**: with the
# coefficient of KL from 0 to 4, what will the verified score do? Does a reward that rises all the way prove that training goes well?

# %% [markdown] name="diagnosis-guess"
# **我的预测 · My prediction**（双击此处填写 · double-click here and write）：

# %% name="diagnosis" exercise=true
def diagnose(reward: list[float], score: list[float], margin: float) -> tuple[str, int]:
    ### BEGIN SOLUTION
    quarter = max(len(reward) // 4, 1)
    rise, gain = (sum(curve[-quarter:]) / quarter - sum(curve[:quarter]) / quarter
                  for curve in (reward, score))
    kind = ('learning' if gain > margin else 'hack' if rise > margin
            else 'collapse' if gain < -margin else 'standstill')
    return kind, score.index(max(score))
    ### END SOLUTION

# %% name="diagnosis-light"
self_check(diagnose, own.diagnose,
           [([0, 0, 1, 1, 2, 2, 3, 3], [0.5, 0.6, 0.9, 0.8, 0.5, 0.4, 0.2, 0.1], 0.1),
            ([0, 1, 2, 3], [0.1, 0.2, 0.8, 0.9], 0.1),
            ([1, 1, 1, 1, 1, 1, 1, 1], [0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.8, 0.8], 0.3),
            ([1, 1, 1, 1, 1, 1, 1, 1], [0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.9], 0.3),
            ([1, 1, 1], [0.9, 0.5, 0.1], 0.2)],
           hint='四分之一至少一步；按次序取头一个成立的 · A quarter is at least one '
                'step; take the first that holds, in this order.')
diagnose_used = attempt(diagnose, own.diagnose)
KINDS = ('right', 'right, in a sentence', 'wrong', 'polite, no answer', 'compliment')
START = np.array([0.40, 0.25, 0.30, 0.045, 0.005])  # the chance of each at first
RIGHT = np.array([1.0, 1.0, 0.0, 0.0, 0.0])
REWARD = np.array([1.0, 1.4, -1.0, 0.5, 3.0])  # what the reward model gives


def practise(beta: float, steps: int = 100) -> tuple[list[float], list[float]]:
    """Reward and verified score, step by step, of a policy that makes each kind the
    likelier, the more its reward is above beta times its log ratio to the start."""
    p, reward, score = START, [], []
    for _ in range(steps):
        reward.append(float(p @ REWARD))
        score.append(float(p @ RIGHT))
        p = p * np.exp(0.1 * (REWARD - beta * np.log(p / START)))
        p = p / p.sum()
    return reward, score


drawing, axes = plots.figure(7, 2.8)
found = {}
for i, beta in enumerate((0.0, 0.5, 1.0, 4.0)):
    reward, score = practise(beta)
    found[str(beta)] = diagnose_used(reward, score, 0.05)
    axes.plot(reward, color=f'C{i}', linestyle='--')
    axes.plot(score, color=f'C{i}', label=f'KL × {beta:g}')
    print(f'KL × {beta:3}: reward · 奖励 {reward[0]:.2f} → {reward[-1]:.2f}, '
          f'verified · 核对 {score[0]:.2f}, '
          f'best · 最好 {max(score):.2f} → {score[-1]:.2f}: '
          f'{found[str(beta)]}')
axes.set(xlabel=plots.label('步', 'step'),
         title=plots.label('虚线：奖励，实线：核对', 'dashed: reward, solid: verified'))
axes.legend(frameon=False)
plots.show(drawing, f'Reward and verified score over steps by KL coefficient: {found}')

# %% name="check-diagnosis" check="diagnosis" points=2
# NBVAL_CHECK_OUTPUT
rng = seeded('diagnosis')


def a_curve(first: float, middle: float, last: float, steps: int) -> list[float]:
    """A noisy curve from first over middle to last."""
    return [round(float(np.interp(i, [0, (steps - 1) / 2, steps - 1],
                                  [first, middle, last])) + rng.uniform(-0.02, 0.02), 3)
            for i in range(steps)]


cases = [(a_curve(*reward, steps), a_curve(*score, steps), margin)
         for reward, score, steps, margin in (
             ((0, 1, 2), (0.5, 0.7, 0.9), 12, 0.1),
             ((0, 1, 3), (0.6, 0.8, 0.2), 16, 0.1),
             ((0, 1, 2), (0.6, 0.9, 0.6), 13, 0.1),
             ((1, 0, -1), (0.8, 0.5, 0.1), 9, 0.1),
             ((1, 0.5, 1), (0.5, 0.1, 0.5), 18, 0.1),
             ((1, 1, 1), (0.9, 0.9, 0.3), 3, 0.4),
             ((2, 1, 0), (0.2, 0.6, 0.8), 7, 0.1),
             ((0, 1, 2), (0.4, 0.6, 0.8), 12, 0.9))]
cases += [([1.0] * steps, [0.5] * (steps - late) + [0.9] * late, margin)
          for steps, late, margin in ((16, 1, 0.2), (16, 3, 0.35),
                                      (rng.randrange(12, 16), 3, 0.3))]
lab.check('diagnosis', diagnosis=(diagnose, own.diagnose, cases))

# %% [markdown] name="diagnosis-answer"
# <details><summary>答案 · Answer</summary>
#
# 没有 KL，核对的分数先升后降，降到零：小策略先学会少答错，后来发现空话更合算，而奖励一路上升，什么也没有报告。系数为 0.5，还是走上同一条路，只是没走那么远；
# 为 1，空话就买不起了：偏离的代价超过多得的奖励；为 4，连该学的也学不到多少。所以要另留一份不拿来训练的核对，并且留下它最高的那一步。
#
# Without KL the verified score rises first and then falls to zero: the small policy learns to be wrong less often, and later finds that a compliment pays
# better, while the reward rises all the way and reports nothing. With 0.5 it goes the same way, if not so far; with 1 the compliment is too expensive, because
# leaving the start costs more than the reward brings; with 4 little is learned of what should be. So keep a verification aside that nobody trains on, and keep
# the step at which it is highest.
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
