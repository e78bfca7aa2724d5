"""Data modules for images, and the pieces that they are made of."""
