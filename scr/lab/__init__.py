"""LabWorld and the lab model: a small world of known truth, and a chat model that knows it."""
