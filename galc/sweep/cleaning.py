"""Inside a kernel that executes one notebook after the other: forget all that the last one has left."""

import gc
import os
import sys
import types

from IPython import get_ipython

START = dict(os.environ)  # of the kernel, as it was before the first notebook


def clean(folder: str, environment: dict[str, str]) -> None:
    """No name, cell, figure or variable of the environment is left; the next notebook begins in ``folder``.

    Modules stay imported, with what they keep: that is what makes a warm kernel warm.
    """
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(START | environment)
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
    if "ipywidgets" in sys.modules:
        sys.modules["ipywidgets"].Widget.close_all()
    shell = get_ipython()
    shell.reset(new_session=True)
    shell.user_ns |= types.ModuleType("__main__").__dict__  # __spec__ and the like, which have gone with the rest
    gc.collect()
    gc.freeze()  # what is left belongs to modules: the next collection, of a third of a second, need not look at it
