"""Callbacks for any LightningModule."""
