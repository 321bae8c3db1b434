"""How many examples a property is tried on."""

from hypothesis import settings

# Of large examples: to make up one takes ten milliseconds, most of it Hypothesis's own, and it
# holds dozens of what the property is about.
few_large_examples = settings(max_examples=max(50, settings().max_examples // 3))
