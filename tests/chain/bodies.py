"""Bodies that clients send to one served model: good ones, and those that must be refused, with a part of the sentence.

The kinds come from public reports: before they were checked, each of KILLERS ended LMDeploy's engine for everybody.
"""
import json
import random

CHAT, COMPLETIONS, GENERATE = '/v1/chat/completions', '/v1/completions', '/generate'
HELLO = [{'role': 'user', 'content': 'Hello!'}]
BASE = {CHAT: {'messages': HELLO, 'max_tokens': 4}, COMPLETIONS: {'prompt': 'The capital', 'max_tokens': 4},
        GENERATE: {'prompt': 'The capital', 'max_tokens': 4}, '/v1/encode': {'input': 'The capital'},
        '/v1/messages': {'messages': HELLO, 'max_tokens': 4},
        '/v1/responses': {'input': 'Hello!', 'max_output_tokens': 4}}
TOOLS = [{'type': 'function', 'function': {'name': 'calculator', 'parameters': {'type': 'object', 'properties': {}}}}]


def schema(value, **options) -> dict:
    return {'response_format': {'type': 'json_schema', 'json_schema': {'name': 'x', 'schema': value}}} | options


def regex(value) -> dict:
    return {'response_format': {'type': 'regex_schema', 'regex_schema': value}}


KILLERS = [
    (CHAT, {'response_format': {'type': 'json_schema'}}, 'must be a JSON schema'),
    (CHAT, schema(None), 'must be a JSON schema'),
    (CHAT, schema({'type': 'nonsense'}), 'Unsupported type "nonsense"'),
    (CHAT, schema({'enum': []}), 'enum array must not be empty'),
    (CHAT, schema({'$ref': '#/nowhere'}), 'Cannot find field nowhere'),
    (CHAT, schema({'$ref': '#'}), 'no text follows it'),
    (CHAT, schema({'type': 'string', 'pattern': '('}), 'parenthesis is not closed'),
    (CHAT, schema({'type': 'string', 'pattern': 'a?' * 900}), 'more than 500 characters'),
    (CHAT, schema({'type': 'object'}, ignore_eos=True), 'contradict'),
    (CHAT, regex('('), 'parenthesis is not closed'),
    (CHAT, regex('(?=a)b'), 'Lookahead is not supported'),
    (CHAT, regex(r'[^\s\S]'), 'no text follows it'),
    (CHAT, regex(5), 'must be a regular expression'),
    (CHAT, {'response_format': {'type': 'yaml'}}, 'must be text, json_object'),
    (CHAT, {'response_format': 'json_object'}, 'must be text, json_object'),
    ('/v1/responses', {'text': {'format': {'type': 'json_schema', 'name': 'x', 'schema': {'type': 'nonsense'}}}},
     'Unsupported type'),
    (GENERATE, {'prompt': None, 'input_ids': [1, 99999999]}, 'token id 99999999 is outside the vocabulary of'),
    (GENERATE, {'prompt': None, 'input_ids': [1, -5]}, 'token id -5 is outside'),
    (CHAT, {'messages': [], 'input_ids': [1, 2000000]}, 'token id 2000000 is outside'),
    (COMPLETIONS, {'prompt': [1, 99999999]}, 'token id 99999999 is outside'),
    ('/get_ppl', {'input': [1, 99999999]}, 'token id 99999999 is outside'),
]
# Fields that LMDeploy would ignore, or honours otherwise than they say.
NOT_HONOURED = [
    (CHAT, {'n': 2}, 'n cannot be honoured'),
    (COMPLETIONS, {'n': 3}, 'n cannot be honoured'),
    (COMPLETIONS, {'best_of': 2}, 'best_of cannot be honoured'),
    (COMPLETIONS, {'presence_penalty': 2}, 'repetition_penalty'),
    (CHAT, {'frequency_penalty': -0.5}, 'repetition_penalty'),
    (COMPLETIONS, {'echo': True}, 'echo cannot be honoured'),
    (COMPLETIONS, {'suffix': 'end'}, 'suffix cannot be honoured'),
    (COMPLETIONS, {'logprobs': 0}, 'logprobs cannot be honoured'),
    (CHAT, {'logprobs': True}, 'not enabled'),
    (CHAT, {'tools': TOOLS, 'tool_choice': 'required'}, 'tool_choice cannot be honoured'),
    (CHAT, {'tools': TOOLS, 'tool_choice': {'type': 'function', 'function': {'name': 'calculator'}}},
     'tool_choice cannot be honoured'),
    (CHAT, {'guided_regex': 'a+'}, "knows no field 'guided_regex'"),
    (CHAT, {'preserve_cache': True}, "knows no field 'preserve_cache'"),
    (COMPLETIONS, {'logit_bias': {'5': 1}}, "knows no field 'logit_bias'"),
    (GENERATE, {'seed': 5}, "knows no field 'seed'"),
    (GENERATE, {'image_data': 'x'}, 'reads text only'),
    (CHAT, {'messages': [{'role': 'user', 'content': [{'type': 'image_url', 'image_url': {'url': 'x'}}]}]},
     'reads nothing else'),
    ('/v1/responses', {'logit_bias': {'5': 1}}, "knows no field 'logit_bias'"),
    ('/v1/messages', {'tools': [{'name': 'x', 'input_schema': {}}], 'tool_choice': {'type': 'any'}},
     'tool_choice cannot be honoured'),
]
NO_REQUESTS = [
    (CHAT, b'{"model": ', 'not JSON'),
    (CHAT, b'[1]', 'must be a JSON object'),
    (CHAT, b'\xff\xfe\xfa', 'not JSON'),
    (CHAT, b'{"temperature": NaN}', 'NaN is no number'),
    (CHAT, b'{"temperature": 1e999}', 'too large'),
    (CHAT, b'{"seed": 1' + b'0' * 5000 + b'}', 'too large'),
    (CHAT, b'{"messages": "\\ud83d"}', 'surrogate'),
    (CHAT, b'{"a":' * 200 + b'1' + b'}' * 200, 'nested deeper'),
    (CHAT, b'[' * 100_000, 'not JSON'),
    (CHAT, {'temperature': 'warm'}, 'temperature is "warm", and must be a number from 0 to 2'),
    (CHAT, {'temperature': -0.1}, 'temperature is -0.1'),
    (COMPLETIONS, {'top_p': 1.01}, 'top_p is 1.01'),
    (COMPLETIONS, {'min_p': -1}, 'min_p is -1'),
    (CHAT, {'repetition_penalty': 0}, 'repetition_penalty is 0'),
    (CHAT, {'repetition_penalty': 1e-300}, 'repetition_penalty is 1e-300'),
    (CHAT, {'max_tokens': 0}, 'max_tokens is 0'),
    (COMPLETIONS, {'max_tokens': -3}, 'max_tokens is -3'),
    (COMPLETIONS, {'max_tokens': True}, 'max_tokens is true'),
    (CHAT, {'top_k': 1.5}, 'top_k: Input should be a valid integer'),
    (CHAT, {'logit_bias': {'99999999': 1}}, 'out-of-vocab'),
    (CHAT, {'logit_bias': {'x': 1}}, 'not an integer'),
    (CHAT, {'stop': [5]}, 'stop'),
    (CHAT, {'messages': [{'role': 'user', 'content': 5}]}, 'content of a message must be a text'),
    (CHAT, {'messages': [None]}, 'messages'),
    (CHAT, {'messages': None}, 'messages'),
    (COMPLETIONS, {'prompt': [['a']]}, 'list of token ids'),
    (COMPLETIONS, {'prompt': [None]}, 'list of token ids'),
    (COMPLETIONS, {'prompt': [[]]}, 'prompt is empty'),
    (COMPLETIONS, {'prompt': [1] * 5000}, 'context length of model'),
    (GENERATE, {'prompt': None, 'input_ids': [1] * 5000}, 'context length of model'),
    (CHAT, {'chat_template_kwargs': {'tools': 5}}, 'could not answer'),
    ('/pooling', {'input': 'x'}, 'not in reward model list'),
    ('/sleep', {}, 'is not served here'),
    ('/update_weights', {'serialized_named_tensors': 'x'}, 'is not served here'),
]

# --- mutations --------------------------------------------------------------------------------------------------------
VALUES = [None, True, False, 0, 1, -1, 2, 0.5, -0.5, 1e-45, 5e-324, 1e300, 2 ** 31, 2 ** 63, -2 ** 63, '', 'x', '0.5',
          'nan', '书生', '\ud83d', '\x00', 'auto',
          [], [0], [1, 2], [-1], [10 ** 8], [[1, 40]], ['a', ''], [None], [[]], {}, {'type': 'json_object'},
          {'type': 'x'}, {'5': 100}, {'5': -100, '-1': 0},
          {'include_usage': True}, {'type': 'regex_schema', 'regex_schema': '(a|'},
          {'type': 'regex_schema', 'regex_schema': '[a-c]{1,4}'},
          schema({'type': ['object', 'x']})['response_format'],
          schema({'type': 'integer', 'minimum': 9, 'maximum': 3})['response_format'],
          schema({'anyOf': [{'type': 'string', 'maxLength': 3}, {}]})['response_format'], HELLO, HELLO * 2,
          [{'role': 'x'}], [{}], TOOLS, [{'type': 'x'}]]
PLAUSIBLE = {
    'temperature': [0, 0.7, 1.5, 1e-45], 'top_p': [0.3, 1], 'top_k': [0, 1, 40, 10 ** 9], 'min_p': [0, 0.1],
    'repetition_penalty': [0.5, 1.2],
    'max_tokens': [1, 8], 'stop': ['a', ['e', 'the'], []], 'stream': [True, False], 'ignore_eos': [True],
    'session_id': [-1, 7],
    'skip_special_tokens': [True], 'repetition_ngram_size': [2], 'repetition_ngram_threshold': [2], 'user': ['someone']}
OF_CHAT = {'seed': [0, 5, 2 ** 40], 'stream_options': [{'include_usage': True}], 'n': [1], 'presence_penalty': [0],
           'frequency_penalty': [0]}
PER_PATH = {
    CHAT: OF_CHAT | {'messages': [HELLO * 2, 'Hello!'], 'response_format': [{'type': 'json_object'}, *VALUES[-9:-5]],
                     'logit_bias': [{'5': 100}, {}],
                     'tools': [TOOLS], 'tool_choice': ['auto', 'none'], 'min_new_tokens': [2], 'do_preprocess': [False],
                     'return_token_ids': [True],
                     'chat_template_kwargs': [{'x': 1}], 'include_stop_str_in_output': [True],
                     'max_completion_tokens': [3]},
    COMPLETIONS: OF_CHAT | {'prompt': [['a', 'b'], [1, 40], [[1, 40], 'b']], 'echo': [False], 'suffix': [''],
                            'best_of': [1]},
    GENERATE: {'prompt': ['书生', '\x00'], 'input_ids': [[1, 40]], 'stop_token_ids': [[5], []],
               'return_logprob': [False]},
    '/v1/messages': {'messages': [HELLO * 2], 'system': ['Be short.'], 'stop_sequences': [['a']]},
    '/v1/responses': {'input': [HELLO], 'text': [{'format': {'type': 'text'}}], 'max_output_tokens': [5]},
    '/v1/encode': {'input': [['a', 'b'], '']}}


def mutated(count: int) -> list[tuple[str, bytes]]:
    """Bodies that were good requests before one or two fields were set to something, or, for every eighth, a byte was
    changed or the end cut off."""
    rng, made = random.Random(0), []
    for number in range(count):
        path = rng.choice([CHAT, CHAT, COMPLETIONS, *BASE])
        body, fields = ({'model': 'internlm2-tiny'} | BASE[path], PER_PATH[path]
                        | ({} if path == '/v1/encode' else PLAUSIBLE))
        for _ in range(rng.randint(1, 2)):
            field = rng.choice(list(fields))
            body[field] = rng.choice(fields[field] if rng.random() < 0.4 else VALUES)
        raw = bytearray(json.dumps(body).encode())
        if number % 8 == 0:
            place = rng.randrange(len(raw))
            raw = raw[:place] if number % 16 else raw[:place] + bytes([rng.randrange(256)]) + raw[place + 1:]
        made.append((path, bytes(raw)))
    return made
