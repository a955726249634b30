"""Known-wrong answers to the exercises of lab 5."""
from internlm_course.grading.mistakes import Mistake

RANKING = """
def ranking_loss(better, worse, gamma):
    p = {p}
    return {value}


def penalty(score, bound):
    inside = {inside}
    return {barrier}
"""


def ranking(p='1 / (1 + math.exp(worse - better))', value='-(1 - 2 * max(0, p - 0.5)) ** gamma * math.log(p)',
            inside='min(max(score, 0.001 - bound), bound - 0.001)',
            barrier='-math.log(bound + inside) - math.log(bound - inside)'):
    return RANKING.format(p=p, value=value, inside=inside, barrier=barrier)


GAE = """
def gae(rewards, values, gamma, lam):
    advantages, advantage, ahead = [], 0.0, {last}
    for reward, value in zip(reversed(rewards), reversed(values)):
        advantage = {surprise} + {passed} * advantage
        advantages.append(advantage)
        ahead = {ahead}
    return {order}
"""


def gae(last='0.0', surprise='reward + gamma * ahead - value', passed='gamma * lam', ahead='value',
        order='advantages[::-1]'):
    return GAE.format(last=last, surprise=surprise, passed=passed, ahead=ahead, order=order)


CLIP = """
def clipped_objective(new, old, advantages, epsilon):
    ratio = {ratio}
    clipped = {clipped}
    return {value}
"""


def clip(ratio='np.exp(new - old)', clipped='np.clip(ratio, 1 - epsilon, 1 + epsilon)',
         value='np.minimum(ratio * advantages, clipped * advantages).mean()'):
    return CLIP.format(ratio=ratio, clipped=clipped, value=value)


KL = """
def kl_estimators(policy, reference):
    log_ratio = {log_ratio}
    return {k1}, {k2}, {k3}
"""


def kl(log_ratio='reference - policy', k1='-log_ratio.mean()', k2='(log_ratio**2).mean() / 2',
       k3='(np.exp(log_ratio) - 1 - log_ratio).mean()'):
    return KL.format(log_ratio=log_ratio, k1=k1, k2=k2, k3=k3)


GROUPS = """
def group_advantages(rewards, size, normalise):
    groups = np.array(rewards, float).reshape({shape})
    advantages = groups - {mean}
    if {normalise}:
        advantages = advantages / {by}
    return advantages.reshape(-1)
"""


def groups(shape='-1, size', mean='groups.mean(axis=1, keepdims=True)', normalise='normalise',
           by='(groups.std(axis=1, keepdims=True) + 1e-6)'):
    return GROUPS.format(shape=shape, mean=mean, normalise=normalise, by=by)


VERIFIER = """
def verified(reply, answer):
    text = reply.strip()
    found = [int(number) for number in re.findall(r'{number}', {where})]
    return {value}
"""


def verifier(number='-?[0-9]+', where="text.rpartition('=')[2]",
             value="'\\n' not in text and text.count('=') <= 1 and found == [answer]"):
    return VERIFIER.format(number=number, where=where, value=value)


DIAGNOSIS = """
def diagnose(reward, score, margin):
    quarter = {quarter}
    rise, gain = ({change} for curve in (reward, score))
    {kinds}
    return kind, {keep}
"""
KINDS = ("kind = ('learning' if gain > margin else 'hack' if rise > margin else 'collapse' if gain < -margin "
         "else 'standstill')")


def diagnosis(quarter='max(len(reward) // 4, 1)',
              change='sum(curve[-quarter:]) / quarter - sum(curve[:quarter]) / quarter', kinds=KINDS,
              keep='score.index(max(score))'):
    return DIAGNOSIS.format(quarter=quarter, change=change, kinds=kinds, keep=keep)


MISTAKES = dict(
    ranking=dict(
        ranking_loss=[
            Mistake('no-focus', ranking(value='-math.log(p)'),
                    'Change gamma: does your loss change with it?',
                    '改一改 gamma：你的损失跟着变吗？'),
            Mistake('worse-minus-better', ranking(p='1 / (1 + math.exp(better - worse))'),
                    'Give the preferred reply a higher score than the other: should the loss be large then?',
                    '让更好的回答分数更高：这时损失该大吗？'),
            Mistake('discount-without-a-floor', ranking(value='-(1 - 2 * (p - 0.5)) ** gamma * math.log(p)'),
                    'Take a pair in the wrong order: by what number do you multiply its loss?',
                    '拿一对排反了的来算：你给它的损失乘了多少？'),
            Mistake('one-half-left-out', ranking(value='-(1 - max(0, p)) ** gamma * math.log(p)'),
                    'Take two equal scores: what should the bracket be when nothing is told apart?',
                    '拿两个相等的分数来算：还一点没分开的时候，括号里该是多少？'),
            Mistake('logarithm-to-base-two', ranking(value='-(1 - 2 * max(0, p - 0.5)) ** gamma * math.log2(p)'),
                    'Look at the logarithm of the formula: what is its base?',
                    '看看公式里的对数：底是多少？')],
        penalty=[
            Mistake('barrier-on-one-side', ranking(barrier='-math.log(bound - inside)'),
                    'Let the score go far down: what keeps it from leaving below?',
                    '让分数一直往下掉：是什么不让它从下面出去？'),
            Mistake('penalty-with-the-wrong-sign',
                    ranking(barrier='math.log(bound + inside) + math.log(bound - inside)'),
                    'Compare your penalty at 0 and near the bound: where should it be larger?',
                    '比较 0 处和边上的值：哪里该大？'),
            Mistake('score-not-pulled-in', ranking(inside='score'),
                    'Try a score on the bound and one beyond it: what does the logarithm say?',
                    '试试正好在边上和超出去的分数：对数会怎样？'),
            Mistake('pulled-in-by-the-size', ranking(inside='min(abs(score), bound - 0.001)',
                                                     barrier='-math.log(bound - inside)'),
                    'Count the logarithms in the formula, and look what each of them guards.',
                    '数一数公式里有几个对数，各守着哪一边。')]),
    gae=dict(gae=[
        Mistake('nothing-passed-back', gae(passed='0'),
                'Let lam be 1: does the reward at the end reach the first token?',
                '令 lam 为 1：末尾的奖励传到第一个词元了吗？'),
        Mistake('lam-without-gamma', gae(passed='lam'),
                'Look at the second formula again: by which two numbers does the sum shrink from token to token?',
                '再看第二个式子：每往前一个词元，累加的和要乘哪两个数？'),
        Mistake('gamma-without-lam', gae(passed='gamma'),
                'Let lam be 0: should anything of later tokens be left in an advantage?',
                '令 lam 为 0：优势里还该有后面词元的份吗？'),
        Mistake('value-after-the-last-token', gae(last='values[-1]'),
                'Look what you take for the value behind the last token: what is there still to come?',
                '看看最后一个词元之后你取的价值：那里还有什么可得的？'),
        Mistake('the-value-left-out', gae(surprise='reward'),
                'A reward that was expected is no surprise: where do you take the expectation away?',
                '意料之中的奖励不算意外：你在哪里减去了预期？'),
        Mistake('advantages-from-the-end', gae(order='advantages'),
                'Look at the order of your list: to which token does its first number belong?',
                '看看你的列表的次序：第一个数属于哪个词元？'),
        Mistake('the-next-value-not-discounted', gae(surprise='reward + ahead - value'),
                'Try a gamma of 0.5: where does it meet the value of the next token?',
                '把 gamma 取成 0.5 试试：它在哪里乘上下一个词元的价值？')]),
    clip=dict(clipped_objective=[
        Mistake('clipped-always', clip(value='(clipped * advantages).mean()'),
                'Let a bad token become three times as likely: does your objective still want it back?',
                '让一个坏词元的机会变成三倍：你的目标还想把它拉回来吗？'),
        Mistake('never-clipped', clip(value='(ratio * advantages).mean()'),
                'Let a good token become ten times as likely: does your objective go on rising?',
                '让一个好词元的机会变成十倍：你的目标还在往上升吗？'),
        Mistake('the-larger-of-the-two', clip(value='np.maximum(ratio * advantages, clipped * advantages).mean()'),
                'Compare the two products where a good token has become much likelier: which is the cautious one?',
                '好词元机会大增的时候，比较两个乘积：谨慎的是哪一个？'),
        Mistake('smaller-ratio-before-the-advantage', clip(value='(np.minimum(ratio, clipped) * advantages).mean()'),
                'Try an advantage below zero: does the order of taking the minimum and multiplying matter?',
                '拿负的优势试一试：先取小还是先相乘，有没有分别？'),
        Mistake('old-over-new', clip(ratio='np.exp(old - new)'),
                'Let the new policy make a token likelier: is your ratio above 1?',
                '让新策略把一个词元的机会变大：你的比值大于 1 吗？'),
        Mistake('difference-for-the-ratio', clip(ratio='new - old'),
                'Let both policies agree: what should the ratio be, and what is yours?',
                '让两个策略完全一样：比值该是多少，你的是多少？'),
        Mistake('a-loss-for-an-objective', clip(value='-np.minimum(ratio * advantages, clipped * advantages).mean()'),
                'Ask whether what is asked for shall be made larger or smaller.',
                '想一想，要求的这个量是要变大还是变小。'),
        Mistake('sum-over-the-tokens', clip(value='np.minimum(ratio * advantages, clipped * advantages).sum()'),
                'Give twice as many equal tokens: should the result double?',
                '把同样的词元放上两遍：结果该加倍吗？')]),
    kl=dict(kl_estimators=[
        Mistake('policy-over-reference', kl(log_ratio='policy - reference'),
                'Look which of the two stands on top in r.',
                '看看 r 里谁在上面。'),
        Mistake('k2-without-the-half', kl(k2='(log_ratio**2).mean()'),
                'Compare k2 and k3 where the two models hardly differ: how far are they apart?',
                '两个模型几乎一样的时候比较 k2 和 k3：它们相差多远？'),
        Mistake('square-of-the-mean', kl(k2='log_ratio.mean()**2 / 2'),
                'Take two tokens whose log ratios are opposite: can the mean of squares be zero?',
                '拿对数比值一正一负的两个词元来算：平方的平均会是零吗？'),
        Mistake('k3-of-the-mean', kl(k3='np.exp(log_ratio.mean()) - 1 - log_ratio.mean()'),
                'Ask of what k3 is a mean, and whether exp of a mean is the mean of exp.',
                '想一想 k3 是什么的平均，平均之后取指数与取指数之后平均是不是一回事。'),
        Mistake('k1-without-its-sign', kl(k1='log_ratio.mean()'),
                'Let the policy be surer of its tokens than the reference: which sign should k1 have?',
                '策略对自己的词元比参考更有把握时，k1 该是正还是负？'),
        Mistake('k3-without-the-one', kl(k3='(np.exp(log_ratio) - log_ratio).mean()'),
                'Let the two models agree: what is their divergence, and what is your k3?',
                '让两个模型完全一样：散度是多少，你的 k3 是多少？')]),
    groups=dict(group_advantages=[
        Mistake('mean-of-all-questions', groups(mean='groups.mean()'),
                'Look with whom a reply is compared: do replies to other questions belong there?',
                '看看一个回答与谁比：别的题的回答该算进去吗？'),
        Mistake('groups-across', groups(shape='size, -1'),
                'Print your table of groups: do the replies of one question stand in one row?',
                '把你的分组打印出来：同一题的回答在同一行吗？'),
        Mistake('always-normalised', groups(normalise='True'),
                'Call it with normalise false: by what do you divide then?',
                '用 normalise 为假调用一次：这时你除了什么？'),
        Mistake('deviation-of-a-sample', groups(by='(groups.std(axis=1, ddof=1, keepdims=True) + 1e-6)'),
                'Look by which number your deviation divides: the count, or one less?',
                '看看你的标准差除以多少：是个数，还是个数减一？'),
        Mistake('division-by-zero', groups(by='groups.std(axis=1, keepdims=True)'),
                'Try a group in which all rewards are equal: what is its deviation?',
                '拿一组奖励全相同的试一试：它的标准差是多少？'),
        Mistake('variance-for-deviation', groups(by='(groups.var(axis=1, keepdims=True) + 1e-6)'),
                'Multiply all rewards by ten: should normalised advantages change?',
                '把奖励都乘以十：除过标准差的优势该变吗？'),
        Mistake('no-baseline', groups(mean='0'),
                'Let all replies be right: what should they teach, and what are your advantages?',
                '让所有回答都对：它们该教什么，你的优势是多少？')]),
    verifier=dict(verified=[
        Mistake('occurs-somewhere', verifier(value='str(answer) in reply'),
                'Try a longer number in which the answer is hidden, and a list of guesses.',
                '试试把答案藏在更长的数里，或者列上一串猜测。'),
        Mistake('the-last-number', verifier(where='text', value='found[-1:] == [answer]'),
                'Let a reply claim two different results, the right one last: should it be paid?',
                '让一个回答给出两个不同的结果，对的放在最后：该给奖励吗？'),
        Mistake('one-of-the-numbers', verifier(where='text', value='answer in found'),
                'Count how many guesses your rule lets a reply make.',
                '数一数你的规则允许一个回答猜几次。'),
        Mistake('nothing-but-the-number', verifier(value='text == str(answer)'),
                'Try an honest reply in a sentence, or with its sum: does it get what it deserves?',
                '试试一句老实的回答，或者带着算式的：它得到该得的了吗？'),
        Mistake('sign-not-read', verifier(number='[0-9]+'),
                'Try the answer with a minus before it.',
                '在答案前面放一个负号试试。'),
        Mistake('any-number-of-lines', verifier(value="text.count('=') <= 1 and found == [answer]"),
                'Look at the first condition of the text: what do you do with a second line?',
                '看看题目的第一条：出现第二行时你怎么办？'),
        Mistake('any-number-of-equations', verifier(value="'\\n' not in text and found == [answer]"),
                'Let a reply hold two equations, the first of them wrong.',
                '让一个回答里有两个等式，前一个是错的。'),
        Mistake('numbers-before-the-sign-too', verifier(where='text'),
                'Write out the sum before the result: which numbers of the reply are you to look at?',
                '把算式也写在结果前面：该看回答里的哪些数？'),
        Mistake('lines-counted-before-trimming',
                verifier(value="'\\n' not in reply and text.count('=') <= 1 and found == [answer]"),
                'Try a right reply that ends with a line break: is there anything on its second line?',
                '试试末尾带一个换行的正确回答：第二行有东西吗？')]),
    diagnosis=dict(diagnose=[
        Mistake('reward-believed',
                diagnosis(kinds="kind = 'learning' if rise > margin else 'collapse' if rise < -margin "
                                                   "else 'standstill'"),
                'Ask which of the two curves the policy was trained to raise, and which nobody trained.',
                '想一想，两条曲线里哪条是策略被训练去抬高的，哪条没有人训练。'),
        Mistake('hack-looked-for-first',
                diagnosis(kinds="kind = ('hack' if rise > margin else 'learning' if gain > margin else 'collapse' "
                                "if gain < -margin else 'standstill')"),
                'Take a run in which both curves rise: is that a hack?',
                '拿一次两条曲线都上升的训练来看：那是黑客吗？'),
        Mistake('ends-alone', diagnosis(quarter='1'),
                'Look over how many steps you take the mean at either end: can one noisy step decide?',
                '看看你在两头各平均了几步：一步的噪声能不能左右结论？'),
        Mistake('halves-for-quarters', diagnosis(quarter='max(len(reward) // 2, 1)'),
                'Look again how much of the curve belongs to its beginning and to its end.',
                '再看一遍，曲线的开头和末尾各取多长。'),
        Mistake('the-last-checkpoint', diagnosis(keep='len(score) - 1'),
                'Look at the curve of a hack: is its last step the one you would ship?',
                '看看黑客的曲线：你愿意发布它的最后一步吗？'),
        Mistake('the-highest-reward', diagnosis(keep='reward.index(max(reward))'),
                'Look which curve decides what to keep: the one that was trained against?',
                '看看由哪条曲线决定留下哪一步：是被训练的那条吗？'),
        Mistake('no-quarter-of-three-steps', diagnosis(quarter='len(reward) // 4'),
                'Try a run of three steps: how long is its quarter?',
                '拿只有三步的训练试一试：它的四分之一有多长？')]))
