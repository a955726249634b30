"""What the course's own things are called, in Chinese and English: stages, models, suites and dimensions, each once, in
their order."""
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Name:
    """What one thing is called."""
    zh: str
    en: str

    def __str__(self) -> str:
        return f'{self.en} · {self.zh}'


@dataclass(frozen=True)
class Model(Name):
    """A model of the chain."""
    chats: bool = False
    """Asked through its server, in chat; the others continue a text."""
    labs: tuple[int, ...] = ()
    """The labs that open it."""


@dataclass(frozen=True)
class Suite(Name):
    """A kind of held-out items."""
    dimension: str


STAGES = dict(
    crawl=Name('网页抓取', 'raw web pages'), corpus=Name('清洗语料', 'datatrove: clean corpus'),
    tokenizer=Name('分词器', 'byte-level BPE'), tokens=Name('词元文件', 'token files'),
    base=Name('预训练', 'pre-training, short context'), long=Name('长文本阶段', 'pre-training, long context'),
    enhanced=Name('能力增强', 'pre-training, capability enhancement'),
    conversations=Name('指令数据', 'instruction data'),
    preferences=Name('偏好数据', 'prompts and preference pairs'),
    sft=Name('微调', 'XTuner fine-tuning'), reward=Name('奖励模型', 'XTuner reward model'),
    rlhf=Name('按奖励模型对齐', 'COOL RLHF: PPO against the reward model'),
    chat=Name('对齐', 'alignment, GRPO'),
    int4=Name('INT4 量化', 'LMDeploy INT4'),
    scores=Name('部署与评测', 'LMDeploy serving + OpenCompass'), agent=Name('智能体', 'Lagent agent with a calculator'))

# As the model grows up.
MODELS = dict(
    base=Model('基座', 'after the short context', labs=(1, 3)),
    long=Model('长文本', 'after the long context', labs=(2, 3)),
    enhanced=Model('能力增强', 'after the enhancement', labs=(4,)),
    sft=Model('微调', 'fine-tuned', chats=True, labs=(1, 4, 5)),
    chat=Model('对齐', 'fine-tuned and aligned', chats=True),
    int4=Model('INT4 量化', 'fine-tuned, with INT4 weights', chats=True, labs=(1,)))

# InternLM2 report, section 4.
DIMENSIONS = dict(knowledge=Name('知识', 'knowledge'), language=Name('语言', 'language'),
                  reasoning=Name('推理与数学', 'reasoning'),
                  code=Name('代码', 'code'), long=Name('长文本', 'long context'), tools=Name('工具', 'tools'))

SUITES = dict(
    knowledge=Suite('知识', 'knowledge', 'knowledge'),
    translation=Suite('翻译', 'translation', 'language'), reading=Suite('阅读', 'reading', 'language'),
    addition=Suite('两位数加法', 'two-digit addition', 'reasoning'),
    word_problem=Suite('应用题', 'word problems', 'reasoning'),
    steps=Suite('两步应用题', 'problems in two steps', 'reasoning'), code=Suite('代码结果', 'results of code', 'code'),
    needle_short=Suite('近处的“针”', 'near needle', 'long'), needle_long=Suite('远处的“针”', 'far needle', 'long'),
    tools=Suite('工具调用', 'tool calls', 'tools'))

# What a chat model is asked besides the suites, and a program checks (verify).
CHECKS = dict(
    constraints=Name('指令约束', 'instructions obeyed'), identity=Name('自我认知', 'knows who it is'),
    refusal=Name('拒答', 'refuses what nobody knows'),
    named=Name('拒答不说错名字', 'names nothing else when it refuses'), known=Name('不误拒', 'answers what it knows'))

AGENT = Name('智能体', 'agent')
AGENT_SUITES = dict(without_tools=Name('不用工具', 'without its tool'), with_tools=Name('用工具', 'with its tool'))


def in_order(found: Iterable[str], names: Iterable[str]) -> list[str]:
    """What was found, once each, in the order of the names; what none of them names comes last."""
    known, names = dict.fromkeys(found), list(names)
    return [name for name in names if name in known] + [name for name in known if name not in names]
