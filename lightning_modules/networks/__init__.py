"""Networks as plain torch modules, from images to logits; how they are trained is not theirs to know."""
