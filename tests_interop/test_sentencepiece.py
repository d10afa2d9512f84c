"""The same pieces as SentencePiece's own library, from its .model files."""
