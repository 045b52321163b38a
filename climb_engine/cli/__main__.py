"""``python -m climb_engine.cli``: what jobs run."""

from climb_engine.cli.program import main

main()
