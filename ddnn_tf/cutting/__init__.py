"""An existing Keras model, cut into the sections of a topology's nodes.

`graph` reads a model, `places` finds where it is cut, `projection` makes residual links fit, and
`partition` puts the parts together.
"""
