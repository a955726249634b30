# %% [markdown] name="title"
# # 实验一：五分钟走完全链路 · Lab 1: the whole chain in five minutes
#
# 一页原始网页如何变成语料、词元、模型、对话、INT4 服务、分数和会用计算器的智能体？每一环都用真实的工具，模型只有两百万参数。
# **先预测，再运行，再观察，再解释**：带 🔮 的问题请先在心里写下答案。
#
# How does a raw web page become a corpus, tokens, a model, a conversation, an INT4 server, a score, and an agent that uses a calculator? Every link is the
# real tool; only the model is small, with two million parameters. **Predict, run, look, explain**: answer each 🔮 in your mind before you run the cell.
#
# | 练习 · Exercise | 分 · points |
# |---|---|
# | 1 手写对话模板 · the chat template by hand | 2 |
# | 2 从配置算参数量 · parameters from a config | 2 |
# | 3 权重、KV 缓存、优化器的内存 · memory of weights, KV cache, optimiser | 3 |
# | 4 哪块显卡能服务 · which GPU serves it | 2 |
# | 5 带区间地读分数 · a score with its interval | 3 |
# | 6 选型流程 · the decision flow | 2 |
#
# 不做练习也能运行到底：未作答时由课程包代劳。
# The lab runs to its end unsolved, too: where you have not answered yet, the package goes on.

# %% name="setup" setup=true
from internlm_course.classroom.check import Lab, attempt, seeded, self_check, show, show_values
from internlm_course.classroom import planning
from internlm_course.model import chat, parameter_count, sizes

lab = Lab('01_full_chain', minutes=5, gigabytes=2)
course = lab.course

# %% [markdown] name="data-text"
# ## 1 数据：网页 → 干净文本 → 词元 · Data: page → clean text → tokens
#
# 一个小小的合成网络，以 WARC 格式存放，里面混着镜像、广告、乱码和外语；真相另存，所以每个过滤器的精确率和召回率都可以测。datatrove 负责清洗。
#
# 🔮 下面这页 HTML 里，有几成字节是正文？
#
# A small synthetic web in WARC files, with mirrors, advertisements, gibberish and other languages mixed in. The truth is kept aside, so each filter's
# precision and recall can be measured. datatrove does the cleaning. 🔮 How much of the HTML below is text that a reader came for?

# %% name="crawl"
from internlm_course.data.crawl import write_crawl
from internlm_course.data.sources import read_source

crawl = lab.keep('crawl', lambda out: write_crawl(out, pages=800, seed=1), pages=800, seed=1)
raw = next(page for page in read_source(crawl.path, 'warc') if 'atlas.example' in page['metadata']['url'])
print(raw['metadata']['url'], len(raw['text'].encode()), 'bytes')
print(raw['text'][:1500], '…')

# %% name="corpus"
from internlm_course.data.pipeline import build_corpus, documents

corpus = lab.keep('corpus', lambda out: build_corpus(crawl.path, out), crawl=crawl.key)
clean = {document['id']: document['text'] for document in documents(corpus.path / 'clean')}
text = clean.get(raw['id']) or next(iter(clean.values()))
print(text, '\n')
print(f'{"step":14}{"documents":>10}{"bytes":>12}{"precision":>11}{"recall":>8}')
for row in corpus.metrics['funnel']:
    rates = ''.join(f'{"-" if row[rate] is None else format(row[rate], ".2f"):>{width}}' for rate, width in (('precision', 11), ('recall', 8)))
    print(f'{row["step"]:14}{row["documents"]:>10,}{row["bytes"]:>12,}{rates}')

# %% [markdown] name="data-look"
# **看什么**：第一行到第二行，字节数缩水了多少倍？哪一步丢掉的文档最多？哪个过滤器会误伤好网页（精确率低于 1）？
#
# **What to look for**: by what factor do the bytes shrink from the first row to the second? Which step drops most documents? Which filter hurts good pages
# (precision below 1)?

# %% name="tokens"
from internlm_course.data.tokens import read_corpus, tokenize
from internlm_course.model import load_tokenizer

base = course.base()
tokenizer = load_tokenizer(base.path)
ids = tokenizer.encode(text)
print(' | '.join(tokenizer.decode([i]) for i in ids[:40]), '…')
print(f'{len(text)} characters, {len(text.encode())} bytes, {len(ids)} tokens, vocabulary {len(tokenizer):,}')
tokens = lab.keep('tokens', lambda out: tokenize(corpus.path, base.path, out), corpus=corpus.key, tokenizer=base.key)

# %% name="check-data" check=""
# NBVAL_CHECK_OUTPUT
funnel = corpus.metrics['funnel']
show_values('data', dict(tokens_decode_to_text=tokenizer.decode(ids, skip_special_tokens=True) == text, steps=len(funnel) >= 5,
                         only_fewer=all(a['documents'] >= b['documents'] for a, b in zip(funnel, funnel[1:]))))

# %% [markdown] name="pretrain-text"
# ## 2 预训练：一分钟 · Pre-training: one minute
#
# 随机的权重，下一个词元的交叉熵，AdamW。这里只训练大约一分钟；随课程提供的 base 训练得久得多。
#
# 🔮 词表有 $V$ 个词元。一个什么都不懂的模型，损失是多少？（$\ln V$）曲线会先快后慢，还是先慢后快？
#
# Random weights, cross-entropy of the next token, AdamW. Here for about a minute; the base model that comes with the course saw far more.
# 🔮 With $V$ tokens in the vocabulary, what is the loss of a model that knows nothing? ($\ln V$.) Will the curve fall fast and then slowly, or the reverse?

# %% name="pretrain"
import dataclasses
import math

from internlm_course.classroom.plots import LossCurve
from internlm_course.pretrain.config import CONFIGS, Phase, read_config
from internlm_course.pretrain.loop import pretrain

config = read_config(CONFIGS / f'{course.scale.pretrain}.toml')
training, validation = read_corpus(tokens.path)
phase = Phase('minute', steps=240, sequence_length=128, micro_batch=8, accumulation=1, learning_rate=3e-3, rope_theta=50_000.0,
              mixture=dict.fromkeys(training, 1.0), warmup=20, floor=1.0)
curve = LossCurve(lab.expected('curve'))
minute = lab.keep('minute', lambda out: pretrain(config, phase, training, validation, base.path, out, on_step=curve),
                  tokens=tokens.key, phase=dataclasses.asdict(phase), model=dict(config.model))
if minute.cached:
    curve.points = minute.metrics['curve']
    curve.draw('fetched: trained before · 之前训练过')
print(f'ln V = {math.log(len(tokenizer)):.2f}; {minute.metrics["parameters"]:,} parameters; {phase.tokens:,} tokens, '
      f'{minute.metrics["tokens_per_second"]:,} a second')

# %% name="check-curve" check="" expected=true tolerance={"relative": 0.1}
# NBVAL_CHECK_OUTPUT
show_values('curve', minute.metrics['curve'])

# %% [markdown] name="pretrain-look"
# **看什么**：灰色粗线是参考答案的曲线，你的应当贴着它走（同样的种子、同样的数据，只有数值格式可能不同）。第一段陡降学到的是什么？（哪些词元常见。）
#
# **What to look for**: the thick grey line is the reference's; yours should lie on it (same seed, same data, only the number format may differ). What has the
# model learnt in the first steep part? (Which tokens are frequent.)

# %% [markdown] name="template-text"
# ## 3 对话：模板 · Chat: the template
#
# 对话模型看到的只是一串文本。InternLM2 的格式：每条消息是 `<|im_start|>角色\n内容<|im_end|>\n`，最后打开助手的一轮：`<|im_start|>assistant\n`。
# 开头的 `<s>` 由分词器加，不用你写。
#
# **练习 1（2 分）** 写出 `chat_text(messages)`：`messages` 是 `{'role', 'content'}` 的列表，返回整段文本，结尾打开助手的一轮。
#
# A chat model only ever sees one text. InternLM2's format: each message is `<|im_start|>role\ncontent<|im_end|>\n`, and at the end the assistant's turn is
# opened: `<|im_start|>assistant\n`. The first `<s>` is the tokenizer's business, not yours.
#
# **Exercise 1 (2 points)** Write `chat_text(messages)`: from a list of `{'role', 'content'}` to the whole text, with the assistant's turn opened at its end.

# %% name="template" exercise=true
def chat_text(messages: list[dict]) -> str:
    ### BEGIN SOLUTION
    text = ''
    for message in messages:
        text += f'<|im_start|>{message["role"]}\n{message["content"]}<|im_end|>\n'
    return text + '<|im_start|>assistant\n'
    ### END SOLUTION

# %% name="template-light"
def package_chat_text(messages):
    return chat.render(messages, add_generation_prompt=True)


self_check(chat_text, package_chat_text, [([dict(role='user', content='你好')],), ([dict(role='system', content='Be brief.'), dict(role='user', content='Hi')],)],
           hint='一条消息有四部分：<|im_start|>、角色、换行与内容、<|im_end|> 与换行 · A message has four parts; mind each newline.')
chat_text_used = attempt(chat_text, package_chat_text)

# %% name="check-template" check="template" points=2
# NBVAL_CHECK_OUTPUT
rng = seeded('template')
words = ['hello', 'capital', '你好', '12 + 30', '<b>', '']
cases = [([dict(role=rng.choice(['system', 'user', 'assistant', 'environment']), content=rng.choice(words)) for _ in range(n)],) for n in (1, 2, 5)]
show('template', chat_text, [*cases, ([dict(role='user', content=' two\nlines ')],)])

# %% [markdown] name="talk-text"
# 现在让三个模型回答同样的问题：一分钟的、base、sft。前两个只会续写，所以给它们「题目」的续写形式；sft 用你的模板。
#
# 🔮 base 已经“知道”答案，为什么还需要 sft？
#
# Now three models answer the same questions: one minute old, base, sft. The first two only continue text, so they get the question in its continuing form; sft
# gets your template. 🔮 If base already knows, what is sft for?

# %% name="talk"
import torch

from internlm_course.evaluate import read_items
from internlm_course.model import load_model

items = course.crawl().path / 'items'
questions = {rows[0]['dimension']: rows for rows in read_items(items, limit=2).values()}
sft = course.sft()


def say(model, text: str) -> str:
    """Greedy continuation, up to a newline or a stop token."""
    ids = tokenizer(text, return_tensors='pt', add_special_tokens=True).input_ids
    with torch.no_grad():
        out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=48, do_sample=False, pad_token_id=2)
    return tokenizer.decode(out[0, ids.shape[1]:]).split('<|im_end|>')[0].split('</s>')[0].split('\n')[0].strip()


models = {name: load_model(artifact.path, dtype=torch.float32) for name, artifact in dict(minute=minute, base=base, sft=sft).items()}
for dimension in ('knowledge', 'language', 'reasoning', 'code'):
    for item in questions[dimension]:
        said = {name: say(models[name], item['prompt']) for name in ('minute', 'base')}
        said['sft'] = say(models['sft'], chat_text_used([dict(role='user', content=item['question'])]))
        print(f'{item["question"]}  [{item["answer"]}]')
        for name, answer in said.items():
            print(f'   {name:7}{answer}')

# %% name="talk-plain"
for name in ('base', 'sft'):  # the same chat, with the template and without
    for text in ('Hello!', chat_text_used([dict(role='user', content='Hello!')])):
        print(f'{name:5}{text!r:75} → {say(models[name], text)!r}')
del models

# %% [markdown] name="parameters-text"
# ## 4 纸上规划 · Planning on paper
#
# 真正的 InternLM2 有 1.8B、7B、20B 三种。下载之前，先在纸上算。一层里有：`wqkv`（查询头和键值头合在一起）、`wo`、SwiGLU 的 `w1 w2 w3`、两个 RMSNorm；
# 外加词嵌入、输出矩阵（不共享）、最后一个 RMSNorm。没有偏置。
#
# $$N = 2Vh + L\,\bigl(h\,(H + 2H_{kv})\,d + h^2 + 3hf + 2h\bigr) + h,\qquad d = h / H$$
#
# **练习 2（2 分）** `parameters(config)`，字段：`vocab_size, hidden_size, num_hidden_layers, num_attention_heads, num_key_value_heads, intermediate_size`。
#
# The real InternLM2 comes in 1.8B, 7B and 20B. Before you download anything, calculate. A layer holds `wqkv` (query and key-value heads in one), `wo`, SwiGLU's
# `w1 w2 w3`, and two RMSNorms; around the layers stand the embedding, the output matrix (not shared) and a last RMSNorm. No biases.
#
# **Exercise 2 (2 points)** `parameters(config)`, from the fields named above.

# %% name="parameters" exercise=true
def parameters(config) -> int:
    ### BEGIN SOLUTION
    width, head = config.hidden_size, config.hidden_size // config.num_attention_heads
    qkv = width * (config.num_attention_heads + 2 * config.num_key_value_heads) * head
    layer = qkv + width * width + 3 * width * config.intermediate_size + 2 * width
    return 2 * config.vocab_size * width + config.num_hidden_layers * layer + width
    ### END SOLUTION

# %% name="parameters-light"
released = sizes.released()
self_check(parameters, parameter_count, [(config,) for config in released.values()],
           hint='键值头比查询头少；输出矩阵不与词嵌入共享 · Fewer key-value heads than query heads; output and embedding are two matrices.')
parameters_used = attempt(parameters, parameter_count)
for name, config in released.items():
    print(f'{name:5}{parameters_used(config):>16,}')

# %% name="check-parameters" check="parameters" points=2
# NBVAL_CHECK_OUTPUT
rng = seeded('parameters')
cases = [(config,) for config in sizes.released().values()]
for _ in range(3):
    kv, group, head = rng.choice([1, 2, 4]), rng.choice([2, 3, 4]), rng.choice([32, 64])
    cases.append((sizes.shape(vocab_size=rng.randrange(1000, 9000), num_hidden_layers=rng.randrange(2, 9), hidden_size=kv * group * head,
                              num_attention_heads=kv * group, num_key_value_heads=kv, intermediate_size=64 * rng.randrange(2, 30)),))
show('parameters', parameters, cases)

# %% [markdown] name="memory-text"
# **练习 3（3 分）** `memory(config, bits, tokens)` 返回一个字典，单位字节：
#
# - `weights`：各层以 `bits` 位存放，词嵌入和输出矩阵仍是 16 位（AWQ 不动它们；各组的缩放因子不计）；
# - `kv`：`tokens` 个词元的 KV 缓存，16 位：每层、每个键值头各一个 K 和一个 V；
# - `adamw`：混合精度训练时优化器的状态：fp32 主权重和两个 fp32 动量。
#
# **Exercise 3 (3 points)** `memory(config, bits, tokens)` returns a dict, in bytes: `weights`, with the layers in `bits` bits, and embedding and output matrix
# still in 16 (AWQ leaves them; scales are not counted); `kv`, the cache of `tokens` tokens in 16 bits: a K and a V for each layer and key-value head;
# `adamw`, the states of the optimiser in mixed precision: fp32 master weights and two fp32 moments. `parameters_used(config)` is there for you.

# %% name="memory" exercise=true
def memory(config, bits: int, tokens: int) -> dict[str, int]:
    ### BEGIN SOLUTION
    count, ends = parameter_count(config), 2 * config.vocab_size * config.hidden_size
    head = config.hidden_size // config.num_attention_heads
    return dict(weights=2 * ends + (count - ends) * bits // 8,
                kv=2 * config.num_hidden_layers * config.num_key_value_heads * head * tokens * 2,
                adamw=(4 + 4 + 4) * count)
    ### END SOLUTION

# %% name="memory-light"
def package_memory(config, bits, tokens):
    return dict(weights=sizes.weight_bytes(config, bits), kv=sizes.kv_bytes(config, tokens), adamw=sizes.adamw_bytes(config))


self_check(memory, package_memory, [(config, bits, 1000) for config in released.values() for bits in (16, 4)],
           hint='每字节 8 位；K 和 V 是两份；用键值头数 · 8 bits a byte; K and V are two; count key-value heads, not query heads.')
memory_used = attempt(memory, package_memory)
print('GB            weights 16b   8b    4b   KV of 32k   AdamW')
for name, config in released.items():
    found = {bits: memory_used(config, bits, 32_768) for bits in (16, 8, 4)}
    print(f'{name:14}{found[16]["weights"] / 1e9:8.1f}{found[8]["weights"] / 1e9:7.1f}{found[4]["weights"] / 1e9:6.1f}'
          f'{found[16]["kv"] / 1e9:12.1f}{found[16]["adamw"] / 1e9:8.0f}')

# %% name="check-memory" check="memory" points=3
# NBVAL_CHECK_OUTPUT
rng = seeded('memory')
show('memory', memory, [(config, bits, rng.randrange(1, 200_000)) for config in sizes.released().values() for bits in (16, 8, 4)])

# %% [markdown] name="gpu-text"
# **练习 4（2 分）** `gpu(config, bits, tokens)`：`planning.GPUS`（名字 → GiB，从小到大）里，最小的、能把权重和 `tokens` 个词元的 KV 缓存
# 放进九成显存（`planning.USABLE`）的那一块；都放不下就返回 `None`。1 GiB = $2^{30}$ 字节。
#
# 🔮 20B 量化到 4 位，24 GB 的卡能带 32k 上下文吗？
#
# **Exercise 4 (2 points)** `gpu(config, bits, tokens)`: of `planning.GPUS` (name → GiB, smallest first) the smallest that holds the weights and the KV cache of
# `tokens` tokens within nine tenths of its memory (`planning.USABLE`); `None` if none does. A GiB is $2^{30}$ bytes.
# 🔮 Does a 24 GB card serve 20B at 4 bits with a context of 32k?

# %% name="gpu" exercise=true
def gpu(config, bits: int, tokens: int) -> str | None:
    ### BEGIN SOLUTION
    need = sizes.weight_bytes(config, bits) + sizes.kv_bytes(config, tokens)
    for name, gib in planning.GPUS.items():
        if need <= planning.USABLE * gib * 2**30:
            return name
    return None
    ### END SOLUTION

# %% name="gpu-light"
self_check(gpu, planning.smallest_gpu, [(config, bits, tokens) for config in released.values() for bits in (16, 4) for tokens in (2048, 32_768, 200_000)],
           hint='权重加缓存，不超过九成；GiB 是 2 的 30 次方 · Weights plus cache, within nine tenths; a GiB is 2 to the 30th.')
gpu_used = attempt(gpu, planning.smallest_gpu)
print(f'{"":18}{"2k":>12}{"32k":>12}{"200k":>12}')
for name, config in released.items():
    for bits in (16, 8, 4):
        print(f'{name:5}{bits:>3} bits   ' + ''.join(f'{gpu_used(config, bits, tokens) or "-":>12}' for tokens in (2048, 32_768, 200_000)))

# %% name="check-gpu" check="gpu" points=2
# NBVAL_CHECK_OUTPUT
rng = seeded('gpu')
cases = [(config, bits, tokens) for config in sizes.released().values() for bits in (16, 8, 4) for tokens in (2048, 8192, 32_768, 200_000)]
show('gpu', gpu, cases + [(sizes.released()['7b'], bits, rng.randrange(1, 400_000)) for bits in (16, 8, 4, 4, 4)])

# %% [markdown] name="serve-text"
# ## 5 部署：INT4 与服务 · Deployment: INT4 and a server
#
# LMDeploy 的 AWQ 把线性层的权重变成 4 位，再用它的 `api_server` 提供 OpenAI 风格的接口。🔮 线性层的字节会剩几成？（每 64 个权重共用一个缩放因子和零点。）
#
# LMDeploy's AWQ turns the weights of the linear layers into 4 bits, and its `api_server` serves them with OpenAI's interface.
# 🔮 What share of the linear layers' bytes is left? (64 weights share one scale and zero.)

# %% name="serve"
from contextlib import ExitStack

int4 = course.int4()
print(f'linear layers: {int4.metrics["linear_bytes_before"]:,} → {int4.metrics["linear_bytes_after"]:,} bytes '
      f'({int4.metrics["linear_bytes_ratio"]:.1%} of bf16)')
running = ExitStack()
server = running.enter_context(course.serve(int4, course.store.root / 'logs' / 'lab-serve.log'))
print(f'{server.model} is served on 127.0.0.1 · 服务已启动')

# %% name="check-int4" check="" tolerance={"relative": 0.02}
# NBVAL_CHECK_OUTPUT
show_values('int4', dict(linear_bytes_ratio=round(int4.metrics['linear_bytes_ratio'], 4)))

# %% name="chat"
from internlm_course.classroom.chat import Chat

window = Chat(server.url, server.model)
for question in ('Hello!', '你是谁？', questions['knowledge'][0]['question']):
    window.ask(question)
window

# %% [markdown] name="score-text"
# 上面的窗口里可以继续提问（在 GitHub 上只能看）。
#
# ## 6 评测：一个维度，带区间 · Evaluation: one dimension, with its interval
#
# OpenCompass 给 INT4 模型的“知识”维度打分，只用 24 道题。🔮 24 道题的分数，能信到百分之几？
#
# In the window above you can go on asking (on GitHub you can only read). OpenCompass scores the INT4 model on one dimension, knowledge, with 24 items only.
# 🔮 To how many percent can you trust a score from 24 items?

# %% name="score"
from internlm_course.evaluate import EvalModel, dimensions, score

suites = [suite for suite, rows in read_items(items).items() if rows[0]['dimension'] == 'knowledge']
judged = EvalModel('int4', url=server.url, served_name=server.model)
scored = lab.keep('score', lambda out: score([judged], items, out, course.store.home, limit=24, suites=suites)['int4'], model=int4.key, suites=suites)
knowledge = dimensions(scored.metrics)['knowledge']
print(f'knowledge: {knowledge["score"]:.0%} of {knowledge["n"]} items, chance {knowledge["chance"]:.0%}')

# %% [markdown] name="interval-text"
# **练习 5（3 分）** 一个分数 $\hat p$ 来自 $n$ 道题，它的 95% Wilson 区间（$z = 1.959964$）：
#
# $$\frac{\hat p + \frac{z^2}{2n} \pm z\sqrt{\frac{\hat p(1-\hat p)}{n} + \frac{z^2}{4n^2}}}{1 + \frac{z^2}{n}}$$
#
# 写出 `interval(score, n)`，返回 `(low, high)`；再写 `better(first, second, n)`：两个区间不相交时返回 `'first'` 或 `'second'`，否则 `'undecided'`。
#
# **Exercise 5 (3 points)** Write `interval(score, n)`, the 95% Wilson interval above as `(low, high)`, for a score in $[0, 1]$ on $n$ items; and
# `better(first, second, n)`: `'first'` or `'second'` where the two intervals lie apart, otherwise `'undecided'`.

# %% name="interval" exercise=true
def interval(score: float, n: int) -> tuple[float, float]:
    ### BEGIN SOLUTION
    z = 1.959964
    centre = score + z * z / (2 * n)
    margin = z * (score * (1 - score) / n + z * z / (4 * n * n)) ** 0.5
    return (centre - margin) / (1 + z * z / n), (centre + margin) / (1 + z * z / n)
    ### END SOLUTION


def better(first: float, second: float, n: int) -> str:
    ### BEGIN SOLUTION
    (low, high), (other_low, other_high) = interval(first, n), interval(second, n)
    return 'first' if low > other_high else 'second' if other_low > high else 'undecided'
    ### END SOLUTION

# %% name="interval-light"
self_check(interval, planning.interval, [(0.5, 24), (0.9, 24), (0.708, 1319)],
           hint='分母 1 + z²/n 除以整个分子 · The denominator 1 + z²/n divides centre and margin both.')
self_check(better, planning.better, [(0.360, 0.708, 1319), (0.616, 0.592, 164)], hint='区间相交就是 undecided · Intervals that meet are undecided.')
interval_used, better_used = attempt(interval, planning.interval), attempt(better, planning.better)
low, high = interval_used(knowledge['score'], knowledge['n'])
print(f'knowledge of INT4 · INT4 的知识: {knowledge["score"]:.0%}, between {low:.0%} and {high:.0%}')
# Scores from the InternLM2 report (arXiv 2403.17297, section 4); n is the size of each test set.
TABLE = [('GSM8K', '7B-Base', 0.360, '7B', 0.708, 1319), ('GSM8K', '7B-SFT', 0.688, '7B-RLHF', 0.707, 1319), ('MATH', '7B-SFT', 0.232, '7B-RLHF', 0.236, 5000),
         ('HumanEval', '7B-SFT', 0.616, '7B-RLHF', 0.592, 164), ('HumanEval', '7B-SFT', 0.616, '20B-RLHF', 0.677, 164)]
for suite, one, first, other, second, n in TABLE:
    verdict = dict(first=one, second=other, undecided='undecided · 难分高下')[better_used(first, second, n)]
    print(f'{suite:10} n={n:<5} {one} {first:.1%}  {other} {second:.1%}  → {verdict}')

# %% name="check-interval" check="interval" points=3
# NBVAL_CHECK_OUTPUT
rng = seeded('interval')
cases = [(0.0, 24), (1.0, 24), *((round(rng.random(), 3), rng.randrange(10, 2000)) for _ in range(5))]
show('interval', interval, cases)
show('better', better, [(0.9, 0.1, 100), (0.1, 0.9, 100), (0.50, 0.52, 164), (0.688, 0.707, 1319), (0.500, 0.545, 1319), (0.30, 0.47, 100)])

# %% [markdown] name="interval-look"
# **看什么**：报告里的哪些“提升”只凭这张表还不能下结论？（同一批题上的配对检验会更灵敏，但需要逐题的结果。）
#
# **What to look for**: which gains of the report does this table alone not prove? (A paired test on the same items sees more, but needs the answers one by one.)

# %% name="check-score" check=""
# NBVAL_CHECK_OUTPUT
show_values('score', dict(n=knowledge['n'], within=round(low, 6) <= round(knowledge['score'], 6) <= round(high, 6)))  # at 100 % the formula ends a rounding below 1

# %% [markdown] name="agent-text"
# ## 7 智能体：计算器 · An agent with a calculator
#
# Lagent 让模型输出 `<|action_start|><|plugin|>` … `<|action_end|>`，把结果作为 `environment` 的消息送回去，再让模型作答。
# 🔮 三位数乘三位数，两百万参数的模型心算能对几道？给它计算器以后，错误会出在哪一步：不调用、写错算式，还是抄错结果？
#
# Lagent lets the model write `<|action_start|><|plugin|>` … `<|action_end|>`, returns the result as a message of the `environment`, and the model answers.
# 🔮 How many products of three-digit numbers does a model of two million parameters get right in its head? With a calculator, where will it fail: no call,
# a wrong expression, or a result copied wrongly?

# %% name="agent"
import json

from internlm_course.agents import solve
from internlm_course.marking import is_correct

problems = [json.loads(line) for line in (course.crawl().path / 'agent.jsonl').read_text('utf-8').splitlines()[:4]]
for tools in (False, True):
    print('with the calculator · 有计算器' if tools else 'without · 没有计算器')
    for problem, answer in zip(problems, solve(server.url, server.model, [problem['question'] for problem in problems], tools=tools, threads=2)):
        called = f'  calls {", ".join(answer.calls)}' if answer.calls else ''
        print(f'   {problem["question"]}{called}  → {answer.text or "(no answer)"}  [{problem["answer"]}] {"✓" if is_correct(answer.text, problem["answer"]) else "✗"}')

# %% name="check-agent" check=""
# NBVAL_CHECK_OUTPUT
from internlm_course.agents.calculator import calculate

show_values('agent', dict(calculator=calculate('123*456'), asked=len(problems)))

# %% [markdown] name="decide-text"
# ## 8 选型：从模型到应用 · From a model to an application
#
# 第一讲的流程：选模型；业务场景**不复杂**就直接评测、部署；**复杂**就微调：算力够用全参数，不够用 LoRA；微调之后，若要**与环境交互**就构建智能体；最后评测、部署。
#
# **练习 6（2 分）** `decide(complex_scene, enough_compute, needs_environment)` 依次返回这些步骤：
# `'choose'`、`'full fine-tuning'`、`'LoRA'`、`'agent'`、`'evaluate'`、`'deploy'`。
#
# The flow of lecture 1: choose a model; if the scene is **not complex**, evaluate and deploy; if it is, fine-tune: in full with **enough compute**, otherwise
# by LoRA; after fine-tuning, if it must **interact with an environment**, build an agent; then evaluate and deploy.
#
# **Exercise 6 (2 points)** `decide(complex_scene, enough_compute, needs_environment)` returns the steps in order, by the names above.

# %% name="decide" exercise=true
def decide(complex_scene: bool, enough_compute: bool, needs_environment: bool) -> list[str]:
    ### BEGIN SOLUTION
    way = ['choose']
    if complex_scene:
        way.append('full fine-tuning' if enough_compute else 'LoRA')
        if needs_environment:
            way.append('agent')
    return way + ['evaluate', 'deploy']
    ### END SOLUTION

# %% name="decide-light"
everything = [(a, b, c) for a in (True, False) for b in (True, False) for c in (True, False)]
self_check(decide, planning.steps, everything, hint='不复杂的场景直接评测；评测总在部署之前 · A simple scene goes straight to evaluation, which always precedes deployment.')
decide_used = attempt(decide, planning.steps)
print('客服问答，一块 8 GB 显卡，要查订单 · support desk, one 8 GB card, must look orders up:', ' → '.join(decide_used(True, False, True)))
print('会议纪要摘要 · minutes of meetings:', ' → '.join(decide_used(False, True, False)))

# %% name="check-decide" check="decide" points=2
# NBVAL_CHECK_OUTPUT
everything = [(a, b, c) for a in (True, False) for b in (True, False) for c in (True, False)]
seeded('decide').shuffle(everything)
show('decide', decide, everything)

# %% [markdown] name="end-text"
# ## 结束 · The end
#
# 停下服务，看看这一趟花了多少时间和内存（内核与它启动的所有进程的匿名内存）。
# Stop the server, and see what the tour took: seconds, and the anonymous memory of the kernel and of everything it started.

# %% name="end"
running.close()
lab.finish()
