# %% [markdown] name="title"
# # 实验一：五分钟走完全链路 · Lab 1: the whole chain in five minutes
#
# 讲义：[第 1 讲](../lectures/zh/01-full-chain.md) · Lecture: [lecture 1](../lectures/en/01-full-chain.md)
#
# 一页原始网页如何变成语料、词元、模型、对话、INT4 服务、分数和会用计算器的智能体？每一环都用真实的工具，模型只有两百万参数。
# **先预测，再运行，再观察，再解释**：见到“先预测”，请把答案写进它下面那一格，再往下运行；运行过后，答案可以展开来对照。
#
# How does a raw web page become a corpus, tokens, a model, a conversation, an INT4 server, a score, and an agent that uses a calculator? Every link is the real
# tool; only the model is small, with two million parameters. **Predict, run, look, explain**: where it says “Predict”, write your answer into the cell below it
# before you go on; after the run there is an answer to unfold and compare.
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
#
# The lab runs to its end unsolved, too: where you have not answered yet, the package goes on.

# %% name="setup" setup=true
from internlm_course.lab.answers import lab01 as planning
from internlm_course.lab.check import Lab, attempt, seeded, self_check, show_values
from internlm_course.model import parameter_count, sizes

lab = Lab('01_full_chain', minutes=5, gigabytes=2,
          points=dict(template=2, parameters=2, memory=3, gpu=2, interval=3, decide=2))
course = lab.course

# %% [markdown] name="data-text"
# ## 1 数据：网页 → 干净文本 → 词元 · Data: page → clean text → tokens
#
# 讲义 · Lecture 1：[第 2.1 节](../lectures/zh/01-full-chain.md#21-数据书生万卷) /
# [section 2.1](../lectures/en/01-full-chain.md#21-data-wanjuan)
#
# 一个小小的合成网络，以 WARC 格式存放，里面混着镜像、广告、乱码和外语；真相另存，所以每个过滤器的查准率和查全率都可以测。datatrove 负责清洗。
# 代码里的 `pages=800` 只数干净的网页，坏的另加，所以一开始的篇数要比它多。
#
# **先预测**（下一个代码单元会印出一页 HTML 的开头，可以先运行它）：这页 HTML 里，读者要看的正文占几成字节？清洗的哪一步会丢掉最多的网页？
#
# A small synthetic web in WARC files, with mirrors, advertisements, gibberish and other languages mixed in. The truth is kept aside, so each filter's precision
# and recall can be measured. datatrove does the cleaning. In the code, `pages=800` counts the clean pages alone; the bad ones come on top, so the number of
# documents at the beginning is higher.
#
# **Predict** (the next code cell prints the beginning of a page's HTML; run it first if you like): how much of that HTML, in bytes, is text that a reader
# came for? Which step of the cleaning will drop most pages?

# %% [markdown] name="data-guess"
# **我的预测 · My prediction**（双击此处填写 · double-click here and write）：

# %% name="crawl"
import json

from internlm_course.data.sources import read_source
from internlm_course.world.crawl import write_crawl

crawl = lab.keep('crawl', lambda out: write_crawl(out, pages=800, seed=1), pages=800,
                 seed=1)
truth = {page['id']: page['label']
         for page in map(json.loads,
                         (crawl.path / 'truth.jsonl').read_text('utf-8').splitlines())}
raw = next(page for page in read_source(crawl.path, 'warc')
           if 'atlas.example' in page['metadata']['url']
           and truth[page['id']] == 'clean')
print(raw['metadata']['url'], len(raw['text'].encode()), 'bytes')
print(raw['text'][:1500], '…')

# %% name="corpus"
from internlm_course.data.pipeline import build_corpus, documents

corpus = lab.keep('corpus', lambda out: build_corpus(crawl.path, out), crawl=crawl.key)
clean = {document['id']: document['text']
         for document in documents(corpus.path / 'clean')}
text = clean[raw['id']]
print(text)
print(f'text · 正文: {len(text.encode()) / len(raw["text"].encode()):.0%} of the '
      'bytes · 字节\n')
print(f'{"step":14}{"documents":>10}{"bytes":>12}{"precision":>11}{"recall":>8}')
for row in corpus.metrics['funnel']:
    rates = ''.join(f'{"-" if row[rate] is None else format(row[rate], ".2f"):>{width}}'
                    for rate, width in (('precision', 11), ('recall', 8)))
    print(f'{row["step"]:14}{row["documents"]:>10,}{row["bytes"]:>12,}{rates}')

# %% [markdown] name="data-look"
# **看什么**：一行一行往下，看篇数和字节数。哪一步省下最多字节，却几乎不丢网页？哪一步丢的网页最多？查准率（precision）低于 1，是误丢了好页；查全率（recall）
# 低于 1，是放过了坏页：这一趟犯的是哪种错？
#
# **What to look for**: go down row by row. Which step saves most bytes and yet drops hardly a page? Which drops most pages? A precision below 1 means good
# pages lost, a recall below 1 bad pages kept: which kind of error was made here?
#
# <details><summary>答案 · Answer</summary>
#
# 抽取正文（`extraction`）之后，字节剩不到三分之一，网页却几乎都在：丢的是标签、菜单，还有页末的脚本（上面只印了一页的开头，没有印到它）。
# 丢网页最多的是去重（`duplicates`）。误丢好页的是 `language` 和 `rules`，丢掉的一百页里约有一页是好的；放过坏页的是 `duplicates` 和 `fluency`，
# 例如改动较多的镜像，没有认出来。别急着相信这样的高分：这里的噪声是课程自己造的，真实的网络没有这样分明的界线。一个会犯错的过滤器，见实验 2 第 3 部分。
#
# After `extraction` less than a third of the bytes is left, and yet nearly every page is there: what went is tags, menus, and a script at the end of the page,
# beyond what was printed above. Most pages go with `duplicates`. Good pages are lost by `language` and `rules`, about one in a hundred of those they drop; bad
# ones are kept by `duplicates` and `fluency`, such as copies that were changed too much to be recognised. Do not trust marks as high: the noise here was made by
# the course, and the real web has no edges as clean. For a filter that errs, see lab 2, part 3.
#
# </details>

# %% name="tokens"
from internlm_course.data.tokens import tokenize
from internlm_course.model import load_tokenizer
from internlm_course.tokenfiles import read_corpus

base = course.base()
tokenizer = load_tokenizer(base.path)
ids = tokenizer.encode(text)
print(' | '.join(tokenizer.decode([i]) for i in ids[:40]), '…')
print(f'{len(text)} characters, {len(text.encode())} bytes, {len(ids)} tokens, '
      f'vocabulary {len(tokenizer):,}')
tokens = lab.keep('tokens', lambda out: tokenize(corpus.path, base.path, out),
                  corpus=corpus.key, tokenizer=base.key)

# %% name="check-data" check=""
# NBVAL_CHECK_OUTPUT
funnel = corpus.metrics['funnel']
show_values('data', dict(
    tokens_decode_to_text=tokenizer.decode(ids, skip_special_tokens=True) == text,
    steps=len(funnel) >= 5,
    only_fewer=all(a['documents'] >= b['documents']
                   for a, b in zip(funnel, funnel[1:]))))

# %% [markdown] name="pretrain-text"
# ## 2 预训练：一分钟 · Pre-training: one minute
#
# 讲义 · Lecture 1：[第 2.2 节](../lectures/zh/01-full-chain.md#22-预训练internlm-train-与-internevo) /
# [section 2.2](../lectures/en/01-full-chain.md#22-pre-training-internlm-train-and-internevo)
#
# 随机的权重，下一个词元的交叉熵，AdamW。这里只训练大约一分钟；随课程提供的 base 训练得久得多。电脑太慢，可以按工具栏的 ■ 停下：练习照样能做，只有它下面的核对和三个模型作答的那个单元用得着它。
#
# **先预测**：词表有 $V$ 个词元。一个什么都不懂的模型，损失是多少奈特（用 $V$ 来写）？曲线会先快后慢，还是先慢后快？
#
# Random weights, cross-entropy of the next token, AdamW. Here for about a minute; the base model that comes with the course saw far more. If your computer is
# slow, ■ in the toolbar stops it: the exercises go on without it; only the check beneath and the cell in which three models answer need it.
#
# **Predict**: with $V$ tokens in the vocabulary, what is the loss of a model that knows nothing, in nats (write it with $V$)? Will the curve fall fast and then
# slowly, or the reverse?

# %% [markdown] name="pretrain-guess"
# **我的预测 · My prediction**（双击此处填写 · double-click here and write）：

# %% name="pretrain"
import dataclasses
import math

from internlm_course.lab.plots import LossCurve
from internlm_course.pretrain.config import CONFIGS, Phase, read_config
from internlm_course.pretrain.loop import pretrain

config = read_config(CONFIGS / f'{course.scale.pretrain}.toml')
training, validation = read_corpus(tokens.path)
phase = Phase('minute', steps=240, sequence_length=128, micro_batch=8, accumulation=1,
              learning_rate=3e-3, rope_theta=50_000.0,
              mixture=dict.fromkeys(training, 1.0), warmup=20, floor=1.0)
curve = LossCurve(lab.expected('curve'))
minute = lab.keep('minute', lambda out: pretrain(config, phase, training, validation,
                                                 base.path, out, on_step=curve),
                  tokens=tokens.key, phase=dataclasses.asdict(phase),
                  model=dict(config.model))
if minute.cached:
    curve.points = minute.metrics['curve']
    curve.draw('fetched: trained before · 之前训练过')
print(f'ln V = {math.log(len(tokenizer)):.2f}; {minute.metrics["parameters"]:,} '
      f'parameters; {phase.tokens:,} tokens, {minute.metrics["tokens_per_second"]:,} '
      'a second')

# %% name="check-curve" check="" expected=true tolerance={"relative": 0.1}
# NBVAL_CHECK_OUTPUT
show_values('curve', minute.metrics['curve'])

# %% [markdown] name="pretrain-look"
# **看什么**：灰色粗线是参考答案的曲线，你的应当贴着它走（同样的种子、同样的数据，只有数值格式可能不同）。第一段陡降学到的是什么？
#
# **What to look for**: the thick grey line is the reference's; yours should lie on it (same seed, same data, only the number format may differ). What has the
# model learnt in the first steep part?
#
# <details><summary>答案 · Answer</summary>
#
# 什么都不懂，就是给每个词元同样的机会 $1/V$，损失是 $\ln V$，图的下面打印着它的值。曲线先快后慢。它的第一个点已经比 $\ln V$ 低，因为那是头一段训练的平均。
# 第一段陡降学到的是哪些词元常见，然后是句式，最后才是事实。
#
# Knowing nothing means the same chance $1/V$ for each token, so the loss is $\ln V$; its value is printed below the plot. The curve falls fast, then slowly.
# Its first point is already below $\ln V$, being the mean over the first stretch of training. What is learnt in the first steep part is which tokens are
# frequent; then come the forms of sentences, and last the facts.
#
# </details>

# %% [markdown] name="template-text"
# ## 3 对话：模板 · Chat: the template
#
# 讲义 · Lecture 1：[第 2.3 节](../lectures/zh/01-full-chain.md#23-微调xtuner) /
# [section 2.3](../lectures/en/01-full-chain.md#23-fine-tuning-xtuner)
#
# 对话模型看到的只是一串文本。InternLM2 的格式：每条消息是 `<|im_start|>role\ncontent<|im_end|>\n`（`role` 是角色，`content` 是内容，`\n` 是换行），
# 最后打开助手的一轮：`<|im_start|>assistant\n`。开头的 `<s>` 由分词器加，不用你写。
#
# **练习 1（2 分）** 写出 `chat_text(messages)`：`messages` 是若干 `{'role', 'content'}` 的列表，返回整段文本，结尾打开助手的一轮。
#
# A chat model only ever sees one text. InternLM2's format: each message is `<|im_start|>role\ncontent<|im_end|>\n` (with the message's `role` and `content`;
# `\n` is a line break), and at the end the assistant's turn is opened: `<|im_start|>assistant\n`. The `<s>` at the very beginning is the tokenizer's business,
# not yours.
#
# **Exercise 1 (2 points)** Write `chat_text(messages)`: `messages` is a list of `{'role', 'content'}`; return the whole text, with the assistant's turn opened
# at its end.

# %% name="template" exercise=true
def chat_text(messages: list[dict]) -> str:
    ### BEGIN SOLUTION
    text = ''
    for message in messages:
        text += f'<|im_start|>{message["role"]}\n{message["content"]}<|im_end|>\n'
    return text + '<|im_start|>assistant\n'
    ### END SOLUTION

# %% name="template-light"
self_check(chat_text, planning.chat_text,
           [([dict(role='user', content='你好')],),
            ([dict(role='system', content='Be brief.'),
              dict(role='user', content=' Hi\n')],)],
           hint='一条消息有四部分：<|im_start|>、角色、换行与内容、<|im_end|> 与换行；'
                '最后还要开启助手的一轮 · A message has four parts, mind each '
                'newline; and at the end the turn of the assistant is opened.')
chat_text_used = attempt(chat_text, planning.chat_text)

# %% name="check-template" check="template" points=2
# NBVAL_CHECK_OUTPUT
rng = seeded('template')
words = ['hello', 'capital', '你好', '12 + 30', '<b>', '']
cases = [([dict(role=rng.choice(['system', 'user', 'assistant', 'environment']),
                content=rng.choice(words)) for _ in range(n)],) for n in (1, 2, 5)]
lab.check('template',
          template=(chat_text, planning.chat_text,
                    [*cases, ([dict(role='user', content=' two\nlines ')],)]))

# %% [markdown] name="talk-text"
# 现在让三个模型回答同样的问题：一分钟的（`minute`）、`base`、`sft`。前两个只会续写，所以给它们题目的续写形式；`sft` 得到的是用你的模板写成的对话。
# 方括号里是正确答案。每答完一题就印出一题；一共二十几个回答，电脑正忙的时候要等几分钟。
#
# **先预测**：`base` 已经“知道”答案，为什么还需要 `sft`？
#
# Now three models answer the same questions: the one of one minute (`minute`), `base`, `sft`. The first two only continue text, so they get the question in its
# continuing form; `sft` gets a conversation in your template. The right answer stands in brackets. Each question is printed as soon as it is answered; the
# two dozen answers take minutes where the computer is busy with something else.
#
# **Predict**: if `base` already knows, what is `sft` for?

# %% [markdown] name="talk-guess"
# **我的预测 · My prediction**（双击此处填写 · double-click here and write）：

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
        out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids),
                             max_new_tokens=48, do_sample=False, pad_token_id=2)
    said = tokenizer.decode(out[0, ids.shape[1]:])
    return said.split('<|im_end|>')[0].split('</s>')[0].split('\n')[0].strip()


models = {name: load_model(artifact.path, dtype=torch.float32)
          for name, artifact in dict(minute=minute, base=base, sft=sft).items()}
for dimension in ('knowledge', 'language', 'reasoning', 'code'):
    for item in questions[dimension]:
        said = {name: say(models[name], item['prompt']) for name in ('minute', 'base')}
        said['sft'] = say(models['sft'],
                          chat_text_used([dict(role='user', content=item['question'])]))
        print(f'{item["question"]}  [{item["answer"]}]')
        for name, answer in said.items():
            print(f'   {name:7}{answer}')

# %% name="talk-plain"
for name in ('base', 'sft'):  # the same chat, with the template and without
    for text in ('Hello!', chat_text_used([dict(role='user', content='Hello!')])):
        print(f'{name:5}{text!r:75} → {say(models[name], text)!r}')
del models

# %% [markdown] name="talk-look"
# **看什么**：哪些题一分钟的模型只学会了答案的样子，却没学会答案？最后四行：同一句话，有模板和没有模板，两个模型各怎样接？
#
# **What to look for**: in which questions has the model of one minute learnt what an answer looks like, but not the answer? And in the last four lines: how
# does each model take the same words with the template and without?
#
# <details><summary>答案 · Answer</summary>
#
# 知识是预训练给的；微调教的是对话：轮到我说，回答这句话，说完就停。有了模板，`sft` 便作答；`base` 没见过模板，只当它是又一页文本，照着网页的样子往下写。
# 没有模板的那句话，对两者都不是问话，只是某一页的开头。一分钟的模型学会了答案的样子：一个地名、一句译文、一个数，却不知道该是哪一个。
#
# Knowledge comes from pre-training; what fine-tuning teaches is to converse: it is my turn, this is what I answer, here I stop. Given the template, `sft`
# replies; `base` has never seen it, takes it for one more page, and writes on as pages do. Without the template the words are no question to either of them,
# only the beginning of some page. The model of one minute has learnt what answers look like, a name, a sentence, a number, but not which one it is.
#
# </details>

# %% [markdown] name="parameters-text"
# ## 4 纸上规划 · Planning on paper
#
# 讲义 · Lecture 1：[第 3.2 节](../lectures/zh/01-full-chain.md#32-internlm2-的体系) /
# [section 3.2](../lectures/en/01-full-chain.md#32-the-internlm2-family);
# [第 4 节](../lectures/zh/01-full-chain.md#4-从模型到应用) /
# [section 4](../lectures/en/01-full-chain.md#4-from-model-to-application)
#
# 真正的 InternLM2 有 1.8B、7B、20B 三种。下载之前，先在纸上算。一层里有：`wqkv`（查询头和键值头合在一起）、`wo`、SwiGLU 的 `w1`、`w2`、`w3`、两个 RMSNorm；
# 外加词嵌入、输出矩阵（不与词嵌入共享）、最后一个 RMSNorm。没有偏置。参数量是
#
# $$N = 2Vh + L\,\bigl(h\,(H + 2H_{kv})\,d + h^2 + 3hf + 2h\bigr) + h,\qquad d = h / H$$
#
# **练习 2（2 分）** 写出 `parameters(config)`，返回 $N$。`config` 的字段（写作 `config.vocab_size` 等）：`vocab_size` 是 $V$，`hidden_size` 是 $h$，`num_hidden_layers` 是 $L$，
# `num_attention_heads` 是 $H$，`num_key_value_heads` 是 $H_{kv}$，`intermediate_size` 是 $f$。
#
# The real InternLM2 comes in 1.8B, 7B and 20B. Before you download anything, calculate. A layer holds `wqkv` (query and key-value heads in one), `wo`, SwiGLU's
# `w1`, `w2`, `w3`, and two RMSNorms; around the layers stand the embedding, the output matrix (not shared with it) and a last RMSNorm. No biases. The number of
# parameters is
#
# $$N = 2Vh + L\,\bigl(h\,(H + 2H_{kv})\,d + h^2 + 3hf + 2h\bigr) + h,\qquad d = h / H$$
#
# **Exercise 2 (2 points)** Write `parameters(config)`, which returns $N$. The fields of `config`, written `config.vocab_size` and so on: `vocab_size` is $V$, `hidden_size` is $h$,
# `num_hidden_layers` is $L$, `num_attention_heads` is $H$, `num_key_value_heads` is $H_{kv}$, `intermediate_size` is $f$.

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
           hint='键值头比查询头少；输出矩阵不与词嵌入共享 · Fewer key-value heads '
                'than query heads; output and embedding are two matrices.')
parameters_used = attempt(parameters, parameter_count)
for name, config in released.items():
    print(f'{name:5}{parameters_used(config):>16,.0f}')

# %% name="check-parameters" check="parameters" points=2
# NBVAL_CHECK_OUTPUT
rng = seeded('parameters')
cases = [(config,) for config in sizes.released().values()]
for _ in range(3):
    kv, group, head = rng.choice([1, 2, 4]), rng.choice([2, 3, 4]), rng.choice([32, 64])
    cases.append((sizes.shape(
        vocab_size=rng.randrange(1000, 9000), num_hidden_layers=rng.randrange(2, 9),
        hidden_size=kv * group * head, num_attention_heads=kv * group,
        num_key_value_heads=kv, intermediate_size=64 * rng.randrange(2, 30)),))
lab.check('parameters', parameters=(parameters, parameter_count, cases))

# %% [markdown] name="memory-text"
# **练习 3（3 分）** 写出 `memory(config, bits, tokens)`，返回一个字典，单位是字节：
#
# - `weights`：词嵌入和输出矩阵每个数 16 位（AWQ 不动它们），其余参数每个 `bits` 位；各组的缩放因子不计；
# - `kv`：`tokens` 个词元的 KV 缓存，每个数 16 位：每层、每个键值头、每个词元各一个 K 和一个 V，各 $d$ 个数，$d = h / H$；
# - `adamw`：混合精度训练时优化器的状态：每个参数一个 fp32 主权重和两个 fp32 动量。
#
# 可以调用上一题的 `parameters_used(config)`：你答对了就是你的，否则是课程包的。
#
# **Exercise 3 (3 points)** Write `memory(config, bits, tokens)`, which returns a dict, in bytes:
#
# - `weights`: the embedding and the output matrix with 16 bits a number (AWQ leaves them), all other parameters with `bits` bits each; the scales of the groups
#   are not counted;
# - `kv`: the KV cache of `tokens` tokens, 16 bits a number: for each layer, key-value head and token a K and a V of $d$ numbers each, $d = h / H$;
# - `adamw`: the optimiser's states in mixed precision: for each parameter an fp32 master weight and two fp32 moments.
#
# You may call `parameters_used(config)` from the exercise before: yours where it is right, otherwise the package's.

# %% name="memory" exercise=true
def memory(config, bits: int, tokens: int) -> dict[str, int]:
    ### BEGIN SOLUTION
    count, ends = parameter_count(config), 2 * config.vocab_size * config.hidden_size
    head = config.hidden_size // config.num_attention_heads
    return dict(weights=2 * ends + (count - ends) * bits // 8,
                kv=(2 * config.num_hidden_layers * config.num_key_value_heads * head
                    * tokens * 2),
                adamw=(4 + 4 + 4) * count)
    ### END SOLUTION

# %% name="memory-light"
self_check(memory, planning.memory,
           [(config, bits, 1000) for config in released.values() for bits in (16, 4)],
           hint='每字节 8 位；K 和 V 是两份；用键值头数 · 8 bits a byte; K and V are '
                'two; count key-value heads, not query heads.')
memory_used = attempt(memory, planning.memory)
print('GB            weights 16b   8b    4b   KV of 32k   AdamW')
for name, config in released.items():
    found = {bits: memory_used(config, bits, 32_768) for bits in (16, 8, 4)}
    print(f'{name:14}{found[16]["weights"] / 1e9:8.1f}{found[8]["weights"] / 1e9:7.1f}'
          f'{found[4]["weights"] / 1e9:6.1f}'
          f'{found[16]["kv"] / 1e9:12.1f}{found[16]["adamw"] / 1e9:8.0f}')

# %% name="check-memory" check="memory" points=3
# NBVAL_CHECK_OUTPUT
rng = seeded('memory')
cases = [(config, bits, rng.randrange(1, 200_000))
         for config in sizes.released().values() for bits in (16, 8, 4)]
lab.check('memory', memory=(memory, planning.memory, cases))

# %% [markdown] name="gpu-text"
# **练习 4（2 分）** 写出 `gpu(config, bits, tokens)`：`planning.GPUS` 把显卡的名字映到 GiB，从小到大。返回最小的那一块的名字，
# 它的九成显存（`planning.USABLE`）放得下权重和 `tokens` 个词元的 KV 缓存；都放不下就返回 `None`。1 GiB 是 $2^{30}$ 字节。可以调用上一题的
# `memory_used(config, bits, tokens)`。
#
# **先预测**：20B 量化到 4 位，24 GB 的卡（RTX 4090）能带 32k 上下文吗？
#
# **Exercise 4 (2 points)** Write `gpu(config, bits, tokens)`: `planning.GPUS` maps a card's name to GiB, smallest first. Return the name of the smallest that
# holds the weights and the KV cache of `tokens` tokens within nine tenths of its memory (`planning.USABLE`); `None` if none does. 1 GiB is $2^{30}$ bytes. You
# may call `memory_used(config, bits, tokens)` from the exercise before.
#
# **Predict**: does a 24 GB card (RTX 4090) serve 20B at 4 bits with a context of 32k?

# %% [markdown] name="gpu-guess"
# **我的预测 · My prediction**（双击此处填写 · double-click here and write）：

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
self_check(gpu, planning.smallest_gpu,
           [(config, bits, tokens) for config in released.values()
            for bits in (16, 8, 4) for tokens in (2048, 32_768, 200_000)],
           hint='权重加缓存，不超过九成；GiB 是 2 的 30 次方 · Weights plus cache, '
                'within nine tenths; a GiB is 2 to the 30th.')
gpu_used = attempt(gpu, planning.smallest_gpu)
print(f'{"":18}{"2k":>12}{"32k":>12}{"200k":>12}')
for name, config in released.items():
    for bits in (16, 8, 4):
        print(f'{name:5}{bits:>3} bits   '
              + ''.join(f'{gpu_used(config, bits, tokens) or "-":>12}'
                        for tokens in (2048, 32_768, 200_000)))

# %% name="check-gpu" check="gpu" points=2
# NBVAL_CHECK_OUTPUT
rng = seeded('gpu')
cases = [(config, bits, tokens) for config in sizes.released().values()
         for bits in (16, 8, 4) for tokens in (2048, 8192, 32_768, 200_000)]
cases += [(sizes.released()['7b'], bits, rng.randrange(1, 400_000))
          for bits in (16, 8, 4, 4, 4)]
lab.check('gpu', gpu=(gpu, planning.smallest_gpu, cases))

# %% [markdown] name="gpu-answer"
# <details><summary>答案 · Answer</summary>
#
# 能：看 `20b`、`4 bits` 那一行的第二列。16 位时，光是权重就放不下。上下文再长到 200k，又要换大卡：缓存随长度成正比地增长，权重不变。
#
# It does: see the second column of the row `20b`, `4 bits`. At 16 bits the weights alone would not fit. With 200k of context it takes a larger card again: the
# cache grows in proportion to the length, the weights do not.
#
# </details>

# %% [markdown] name="serve-text"
# ## 5 部署：INT4 与服务 · Deployment: INT4 and a server
#
# 讲义 · Lecture 1：[第 2.4 节](../lectures/zh/01-full-chain.md#24-部署lmdeploy) /
# [section 2.4](../lectures/en/01-full-chain.md#24-deployment-lmdeploy)
#
# LMDeploy 的 AWQ 把线性层的权重变成 4 位，再用它的 `api_server` 提供 OpenAI 风格的接口。
#
# **先预测**：与 16 位相比，线性层的字节会剩几成？每 64 个权重共用一个 16 位的缩放因子和一个 4 位的零点。
#
# LMDeploy's AWQ turns the weights of the linear layers into 4 bits, and its `api_server` serves them with OpenAI's interface.
#
# **Predict**: compared with 16 bits, what share of the linear layers' bytes is left? Each 64 weights share a scale of 16 bits and a zero of 4.

# %% [markdown] name="serve-guess"
# **我的预测 · My prediction**（双击此处填写 · double-click here and write）：

# %% name="serve"
from contextlib import ExitStack

int4 = course.int4()
print(f'linear layers: {int4.metrics["linear_bytes_before"]:,} → '
      f'{int4.metrics["linear_bytes_after"]:,} bytes '
      f'({int4.metrics["linear_bytes_ratio"]:.1%} of bf16)')
running = ExitStack()
server = running.enter_context(
    course.serve(int4, course.store.root / 'logs' / 'lab-serve.log'))
print(f'{server.model} is served on 127.0.0.1 · 服务已启动')

# %% name="check-int4" check="" tolerance={"relative": 0.02}
# NBVAL_CHECK_OUTPUT
show_values('int4',
            dict(linear_bytes_ratio=round(int4.metrics['linear_bytes_ratio'], 4)))

# %% [markdown] name="serve-answer"
# <details><summary>答案 · Answer</summary>
#
# 四分之一多一点：一个权重是 4 位，再摊上 $(16 + 4) / 64$ 位，除以 16，就是上面打印的那个比例。组越大，摊得越少，舍入也越粗。
#
# A little more than a quarter: a weight has 4 bits and its part of the shared ones, $(16 + 4) / 64$; divided by 16 that is the share printed above. Larger
# groups cost less, and round more coarsely.
#
# </details>

# %% name="chat"
from internlm_course.lab.chat import Chat

window = Chat(lambda: server.url)
for question in ('Hello!', '你是谁？', questions['knowledge'][0]['question']):
    window.ask(question)
window

# %% [markdown] name="score-text"
# 上面的窗口里可以继续提问（在 GitHub 上只能看）。
#
# In the window above you can go on asking (on GitHub you can only read).
#
# ## 6 评测：一个维度，带区间 · Evaluation: one dimension, with its interval
#
# 讲义 · Lecture 1：[第 2.5 节](../lectures/zh/01-full-chain.md#25-评测opencompass) /
# [section 2.5](../lectures/en/01-full-chain.md#25-evaluation-opencompass);
# [第 5.5 节](../lectures/zh/01-full-chain.md#55-评测) /
# [section 5.5](../lectures/en/01-full-chain.md#55-evaluation)
#
# OpenCompass 给 INT4 模型的“知识”维度打分，只用 24 道题。
#
# **先预测**：24 道题的分数，上下几个百分点之内可信？
#
# OpenCompass scores the INT4 model on one dimension, knowledge, with 24 items only.
#
# **Predict**: within how many percentage points up and down can you trust a score from 24 items?

# %% [markdown] name="score-guess"
# **我的预测 · My prediction**（双击此处填写 · double-click here and write）：

# %% name="score"
from internlm_course.evaluate import EvalModel, dimensions, score

suites = [suite for suite, rows in read_items(items).items()
          if rows[0]['dimension'] == 'knowledge']
judged = EvalModel('int4', url=server.url, served_name=server.model)
scored = lab.keep('score', lambda out: score([judged], items, out, course.store.home,
                                             limit=24, suites=suites)['int4'],
                  model=int4.key, suites=suites)
knowledge = dimensions(scored.metrics)['knowledge']
print(f'knowledge: {knowledge["score"]:.0%} of {knowledge["n"]} items, chance '
      f'{knowledge["chance"]:.0%}')

# %% [markdown] name="interval-text"
# **练习 5（3 分）** 一个分数 $\hat p$ 在 $[0, 1]$ 之间，来自 $n$ 道题，它的 95% Wilson 区间是（$z = 1.959964$）
#
# $$\frac{\hat p + \frac{z^2}{2n} \pm z\sqrt{\frac{\hat p(1-\hat p)}{n} + \frac{z^2}{4n^2}}}{1 + \frac{z^2}{n}}$$
#
# 写出 `interval(score, n)`，返回 `(low, high)`；再写 `better(first, second, n)`：两个分数都来自 $n$ 道题，区间不相交时，哪个高就返回 `'first'` 或 `'second'`，
# 否则返回 `'undecided'`。
#
# **Exercise 5 (3 points)** A score $\hat p$ in $[0, 1]$ comes from $n$ items. Its 95% Wilson interval is (with $z = 1.959964$)
#
# $$\frac{\hat p + \frac{z^2}{2n} \pm z\sqrt{\frac{\hat p(1-\hat p)}{n} + \frac{z^2}{4n^2}}}{1 + \frac{z^2}{n}}$$
#
# Write `interval(score, n)`, which returns `(low, high)`; and `better(first, second, n)` for two scores from $n$ items each: where their intervals lie apart,
# `'first'` or `'second'`, whichever is higher, otherwise `'undecided'`.

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
    return ('first' if low > other_high else 'second' if other_low > high
            else 'undecided')
    ### END SOLUTION

# %% name="interval-light"
self_check(interval, planning.interval, [(0.5, 24), (0.9, 24), (0.708, 1319)],
           hint='分母 1 + z²/n 除以整个分子 · The denominator 1 + z²/n divides centre '
                'and margin both.')
self_check(better, planning.better, [(0.360, 0.708, 1319), (0.616, 0.592, 164)],
           hint='区间相交就是 undecided · Intervals that meet are undecided.')
interval_used = attempt(interval, planning.interval)
better_used = attempt(better, planning.better)
low, high = interval_used(knowledge['score'], knowledge['n'])
print(f'knowledge of INT4 · INT4 的知识: {knowledge["score"]:.0%}, between {low:.0%} '
      f'and {high:.0%}')
# Scores from the InternLM2 report (arXiv 2403.17297, section 5);
# n is the size of each test set.
TABLE = [('GSM8K', '7B-Base', 0.360, '7B', 0.708, 1319),
         ('GSM8K', '7B-SFT', 0.688, '7B-RLHF', 0.707, 1319),
         ('MATH', '7B-SFT', 0.232, '7B-RLHF', 0.236, 5000),
         ('HumanEval', '7B-SFT', 0.616, '7B-RLHF', 0.592, 164),
         ('HumanEval', '7B-SFT', 0.616, '20B-RLHF', 0.677, 164)]
for suite, one, first, other, second, n in TABLE:
    verdict = dict(first=one, second=other,
                   undecided='undecided · 难分高下')[better_used(first, second, n)]
    print(f'{suite:10} n={n:<5} {one} {first:.1%}  {other} {second:.1%}  → {verdict}')

# %% name="check-interval" check="interval" points=3
# NBVAL_CHECK_OUTPUT
rng = seeded('interval')
cases = [(0.0, 24), (1.0, 24),
         *((round(rng.random(), 3), rng.randrange(10, 2000)) for _ in range(5))]
pairs = [(0.9, 0.1, 100), (0.1, 0.9, 100), (0.50, 0.52, 164), (0.688, 0.707, 1319),
         (0.500, 0.545, 1319), (0.30, 0.47, 100)]
lab.check('interval', interval=(interval, planning.interval, cases),
          better=(better, planning.better, pairs))

# %% [markdown] name="interval-look"
# **看什么**：对照上面的区间，看你的预测。报告里的哪些“提升”，只凭这张表还不能下结论？
#
# **What to look for**: your prediction beside the interval above. And which gains of the report does this table alone not prove?
#
# <details><summary>答案 · Answer</summary>
#
# 24 道题，分数在一半附近时，上下将近二十个百分点；越靠近 100%，区间越窄，并且只向下伸。表里只有从 `7B-Base` 到 `7B` 的那一行，区间不相交；其余的差别，
# 换一批题就可能反过来。（在同一批题上配对检验会更灵敏，但需要逐题的结果。）
#
# With 24 items and a score near one half, nearly twenty points up and down; the nearer to 100%, the narrower, and downwards only. In the table the intervals
# lie apart in one row alone, from `7B-Base` to `7B`; every other difference might turn round on other items. (A paired test on the same items sees more, but
# needs the answers one by one.)
#
# </details>

# %% name="check-score" check=""
# NBVAL_CHECK_OUTPUT
# at 100 % the formula ends a rounding below 1
show_values('score', dict(
    n=knowledge['n'],
    within=round(low, 6) <= round(knowledge['score'], 6) <= round(high, 6)))

# %% [markdown] name="agent-text"
# ## 7 智能体：计算器 · An agent with a calculator
#
# 讲义 · Lecture 1：[第 2.6 节](../lectures/zh/01-full-chain.md#26-智能体lagent) /
# [section 2.6](../lectures/en/01-full-chain.md#26-agents-lagent)
#
# Lagent 让模型输出 `<|action_start|><|plugin|>` … `<|action_end|>`，把结果作为 `environment` 的消息送回去，再让模型作答。
#
# **先预测**：不给工具，问它三位数乘三位数，两百万参数的模型会写什么？给它计算器以后，错误会出在哪一步：不调用、写错算式，还是抄错结果？
#
# Lagent lets the model write `<|action_start|><|plugin|>` … `<|action_end|>`, returns the result as a message of the `environment`, and the model answers.
#
# **Predict**: asked for a product of three-digit numbers and given no tool, what will a model of two million parameters write? With a calculator, where will it
# fail: no call, a wrong expression, or a result copied wrongly?

# %% [markdown] name="agent-guess"
# **我的预测 · My prediction**（双击此处填写 · double-click here and write）：

# %% name="agent"
from internlm_course.agents import solve
from internlm_course.marking import is_correct

lines = (course.crawl().path / 'agent.jsonl').read_text('utf-8').splitlines()
problems = [json.loads(line) for line in lines[:4]]
for tools in (False, True):
    print('with the calculator · 有计算器' if tools else 'without · 没有计算器')
    answers = solve(server.url, server.model,
                    [problem['question'] for problem in problems],
                    tools=tools, threads=2)
    for problem, answer in zip(problems, answers):
        called = f'  calls · 调用 {", ".join(answer.calls)}' if answer.calls else ''
        said = (answer.text
                or f'no answer, it wrote · 没有答案，它写的是: {answer.said!r}')
        right = is_correct(answer.text, problem['answer'])
        verdict = 'right · 对' if right else 'wrong · 错'
        print(f'   {problem["question"]}{called}  → {said}  [{problem["answer"]}] '
              f'{verdict}')

# %% name="check-agent" check=""
# NBVAL_CHECK_OUTPUT
from internlm_course.agents.calculator import calculate

show_values('agent', dict(calculator=calculate('123*456'), asked=len(problems)))

# %% [markdown] name="agent-look"
# **看什么**：没有计算器时，看模型写下的原话；有计算器时，比较题目、算式和回答里的数。
#
# **What to look for**: without the calculator, what the model wrote, word for word; with it, the numbers in the question, in the expression and in the answer.
#
# <details><summary>答案 · Answer</summary>
#
# 微调的对话里，这样的题总是写成一次调用。没有工具，它也照样写调用，却没有谁来执行，所以没有答案；这么大的乘法，它从没学过心算。有了计算器，它只要抄写两次：
# 把题目里的数抄进算式，再把结果抄进回答。若有错，多半就错在抄写上。
#
# In the conversations of its fine-tuning such a question was always met with a call. Without a tool it writes the call all the same, nobody runs it, and so
# there is no answer; products of this size it never learnt to do in its head. With the calculator it only has to copy twice: the numbers into the expression,
# the result into the answer. Where it fails, it mostly fails in copying.
#
# </details>

# %% [markdown] name="decide-text"
# ## 8 选型：从模型到应用 · From a model to an application
#
# 讲义 · Lecture 1：[第 4 节](../lectures/zh/01-full-chain.md#4-从模型到应用) /
# [section 4](../lectures/en/01-full-chain.md#4-from-model-to-application)
#
# 第 1 讲的流程：先选模型。业务场景**不复杂**，就直接评测、部署。场景**复杂**，就微调：**算力够**用全参数，不够用 LoRA；微调之后若还要**与环境交互**，
# 就构建智能体；最后评测、部署。
#
# **练习 6（2 分）** 写出 `decide(complex_scene, enough_compute, needs_environment)`，三个参数都是真假值，依次返回要走的步骤，是一个列表，名字取自
# `'choose'`（选模型）、`'full fine-tuning'`（全参数微调）、`'LoRA'`、`'agent'`（智能体）、`'evaluate'`（评测）、`'deploy'`（部署）。
#
# The flow of lecture 1: first choose a model. If the scene is **not complex**, evaluate and deploy. If it is **complex**, fine-tune: in full with **enough
# compute**, otherwise by LoRA; if after that it must **interact with an environment**, build an agent; at last evaluate and deploy.
#
# **Exercise 6 (2 points)** Write `decide(complex_scene, enough_compute, needs_environment)`, from three truth values to the list of steps in order, by the
# names `'choose'`, `'full fine-tuning'`, `'LoRA'`, `'agent'`, `'evaluate'`, `'deploy'`.

# %% name="decide" exercise=true
def decide(complex_scene: bool, enough_compute: bool,
           needs_environment: bool) -> list[str]:
    ### BEGIN SOLUTION
    way = ['choose']
    if complex_scene:
        way.append('full fine-tuning' if enough_compute else 'LoRA')
        if needs_environment:
            way.append('agent')
    return way + ['evaluate', 'deploy']
    ### END SOLUTION

# %% name="decide-light"
everything = [(a, b, c) for a in (True, False) for b in (True, False)
              for c in (True, False)]
self_check(decide, planning.steps, everything,
           hint='不复杂的场景直接评测；评测总在部署之前 · A simple scene goes '
                'straight to evaluation, which always precedes deployment.')
decide_used = attempt(decide, planning.steps)
print('客服问答，一块 8 GB 显卡，要查订单 · support desk, one 8 GB card, must look '
      'orders up:', ' → '.join(decide_used(True, False, True)))
print('会议纪要摘要 · minutes of meetings:',
      ' → '.join(decide_used(False, True, False)))

# %% name="check-decide" check="decide" points=2
# NBVAL_CHECK_OUTPUT
everything = [(a, b, c) for a in (True, False) for b in (True, False)
              for c in (True, False)]
seeded('decide').shuffle(everything)
lab.check('decide', decide=(decide, planning.steps, everything))

# %% [markdown] name="end-text"
# ## 结束 · The end
#
# 停下服务，看看这一趟花了多少时间和内存（内核与它启动的所有进程的匿名内存）。
#
# Stop the server, and see what the tour took: seconds, and the anonymous memory of the kernel and of everything it started.

# %% name="end"
running.close()
lab.finish()
