"""Making a network and what crosses its cut smaller: prune groups, physical removal, codecs."""
