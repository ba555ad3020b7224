"""Ask several questions at once with asyncio, and give up on those that take too long.

    .venv/bin/python docs/examples/ask_many.py 30 "name a colour" "name a fruit" "name a town"

All requests share one connection; the model works on all of them at the same time. A request whose task is cancelled
is cancelled in the daemon too. For programs with an event loop of their own: a bot, a web server, an editor.
"""

import asyncio
import sys

from threadrunner.api.errors import ApiError
from threadrunner.client.aio import AsyncClient


async def answer(client: AsyncClient, prompt: str, seconds: float) -> str:
    """The answer in one line, or why there is none."""
    params = {"prompt": prompt, "max_tokens": 50, "stream": False}
    try:
        async with asyncio.timeout(seconds):
            result = await client.request("generate", params)
    except TimeoutError:
        return f"(nothing within {seconds:g} s)"
    except ApiError as error:
        return f"({error})"
    return " ".join(result["text"].split())


async def main() -> None:
    seconds, *prompts = sys.argv[1:]
    client = AsyncClient()  # connects at the first request, and again after the daemon has ended
    try:
        answers = await asyncio.gather(*(answer(client, prompt, float(seconds)) for prompt in prompts))
    finally:
        await client.close()
    for prompt, text in zip(prompts, answers, strict=True):
        print(f"{prompt}: {text}")


asyncio.run(main())
