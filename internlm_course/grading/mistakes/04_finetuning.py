"""Known-wrong answers to the exercises of lab 4."""
from internlm_course.grading.mistakes import Mistake

MASK = """
def loss_mask(conversation):
    mask = {first}
    for role, pieces in conversation:
        header, end = {header}, {end}
        mask += [{learned} for i in range(len(pieces))]
    return mask


def learned_loss(nats, mask):
    learned = [loss for loss, counts in zip(nats, mask) if counts]
    return {loss}
"""


def mask(first='[False]', header="pieces.index('\\n')", end='len(pieces) - 1',
         learned="role == 'assistant' and header < i < end", loss='sum(learned) / len(learned) if learned else 0.0'):
    return MASK.format(first=first, header=header, end=end, learned=learned, loss=loss)


LAST_TURN = """
def loss_mask(conversation):
    mask = [False]
    for number, (role, pieces) in enumerate(conversation):
        header, end = pieces.index('\\n'), len(pieces) - 1
        last = all(other != 'assistant' for other, _ in conversation[number + 1:])
        mask += [role == 'assistant' and last and header < i < end for i in range(len(pieces))]
    return mask


def learned_loss(nats, mask):
    learned = [loss for loss, counts in zip(nats, mask) if counts]
    return sum(learned) / len(learned) if learned else 0.0
"""

LORA = """
def lora(x, w, a, b, alpha):
    return {forward}


def merged(w, a, b, alpha):
    return {whole}
"""


def lora(forward='x @ w.T + alpha / len(a) * (x @ a.T) @ b.T', whole='w + alpha / len(a) * b @ a'):
    return LORA.format(forward=forward, whole=whole)


PARAMETERS = """
def lora_parameters(shape, rank, targets):
    hidden, inner = shape.hidden_size, shape.intermediate_size
    rows = {rows}
    sizes = dict(wqkv=(rows, hidden), wo=(hidden, hidden), w1=(inner, hidden), w2=(hidden, inner),
                 w3=(inner, hidden))
    return {layers} * sum({each} for m, n in ({which}))
"""


def parameters(rows='hidden // shape.num_attention_heads * (shape.num_attention_heads + 2 * '
                    'shape.num_key_value_heads)',
               layers='shape.num_hidden_layers', each='rank * (m + n)', which='sizes[name] for name in targets'):
    return PARAMETERS.format(rows=rows, layers=layers, each=each, which=which)


NF4 = """
def quantise(block):
    levels = {levels}
    scale = {scale}
    return {indices}, scale


def dequantise(indices, scale):
    return {values}
"""
NEAREST = 'np.abs(block[:, None] / (scale or 1.0) - levels).argmin(1).tolist()'


def nf4(levels='np.array(own.NF4)', scale='float(np.abs(block).max())', indices=NEAREST,
        values='scale * np.array(own.NF4)[list(indices)]'):
    return NF4.format(levels=levels, scale=scale, indices=indices, values=values)


PACK = """
def pack(lengths, room):
    {body}


def may_see(pieces):
    piece = np.repeat(np.arange(len(pieces)), pieces)
    return {see}
"""
CUT = """rows, row = [], []
    for length in lengths:
        while length:
            piece = min(length, room - sum(row))
            row.append(piece)
            length -= piece
            if sum(row) == room:
                rows.append(row)
                row = []
    """


def pack(body=CUT + 'return rows', see='(piece[:, None] == piece) & np.tri(len(piece), dtype=bool)'):
    return PACK.format(body=body, see=see)


OBEYS = """
def obeys(constraint, reply):
    text = reply.strip()
    if constraint == 'only_number':
        return {number}
    if constraint == 'three_words':
        return {words}
    if constraint == 'in_chinese':
        return {chinese}
    try:
        value = json.loads({text})
    except ValueError:
        return False
    return {json}
"""


def obeys(number="bool(re.fullmatch('-?[0-9]+[.。]?', text))", words='len(text.split()) == 3',
          chinese="bool(re.search('[\\u4e00-\\u9fff]', text)) and not re.search('[A-Za-z]', text)",
          text='text', json="isinstance(value, dict) and list(value) == ['answer']"):
    return OBEYS.format(number=number, words=words, chinese=chinese, text=text, json=json)


MISTAKES = dict(
    mask=dict(loss_mask=[
        Mistake('learns-the-question-too', mask(learned="role in ('user', 'assistant') and header < i < end"),
                'Look whose words your mask has the model write: will a user come and ask it for questions?',
                '看看你的掩码在教模型写谁的话：会有人要它替用户提问吗？'),
        Mistake('learns-everything', mask(first='[True]', learned='True'),
                'Count the pieces that are not learned in your mask: a mask that hides nothing is pre-training again.',
                '数一数你的掩码里不学的有几个：什么都不遮，就又成了预训练。'),
        Mistake('the-end-is-not-learned', mask(end="pieces.index('<|im_end|>')"),
                'Ask what makes the model stop after its answer, and whether your mask ever teaches it that.',
                '想一想模型答完之后凭什么停下来，你的掩码教了它没有。'),
        Mistake('learns-the-header', mask(learned="role == 'assistant' and i < end"),
                'Look who writes the header of a turn when the model is served: the model, or the program?',
                '看看服务的时候，一轮的开头是谁写的：是模型，还是程序？'),
        Mistake('learns-the-line-break', mask(learned="role == 'assistant' and header < i <= end"),
                'Ask whether the model will ever write anything behind its end mark.',
                '想一想模型写下结束标记之后，还会不会再写。'),
        Mistake('learns-the-tools-results', mask(learned="role not in ('system', 'user') and header < i < end"),
                'Look at the role environment: who wrote what stands there?',
                '看看 environment 这个角色：那里的话是谁写的？'),
        Mistake('learns-the-last-turn-alone', LAST_TURN,
                'Take a conversation of several turns: how many of the answers does your mask let the model learn?',
                '拿一段多轮的对话看看：你的掩码让模型学了几次回答？'),
        Mistake('the-first-token-forgotten', mask(first='[]'),
                'Count the places of your mask: what stands before the first message?',
                '数一数你的掩码有几位：第一条消息前面还有什么？'),
        Mistake('the-last-line-break-for-the-first', mask(header="end - pieces[end - 1::-1].index('\\n') - 1",
                                                          end='len(pieces) - 1'),
                'Try an answer of two lines: which line break ends the header?',
                '拿一个两行的回答试试：哪一个换行才是开头的结束？')],
        learned_loss=[
        Mistake('mean-over-all-pieces', mask(loss='sum(learned) / len(nats)'),
                'Look by how many pieces you divide: do those that are hidden count?',
                '看看你除以的是几个词元：遮住的也算吗？'),
        Mistake('sum-of-the-losses', mask(loss='sum(learned)'),
                'Compare a long answer and a short one: should the long one have a larger loss only for being long?',
                '比一比长回答和短回答：长的只因为长，损失就该大吗？'),
        Mistake('the-mask-left-out', mask(loss='sum(nats) / len(nats)'),
                'Change a loss that the mask hides: does your result change, and may it?',
                '改动一个被遮住的损失：你的结果变了吗，可以变吗？')]),
    lora=dict(lora=[
        Mistake('alpha-not-divided', lora(forward='x @ w.T + alpha * (x @ a.T) @ b.T'),
                'Look at what stands before the product: what shall keep the step alike when the rank changes?',
                '看看乘积前面的因子：秩变了，靠什么让步子大小不变？'),
        Mistake('adapter-alone', lora(forward='alpha / len(a) * (x @ a.T) @ b.T'),
                'Set B to zero: what should come out at the first step, and what does?',
                '把 B 设成零：第一步该得到什么，你得到的又是什么？'),
        Mistake('alpha-over-the-root', lora(forward='x @ w.T + alpha / len(a) ** 0.5 * (x @ a.T) @ b.T'),
                'Compare your factor with that in the text: a later method divides by another power of the rank.',
                '把你的因子与题目里的比一比：后来的一种方法才除以秩的另一个幂。'),
        Mistake('rank-over-alpha', lora(forward='x @ w.T + len(a) / alpha * (x @ a.T) @ b.T'),
                'Double alpha: does the part of your adapter grow or shrink?',
                '把 alpha 加倍：你的适配器那一份变大了还是变小了？'),
        Mistake('width-for-the-rank', lora(forward='x @ w.T + alpha / a.shape[1] * (x @ a.T) @ b.T'),
                'Look at the shape of A: which of its two sides is the rank?',
                '看看 A 的形状：两条边里哪一条是秩？'),
        Mistake('no-factor-at-all', lora(forward='x @ w.T + (x @ a.T) @ b.T'),
                'Change alpha: does your result change?',
                '改一改 alpha：你的结果变了吗？')],
        merged=[
        Mistake('merged-without-the-factor', lora(whole='w + b @ a'),
                'Send one row through your merged matrix and through the two ways apart: do they agree?',
                '让同一行数分别通过合并后的矩阵和没有合并的两条路：结果一样吗？'),
        Mistake('merged-without-w', lora(whole='alpha / len(a) * b @ a'),
                'Ask what the merged matrix has to do where the adapter is zero.',
                '想一想适配器为零时，合并后的矩阵该是什么。'),
        Mistake('merged-with-alpha-alone', lora(whole='w + alpha * b @ a'),
                'Compare the factor in your merged matrix with the one in your forward pass.',
                '把合并时的因子与前向时的比一比。'),
        Mistake('subtracts-the-adapter', lora(whole='w - alpha / len(a) * b @ a'),
                'Look at the sign: which of the two would take the adapter out again?',
                '看看正负号：哪一个是把适配器再拿出来？')]),
    parameters=dict(lora_parameters=[
        Mistake('one-of-the-two-matrices', parameters(each='rank * n'),
                'Write down A and B for one matrix: how many numbers has each?',
                '写下一个矩阵的 A 和 B：各有几个数？'),
        Mistake('the-whole-matrix', parameters(each='m * n'),
                'Double the rank: does your count change?',
                '把秩加倍：你的个数变了吗？'),
        Mistake('one-layer-only', parameters(layers='1'),
                'Ask in how many layers these matrices stand.',
                '想一想这些矩阵在几层里都有。'),
        Mistake('square-wqkv', parameters(rows='hidden'),
                'Work out how many rows wqkv has when queries, keys and values stand in it one below the other.',
                '算一算查询、键、值上下排在一起时，wqkv 有多少行。'),
        Mistake('key-for-every-query-head', parameters(rows='3 * hidden'),
                'Count the key heads of InternLM2: is there one for each query head?',
                '数一数 InternLM2 的键头：每个查询头都有一个吗？'),
        Mistake('every-matrix-adapted', parameters(which='sizes.values()'),
                'Call it with a single target: does your count become smaller?',
                '只给一个 target 调用一次：你的个数变少了吗？'),
        Mistake('product-of-the-sides', parameters(each='rank * m * n'),
                'Take rank 1 at 4 rows of 4: how many numbers are a row and a column?',
                '拿 4 行 4 列、秩 1 来算：一行加一列是几个数？')]),
    nf4=dict(quantise=[
        Mistake('largest-instead-of-largest-size', nf4(scale='float(block.max())'),
                'Try a block whose largest weight is negative: do your fractions stay within -1 and 1?',
                '拿绝对值最大的权重是负数的一块试试：除完之后还在 -1 到 1 之间吗？'),
        Mistake('even-levels', nf4(levels='np.linspace(-1, 1, 16)'),
                'Look at the levels themselves: are they evenly spaced?',
                '看看各个等级本身：间隔是均匀的吗？'),
        Mistake('next-lower-level', nf4(
            indices='(np.searchsorted(levels, block / (scale or 1.0), side="right") - 1).tolist()'),
                'Take a fraction just below a level: which level does it get, and which one is nearest?',
                '拿一个略小于某个等级的数：你给了它哪一级，最近的又是哪一级？'),
        Mistake('spread-for-the-scale', nf4(scale='float(block.std())'),
                'Look what the largest weight of the block becomes: it should be exactly 1 or -1.',
                '看看这一块里绝对值最大的权重变成了几：应当正好是 1 或 -1。'),
        Mistake('weights-not-scaled', nf4(indices='np.abs(block[:, None] - levels).argmin(1).tolist()'),
                'Double all weights of a block: should their indices change?',
                '把一块里的权重都加倍：序号该变吗？'),
        Mistake('fails-on-zeros', nf4(indices='np.abs(block[:, None] / scale - levels).argmin(1).tolist()'),
                'Try a block of zeros: what do you divide by?',
                '拿全是零的一块试试：你除以了什么？')],
        dequantise=[
        Mistake('scale-forgotten', nf4(values='np.array(own.NF4)[list(indices)]'),
                'Compare the size of what comes back with that of the weights.',
                '把还原出来的大小与原来的权重比一比。'),
        Mistake('divides-by-the-scale', nf4(values='np.array(own.NF4)[list(indices)] / (scale or 1.0)'),
                'You divided on the way in: what undoes that on the way out?',
                '进去的时候除过：出来的时候该怎样还原？'),
        Mistake('indices-as-even-levels', nf4(values='scale * (2 * np.array(indices) / 15 - 1)'),
                'Look up which weight index 7 stands for.',
                '查一查序号 7 代表哪个权重。')]),
    packing=dict(pack=[
        Mistake('the-rest-kept', pack(body=CUT + 'return rows + [row] if row else rows'),
                'Look at the last row: is it full?',
                '看看最后一行：满了吗？'),
        Mistake('never-cut', pack(body="""rows, row = [], []
    for length in lengths:
        length = min(length, room)
        if sum(row) + length > room:
            rows.append(row)
            row = []
        row.append(length)
        if sum(row) == room:
            rows.append(row)
            row = []
    return rows"""),
                'Add up your rows: has each as many tokens as there is room?',
                '把每一行加起来：都正好装满了吗？'),
        Mistake('what-is-cut-is-lost', pack(body="""rows, row = [], []
    for length in lengths:
        row.append(min(length, room - sum(row)))
        if sum(row) == room:
            rows.append(row)
            row = []
    return rows"""),
                'Add up all tokens before and after: where is the second part of a conversation that is cut?',
                '把装之前和装之后的词元都加起来：被切开的对话，后半段到哪里去了？'),
        Mistake('rows-without-their-pieces', pack(body='return [[room]] * (sum(lengths) // room)'),
                'Look whether your rows still tell where a conversation begins.',
                '看看你的行里还看不看得出对话从哪里开始。')],
        may_see=[
        Mistake('sees-the-neighbours', pack(see='np.tri(len(piece), dtype=bool)'),
                'Change a token of the first conversation: does what the second one sees change, and may it?',
                '改动第一段对话里的一个词元：第二段看到的变了吗，可以变吗？'),
        Mistake('sees-what-comes-later', pack(see='piece[:, None] == piece'),
                'Look at the first row of your matrix: may the first token see the one that it has to guess?',
                '看看你的矩阵的第一行：第一个词元可以看到它要猜的那个吗？'),
        Mistake('does-not-see-itself', pack(see='(piece[:, None] == piece) & np.tri(len(piece), k=-1, dtype=bool)'),
                'Look at the diagonal: what does the first token of a piece see at all?',
                '看看对角线：一段的第一个词元究竟还能看到什么？'),
        Mistake('sees-the-others-only', pack(see='(piece[:, None] != piece) & np.tri(len(piece), dtype=bool)'),
                'Read one row of your matrix aloud: which conversation may this token see?',
                '把你的矩阵念一行出来：这个词元可以看哪一段对话？'),
        Mistake('rows-and-columns-exchanged', pack(see='(piece[:, None] == piece) & np.tri(len(piece), dtype=bool).T'),
                'Look which index of your matrix is the one that sees, and which the one that is seen.',
                '看看你的矩阵里，哪个下标是看的，哪个是被看的。')]),
    checker=dict(obeys=[
        Mistake('a-number-somewhere', obeys(number="bool(re.search('[0-9]', text))"),
                'Try a whole sentence that has a number in it: is that only the number?',
                '拿一整句带数字的话试试：这算只有数字吗？'),
        Mistake('digits-of-all-scripts', obeys(number="bool(re.fullmatch('-?\\\\d+[.。]?', text))"),
                'Try a number in full-width digits: is that what the text allows?',
                '拿全角的数字试试：题目允许吗？'),
        Mistake('no-full-stop-allowed', obeys(number="bool(re.fullmatch('-?[0-9]+', text))"),
                'Try a number with a full stop behind it.',
                '拿后面带句号的数试试。'),
        Mistake('json-found-in-the-text', obeys(text="text[text.find('{'):text.rfind('}') + 1]"),
                'Try a polite sentence before the object: could a program read the whole reply?',
                '在对象前面加一句客套话试试：程序读得了整个回答吗？'),
        Mistake('any-json', obeys(json='True'),
                'Try a bare number: it is JSON as well, but is it an object?',
                '拿一个光秃秃的数试试：它也是 JSON，可它是对象吗？'),
        Mistake('more-keys-than-one', obeys(json="isinstance(value, dict) and 'answer' in value"),
                'Try an object with a second key.',
                '拿一个有两个键的对象试试。'),
        Mistake('any-key', obeys(json='isinstance(value, dict) and len(value) == 1'),
                'Look which key the text asks for.',
                '看看题目要的是哪个键。'),
        Mistake('blanks-counted', obeys(words="text.count(' ') == 2"),
                'Try two blanks in a row, and a line break between two words.',
                '试试连着两个空格，再试试两个词之间换行。'),
        Mistake('at-most-three-words', obeys(words='len(text.split()) <= 3'),
                'Try a reply of a single word.',
                '拿只有一个词的回答试试。'),
        Mistake('latin-letters-allowed', obeys(chinese="bool(re.search('[\\u4e00-\\u9fff]', text))"),
                'Try a reply in which half a sentence is English.',
                '拿半句英文的回答试试。'),
        Mistake('chinese-characters-not-required', obeys(chinese="not re.search('[A-Za-z]', text)"),
                'Try a reply of digits alone, and an empty one.',
                '拿只有数字的回答试试，再试试空的。'),
        Mistake('nothing-but-chinese-characters', obeys(chinese="bool(re.fullmatch('[\\u4e00-\\u9fff]+', text))"),
                'Try a Chinese sentence with its full stop and a number.',
                '拿一句带句号、带数字的中文试试。')]))
