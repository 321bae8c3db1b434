"""How many examples a property is tried on."""

from hypothesis import settings

# Generating a large example takes ten milliseconds, most of it Hypothesis's own, and each covers
# dozens of cases.
few_large_examples = settings(max_examples=max(50, settings().max_examples // 3))
