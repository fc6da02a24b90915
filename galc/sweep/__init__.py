"""A study file as a sweep (``galc sweep``): a notebook executed for every run, tables, pages.

    plan     what there is to execute for a study file, checked before anything starts
    kernel   one notebook executed, in a warm kernel
    results  the table of all runs

The parts of a command are not in the module that is executed: worker processes would import that, and torch with it.
"""
