"""megabot-metrics(7): every metric as a scrape has it, and how to be told of trouble."""

from __future__ import annotations

from megabot_cli.commands.manual_pages import escape, head, item

_BEFORE = r"""
.SH NAME
megabot\-metrics \- what Prometheus sees of a relay
.SH DESCRIPTION
.B megabot relay
answers
.B GET /metrics
on its admin address (127.0.0.1:3101, see
.BR \-\-admin\-listen )
in the text format of Prometheus.
No label ever holds a user, a session or an id: each has a fixed list of values, all of them there
from the start, and
.B other
is whatever is not on it; profiles are those of the configuration.
Times are in seconds, sizes in bytes.
Beside these there are the process's own:
.BR process_cpu_seconds_total ,
.BR process_resident_memory_bytes ,
.BR process_open_fds .
.SH HEALTH
.TP
\fB/healthz\fR
200 while the process answers at all; ask this to decide on a restart.
.I status
is ok, or degraded when nothing more can be recorded, and then
.I recording
says why: a restart alone would not mend that.
.TP
\fB/readyz\fR
200 when a new client can be served: the relay is not stopping, and at least one link is up.
Without any link it is ready too, for the next client makes one, as in dedicated mode.
Else 503, with
.IR reason :
draining, or what the upstream's last fault was;
.I links
counts the links by state. Where several profiles are served one of them is enough, and
.I profiles
tells of each its links and, as
.IR fault ,
what keeps one down.
.PP
Both are JSON and need no token; as on every route a foreign
.I Host
or
.I Origin
is refused.
.PP
Run as a service of
.BR systemd (1)
with
.IR Type=notify ,
the relay says when it is ready, reloading and stopping, has a line on its state for
.BR "systemctl status" ,
and with
.I WatchdogSec=
is restarted when its event loop stands still.
""".strip().splitlines()

_AFTER = r"""
.SH FILES
In the folder
.I share/megabot
of the installation, and in
.I config
of the source:
.TP
\fIprometheus/prometheus.yaml\fR
A scrape configuration.
.TP
\fIprometheus/recording.rules.yaml\fR
What dashboards ask for again and again.
.TP
\fIprometheus/alerts.rules.yaml\fR
What an operator should hear of, each with what to do;
.I prometheus/tests.yaml
are their tests for
.BR promtool .
.TP
\fIgrafana/megabot\-relay.json\fR
A dashboard to import.
.TP
\fIsystemd/megabot\-relay.service\fR
A unit for the whole machine;
.I systemd/user/megabot\-relay.service
one for a user.
.SH SEE ALSO
.BR megabot\-relay (1),
.BR megabot\-relay\-status (1),
.BR megabot\-events (7)
""".strip().splitlines()


def metrics_page() -> str:
    """The page, from the collector that answers a scrape."""
    from megabot_cli.telemetry.catalogue import catalogue

    lines = [*head("MEGABOT-METRICS", 7, "Miscellaneous"), *_BEFORE, ".SH METRICS"]
    lines.append(".ad l")  # a narrow page cannot spread two long words over a line
    for metric in catalogue():
        lines += item(f"\\fB{escape(metric.name)}\\fR ({metric.kind})", metric.meaning)
        for label, values in metric.labels.items():
            lines += [".br", escape(f"{label}: {', '.join(values)}.")]
    return "\n".join([*lines, *_AFTER]) + "\n"
