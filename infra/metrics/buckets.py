"""Upper bounds of the buckets of histograms: seconds, or numbers of events."""

LATENCY = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
# From acceptance to effect: objectives are 1 s, 5 s and 60 s.
EVENT_LATENCY = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
    *(300, 1800, 7200, 14_400),
)
SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)
TOKEN = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05)
SKEW = (0.5, 1, 2, 5, 10, 30, 60, 120, 300)
# Those of OpenTelemetry's messaging metrics (semantic conventions, messaging-metrics.md).
CONVENTION = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
OPERATION = (0.001, 0.0025, *CONVENTION, 30)
