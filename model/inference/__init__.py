"""From bytes to predictions: decode, preprocessing, engines and top-k. Values in, values out; no queue, no settings."""
