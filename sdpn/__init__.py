"""SDPN: speaker embeddings learned without speaker labels, as a Kaldi-style staged recipe.

Importing this package is cheap on purpose: nothing below it is loaded until it is asked for.
"""

__version__ = "0.1.0"
