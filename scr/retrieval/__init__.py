"""Candidates: which facts may a query be about? Embedder, key index and subject mentions."""

from scr.retrieval.embedders import HashEmbedder, load_embedder
from scr.retrieval.languages import foreign_language
from scr.retrieval.retriever import Retriever, mark_of

__all__ = ["HashEmbedder", "Retriever", "foreign_language", "load_embedder", "mark_of"]
