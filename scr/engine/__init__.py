"""The engine: joins the four steps over a store."""

from scr.engine.engine import SCR, Ask, Composed

__all__ = ["SCR", "Ask", "Composed"]
