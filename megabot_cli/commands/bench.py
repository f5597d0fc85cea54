"""`megabot bench`: what this path carries."""

from __future__ import annotations

from typing import Annotated

import typer

from megabot_cli.commands.invocation import Invocation
from megabot_cli.commands.tree import examples, forms
from megabot_cli.commands.values import duration, rate


@forms("text", "json")
@examples(
    ("megabot bench", "Ask four times at once for five seconds, as the limits allow"),
    ("megabot bench --direct", "The same without the relay: what does it add?"),
    ("megabot bench ws://127.0.0.1:3000/ws --clients 50 --no-rate-limit", "All that a gateway can"),
    ("megabot bench --listeners 100 --json | jq .fan_out", "One answer to a hundred"),
)
def bench(
    context: typer.Context,
    upstream: Annotated[
        str | None, typer.Argument(metavar="[URL]", help="The upstream; as --url.")
    ] = None,
    clients: Annotated[
        int, typer.Option("--clients", metavar="N", min=1, max=10_000, help="So many ask at once.")
    ] = 4,
    for_s: Annotated[
        float,
        typer.Option("--duration", parser=duration, metavar="DURATION", help="Ask for so long."),
    ] = 5.0,
    rate_limit: Annotated[
        str | None, typer.Option("--rate", metavar="N/s", help="So often, all together.")
    ] = None,
    no_rate_limit: Annotated[
        bool, typer.Option("--no-rate-limit", help="As often as answers come.")
    ] = False,
    listeners: Annotated[
        int,
        typer.Option(
            "--listeners", metavar="N", min=0, max=10_000, help="Then one answer to so many."
        ),
    ] = 0,
    message: Annotated[
        str, typer.Option("--message", metavar="TEXT", help="What to say.")
    ] = "ping",
    direct: Annotated[
        bool, typer.Option("--direct", help="Go around the relay, if one runs.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("-y", "--yes", help="Load an upstream on another machine too.")
    ] = False,
) -> None:
    """Measure what this path carries: rate, latency, fan-out.

    Clients ask again as soon as they are answered, and the times to the first chunk and to
    the end are counted. Without --rate and --no-rate-limit the configured limit holds for
    all of them together. Ctrl-C ends it and shows what there is.
    """
    from megabot_cli.commands.benching import Bench, be_sure, measure
    from megabot_cli.commands.running import run
    from megabot_cli.config.load import Flag
    from megabot_cli.errors import WrongUsage

    invocation: Invocation = context.obj
    if rate_limit is not None and no_rate_limit:
        raise WrongUsage("--rate and --no-rate-limit exclude each other", "Give one of them.")
    if not for_s:
        raise WrongUsage("--duration 0 measures nothing", "Write 5s, say.")
    invocation.configure({"profiles.*.url": Flag("--url", upstream) if upstream else None})
    limit = invocation.configuration.settings.limits.messages_per_second
    if rate_limit is not None:
        limit = rate(rate_limit, "--rate")
    wanted = Bench(clients, for_s, 0.0 if no_rate_limit else limit, message, listeners, direct, yes)
    be_sure(invocation, wanted)
    run(measure(invocation, wanted), loop="fast")
