"""The doctor's findings about other machines: what config.toml says of them. None is asked."""

from __future__ import annotations

from threadrunner import remote_keys, remote_settings
from threadrunner.cli.commands.doctor_models import bad, note, ok, options
from threadrunner.remote_settings import RemoteSettings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from threadrunner.cli.commands.doctor_models import Finding


def found() -> Iterator[Finding]:
    known = options()
    for table in remote_settings.every(known):
        if not isinstance(table, RemoteSettings):
            yield bad("remote", str(table))
            continue
        kind = table.key.partition(":")[0]
        if kind == "file":  # the others may ask their owner, or are of the daemon's environment
            try:
                remote_keys.read(table)
            except remote_keys.KeyMissing as missing:
                yield bad("remote", f"{table.name}: {missing}")
                continue
        kept = f"its key by {kind}" if kind else "without a key"
        sent = ", ".join(table.allow) or "nothing"
        yield ok("remote", f"{table.name}: {table.url}, {kept}; may be sent: {sent}; not asked now, "
                 f"`threadrunner remotes test {table.name}` does")  # fmt: skip
    if known.remotes and known.offline:
        yield note("remote", "`offline` is set: no other machine is asked")
