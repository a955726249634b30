"""What every test shares: no network, and the tests' own helpers importable."""
import os
import sys
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE='1', TRANSFORMERS_OFFLINE='1', HF_DATASETS_OFFLINE='1', TOKENIZERS_PARALLELISM='false')
sys.path.insert(0, str(Path(__file__).parent / 'chain'))
