"""Static reports, rendered from a store: nothing is computed or trained again."""
