"""What every test shares: no network but 127.0.0.1, and the tests' own helpers importable."""
import os
import sys
from pathlib import Path

from internlm_course.process import open_loopback

os.environ.update(HF_HUB_OFFLINE='1', TRANSFORMERS_OFFLINE='1', HF_DATASETS_OFFLINE='1', TOKENIZERS_PARALLELISM='false')
sys.path += sorted({str(path.parent) for path in Path(__file__).parent.rglob('test_*.py')})
open_loopback()


def pytest_collection_modifyitems(items):
    """The longest file first: two files run at a time, and the last one would run alone."""
    items.sort(key=lambda item: item.path.name != 'test_labs.py')
