"""Which folders make up the one distribution `ddnn-tf`; everything else is in pyproject.toml.

Each package and sub-package is named here: `find_packages()` would ship `tests` as well.
`tests/test_distribution.py` compares this list with the tree and with the built wheel.
"""

from setuptools import setup

setup(
    packages=[
        "ddnn_tf",
        "ddnn_tf.cli",
        "ddnn_tf.cutting",
        "ddnn_tf.datasets",
        "ddnn_tf.datasets.street",
        "ddnn_tf.placement",
        "ddnn_tf.reporting",
        "ddnn_tf.reporting.figures",
        "ddnn_tf.searches",
        "ddnn_tf.training",
        "edge_runtime",
        "edge_runtime.answers",
        "edge_runtime.bundle",
        "edge_runtime.cli",
        "edge_runtime.evaluation",
        "edge_runtime.failures",
        "edge_runtime.node",
        "edge_runtime.process",
        "edge_runtime.testbed",
        "edge_runtime.topology",
        "edge_runtime.transport",
        "export",
    ],
    package_data={
        "ddnn_tf": ["*.pyi", "py.typed", "reporting/templates/*"],
        "edge_runtime": ["*.pyi", "py.typed", "topology/shipped/*.json"],
        "export": ["py.typed"],
    },
    # Data files are those listed above, whatever git or MANIFEST.in also knows.
    include_package_data=False,
)
