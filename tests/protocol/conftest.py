"""How hard hypothesis tries: enough to find, quick on a loaded machine, the same each run."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "protocol",
    deadline=None,  # a busy machine is no fault of the code
    derandomize=True,
    max_examples=200,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("protocol")
