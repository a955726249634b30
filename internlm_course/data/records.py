"""Reading and writing documents between datatrove's stages with the standard library: datatrove's own jsonl steps need
orjson."""
import json
from pathlib import Path
from typing import IO

from datatrove.data import DocumentsPipeline
from datatrove.pipeline.readers.base import BaseDiskReader
from datatrove.pipeline.writers.disk_base import DiskWriter

from internlm_course.jsonl import line_of


class LinesReader(BaseDiskReader):
    """Reads the jsonl files of a folder, one a task."""
    name = '📄 Lines'

    def __init__(self, folder: Path):
        super().__init__(str(folder), glob_pattern='*.jsonl', add_file_path=False)

    def read_file(self, filepath: str) -> DocumentsPipeline:
        with self.data_folder.open(filepath, 'rb') as lines:
            for number, line in enumerate(lines):
                yield self.get_document_from_dict(json.loads(line), filepath, number)


class LinesWriter(DiskWriter):
    """Writes one jsonl file a task."""
    name = '📄 Lines'

    def __init__(self, folder: Path):
        super().__init__(str(folder), '${rank}.jsonl', compression=None, mode='wb')

    def _write(self, document: dict, file_handler: IO, filename: str) -> None:
        file_handler.write(line_of(document).encode())
