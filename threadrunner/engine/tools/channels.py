"""gpt-oss's answers, which are channels from their beginning to their end."""

from __future__ import annotations

import re

from threadrunner.engine.tools.source import Reading
from threadrunner.engine.tools.splitter import Splitter, _Literals

_CHANNEL = re.compile(r"<\|channel\|>(\w+)")
_ENDS = _Literals(("<|end|>", "<|return|>", "<|call|>", "<|start|>"))


class ChannelSplitter(Splitter):
    """Analysis is thought, a message to a function is a call, all else is text."""
