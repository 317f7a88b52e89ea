"""``carruns doctor`` and ``--repair``: what is wrong in a store, and putting it right."""
