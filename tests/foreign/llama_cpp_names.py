"""A plugin of pytest's for llama.cpp's server tests: their requests name no model, which ours is to be told. An empty
name is the default model's, and what they call by a service's name is an alias (`llama_cpp_tests.py`)."""

from __future__ import annotations

from typing import Any

import requests

_post = requests.post


def post(url: str, *arguments: Any, json: Any = None, **more: Any) -> requests.Response:
    if isinstance(json, dict) and "completions" in url:
        json = {"model": "", **json}
    return _post(url, *arguments, json=json, **more)


requests.post = post
