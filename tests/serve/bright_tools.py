"""A program for tests: the tools over stdin and stdout, with the method that costs nothing."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bright import BrightSegmenter

from medclipsam.serve.answers import Answers
from medclipsam.serve.tools import make_server

if __name__ == "__main__":
    answers = Answers(BrightSegmenter, folders=[Path(sys.argv[1])])
    try:
        make_server(answers, Path(sys.argv[2])).run()
    finally:
        answers.close()
