"""What a step of a graph costs, beside LangGraph. `../steps.py` runs it."""
