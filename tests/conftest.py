"""How hard hypothesis tries: enough to find, quick on a loaded machine, the same each run.

`pytest --hypothesis-profile=search` looks further, differently each time.
"""

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
