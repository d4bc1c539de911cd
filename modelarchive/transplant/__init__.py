"""Parts of one network into another: a plan of all that would be copied, carried out as a whole or not at all."""
