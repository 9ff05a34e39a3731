"""Pictures of a reliability evaluation, one figure a file.

Every figure here is a `matplotlib.figure.Figure`; `render` and `inline_svg` turn one into bytes or
into a piece of a page. `style` holds what all share; `topology_layout` and `topology_curves` place
what `topology_drawing` draws.
"""

from .birnbaum import importance as importance
from .configuration_scatter import configurations as configurations
from .expected_accuracy import expected as expected
from .failure_counts import by_failures as by_failures
from .line_chart import lines as lines
from .rendering import inline_svg as inline_svg
from .rendering import render as render
from .style import CSS as CSS
from .summary import overview as overview
from .time_share import share_of_time as share_of_time
from .topology_drawing import topology as topology
