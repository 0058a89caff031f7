"""Model cards: what a person reads before taking a model, made of nothing but the spec and the artifacts."""
