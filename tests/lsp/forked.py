"""`threadrunner lsp` without its start: one process has loaded the program, and each server is a fork of it.

Loading it costs 0.7 s of CPU, and nearly each test here and in tests/clients has a server of its own. nursery.py says
what to start in place of `python -m threadrunner`: its files, folder, environment and arguments are the server's, its
end is the server's end, and if it is killed, so is the server. tests/lsp/test_once.py starts the program itself.

    python -m tests.lsp.forked SOCKET            makes servers for those who ask there, until its stdin ends
    python tests/lsp/forked.py SOCKET ARGUMENT…  asks there, and is the server from then on
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys


def ask(path: str, arguments: list[str]) -> None:
    """End as a server with these arguments ends that has this process's files, folder and environment."""
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(path)
        body = json.dumps([arguments, os.getcwd(), dict(os.environ)]).encode()
        socket.send_fds(link, [len(body).to_bytes(4, "big")], [0, 1, 2])
        link.sendall(body)
        os.closerange(0, 3)  # they are the server's now: its end ends them
        said = link.recv(4)
    code = int.from_bytes(said, "big", signed=True)
    if code < 0:
        os.kill(os.getpid(), -code)
    os._exit(code if said else 1)


def serve(path: str) -> None:
    """Fork a server for each that asks."""
    from threadrunner.cli.main import main
    from threadrunner.lsp import server  # noqa: F401  # what is loaded here is loaded in each fork

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nothing waits for the forks
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(16)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while listener in select.select([listener, 0], [], [])[0]:
            link, _ = listener.accept()
            if not os.fork():
                break
            link.close()
        else:
            return
    if watch(link):
        sys.exit(main())


def watch(link: socket.socket) -> bool:
    """True in a new fork, which has become what was asked for; this process ends with it."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    head, files, _, _ = socket.recv_fds(link, 4, 3)
    arguments, folder, environment = json.loads(link.makefile("rb").read(int.from_bytes(head, "big")))
    alive, until_end = os.pipe()
    server = os.fork()
    if not server:
        link.close()
        os.close(alive)
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        sys.argv[1:] = arguments
        return True
    os.closerange(0, 3)
    for file in (*files, until_end):
        os.close(file)
    if link in select.select([alive, link], [], [])[0]:
        os.kill(server, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(server, 0)[1])
    with contextlib.suppress(OSError):  # the one who asked was killed
        link.send(code.to_bytes(4, "big", signed=True))
    os._exit(0)


if __name__ == "__main__":
    if sys.argv[2:]:
        ask(sys.argv[1], sys.argv[2:])
    else:
        serve(sys.argv[1])
