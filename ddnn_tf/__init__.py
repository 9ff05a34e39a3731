"""Train one network, cut it over machines, survive failures."""
