"""Checks of a module and its data before training, a file each: what it saw, what is healthy, what to try.

Each takes a LightningModule and batches, and returns findings; it trains or changes the module, so give it a new one.
"""
