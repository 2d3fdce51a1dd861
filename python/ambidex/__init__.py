"""An LLM-agent runtime that works with either hand: sync or async."""
