"""The command line: ``zeroin``, also ``python -m search``."""
