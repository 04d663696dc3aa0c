"""When to think: rules that decide at which ticks System 1 asks System 2."""
