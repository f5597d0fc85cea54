"""How hard hypothesis tries: enough to find, quick on a loaded machine, the same each run.

`pytest --hypothesis-profile=search` looks further, differently each time.
"""

import signal

from hypothesis import HealthCheck, settings

# A busy machine is no fault of the code: no deadline, and slow examples are no failure.
settings.register_profile(
    "suite",
    deadline=None,
    derandomize=True,
    max_examples=200,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "search", deadline=None, max_examples=5000, suppress_health_check=list(HealthCheck)
)
settings.load_profile("suite")

# A shell that starts the suite in the background has it ignore Ctrl-C, `nohup` has it ignore
# SIGHUP, and every program that a test starts would inherit that. What a handler does is not.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda number, frame: None)
